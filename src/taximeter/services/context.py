"""What every use case is given: clock, ids, database, caches, payments.

Owns the bundle; the composition root makes it. Services never read the environment, the clock of
the machine or a random source by themselves.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from taximeter.gateways.payments import Payments
from taximeter.kernel.ids import IdSource
from taximeter.services.terms import Terms

Connection = AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]


class Clock(Protocol):
    """Tells the time that decides: the real one, or a sandbox's test clock."""

    def now(self) -> datetime:
        """This instant, aware UTC."""
        ...


class TestClock(Clock, Protocol):
    """A clock that stands still until it is set."""

    __test__: ClassVar[bool] = False

    def set(self, at: datetime) -> None:
        """Show `at` from now on."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """The one bundle. `test_clock` is the clock itself in a sandbox, else None. Without
    `payments` the seller's own system collects money. What only looks is stopped after
    `read_s_max` seconds (None: never).
    """

    clock: Clock
    test_clock: TestClock | None
    ids: IdSource
    pool: Pool
    terms: Terms
    payments: Payments | None
    read_s_max: float | None = None

    def new_id(self, prefix: str) -> str:
        """A new id of this kind, sortable by the context's time."""
        return self.ids(prefix, self.clock.now())
