"""Routes of the test clock, which a sandbox has."""

from fastapi import APIRouter, Response

from taximeter.http.fields import Body, Instant, instant
from taximeter.http.server import Admin, ok
from taximeter.services import clock, due

router = APIRouter(prefix="/v1/test_clock", tags=["Test clock"])


class AdvanceBody(Body):
    """Where to move the clock."""

    to: Instant


@router.get("")
async def get_test_clock(call: Admin) -> Response:
    """What the test clock shows. It stands still until it is advanced."""
    return ok({"now": instant(clock.test_clock(call.context).now())})


@router.post("/advance")
async def advance_test_clock(body: AdvanceBody, call: Admin) -> Response:
    """Move the test clock on. Every job that falls due by then has run before the answer."""
    async with clock.one_at_a_time():
        return await call.write(
            lambda transaction: clock.advance(
                transaction.context, body.to, next_due=due.next_due, run_due=due.run_due
            ),
            lambda now: {"now": instant(now)},
        )
