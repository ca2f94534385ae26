"""Events that are taken only if they can be paid.

Owns the refusal: a request's events are counted and charged as ever, then what is left is looked
at, and where something has come below zero all of it is undone before anybody could see it. So
the decision is exact whatever the prices are, and atomic with what it decides about.
"""

from collections.abc import Sequence

from msgspec import structs

from taximeter.domain.credit.hold import Ask, Need, Refused, overdrawn, suspended
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.rights import features_of, rights_of
from taximeter.kernel.errors import FieldError
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services.allowances import used_of_all
from taximeter.services.command import Answer
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import Accounts
from taximeter.services.hold_requests import Enforce
from taximeter.services.hold_standing import send_reading, standings
from taximeter.services.ingest import IngestAnswer, Outcome, take_events
from taximeter.services.settle import Captures, Charge
from taximeter.services.terms import Held
from taximeter.storage import purses

_DETAILS = {
    "suspended": "The customer, or this path, is suspended.",
    "entitlement": "A quota that blocks is used up.",
    "budget_exceeded": "A budget would be passed.",
    "insufficient_credits": "The credit that is available does not cover it.",
}


async def enforce(
    context: Context, connection: Connection, held: Held, accounts: Accounts, request: Enforce
) -> Answer:
    """Take the events of a request, or refuse them all. The accounts of its customers are locked;
    only those who are `hard` are refused anything, and for money only where their plans are, too.
    """
    terms = {
        customer: cached.terms
        for customer, cached in held.customers.items()
        if cached.terms is not None and customer in set(request.customers)
    }
    before = await purses.send_purses(connection, terms.keys(), accounts.at)
    limited = set(await purses.found_purses(before))
    await connection.execute("SAVEPOINT before_enforcing")
    captures = Captures(terms.keys(), {})
    (answer,), charges = await take_events(context, connection, [request.events], captures)
    refused = _suspended(terms, request) if answer.accepted else None
    refused = refused or await _refused(connection, terms, accounts, charges, limited)
    refused = refused or await _over_quota(connection, held, terms, accounts, request)
    if refused is None or answer.refused:
        await connection.execute("RELEASE SAVEPOINT before_enforcing")
        return request.render(answer)
    await connection.execute("ROLLBACK TO SAVEPOINT before_enforcing")
    return request.render(_refusal(request, refused))


def _suspended(terms: dict[str, CustomerTerms], request: Enforce) -> Refused | None:
    """The first suspension of one who is hard that some event lies within. What an event costs
    names its path only as deep as grants and budgets ask, so the events themselves are looked at.
    """
    for event in request.events.events:
        if type(event) is not Event or event.customer not in terms:
            continue
        own = terms[event.customer]
        refused = suspended(own.suspensions, event.path)
        if refused is not None and own.customer.enforcement == "hard":
            return refused
    return None


async def _refused(
    connection: Connection,
    terms: dict[str, CustomerTerms],
    accounts: Accounts,
    charges: Sequence[Charge],
    limited: set[str],
) -> Refused | None:
    """What the charges have brought below zero. A customer who had no wallet is not limited by the
    one that the charge has made.
    """
    asks: dict[str, list[Ask]] = {}
    for charge in charges:
        if charge.amount > ZERO:
            need = Need(charge.asset, ZERO, charge.meter or None, not charge.drawn)
            asks.setdefault(charge.customer, []).append(Ask((need,), charge.path))
    reading = await send_reading(connection, terms, asks, accounts.at)
    found = await standings(connection, terms, asks, accounts, reading)
    for customer, own in asks.items():
        standing = found[customer]
        if customer not in limited:
            standing = structs.replace(standing, purses={})
        for ask in own:
            refused = overdrawn(standing, accounts.counters[customer], ask)
            if refused is not None:
                return refused
    return None


async def _over_quota(
    connection: Connection,
    held: Held,
    terms: dict[str, CustomerTerms],
    accounts: Accounts,
    request: Enforce,
) -> Refused | None:
    """The first quota that blocks and that these events, which are counted by now, have passed."""
    at = accounts.at
    meters: dict[str, set[str]] = {}
    for event in request.events.events:
        if type(event) is Event:
            read = {meter.key for meter in held.meters.get(event.type, ())}
            meters.setdefault(event.customer, set()).update(read)
    quotas = [
        (customer, quota, feature)
        for customer, own in terms.items()
        if own.customer.enforcement == "hard"
        for feature in features_of(own, at)
        if (rights := rights_of(own, feature, at)) is not None
        for quota in rights.quotas
        if quota.blocks and quota.meter in meters.get(customer, ())
    ]
    used = await used_of_all(connection, [(customer, quota) for customer, quota, _ in quotas])
    for (customer, quota, feature), total in zip(quotas, used, strict=True):
        total += accounts.counters[customer].get(f"q:{feature}", ZERO)  # noqa: PLW2901
        if total > quota.limit:
            return Refused("entitlement", {"feature": feature}, total - quota.limit)
    return None


def _refusal(request: Enforce, refused: Refused) -> IngestAnswer:
    """Every event is refused, for the reason that the first limit gives."""
    missing = ""
    if refused.shortfall is not None:
        missing = f" {format_decimal(refused.shortfall)} is missing."
    error = FieldError(
        "", refused.reason, f"{_DETAILS[refused.reason]}{missing} Nothing was taken."
    )
    others = [
        Outcome(index, event.id, "refused", error)
        for index, event in enumerate(request.events.events)
    ]
    return IngestAnswer(0, others)
