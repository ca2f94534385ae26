"""Entitlements: checked, listed, and agreed with one customer.

Owns what the answer to "may they?" is made from: the customer's rights, what was used (as usage
queries show it, by event time) and what holds reserve. The answer is domain/entitlement/feature's.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from taximeter.domain.catalog.entitlement_document import parse_entitlements
from taximeter.domain.entitlement.feature import FeatureStanding, Standing
from taximeter.domain.entitlement.rate import rate_counter, rate_window
from taximeter.domain.rating.meter_fit import check_quotas
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.rights import features_of, rights_of
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.quantity import ZERO
from taximeter.services.allowances import used_of_all
from taximeter.services.command import Transaction, look
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import reserved_of
from taximeter.storage import entitlements as storage
from taximeter.storage.terms import current_meters, customer_terms, note_change

Agreed: TypeAlias = storage.Agreed

FEATURES_MAX = 200  # agreed with one customer


async def check_entitlement(context: Context, customer: str, feature: str) -> FeatureStanding:
    """The feature as it stands for the customer now.

    Raises `NotFound` for an unknown customer, and for a feature that no plan and no agreement has
    ever named.
    """
    at = context.clock.now()

    async def work(connection: Connection) -> FeatureStanding:
        terms = await _held(context, connection, customer)
        if rights_of(terms, feature, at) is None and not await storage.is_known(
            connection, feature
        ):
            raise NotFound(kind="feature", key=feature)
        [standing] = await _standings(connection, terms, [feature], at)
        return standing

    return await look(context, work)


async def list_entitlements(
    context: Context, customer: str, *, limit: int, cursor: str | None
) -> Page[FeatureStanding]:
    """The features to which the customer has rights now, by key. Raises `NotFound`."""
    at = context.clock.now()
    after = decode_cursor(cursor, 1)

    async def work(connection: Connection) -> list[FeatureStanding]:
        terms = await _held(context, connection, customer)
        features = [key for key in features_of(terms, at) if after is None or key > after[0]]
        return await _standings(connection, terms, features[: limit + 1], at)

    return make_page(await look(context, work), limit, lambda one: (one.feature,))


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


async def _standings(
    connection: Connection, terms: CustomerTerms, features: list[str], at: datetime
) -> list[FeatureStanding]:
    found = [(feature, rights_of(terms, feature, at)) for feature in features]
    key = terms.customer.key
    quotas = [(key, quota) for _, rights in found if rights for quota in rights.quotas]
    used = iter(await used_of_all(connection, quotas))
    reserved = await reserved_of(connection, key, at)
    stood = []
    for feature, rights in found:
        held = reserved.get(f"q:{feature}", ZERO)
        standings = tuple(
            Standing(quota.limit, next(used) + held, quota.blocks, quota.resets_at)
            for quota in (rights.quotas if rights else ())
        )
        rates = tuple(
            Standing(
                rate.limit, reserved.get(rate_counter(feature, rate.per, at), ZERO), blocks=True,
                resets_at=rate_window(rate.per, at).end,
            )
            for rate in (rights.rates if rights else ())
        )  # fmt: skip
        slots = None
        if rights is not None and rights.slots is not None:
            running = reserved.get(f"f:{feature}", ZERO)
            slots = Standing(Decimal(rights.slots), running, blocks=True, resets_at=None)
        stood.append(FeatureStanding(feature, rights, standings, slots, rates))
    return stood


async def agree(
    transaction: Transaction, customer: str, feature: str, document: Mapping[str, object]
) -> tuple[FeatureStanding, bool]:
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
    return await _standing_after(connection, customer, feature, at), before is None


async def end_agreement(transaction: Transaction, customer: str, feature: str) -> FeatureStanding:
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
    return await _standing_after(connection, customer, feature, at)


async def _standing_after(
    connection: Connection, customer: str, feature: str, at: datetime
) -> FeatureStanding:
    terms = await _terms_of(connection, customer)
    [standing] = await _standings(connection, terms, [feature], at)
    return standing
