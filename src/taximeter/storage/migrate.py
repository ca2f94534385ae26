"""Migrations: from an empty database, or one of any earlier release, to the declared schema.

Owns applying `migrations/*.sql` in the order of their names, and the comparison with `schema.sql`.
A released migration never changes: yoyo knows it by its name alone, so the change would be skipped
without a word (a test pins the content). A migration must not return rows, and one that says
`-- transactional: false` must be harmless to run twice.
"""

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from yoyo import read_migrations  # type: ignore[import-untyped]
from yoyo.backends.core.postgresql import (  # type: ignore[import-untyped]
    PostgresqlPsycopgBackend,
)
from yoyo.connections import DatabaseURI  # type: ignore[import-untyped]

from taximeter.kernel.errors import Unavailable
from taximeter.storage.catalog import describe_schema

SERVER_MAJOR_MIN = 16

_HERE = Path(__file__).parent
_MIGRATIONS = _HERE / "migrations"
_SCHEMA = _HERE / "schema.sql"
_LEDGER = "_yoyo_migration"
_LOCK_KEY = 0x7461786D
_LOCK_S_MAX = 300

logging.getLogger("yoyo").setLevel(logging.WARNING)


def migrate(url: str, *, folder: Path = _MIGRATIONS) -> list[str]:
    """Applies what is pending in `folder` to the database at `url`; the names it applied.

    Safe when several processes start at once: one works, the others wait and find nothing left.
    Each migration is committed with the note that it was applied, so a kill in the middle leaves
    neither. Raises `Unavailable`.
    """
    applied: list[str] = []
    with connect(url) as guard, only_us(guard), _Backend.open(url) as backend:
        for migration in backend.to_apply(read_migrations(escape(str(folder)))):
            try:
                backend.apply_one(migration)
            except psycopg.Error as error:
                raise Unavailable(
                    what=f"The migration {migration.id} failed: {error}",
                    cure="It was rolled back, and those before it stay. Report it, with the "
                    "version you came from.",
                ) from error
            applied.append(migration.id)
    return applied


def pending(url: str, *, folder: Path = _MIGRATIONS) -> list[str]:
    """The names of the migrations that the database at `url` lacks; writes nothing.

    Raises `Unavailable`.
    """
    with connect(url) as connection:
        ledger = connection.execute("SELECT to_regclass(%s)", [_LEDGER]).fetchone()
        rows: list[tuple[str]] = []
        if ledger and ledger[0]:
            rows = connection.execute(f"SELECT migration_id FROM {_LEDGER}").fetchall()
    applied = {name for (name,) in rows}
    return [name for name in _names(folder) if name not in applied]


async def pending_in(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> list[str]:
    """The names of the migrations that this connection's database lacks, each time asked anew."""
    cursor = await connection.execute("SELECT to_regclass(%s)", [_LEDGER])
    ledger = await cursor.fetchone()
    applied: set[str] = set()
    if ledger and ledger[0]:
        cursor = await connection.execute(f"SELECT migration_id FROM {_LEDGER}")
        applied = {row[0] for row in await cursor.fetchall()}
    return [name for name in _names(_MIGRATIONS) if name not in applied]


def check(url: str, *, schema: Path = _SCHEMA) -> str | None:
    """The first difference between the database at `url` and the declared `schema`, in a sentence;
    None when they are equal.

    Builds the declared schema beside the real one in a transaction that is rolled back, so it
    needs the right to create a schema and leaves nothing behind. The order of columns, comments,
    rights and single partitions are not compared. Raises `Unavailable`.
    """
    with connect(url, autocommit=False) as connection:
        try:
            row = connection.execute("SELECT current_schema()").fetchone()
            real = str(row[0]) if row else "public"
            found = describe_schema(connection, real)
            connection.execute("CREATE SCHEMA taximeter_declared")
            connection.execute("SET LOCAL search_path TO taximeter_declared")
            connection.execute(schema.read_bytes())
            declared = describe_schema(connection, "taximeter_declared")
        except psycopg.errors.InsufficientPrivilege as error:
            raise Unavailable(
                what="The schema cannot be checked: the role may not create a schema.",
                cure="Check as the owner of the database.",
            ) from error
        finally:
            connection.rollback()
    for name in sorted(found.keys() | declared.keys()):
        if name not in found:
            return f"{name} is declared but missing."
        if name not in declared:
            return f"{name} is there but not declared."
        if found[name] != declared[name]:
            return f"{name} is `{found[name]}` but declared as `{declared[name]}`."
    return None


def _names(folder: Path) -> list[str]:
    return [file.stem for file in sorted(folder.glob("*.sql"))]


def connect(url: str, *, autocommit: bool = True) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of its own for work on the schema. Raises `Unavailable`, also for a server that
    is too old.
    """
    try:
        connection = psycopg.connect(url, autocommit=autocommit, connect_timeout=30)
    except psycopg.OperationalError as error:
        raise Unavailable(
            what=f"The database cannot be reached: {' '.join(str(error).split())}",
            cure="Start it, or correct DATABASE_URL.",
        ) from error
    except psycopg.ProgrammingError as error:  # its text may repeat the password
        raise Unavailable(
            what="DATABASE_URL cannot be read.",
            cure="Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME, with special characters "
            "of the password as %XX.",
        ) from error
    if connection.info.server_version < SERVER_MAJOR_MIN * 10_000:
        shown = connection.info.parameter_status("server_version")
        connection.close()
        raise Unavailable(
            what=f"The database is PostgreSQL {shown}.",
            cure=f"Use PostgreSQL {SERVER_MAJOR_MIN} or newer.",
        )
    return connection


@contextmanager
def only_us(connection: psycopg.Connection[tuple[Any, ...]]) -> Iterator[None]:
    """Holds the database's migration lock, which ends with this connection whatever happens.
    Raises `Unavailable` where another process has held it for too long.

    In yoyo's own lock a killed process would stay for good. Of a transaction and not of a session,
    so that it works through a pooler as well.
    """
    with connection.transaction():
        connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_S_MAX}s'")
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        try:
            # Without parameters: those leave a portal open, whose snapshot would hold up a
            # CREATE INDEX CONCURRENTLY for as long as we wait for it.
            connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})")
        except psycopg.errors.LockNotAvailable as error:
            raise Unavailable(
                what=f"Another process has been migrating this database for {_LOCK_S_MAX} s.",
                cure="Wait for it, or end it, and start again.",
            ) from error
        yield


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's backend, under our lock, that commits a migration together with its note."""

    @classmethod
    def open(cls, url: str) -> "_Backend":
        # As keywords: a URL of yoyo's has no room for a socket's path or a list of hosts.
        place = {name: str(value) for name, value in conninfo_to_dict(url).items()}
        return cls(DatabaseURI("postgresql+psycopg", None, None, None, None, None, place), _LEDGER)

    @contextmanager
    def lock(self, timeout: int = 0) -> Iterator[None]:
        """`only_us` holds one already."""
        yield

    def apply_one(self, migration: Any, force: bool = False, mark: bool = True) -> None:
        """Applies and notes it in one transaction, unless it wants none."""
        migration.load()
        if not migration.use_transactions:
            super().apply_one(migration, force, mark)
            return
        self.ensure_internal_schema_updated()
        with self.transaction():
            migration.process_steps(self, "apply", force=force)
            self.log_migration(migration, "apply")
            self.mark_one(migration, log=False)

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        """As yoyo's, which asks passwd for our name (a container may have none) and DNS for the
        host's (which may take long)."""
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id,
            "migration_hash": migration.hash,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": self.execute("SELECT now() AT TIME ZONE 'UTC'").fetchone()[0],
            "operation": operation,
        }
