"""Budgets: set, deleted, and read with what was spent.

Owns who may change whose, how many a customer may have, and when one begins anew. What counts
towards a budget is spending.py's; who is refused by one is decided where holds are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from taximeter.domain.entitlement.budget import ALWAYS, Budget
from taximeter.domain.entitlement.setter import Setter, may_change
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import FieldError, Invalid, NotFound, SetBySeller
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.kernel.times import Period
from taximeter.services.alerts import Counted, raise_spend
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import reserved_of
from taximeter.storage import alerts as alert_storage
from taximeter.storage import budgets as storage
from taximeter.storage import customers
from taximeter.storage import terms as term_storage
from taximeter.storage.terms import note_change

BUDGETS_MAX = 1000


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget in its current window: `period`, or None for one that never ends. `held` is what
    open holds reserve within it.
    """

    budget: Budget
    period: Period | None
    spent: Decimal
    held: Decimal

    @property
    def remaining(self) -> Decimal:
        """What may still be spent in this window; 0 where the limit is passed."""
        return max(self.budget.limit - self.spent - self.held, ZERO)


async def put_budget(transaction: Transaction, budget: Budget) -> tuple[BudgetState, bool]:
    """Set or replace a budget; returns it and whether it is new. One whose asset, path or window
    changes begins anew; one whose limit changes goes on. Shares of the limit that are told are
    those which what was spent reaches now and did not before.

    Raises `NotFound` without the customer, `SetBySeller` where the customer would replace a
    budget of the seller's, and `Invalid` (`too_many`) beyond 1,000 budgets.
    """
    connection, customer = transaction.connection, budget.customer
    terms = await changing_terms(transaction, customer)
    before = _named(terms, budget.name)
    goes_on = before is not None and _counts(before) == _counts(budget)
    if before is None:
        if len(terms.budgets) >= BUDGETS_MAX:
            detail = f"A customer has at most {BUDGETS_MAX:,} budgets. Delete one first."
            raise Invalid([FieldError("name", "too_many", detail)])
    else:
        _check_setter(before, budget.set_by, "replace")
        if not goes_on:
            await storage.forget_spend(connection, customer, budget.name)
    budget = replace(budget, revision=await _revision(connection, before, budget))
    await storage.put(connection, budget, transaction.at)
    above = budget.approve_above
    await transaction.audit(
        "budget.set", budget.name,
        {
            "customer": customer, "path": budget.path, "asset": budget.asset,
            "limit": format_decimal(budget.limit), "window": budget.window,
            "enforcement": budget.enforcement, "set_by": budget.set_by,
            "approve_above": None if above is None else format_decimal(above),
        },
    )  # fmt: skip
    (state,) = await states_of(connection, terms, [budget], transaction.at)
    if before is not None and goes_on:
        await _tell(transaction, before, state)
    return state, before is None


async def _revision(connection: Connection, before: Budget | None, budget: Budget) -> int:
    """That of `before` where the limit is the same, else one under which nothing was told yet."""
    if before is not None and (*_counts(before), before.limit) == (*_counts(budget), budget.limit):
        return before.revision
    return await alert_storage.next_ordinal(
        connection, budget.customer, "budget.threshold", budget.name
    )


async def _tell(transaction: Transaction, before: Budget, state: BudgetState) -> None:
    """Tell the shares that what was spent reaches now, and did not of the limit `before`."""
    told = {share for share in before.alerts if share * before.limit <= state.spent}
    fresh = tuple(share for share in state.budget.alerts if share not in told)
    counted = Counted(
        replace(state.budget, alerts=fresh), state.period or ALWAYS, ZERO, state.spent
    )
    await raise_spend(transaction.context, transaction.connection, {}, [counted], transaction.at)


async def delete_budget(
    transaction: Transaction, customer: str, name: str, setter: Setter
) -> BudgetState:
    """Delete a budget, and with it what it has counted; returns it as it was.

    Raises `NotFound`, and `SetBySeller` where the customer would delete one of the seller's.
    """
    terms = await changing_terms(transaction, customer)
    budget = _found(terms, name)
    _check_setter(budget, setter, "delete")
    (state,) = await states_of(transaction.connection, terms, [budget], transaction.at)
    await storage.delete(transaction.connection, customer, name)
    await transaction.audit("budget.deleted", name, {"customer": customer})
    return state


async def get_budget(context: Context, customer: str, name: str) -> BudgetState:
    """One budget of a customer, now. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        terms = await _terms(connection, customer)
        budget = _found(terms, name)
        (state,) = await states_of(connection, terms, [budget], context.clock.now())
    return state


async def list_budgets(
    context: Context, customer: str, *, limit: int, cursor: str | None
) -> Page[BudgetState]:
    """The budgets of a customer by name, now. Raises `NotFound`."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        terms = await _terms(connection, customer)
        budgets = [one for one in terms.budgets if after is None or one.name > after[0]]
        states = await states_of(connection, terms, budgets[: limit + 1], context.clock.now())
    return make_page(states, limit, lambda state: (state.budget.name,))


async def states_of(
    connection: Connection, terms: CustomerTerms, budgets: Sequence[Budget], at: datetime
) -> list[BudgetState]:
    """These budgets of one customer as they stand at `at`, in their order."""
    if not budgets:
        return []
    customer = terms.customer.key
    windows = {budget.name: terms.window_of(budget, at) for budget in budgets}
    keys = [(customer, name, window.start) for name, window in windows.items()]
    spent = await storage.found_spent(await storage.send_spent(connection, keys))
    reserved = await reserved_of(connection, customer, at)
    return [
        BudgetState(
            budget,
            None if (window := windows[budget.name]) is ALWAYS else window,
            spent.get((customer, budget.name), ZERO),
            reserved.get(f"b:{budget.name}", ZERO),
        )
        for budget in budgets
    ]


async def changing_terms(transaction: Transaction, customer: str) -> CustomerTerms:
    """The terms of a customer whose limits are about to change: ingestion is held off, and nobody
    else changes them. Comes first in its transaction. Raises `NotFound`.
    """
    await note_change(transaction.connection, customer, transaction.at)
    await customers.find(transaction.connection, customer, lock=True)
    return await _terms(transaction.connection, customer)


async def _terms(connection: Connection, customer: str) -> CustomerTerms:
    found = await term_storage.customer_terms(connection, [customer])
    if customer not in found:
        raise NotFound(kind="customer", key=customer)
    return found[customer]


def _named(terms: CustomerTerms, name: str) -> Budget | None:
    return next((budget for budget in terms.budgets if budget.name == name), None)


def _found(terms: CustomerTerms, name: str) -> Budget:
    budget = _named(terms, name)
    if budget is None:
        raise NotFound(kind="budget", key=name)
    return budget


def _check_setter(budget: Budget, setter: Setter, step: str) -> None:
    if not may_change(setter, budget.set_by):
        cure = "Set another budget beside it: all that cover a path apply."
        raise SetBySeller(kind="budget", step=step, cure=cure)


def _counts(budget: Budget) -> tuple[object, ...]:
    """What decides what a budget counts, and in which windows."""
    return budget.asset, budget.path, budget.window
