"""The SQL of credit against its cost: what a customer's usage drew, by grant and price, and what
its events say that they cost, by type.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from taximeter.domain.credit.value import DrawnFrom
from taximeter.kernel.ids import first_id
from taximeter.kernel.money import Money
from taximeter.kernel.times import Period

Connection = AsyncConnection[tuple[Any, ...]]

# Both add up in the database: there may be as many holds, and assets that events name, as events.
# An amount of data.cost as event_cost reads it; what is no such number is none.
_NUMBER = r"^[0-9]{1,18}(\.[0-9]{1,12})?$"
_COSTS = """
SELECT type, subscription, part, sum(amount), count(*), count(amount)
FROM (
    SELECT type, subscription, part, CASE
            WHEN said ~ %(number)s AND COALESCE(asset, %(currency)s) = %(currency)s
            THEN said::numeric
        END AS amount
    FROM (
        SELECT type, subscription, width_bucket(time, %(starts)s::timestamptz[]) AS part,
            CASE jsonb_typeof(data -> 'cost') WHEN 'object' THEN data #>> '{cost,asset}' END
                AS asset,
            CASE jsonb_typeof(data -> 'cost') WHEN 'object' THEN data #>> '{cost,amount}'
                ELSE data ->> 'cost' END AS said
        FROM event
        WHERE customer = %(customer)s AND time >= %(start)s AND time < %(end)s
          AND status = 'accepted'
    ) said
) read
GROUP BY type, subscription, part
"""
_DRAWS = """
SELECT e.price, e.drawn, g.kind, g.amount, g.cost_basis, g.cost_basis_asset
FROM (
    SELECT grant_id, split_part(ref, '/', 2) AS price, -sum(amount) AS drawn FROM wallet_entry
    WHERE customer = %(customer)s AND asset = %(asset)s AND kind = 'draw'
      AND id >= %(first)s AND id < %(last)s AND at >= %(start)s AND at < %(end)s
    GROUP BY grant_id, split_part(ref, '/', 2)
) e LEFT JOIN credit_grant g ON g.customer = %(customer)s AND g.id = e.grant_id
ORDER BY e.price, e.grant_id
"""


class DrawnSum(NamedTuple):
    """What was drawn for a `price` ("": of no certain one) from one grant (None: past them all)."""

    price: str
    drawn: Decimal
    source: DrawnFrom | None


class TypeCost(NamedTuple):
    """What the events of a type that name this `subscription`, if any, say that they cost in a part
    of a span (the first is 1): of so many `events`, so many say it.
    """

    type: str
    subscription: str | None
    part: int
    amount: Decimal | None
    events: int
    with_cost: int


async def customers_of(
    connection: Connection, asset: str, *, after: str | None, limit: int
) -> list[str]:
    """Customers with a wallet of this asset, by key, after `after`."""
    cursor = await connection.execute(
        """
        SELECT customer FROM wallet
        WHERE asset = %(asset)s AND (%(after)s::text IS NULL OR customer > %(after)s)
        ORDER BY customer LIMIT %(limit)s
        """,
        {"asset": asset, "after": after, "limit": limit},
    )
    return [row[0] for row in await cursor.fetchall()]


async def draws(
    connection: Connection, customer: str, asset: str, span: Period
) -> Sequence[DrawnSum]:
    """What usage drew from a wallet within the span, by price and by grant."""
    ids = {
        "first": first_id("went", span.start),
        "last": first_id("went", span.end + timedelta(milliseconds=1)),  # as fine as ids are
    }
    within = {"customer": customer, "start": span.start, "end": span.end}
    cursor = await connection.execute(_DRAWS, {**within, **ids, "asset": asset})
    found = []
    for price, drawn, kind, amount, basis, basis_asset in await cursor.fetchall():
        source = None
        if kind is not None:
            source = DrawnFrom(kind, amount, None if basis is None else Money(basis, basis_asset))
        found.append(DrawnSum(price, drawn, source))
    return found


async def costs(
    connection: Connection, customer: str, currency: str, starts: Sequence[datetime], end: datetime
) -> Sequence[TypeCost]:
    """What the events with a time in a span say that they cost in this currency, by their type and
    by the parts of the span, which begin at `starts`.
    """
    cursor = await connection.execute(
        _COSTS,
        {"customer": customer, "currency": currency, "number": _NUMBER, "start": starts[0],
         "starts": list(starts), "end": end},
    )  # fmt: skip
    return [TypeCost(*row) for row in await cursor.fetchall()]
