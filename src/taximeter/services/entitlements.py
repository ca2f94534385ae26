"""Entitlements: checked, listed, and agreed with one customer.

Owns the answer to "may they?": whether a feature is on, and which limit tells. Usage counts as
usage queries show it, by event time. What plans say is read by domain/subscription/rights.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from taximeter.domain.catalog.entitlement_document import parse_entitlements
from taximeter.domain.entitlement.feature import Rights, Standing, binding
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.rights import features_of, rights_of
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ONE, ZERO
from taximeter.services.allowances import used_of_all
from taximeter.services.command import Transaction, look
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import reserved_of
from taximeter.services.plans import check_quotas
from taximeter.storage import entitlements as storage
from taximeter.storage.terms import current_meters, customer_terms, note_change

Agreed: TypeAlias = storage.Agreed

FEATURES_MAX = 200  # agreed with one customer


@dataclass(frozen=True, slots=True)
class FeatureView:
    """One feature as it stands at an instant: the customer's `rights` to it (None: nothing that
    they have names it), how far each of its `quotas` is used, in their order, and its `slots`
    (None: as many holds as there may be). What open holds reserve is used.
    """

    feature: str
    rights: Rights | None
    quotas: tuple[Standing, ...]
    slots: Standing | None

    def reason(self, quantity: Decimal) -> Literal["entitlement", "concurrency"] | None:
        """What forbids `quantity` more, of what takes one slot at most; None: it is allowed."""
        on = self.rights is not None and self.rights.enabled
        if not on or not all(quota.takes(quantity) for quota in self.quotas):
            return "entitlement"
        free = self.slots is None or self.slots.takes(min(quantity, ONE))
        return None if free else "concurrency"

    def binding(self, quantity: Decimal) -> Standing | None:
        """The limit that tells about `quantity` more; None where there is none. Slots do where
        they are what forbids it, or all there is.
        """
        if self.reason(quantity) == "concurrency" or not self.quotas:
            return self.slots
        return binding(self.quotas, quantity)


async def check_entitlement(context: Context, customer: str, feature: str) -> FeatureView:
    """The feature as it stands for the customer now.

    Raises `NotFound` for an unknown customer, and for a feature that no plan and no agreement has
    ever named.
    """
    at = context.clock.now()

    async def work(connection: Connection) -> FeatureView:
        terms = await _held(context, connection, customer)
        if rights_of(terms, feature, at) is None and not await storage.is_known(
            connection, feature
        ):
            raise NotFound(kind="feature", key=feature)
        [view] = await _views(connection, terms, [feature], at)
        return view

    return await look(context, work)


async def list_entitlements(
    context: Context, customer: str, *, limit: int, cursor: str | None
) -> Page[FeatureView]:
    """The features to which the customer has rights now, by key. Raises `NotFound`."""
    at = context.clock.now()
    after = decode_cursor(cursor, 1)

    async def work(connection: Connection) -> list[FeatureView]:
        terms = await _held(context, connection, customer)
        features = [key for key in features_of(terms, at) if after is None or key > after[0]]
        return await _views(connection, terms, features[: limit + 1], at)

    return make_page(await look(context, work), limit, lambda view: (view.feature,))


async def _held(context: Context, connection: Connection, customer: str) -> CustomerTerms:
    """The customer's terms, as they were read last if nothing has changed since."""
    cached = (await context.terms.hold(connection, [customer])).customers[customer].terms
    if cached is None:
        raise NotFound(kind="customer", key=customer)
    return cached


async def _terms_of(connection: Connection, customer: str) -> CustomerTerms:
    terms = (await customer_terms(connection, [customer])).get(customer)
    if terms is None:
        raise NotFound(kind="customer", key=customer)
    return terms


async def _views(
    connection: Connection, terms: CustomerTerms, features: list[str], at: datetime
) -> list[FeatureView]:
    found = [(feature, rights_of(terms, feature, at)) for feature in features]
    key = terms.customer.key
    quotas = [(key, quota) for _, rights in found if rights for quota in rights.quotas]
    used = iter(await used_of_all(connection, quotas))
    reserved = await reserved_of(connection, key, at)
    views = []
    for feature, rights in found:
        held = reserved.get(f"q:{feature}", ZERO)
        standings = tuple(
            Standing(quota.limit, next(used) + held, quota.blocks, quota.resets_at)
            for quota in (rights.quotas if rights else ())
        )
        slots = None
        if rights is not None and rights.slots is not None:
            running = reserved.get(f"f:{feature}", ZERO)
            slots = Standing(Decimal(rights.slots), running, blocks=True, resets_at=None)
        views.append(FeatureView(feature, rights, standings, slots))
    return views


async def agree(
    transaction: Transaction, customer: str, feature: str, document: Mapping[str, object]
) -> tuple[FeatureView, bool]:
    """Let what the document says of the feature hold for this customer, in place of what plans say
    of it; returns how it stands then, and whether nothing was agreed before.

    Raises `NotFound` for the customer, and `Invalid` for a document in error, with quotas of meters
    that do not exist or do not add up, or for more features than can be agreed.
    """
    entitlements = parse_entitlements(feature, document)
    entries: Any = document["entitlements"]
    connection, at = transaction.connection, transaction.at
    await note_change(connection, customer, at)
    terms = await _terms_of(connection, customer)
    meters = {meter.key: meter for meter in await current_meters(connection)}
    errors = list(check_quotas(entitlements, meters))
    before = await storage.find(connection, customer, feature)
    if before is None and len(terms.entitlements) >= FEATURES_MAX:
        detail = f"{FEATURES_MAX} features are agreed with this customer. Put them into a plan."
        errors.append(FieldError("feature", "too_many", detail))
    if errors:
        raise Invalid(errors)
    if before is None or before.entries != entries:
        await storage.note_features(connection, {feature}, at)
        made_at = before.created_at if before else at
        await storage.put(connection, Agreed(customer, feature, entries, made_at, at))
        was = before.entries if before else None
        change = {"feature": feature, "before": was, "after": entries}
        await transaction.audit("entitlement.agreed", customer, change)
    return await _view_after(connection, customer, feature, at), before is None


async def end_agreement(transaction: Transaction, customer: str, feature: str) -> FeatureView:
    """Let plans say again what the customer may do with the feature; returns how it stands then.

    Raises `NotFound` for the customer, and where nothing was agreed.
    """
    connection, at = transaction.connection, transaction.at
    await note_change(connection, customer, at)
    before = await storage.find(connection, customer, feature)
    if before is None:
        raise NotFound(kind="agreement on the feature", key=feature)
    await storage.delete(connection, customer, feature)
    change = {"feature": feature, "before": before.entries}
    await transaction.audit("entitlement.ended", customer, change)
    return await _view_after(connection, customer, feature, at)


async def _view_after(
    connection: Connection, customer: str, feature: str, at: datetime
) -> FeatureView:
    terms = await _terms_of(connection, customer)
    [view] = await _views(connection, terms, [feature], at)
    return view
