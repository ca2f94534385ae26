"""The route of usage queries."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, Field

from taximeter.domain.metering.window import Window
from taximeter.http.fields import LIMIT, Body, Cursor, CustomerKey, Instant, Limit, instant
from taximeter.http.meters import MeterPath
from taximeter.http.server import Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import zone
from taximeter.services import usage
from taximeter.services.usage_query import UsageQuery, UsageRow

router = APIRouter(prefix="/v1", tags=["Meters"])


def _known_zone(value: str) -> str:
    if zone(value) is None:
        raise ValueError("send an IANA time zone such as Europe/Paris")
    return value


class UsageParameters(Body):
    """What of a meter's usage is asked for."""

    customer: Annotated[CustomerKey | None, Field(description="All customers if left out")] = None
    start: Annotated[
        Instant | None, Field(alias="from", description="30 days before `to` if left out")
    ] = None
    end: Annotated[
        Instant | None, Field(alias="to", description="The end of the current window if left out")
    ] = None
    window: Window = "day"
    group_by: Annotated[
        list[Annotated[str, Field(max_length=2600)]],
        Field(
            description="Dimensions of the meter, repeated or comma-separated; or what events say "
            "of themselves: `path` (or its first parts: `path.1`, `path.2`), `source`, "
            "`subscription`, `trace_id`, `run`, `step`",
            max_length=20,
        ),
    ] = []
    timezone: Annotated[
        str,
        AfterValidator(_known_zone),
        Field(max_length=100, description="The zone whose days and months are meant"),
    ] = "UTC"
    fill: Annotated[
        Literal["zero"] | None, Field(description="`zero` shows windows without usage as well")
    ] = None
    limit: Limit = LIMIT
    cursor: Cursor = None

    def dimensions(self) -> tuple[str, ...]:
        """The dimensions to group by, each once."""
        names = (name for text in self.group_by for name in text.split(",") if name)
        return tuple(dict.fromkeys(names))


def _row_json(query: UsageQuery, row: UsageRow) -> dict[str, object]:
    return {
        "from": instant(row.window.start),
        "to": instant(row.window.end),
        "customer": row.customer,
        "group": dict(zip(query.group_by, row.group, strict=True)),
        "value": format_decimal(row.value),
    }


@router.get("/meters/{key}/usage")
async def get_usage(
    key: MeterPath, call: Reader, asked: Annotated[UsageParameters, Query()]
) -> Response:
    """Usage by customer, window and group: exact, and current at the instant of the answer.

    The first and the last window are cut to `from` and `to`. Windows of `hour` and `minute` are
    counted from the zone's midnight. A level has usage up to now while it holds; a meter with
    buckets has the sum of theirs. Distinct values (`unique`), percentiles, windows of `minute` and
    hours cut by a boundary, and groups that are no dimension are counted from the events by the
    meter's newest version.
    """
    customer = asked.customer
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    query = UsageQuery(
        meter=key, customer=customer, start=asked.start, end=asked.end, window=asked.window,
        group_by=asked.dimensions(), timezone=asked.timezone, fill_zero=asked.fill == "zero",
    )  # fmt: skip
    page = await usage.get_usage(call.context, query, limit=asked.limit, cursor=asked.cursor)
    return ok(page_json(page, lambda row: _row_json(query, row)))
