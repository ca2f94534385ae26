"""The first start of an instance, and its test clock's place.

Owns the `instance` row: whether this is a sandbox, and what its clock shows.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg_pool import AsyncConnectionPool

from taximeter.kernel.ids import IdSource
from taximeter.kernel.times import format_instant
from taximeter.services.context import Connection
from taximeter.services.keys import SCOPES, make_secret, secret_digest
from taximeter.storage import instance as storage
from taximeter.storage import keys
from taximeter.storage.keys import ApiKey


@dataclass(frozen=True, slots=True)
class Started:
    """What a start found or made. `secret` is the first admin key, shown this once."""

    clock_at: datetime | None
    secret: str | None
    notices: list[str] = field(default_factory=list)


async def first_start(
    pool: AsyncConnectionPool[Connection],
    ids: IdSource,
    at: datetime,
    *,
    sandbox: bool,
    clock_at: datetime | None,
    random_bytes: bytes | None,
) -> Started:
    """Make the instance row if this is the first start, and the first admin key where there is
    none and `random_bytes` are given for it. On existing data the row decides: `sandbox` and
    `clock_at` are then ignored, with a notice.
    """
    notices = []
    first_clock = (clock_at or at) if sandbox else None
    async with pool.connection() as connection, connection.transaction():
        created, shown = await storage.ensure(connection, at, first_clock)
        if not created:
            if (shown is not None) != sandbox:
                kind = "a sandbox" if shown is not None else "no sandbox"
                notices.append(f"This data belongs to {kind}; it stays so.")
            if clock_at is not None and shown is not None:
                notices.append(f"--now is ignored: the test clock shows {format_instant(shown)}.")
        secret = None
        if random_bytes is not None and not await keys.any_key(connection):
            secret = make_secret(random_bytes)
            key = ApiKey(ids("key", at), "first admin key", SCOPES, None, at, None, None)
            await keys.insert(connection, key, secret_digest(secret))
    return Started(shown.astimezone(UTC) if shown else None, secret, notices)
