"""Suspending a customer, or a part of it, and resuming: effective on the next authorization.

Owns who may lift whose. Usage that happens all the same is recorded and charged; who is refused
is decided where holds are.
"""

from taximeter.domain.entitlement.setter import Setter, may_change
from taximeter.domain.entitlement.suspension import Suspension
from taximeter.kernel.errors import FieldError, Invalid, NotFound, SetBySeller
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.budgets import changing_terms
from taximeter.services.command import Transaction
from taximeter.services.context import Context
from taximeter.storage import budgets as storage
from taximeter.storage import customers

SUSPENSIONS_MAX = 1000


async def suspend(
    transaction: Transaction, customer: str, path: str | None, *, reason: str, setter: Setter
) -> Suspension:
    """Suspend `path` and what lies below it (None: the customer). Again replaces the reason; the
    suspension stands since the first time.

    Raises `NotFound` without the customer, `SetBySeller` where the customer would change a
    suspension of the seller's, and `Invalid` (`too_many`) beyond 1,000 suspensions.
    """
    terms = await changing_terms(transaction, customer)
    before = next((one for one in terms.suspensions if one.path == path), None)
    if before is not None:
        _check_setter(before, setter, "change")
    elif len(terms.suspensions) >= SUSPENSIONS_MAX:
        detail = (
            f"At most {SUSPENSIONS_MAX:,} paths are suspended at once. Suspend what holds them."
        )
        raise Invalid([FieldError("path", "too_many", detail)])
    at = transaction.at if before is None else before.at
    suspension = Suspension(customer, path, reason, at, setter)
    await storage.suspend(transaction.connection, suspension)
    await transaction.audit(
        "customer.suspended", customer, {"path": path, "reason": reason, "set_by": setter}
    )
    return suspension


async def resume(
    transaction: Transaction, customer: str, path: str | None, *, setter: Setter
) -> bool:
    """Lift the suspension of `path` (None: of the customer), if there is one. Returns whether it
    stays suspended all the same, by a suspension of what it lies within.

    Raises `NotFound` without the customer, and `SetBySeller` where the customer would lift what
    the seller suspended.
    """
    terms = await changing_terms(transaction, customer)
    before = next((one for one in terms.suspensions if one.path == path), None)
    if before is not None:
        _check_setter(before, setter, "lift")
        await storage.resume(transaction.connection, customer, path)
        await transaction.audit("customer.resumed", customer, {"path": path})
    return any(one.covers(path) for one in terms.suspensions if one is not before)


async def list_suspensions(
    context: Context, customer: str, *, limit: int, cursor: str | None
) -> Page[Suspension]:
    """What of a customer is suspended, by path; the customer itself first. Raises `NotFound`."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        if await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        found = (await storage.suspensions_of(connection, [customer])).get(customer, ())
    rest = [one for one in found if after is None or (one.path or "") > after[0]]
    return make_page(rest, limit, lambda one: (one.path or "",))


def _check_setter(suspension: Suspension, setter: Setter, step: str) -> None:
    if not may_change(setter, suspension.set_by):
        raise SetBySeller(kind="suspension", step=step, cure="Ask the seller.")
