"""Whether this instance can serve: its database answers and has the schema of this release.

Owns which of the driver's errors mean that the database cannot be reached, and which that it
cannot hold a value.
"""

import psycopg
from psycopg_pool import PoolTimeout

from taximeter.kernel.errors import Unavailable
from taximeter.services.context import Context
from taximeter.storage.migrate import pending_in

CHECK_S_MAX = 5.0
UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout)
UNSTORABLE = psycopg.DataError


async def check_ready(context: Context) -> None:
    """Raise `Unavailable` where the database cannot be reached or lacks migrations."""
    try:
        async with context.pool.connection(timeout=CHECK_S_MAX) as connection:
            missing = await pending_in(connection)
    except UNREACHABLE:
        raise Unavailable(
            what="The database cannot be reached.", cure="It is tried again by itself."
        ) from None
    if missing:
        raise Unavailable(
            what=f"The database lacks {len(missing)} migrations.",
            cure="Run `taximeter db migrate`, or start the instance again.",
        )
