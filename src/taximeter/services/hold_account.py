"""What a customer's open holds reserve, and the lock that decisions about them take.

Owns the rule that a hold which expired reserves nothing, whether or not anybody looked: whoever
locks an account takes out first what expired since it was last swept, and who only reads subtracts
it. Must not decide.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal

from taximeter.domain.entitlement.rate import is_over
from taximeter.services.context import Connection
from taximeter.storage import holds as storage
from taximeter.storage.holds import Account, Cursor


class Accounts:
    """Locked accounts as of `at`: their counters, which whoever has locked them may change, and
    until when they are swept: `at`, or later where another process's clock is ahead.
    """

    def __init__(self, at: datetime, found: Mapping[str, Account]) -> None:
        self.at = at
        self._accounts = found
        self._changed: set[str] = set()
        self.counters = {customer: account.counters for customer, account in found.items()}

    def now_of(self, customer: str) -> datetime:
        """The instant at which the customer's holds are decided: `at`, or until when its account is
        swept, where another process's clock is ahead.
        """
        return self._accounts[customer].swept_until

    def has_expired(self, customer: str, expires_at: datetime) -> bool:
        """Whether a hold of the customer that expires then is over, and taken out."""
        return expires_at <= self._accounts[customer].swept_until

    def free(self, customer: str, counters: Mapping[str, Decimal]) -> None:
        """Take these out of the customer's counters."""
        self._add(customer, {name: -amount for name, amount in counters.items()})

    def reserve(self, customer: str, counters: Mapping[str, Decimal], until: datetime) -> None:
        """Add these to the customer's counters, for a hold that expires at `until`."""
        self._add(customer, counters)
        account = self._accounts[customer]
        if account.next_expiry is None or until < account.next_expiry:
            account.next_expiry = until

    def count(self, customer: str, counters: Mapping[str, Decimal]) -> None:
        """Add what rates count to the customer's counters. The first of a window takes out those
        whose window has ended, so that no more of them stand than the customer has rates.
        """
        own, at = self.counters[customer], self.now_of(customer)
        if not all(name in own for name in counters):
            for name in [name for name in own if is_over(name, at)]:
                del own[name]
        self._add(customer, counters)

    def _add(self, customer: str, counters: Mapping[str, Decimal]) -> None:
        own = self.counters[customer]
        for name, amount in counters.items():
            before = own.get(name)
            after = amount if before is None else before + amount
            if after:
                own[name] = after
            else:
                own.pop(name, None)
        self._changed.add(customer)

    async def sweep(self, connection: Connection) -> None:
        """Take out what has expired by now. Where none can have, nothing is read."""
        due = [
            customer
            for customer, account in self._accounts.items()
            if account.next_expiry is not None and account.next_expiry <= self.at
        ]
        if due:
            expired = await storage.expired(connection, due, self.at)
            following = await storage.next_expiries(connection, due, self.at)
            for customer in due:
                self.free(customer, expired.get(customer, {}))
                self._accounts[customer].next_expiry = following[customer]
        for account in self._accounts.values():
            account.swept_until = max(account.swept_until, self.at)

    async def write(self, connection: Connection) -> None:
        """Write what was changed, and until when it was swept."""
        if self._changed:
            changed = [self._accounts[customer] for customer in self._changed]
            await storage.write_accounts(connection, changed)


class Locking:
    """Accounts that were asked for under their lock; in a pipeline that waits for nothing yet."""

    def __init__(self, customers: Collection[str], at: datetime, rows: Cursor) -> None:
        self._customers = customers
        self._at = at
        self._rows = rows

    async def done(self, connection: Connection) -> tuple[Accounts, bool]:
        """The accounts, swept, and whether all were there: what was read in the same pipeline was
        read without a lock where one had to be made.
        """
        found = await storage.locked(self._rows)
        complete = len(found) == len(self._customers)
        if not complete:
            await storage.create(connection, set(self._customers) - set(found), self._at)
            found = await storage.locked(await storage.send_lock(connection, self._customers))
        accounts = Accounts(self._at, found)
        await accounts.sweep(connection)
        return accounts, complete


async def send_locks(connection: Connection, customers: Collection[str], at: datetime) -> Locking:
    """Ask for the accounts of these customers, locked."""
    return Locking(customers, at, await storage.send_lock(connection, customers))


async def lock_account(connection: Connection, customer: str, at: datetime) -> Accounts:
    """Lock one customer's account, which comes before any of its wallets: for whoever takes credit
    away other than by usage. What holds reserve of a grant is counter `g:<grant>`.
    """
    accounts, _ = await (await send_locks(connection, [customer], at)).done(connection)
    return accounts


async def reserved_of(connection: Connection, customer: str, at: datetime) -> Mapping[str, Decimal]:
    """What the customer's open holds reserve at the instant `at`, unlocked."""
    return await storage.reserved(connection, customer, at)
