"""The route of usage queries."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from taximeter.domain.metering.window import Window
from taximeter.http.fields import LIMIT, Cursor, CustomerKey, Instant, Limit, instant
from taximeter.http.meters import MeterPath
from taximeter.http.server import Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import zone
from taximeter.services import usage
from taximeter.services.usage import UsageQuery, UsageRow

router = APIRouter(prefix="/v1", tags=["Meters"])
GROUPS_BY_MAX = 20


def _known_zone(value: str) -> str:
    if zone(value) is None:
        raise ValueError("send an IANA time zone such as Europe/Paris")
    return value


Timezone = Annotated[
    str,
    AfterValidator(_known_zone),
    Query(max_length=100, description="The zone whose days and months are meant"),
]


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
    key: MeterPath,
    call: Reader,
    customer: Annotated[CustomerKey | None, Query(description="All customers if left out")] = None,
    from_: Annotated[
        Instant | None, Query(alias="from", description="30 days before `to` if left out")
    ] = None,
    to: Annotated[
        Instant | None, Query(description="The end of the current window if left out")
    ] = None,
    window: Window = "day",
    group_by: Annotated[
        list[Annotated[str, Query(max_length=4000)]],
        Query(description="Dimensions of the meter, repeated or comma-separated", max_length=20),
    ] = [],  # noqa: B006
    timezone: Timezone = "UTC",
    fill: Annotated[
        Literal["zero"] | None, Query(description="`zero` shows windows without usage as well")
    ] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Usage by customer, window and group: exact, and current at the instant of the answer.

    The first and the last window are cut to `from` and `to`. Windows of `hour` and `minute` are
    counted from the zone's midnight. Distinct values (`unique`), windows of `minute` and hours
    cut by a boundary are counted from the events by the meter's newest version.
    """
    if call.caller.customer is not None:
        customer = customer or call.caller.customer
        call.see(customer)
    names = [name for text in group_by for name in text.split(",") if name]
    query = UsageQuery(
        meter=key, customer=customer, start=from_, end=to, window=window,
        group_by=tuple(dict.fromkeys(names)), timezone=timezone, fill_zero=fill == "zero",
    )  # fmt: skip
    page = await usage.get_usage(call.context, query, limit=limit, cursor=cursor)
    return ok(page_json(page, lambda row: _row_json(query, row)))
