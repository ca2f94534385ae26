"""Payments: money collected from customers for top-ups.

Owns what a payment can come to. A charge has a key: the same key again charges nothing a second
time and says what the first came to, so that a lost answer is asked for again. No card processor
is built in: where there is none, top-ups wait to be settled by the seller's own system.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Paid:
    """The money was collected; `reference` finds it at the processor."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing was collected, and will not be under this key."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer: it may have been collected. Ask again with the same key."""


Outcome = Paid | Declined | Unknown


class Payments(Protocol):
    """A way to collect money."""

    async def charge(self, key: str, customer: str, asset: str, amount: Decimal) -> Outcome:
        """Collect `amount` of the currency `asset` once for the key, in a few seconds at most.
        Raises nothing.
        """
        ...


@dataclass(slots=True)
class FakePayments:
    """A processor of a sandbox: everybody pays at once, but for the customers in `declining`; of
    those in `silent` the answer is lost after the money was collected. `charges` are what each key
    came to, with its customer, asset and amount.
    """

    declining: dict[str, str] = field(default_factory=dict)
    silent: set[str] = field(default_factory=set)
    charges: dict[str, tuple[Outcome, str, str, Decimal]] = field(default_factory=dict)

    async def charge(self, key: str, customer: str, asset: str, amount: Decimal) -> Outcome:
        """What the key came to first; else collect."""
        if key not in self.charges:
            reason = self.declining.get(customer)
            outcome = Paid(f"fake_{key}") if reason is None else Declined(reason)
            self.charges[key] = (outcome, customer, asset, amount)
        return Unknown() if customer in self.silent else self.charges[key][0]
