"""Alerts on allowances: told when what was used of a feature's quota reaches a share of it.

Owns when that is looked at: when events come in that a quota's meter reads, for customers who
defined such an alert; and what is compared: what usage queries show, by event time, in the quota's
window now. Nobody else looks for the customer meanwhile, so no crossing is overlooked; what left
the quarantine is told with the next event.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime

from taximeter.domain.entitlement.alert import AllowanceAlert, reached
from taximeter.domain.entitlement.feature import Allowance
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.rights import rights_of
from taximeter.domain.subscription.routing import Reading
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services.alerts import Raised, raise_alerts, window_document
from taximeter.services.allowances import used_of_all
from taximeter.services.context import Connection, Context
from taximeter.storage import alerts as storage

# An alert, the number of a quota among those of its feature, and the quota.
_Watched = tuple[AllowanceAlert, int, Allowance]


async def tell_used(
    context: Context,
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    counted: Sequence[tuple[Event, Sequence[Reading]]],
) -> None:
    """Raise what these events, which were counted, have reached for the customers of `terms`."""
    telling = {
        customer
        for customer, one in terms.items()
        if any(isinstance(alert, AllowanceAlert) for alert in one.alerts)
    }
    meters: dict[str, set[str]] = {}
    for event, readings in counted if telling else ():
        if event.customer in telling:
            known = meters.setdefault(event.customer, set())
            known.update(route.meter.key for route, _, _ in readings)
    at = context.clock.now()
    watched = [one for key in sorted(meters) for one in _watched(terms[key], at, meters[key])]
    if watched:
        await storage.send_lock(
            connection, {alert.customer for alert, _, _ in watched}, "allowance"
        )
        await _tell(context, connection, watched, at)


async def tell_allowances(
    context: Context, connection: Connection, terms: CustomerTerms, at: datetime
) -> None:
    """Raise what the customer has used by now. Ingestion is held off."""
    await _tell(context, connection, _watched(terms, at, None), at)


def _watched(terms: CustomerTerms, at: datetime, meters: Set[str] | None) -> list[_Watched]:
    """What is told of the customer's quotas (of these meters) in force at `at`."""
    found = []
    for alert in terms.alerts:
        rights = rights_of(terms, alert.feature, at) if isinstance(alert, AllowanceAlert) else None
        if rights is not None and isinstance(alert, AllowanceAlert):
            found += [
                (alert, number, quota)
                for number, quota in enumerate(rights.quotas)
                if meters is None or quota.meter in meters
            ]
    return found


async def _tell(
    context: Context, connection: Connection, watched: Sequence[_Watched], at: datetime
) -> None:
    used = await used_of_all(connection, [(alert.customer, quota) for alert, _, quota in watched])
    raised = []
    for (alert, number, quota), quantity in zip(watched, used, strict=True):
        shares = {share * quota.limit: share for share in reversed(alert.at)}
        raised += [
            Raised(
                alert.customer, "allowance.threshold", alert.name, quota.window.start, number,
                shares[mark], context.ids("alert", at), at,
                {
                    "feature": alert.feature, "meter": quota.meter,
                    "limit": format_decimal(quota.limit), "used": format_decimal(quantity),
                    "window": window_document(quota.window),
                },
            )
            for mark in reached(ZERO, quantity, shares)
        ]  # fmt: skip
    await raise_alerts(context, connection, raised)
