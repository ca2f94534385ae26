"""What holds are judged by of wallets: their debts, and what grants have left, in burn order.

Read without a lock and as little as a decision needs, since each decision reads it anew.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection, AsyncCursor

from taximeter.domain.credit.hold import Source
from taximeter.storage.ingestion import document
from taximeter.storage.wallets import WalletKey

Connection = AsyncConnection[tuple[Any, ...]]
Cursor = AsyncCursor[tuple[Any, ...]]

# In burn order: as domain/credit/burn.py's burn_key says.
_SOURCES = """
SELECT g.customer, g.asset, g.id, g.remaining, g.scope_meters, g.scope_path
FROM json_to_recordset(%s) AS k (customer text, asset text)
JOIN credit_grant g ON g.customer = k.customer AND g.asset = k.asset
WHERE g.has_left AND COALESCE(g.expires_at, 'infinity') > %s AND g.effective_at <= %s
ORDER BY g.customer, g.priority, g.expires_at NULLS LAST, g.kind = 'paid', g.created_at, g.id
"""
_DEBTS = "SELECT customer, asset, debt FROM wallet WHERE customer = ANY(%s)"


def _document(keys: Collection[WalletKey]) -> str:
    return document([{"customer": customer, "asset": asset} for customer, asset in sorted(keys)])


async def send_debts(connection: Connection, customers: Sequence[str]) -> Cursor:
    """Ask for the debts of all wallets of these customers; `found_debts` reads the answer."""
    return await connection.execute(_DEBTS, [list(customers)])


async def found_debts(cursor: Cursor) -> dict[WalletKey, Decimal]:
    """What `send_debts` asked for, by wallet."""
    return {(row[0], row[1]): row[2] for row in await cursor.fetchall()}


async def send_sources(connection: Connection, keys: Collection[WalletKey], at: datetime) -> Cursor:
    """Ask what the grants of these wallets that are usable at `at` have left; `found_sources` reads
    the answer.
    """
    return await connection.execute(_SOURCES, [_document(keys), at, at])


async def found_sources(cursor: Cursor) -> dict[WalletKey, list[Source]]:
    """What `send_sources` asked for, by wallet, in burn order."""
    found: dict[WalletKey, list[Source]] = {}
    for customer, asset, grant, remaining, meters, path in await cursor.fetchall():
        found.setdefault((customer, asset), []).append(Source(grant, remaining, meters, path))
    return found
