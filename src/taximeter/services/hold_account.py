"""What a customer's open holds reserve, and the lock that decisions about them take.

Owns the rule that a hold which expired reserves nothing, whether or not anybody looked: whoever
locks an account takes out first what expired since it was last swept, and who only reads subtracts
it. Must not decide.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal

from taximeter.kernel.quantity import ONE, ZERO
from taximeter.services.context import Connection
from taximeter.storage import holds as storage
from taximeter.storage.holds import Cursor


class Accounts:
    """Locked accounts as of `at`: their counters, which whoever has locked them may change, and
    until when they are swept: `at`, or later where another process's clock is ahead.
    """

    def __init__(self, at: datetime) -> None:
        self.at = at
        self.counters: dict[str, dict[str, Decimal]] = {}
        self.swept_until: dict[str, datetime] = {}
        self._changed: set[str] = set()

    def free(self, customer: str, counters: Mapping[str, Decimal]) -> None:
        """Take these out of the customer's counters."""
        self._add(customer, counters, -ONE)

    def reserve(self, customer: str, counters: Mapping[str, Decimal]) -> None:
        """Add these to the customer's counters."""
        self._add(customer, counters, ONE)

    def _add(self, customer: str, counters: Mapping[str, Decimal], sign: Decimal) -> None:
        own = self.counters[customer]
        for name, amount in counters.items():
            after = own.get(name, ZERO) + sign * amount
            if after:
                own[name] = after
            else:
                own.pop(name, None)
        self._changed.add(customer)

    async def write(self, connection: Connection) -> None:
        """Write what was changed, and until when it was swept."""
        if self._changed:
            changed = {customer: self.counters[customer] for customer in self._changed}
            await storage.write_accounts(connection, changed, self.at)


class Locking:
    """Accounts that were asked for under their lock; in a pipeline that waits for nothing yet."""

    def __init__(
        self, customers: Collection[str], at: datetime, rows: Cursor, expired: Cursor
    ) -> None:
        self._customers = customers
        self._at = at
        self._rows = rows
        self._expired = expired

    async def done(self, connection: Connection) -> tuple[Accounts, bool]:
        """The accounts, and whether all were there: what was read in the same pipeline was read
        without a lock where one had to be made.
        """
        found = await storage.locked(self._rows)
        complete = len(found) == len(self._customers)
        if not complete:
            await storage.create(connection, set(self._customers) - set(found), self._at)
            rows = await storage.send_lock(connection, self._customers)
            self._expired = await storage.send_expired(connection, self._customers, self._at)
            found = await storage.locked(rows)
        expired = await storage.expired(self._expired)
        accounts = Accounts(self._at)
        for customer, (swept_until, counters) in found.items():
            accounts.counters[customer] = counters
            accounts.swept_until[customer] = max(swept_until, self._at)
            if customer in expired:
                accounts.free(customer, expired[customer])
        return accounts, complete


async def send_locks(connection: Connection, customers: Collection[str], at: datetime) -> Locking:
    """Ask for the accounts of these customers, locked."""
    rows = await storage.send_lock(connection, customers)
    expired = await storage.send_expired(connection, customers, at)
    return Locking(customers, at, rows, expired)


async def lock_account(connection: Connection, customer: str, at: datetime) -> Accounts:
    """Lock one customer's account, which comes before any of its wallets: for whoever takes credit
    away other than by usage. What holds reserve of a grant is counter `g:<grant>`.
    """
    accounts, _ = await (await send_locks(connection, [customer], at)).done(connection)
    return accounts


async def reserved_of(connection: Connection, customer: str, at: datetime) -> Mapping[str, Decimal]:
    """What the customer's open holds reserve at the instant `at`, unlocked."""
    return await storage.reserved(connection, customer, at)
