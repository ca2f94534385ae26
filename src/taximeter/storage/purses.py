"""What holds are judged by of wallets: their debts, and what their grants have left.

Read without a lock and as little as a decision needs, since each decision reads it anew.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.credit.hold import Purse, Source
from taximeter.storage.columns import texts

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

# A row for each grant that is usable, in burn order (as domain/credit/burn.py's burn_key says), and
# one for a wallet without any.
_PURSES = """
SELECT w.customer, w.asset, w.debt, 'g:' || g.id, g.remaining, g.scope_meters, g.scope_path
FROM wallet w
LEFT JOIN credit_grant g ON g.customer = w.customer AND g.asset = w.asset AND g.has_left
    AND COALESCE(g.expires_at, 'infinity') > %s AND g.effective_at <= %s
WHERE w.customer = ANY(%s::text[])
ORDER BY w.customer, w.asset, g.priority, g.expires_at NULLS LAST, g.kind = 'paid', g.created_at,
    g.id
"""


async def send_purses(connection: Connection, customers: Collection[str], at: datetime) -> Cursor:
    """Ask for all wallets of these customers, with their grants that are usable at `at`;
    `found_purses` reads the answer.
    """
    return await connection.execute(_PURSES, [at, at, texts(list(customers))])


async def found_purses(cursor: Cursor) -> dict[str, dict[str, Purse]]:
    """What `send_purses` asked for, by customer and asset."""
    found: dict[str, dict[str, Purse]] = {}
    for customer, asset, debt, counter, remaining, meters, path in await cursor.fetchall():
        own = found.setdefault(customer, {})
        purse = own.get(asset)
        if purse is None:
            purse = own[asset] = Purse([], debt)
        if counter is not None:
            purse.grants.append(Source(counter, remaining, meters, path))
    return found
