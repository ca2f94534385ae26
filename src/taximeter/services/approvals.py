"""Approvals: asked for by holds that pass a threshold, decided by somebody, used by holds.

Owns that the same wish is asked for once while it stands, how many may wait, who may decide, and
that an approval lets no more holds pass than it allows: whoever places a hold has locked the
customer's account, and the approvals it names. Which threshold a hold passes is decided where holds
are (domain/credit/hold.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from taximeter.domain.credit.hold import Ask, Refused, Standing
from taximeter.domain.entitlement.approval import ASKED_FOR, Approval, ApprovalState, Unapproved
from taximeter.domain.entitlement.setter import Setter, may_change
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound, SetBySeller
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import format_instant
from taximeter.services import outbox
from taximeter.services.command import Transaction, look
from taximeter.services.context import Connection, Context
from taximeter.services.hold_requests import Allowed
from taximeter.services.outbox import Message
from taximeter.storage import approvals as storage
from taximeter.storage import budgets, customers
from taximeter.storage.approvals import Cursor, Same, Use

PENDING_MAX = 1_000
HOLDS_SHOWN_MAX = 100
TTL_S_DEFAULT = 86_400
TTL_S_MAX = 30 * 86_400
USES_MAX = 1_000


async def send_named(connection: Connection, asks: Mapping[str, Sequence[Ask]]) -> Cursor | None:
    """Ask for the approvals that these asks, by customer, name, locked; None: they name none."""
    keys = {
        (customer, approval)
        for customer, own in asks.items()
        for ask in own
        for approval in ask.approvals
    }
    return await storage.send_lock(connection, keys) if keys else None


async def found_named(cursor: Cursor | None) -> dict[str, dict[str, Approval]]:
    """What `send_named` asked for, by customer and id."""
    return {} if cursor is None else await storage.locked(cursor)


def take(standing: Standing, approvals: Sequence[str], holds: int = 1) -> None:
    """Count `holds` more (fewer, where negative) towards each of these approvals, so that the next
    hold of the group finds them used.
    """
    for approval_id in approvals:
        approval = standing.approvals[approval_id]
        standing.approvals[approval_id] = replace(approval, used=approval.used + holds)


async def write_uses(connection: Connection, placed: Sequence[Allowed]) -> None:
    """Note which holds were placed by which approvals."""
    uses = [
        Use(one.hold.customer, approval, one.hold.id, one.hold.placed_at)
        for one in placed
        for approval in one.approvals
    ]
    if uses:
        await storage.use(connection, uses)


async def ask_for(
    context: Context, connection: Connection, refused: Sequence[Refused], at: datetime
) -> list[Refused]:
    """Ask somebody for what these holds lacked, but for what was asked for already; returns the
    refusals, in order, with the approvals that will let them pass. The accounts are locked.
    """
    wishes = {_same(wish): wish for one in refused for wish in one.unapproved}
    owners = {same.customer for same in wishes}
    await storage.lapse(connection, owners, at)
    cursor = await storage.send_standing(connection, wishes)
    waiting = await storage.pending(connection, owners)
    standing = await storage.found_standing(cursor)
    fresh: dict[Same, Approval] = {}
    for same, wish in wishes.items():
        if same not in standing and waiting.get(same.customer, 0) < PENDING_MAX:
            waiting[same.customer] = waiting.get(same.customer, 0) + 1
            fresh[same] = _asked(context, wish, at)
    if fresh:
        await storage.insert(connection, list(fresh.values()))
        await outbox.put(
            context, connection,
            *(_message("approval.requested", one, at) for one in fresh.values()),
        )  # fmt: skip
    found = {**standing, **fresh}
    return [_named(one, found, at) for one in refused]


def _same(wish: Unapproved) -> Same:
    budget = wish.budget
    return Same(
        budget.customer, budget.name, wish.path or "", budget.asset, wish.amount,
        wish.feature or "",
    )  # fmt: skip


def _asked(context: Context, wish: Unapproved, at: datetime) -> Approval:
    budget, threshold = wish.budget, wish.budget.approve_above
    assert threshold is not None, "what passes no threshold needs no approval"
    return Approval(
        customer=budget.customer, id=context.ids("appr", at), budget=budget.name, path=wish.path,
        asset=budget.asset, amount=wish.amount, feature=wish.feature, threshold=threshold,
        set_by=budget.set_by, asked_at=at, expires_at=at + ASKED_FOR,
    )  # fmt: skip


def _named(refused: Refused, found: Mapping[Same, Approval], at: datetime) -> Refused:
    """The refusal with the ids of the approvals it waits for, and how far the first of them is."""
    wanted = [found.get(_same(wish)) for wish in refused.unapproved]
    first = wanted[0]
    limit = {
        **refused.limit,
        "approval": first.id if first is not None else None,
        "state": first.state_at(at) if first is not None else None,
        "approvals": [one.id for one in wanted if one is not None],
    }
    return replace(refused, limit=limit)


class Permit(NamedTuple):
    """What is approved: `uses` holds within `ttl_s` seconds, each of which needs at most `amount`
    (None: what was asked for).
    """

    amount: Decimal | None
    uses: int
    ttl_s: int


async def approve(
    transaction: Transaction,
    approval_id: str,
    permit: Permit,
    *,
    setter: Setter,
    customer: str | None,
) -> Approval:
    """Let holds pass. The same again changes nothing; what was declined may be approved as long as
    it could be decided.

    Raises `NotFound`, `SetBySeller` where the customer would pass over a threshold of the seller's,
    `Invalid` for less than was asked for, and `InvalidState` where it is used, has ended, was
    approved otherwise or taken back.
    """
    found = await _deciding(transaction, approval_id, setter, customer)
    amount = found.amount if permit.amount is None else permit.amount
    if amount < found.amount:
        detail = f"Send {format_decimal(found.amount)}, which was asked for, or more."
        raise Invalid([FieldError("amount", "out_of_range", detail)])
    at, ttl = transaction.at, timedelta(seconds=permit.ttl_s)
    if found.decision == "approved" and found.decided_at is not None:
        same = (amount, permit.uses, found.decided_at + ttl)
        if same == (found.allowed, found.uses, found.expires_at):
            return found
    elif found.uses == 0 and found.expires_at > at:
        after = replace(
            found, decision="approved", allowed=amount, uses=permit.uses, expires_at=at + ttl,
            decided_at=at, decided_by=transaction.actor, decided_as=setter,
        )  # fmt: skip
        return await _decided(transaction, after)
    raise InvalidState(kind="approval", state=found.state_at(at), step="approved")


async def decline(
    transaction: Transaction, approval_id: str, *, setter: Setter, customer: str | None
) -> Approval:
    """Let nothing pass, or nothing more. Again changes nothing.

    Raises `NotFound`, `SetBySeller` as `approve` does, and `InvalidState` where it is used or has
    ended.
    """
    found = await _deciding(transaction, approval_id, setter, customer)
    state = found.state_at(transaction.at)
    if state == "declined":
        return found
    if state not in ("pending", "approved"):
        raise InvalidState(kind="approval", state=state, step="declined")
    # One that was approved for an hour is not asked for again after that hour.
    until = max(found.expires_at, found.asked_at + ASKED_FOR)
    after = replace(
        found, decision="declined", decided_at=transaction.at, decided_by=transaction.actor,
        decided_as=setter, expires_at=until,
    )  # fmt: skip
    return await _decided(transaction, after)


async def _deciding(
    transaction: Transaction, approval_id: str, setter: Setter, customer: str | None
) -> Approval:
    """The approval, locked, once it is known that whoever decides may."""
    connection = transaction.connection
    owner = await storage.customer_of(connection, approval_id)
    if owner is None or customer not in (None, owner):
        raise NotFound(kind="approval", key=approval_id)
    found = await storage.find(connection, owner, approval_id, lock=True)
    assert found is not None, "an approval is never deleted"
    # A threshold may have been taken over by the seller since; a hold looks once more.
    own = (await budgets.budgets_of(connection, [owner])).get(owner, ())
    set_by = next((one.set_by for one in own if one.name == found.budget), found.set_by)
    if not may_change(setter, set_by):
        raise SetBySeller(kind="budget", step="decide what passes", cure="Ask the seller.")
    return found


async def _decided(transaction: Transaction, approval: Approval) -> Approval:
    connection, at = transaction.connection, transaction.at
    assert approval.decision is not None, "it was decided"
    kind = f"approval.{approval.decision}"
    await storage.decide(connection, approval)
    await transaction.audit(kind, approval.id, approval_document(approval, at))
    await outbox.put(transaction.context, connection, _message(kind, approval, at))
    return approval


def _message(kind: str, approval: Approval, at: datetime) -> Message:
    return Message(kind, approval.customer, approval_document(approval, at), at)


def approval_document(approval: Approval, at: datetime) -> dict[str, object]:
    """An approval as it is at the instant `at`, listed and told."""
    decided_at = approval.decided_at
    return {
        "id": approval.id,
        "customer": approval.customer,
        "state": approval.state_at(at),
        "budget": approval.budget,
        "path": approval.path,
        "feature": approval.feature,
        "asset": approval.asset,
        "amount": format_decimal(approval.amount),
        "threshold": format_decimal(approval.threshold),
        "set_by": approval.set_by,
        "allowed": None if approval.allowed is None else format_decimal(approval.allowed),
        "uses": approval.uses,
        "used": approval.used,
        "asked_at": format_instant(approval.asked_at),
        "expires_at": format_instant(approval.expires_at),
        "decided_at": None if decided_at is None else format_instant(decided_at),
        "decided_by": approval.decided_by,
    }


async def get_approval(
    context: Context, approval_id: str, customer: str | None = None
) -> tuple[Approval, list[str]]:
    """An approval, and the holds that were placed by it. Raises `NotFound`, also for another
    customer's where `customer` is given.
    """
    async with context.pool.connection() as connection:
        owner = await storage.customer_of(connection, approval_id)
        found = None
        if owner is not None and customer in (None, owner):
            found = await storage.find(connection, owner, approval_id)
        if owner is None or found is None:
            raise NotFound(kind="approval", key=approval_id)
        return found, await storage.holds_of(connection, owner, approval_id, HOLDS_SHOWN_MAX)


async def list_approvals(
    context: Context,
    *,
    customer: str | None,
    state: ApprovalState | None,
    limit: int,
    cursor: str | None,
) -> Page[Approval]:
    """Approvals, newest first; of one customer, in one state. Raises `NotFound`, and `TooSlow`:
    those of a rare state may lie far back.
    """
    before = decode_cursor(cursor, 1)

    async def read(connection: Connection) -> list[Approval]:
        if customer is not None and await customers.find(connection, customer) is None:
            raise NotFound(kind="customer", key=customer)
        return await storage.page(
            connection, customer=customer, state=state, at=context.clock.now(),
            before=before[0] if before else None, limit=limit + 1,
        )  # fmt: skip

    return make_page(await look(context, read), limit, lambda one: (one.id,))
