"""What a change of a subscription would bill, beside what is billed without it.

Owns the making of both answers from one snapshot, without writing and without holding ingestion
off: the change is applied in memory, and the invoices are stated by the same functions that state
real ones. To the cent what the change itself, followed by the upcoming invoice, would say.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from msgspec import structs

from taximeter.domain.credit.wallet import Grant, apply_grant
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.totals import AppliedCredits
from taximeter.domain.subscription.charges import closed_period
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.discount import SubscriptionDiscount
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.errors import NotFound
from taximeter.kernel.quantity import ZERO
from taximeter.services.billing import (
    bills_nothing,
    closed_until,
    closing_by,
    credits_for,
    draft_of,
    draft_row,
    with_credits,
)
from taximeter.services.command import look
from taximeter.services.context import Connection, Context
from taximeter.services.discounts import DiscountChange, changed_discounts
from taximeter.services.level_usage import changed_segments
from taximeter.services.moved_usage import NOTHING_MOVED, moved_usage
from taximeter.services.plan_credits import foresee_grants
from taximeter.services.segment_usage import Instead
from taximeter.services.settle import Holding, holding_after
from taximeter.services.statement import has_ended, state
from taximeter.services.subscriptions import (
    CancelRequest,
    ChangeRequest,
    first_open,
    planned_cancel,
    planned_change,
    terms_of,
)
from taximeter.services.wallets import PRIORITY_OF_CREDIT_BALANCE
from taximeter.storage import invoices as invoice_storage
from taximeter.storage import subscriptions as storage
from taximeter.storage import wallets as wallet_storage
from taximeter.storage.invoices import InvoiceRow
from taximeter.storage.totals import LateTotal, late_totals

UPCOMING = "upcoming"

Planned = Callable[[Connection, Subscription, datetime], Awaitable[tuple[Subscription, datetime]]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a subscription is billed for: the invoices closed by now, and the next one (None: no
    more is to come).
    """

    now: tuple[Invoice, ...]
    next_invoice: Invoice | None

    @property
    def total(self) -> Decimal:
        """The totals of all of these invoices."""
        parts = [one.totals.total for one in self.now]
        return sum(parts, ZERO if self.next_invoice is None else self.next_invoice.totals.total)


@dataclass(frozen=True, slots=True)
class ChangePreview:
    """The outlook after a change beside the one without it. `before.now` are drafts that the
    change would replace.
    """

    currency: str
    after: Outlook
    before: Outlook

    @property
    def difference(self) -> Decimal:
        """What is billed more (negative: less) at once and on the next invoice."""
        return self.after.total - self.before.total


async def preview_change(
    context: Context, subscription_id: str, *, customer: str | None, request: ChangeRequest
) -> ChangePreview:
    """What `change_subscription` would bill. Raises what that raises, and `Invalid` (`at`,
    `too_many_events`) where too many events lie at or after the change.
    """

    async def planned(
        connection: Connection, subscription: Subscription, at: datetime
    ) -> tuple[Subscription, datetime]:
        return await planned_change(connection, subscription, request, at)

    return await _preview(context, subscription_id, customer, planned, request.discount)


async def preview_cancel(
    context: Context, subscription_id: str, *, customer: str | None, request: CancelRequest
) -> ChangePreview:
    """What `cancel_subscription` would bill. Raises what that raises, and as `preview_change`."""

    async def planned(
        connection: Connection, subscription: Subscription, at: datetime
    ) -> tuple[Subscription, datetime]:
        return await planned_cancel(connection, subscription, request, at)

    return await _preview(context, subscription_id, customer, planned)


async def _preview(
    context: Context,
    subscription_id: str,
    customer: str | None,
    planned: Planned,
    discount: DiscountChange | None = None,
) -> ChangePreview:
    at = context.clock.now()

    async def read(connection: Connection) -> ChangePreview:
        found = await storage.find(connection, subscription_id, customer=customer)
        if found is None:
            raise NotFound(kind="subscription", key=subscription_id)
        changed, since = await planned(connection, found, at)
        given = None
        if discount is not None:
            given = await changed_discounts(connection, found, discount, since)
        return await _compare(_Look(context, connection, at), found, changed, since, given)

    return await look(context, read)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a preview reads with: its snapshot, and the one instant that it stands for."""

    context: Context
    connection: Connection
    at: datetime


async def _compare(
    look: _Look,
    before: Subscription,
    after: Subscription,
    since: datetime,
    given: Sequence[SubscriptionDiscount] | None,
) -> ChangePreview:
    connection, currency = look.connection, before.phases[0].plan.currency
    following = (await storage.next_boundaries(connection, before.customer)).get(before.id)
    drafts = await invoice_storage.drafts_of(connection, before)
    holding = await _holding(look, before.customer, currency)
    stands = _Books(look, before, None, holding)
    upcoming = await stands.next_invoice(following, waiting=bool(drafts))
    if after == before and given is None:
        return ChangePreview(currency, Outlook((), upcoming), Outlook((), upcoming))
    terms = await terms_of(connection, before.customer)
    moved = NOTHING_MOVED
    if after != before:
        moved = await moved_usage(connection, terms, with_changed(terms, after), since)
    kept = [row for row in drafts if row.boundary < since]
    replaced = await stands.close(drafts[len(kept) :], waiting=bool(kept))
    billed = [row.boundary for row in kept]
    closed = await closed_until(connection, before)
    last = max(billed if closed is None else [*billed, closed], default=None)
    opened = first_open(after, since, stored=following, billed=last)
    closing = closing_by(after, opened, look.at)
    for grant in await foresee_grants(look.context, connection, after, since, look.at):
        if grant.asset == currency:
            holding = _given(holding, grant, look.at)
    charges = [charge for charge in moved.charges if charge.asset == currency]
    left = holding_after(look.context, (before.customer, currency), holding, charges)
    instead = Instead(moved.usage, with_changed(terms, after), given)
    changed = _Books(look, after, instead, left)
    rows = [draft_row(after, boundary, UPCOMING, look.at) for boundary in closing.boundaries]
    now = await changed.close(rows, waiting=bool(kept))
    coming = await changed.next_invoice(closing.following, waiting=bool(kept or now))
    return ChangePreview(currency, Outlook(now, coming), Outlook(replaced, upcoming))


def with_changed(terms: CustomerTerms, changed: Subscription) -> CustomerTerms:
    """The customer's terms with the subscription as it is after the change."""
    subscriptions = (changed if one.id == changed.id else one for one in terms.subscriptions)
    return replace(terms, subscriptions=tuple(subscriptions))


async def _holding(look: _Look, customer: str, currency: str) -> Holding:
    key = (customer, currency)
    grants = (await wallet_storage.grants_of(look.connection, [key], spent_too=True))[key]
    parts = await wallet_storage.parts_of(look.connection, customer, look.at)
    own = [-part.amount for part in parts if part.asset == currency and part.grant is None]
    return Holding(grants, sum(own, ZERO))


class _Books:
    """The invoices of a subscription as it is, or would be, stated without writing them."""

    def __init__(
        self,
        look: _Look,
        subscription: Subscription,
        instead: Instead | None,
        holding: Holding,
    ) -> None:
        self._look = look
        self._subscription = subscription
        self._instead = instead
        self._holding = holding

    async def close(self, rows: Sequence[InvoiceRow], *, waiting: bool) -> tuple[Invoice, ...]:
        """The invoices of boundaries that have passed. One that is final at once takes its credits
        from the wallet. `waiting`: an earlier draft counts what came late.
        """
        found: list[Invoice] = []
        for row in rows:
            late = [] if waiting or found else await self._late(row.boundary)
            if has_ended(self._subscription, row.boundary) and not late:
                continue
            draft = await self._draft(row, late)
            credits = await self._credits(draft)
            if row.finalize_at <= self._look.at:
                if bills_nothing(draft):
                    continue
                self._holding = _after(self._holding, draft, credits, self._look.at)
            found.append(with_credits(draft, credits))
        return tuple(found)

    async def next_invoice(self, boundary: datetime | None, *, waiting: bool) -> Invoice | None:
        """The invoice of the boundary to come, as it stands now."""
        if boundary is None:
            return None
        late = [] if waiting else await self._late(boundary)
        if has_ended(self._subscription, boundary) and not late:
            return None
        row = InvoiceRow(
            customer=self._subscription.customer, id=UPCOMING,
            subscription=self._subscription.id, boundary=boundary, status="draft",
            finalize_at=boundary, created_at=self._look.at, frozen=None,
        )  # fmt: skip
        draft = await self._draft(row, late)
        return with_credits(draft, await self._credits(draft))

    async def _late(self, boundary: datetime) -> list[LateTotal]:
        one, since = self._subscription, closed_period(self._subscription, boundary).start
        late = await late_totals(self._look.connection, one.customer, one.id, since)
        return late + await changed_segments(self._look.connection, one, since)

    async def _draft(self, row: InvoiceRow, late: Sequence[LateTotal]) -> Invoice:
        statement = await state(
            self._look.connection, self._subscription, row.boundary, late, self._look.at,
            self._instead,
        )  # fmt: skip
        return draft_of(self._subscription, statement, row)

    async def _credits(self, draft: Invoice) -> AppliedCredits:
        grants = self._holding.grants
        return await credits_for(self._look.connection, draft, self._look.at, grants)


def _after(holding: Holding, draft: Invoice, credits: AppliedCredits, at: datetime) -> Holding:
    """What the wallet holds once the invoice has taken its credits, or given what it owes."""
    taken = dict((*credits.promotional, *credits.paid))
    grants = [
        structs.replace(grant, remaining=grant.remaining - taken.get(grant.id, ZERO))
        for grant in holding.grants
    ]
    if credits.to_wallet == ZERO:
        return Holding(grants, holding.debt)
    given = Grant(
        id="", customer=draft.customer, asset=draft.currency, amount=credits.to_wallet,
        remaining=credits.to_wallet, kind="paid", priority=PRIORITY_OF_CREDIT_BALANCE,
        effective_at=at, expires_at=None, scope_meters=None, created_at=at,
    )  # fmt: skip
    return _given(Holding(grants, holding.debt), given, at)


def _given(holding: Holding, grant: Grant, at: datetime) -> Holding:
    """What the wallet holds with one more grant, which repays its debt first."""
    left, debt = grant.remaining, holding.debt
    if grant.usable_at(at) and grant.covers(None):
        left, debt = apply_grant(debt, grant.remaining)
    return Holding([*holding.grants, structs.replace(grant, remaining=left)], debt)
