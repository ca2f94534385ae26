"""Which version of which plan a subscription gets.

Owns the choice by version, by date and among the members of a family.
"""

from collections.abc import Sequence
from datetime import datetime

from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription.customer import Customer, cohort_of, regions_of
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.times import format_instant
from taximeter.services.context import Connection
from taximeter.storage import plans as storage
from taximeter.storage.phases import plan_of

OFFERS_SHOWN_MAX = 10


async def choose_plan(
    connection: Connection,
    key: str,
    version: int | None,
    *,
    customer: Customer,
    now: datetime,
    at: datetime | None = None,
    current: str | None = None,
) -> Plan:
    """The plan that `customer` gets under the name `key`: that plan, or the member of the family
    `key` that is for them. Without `version` it is the one in force at `at` (`now`, if that is
    later); a version that is asked for need not be in force. `current` is the plan that the
    subscription is on, which may be retired.

    Raises `NotFound` for an unknown plan, version or family, `InvalidState` for what is retired,
    cancelled or not in force yet, and `Invalid` where no member of a family is for the customer.
    """
    when = max(at or now, now)
    found = await storage.find(connection, key, version, at=when)
    if found is None:
        members = await _members(connection, key, when)
        if not members:
            raise NotFound(kind="plan", key=key if version is None else f"{key} version {version}")
        if version is not None:
            detail = f"{key} is a family of plans, which has no versions. Say the plan itself."
            raise Invalid([FieldError("version", "conflicting_fields", detail)])
        found = _member_for(key, members, customer)
    if found.retired_at is not None and found.key != current:
        raise InvalidState(kind="plan", state="retired", step="subscribed to")
    if found.status == "cancelled":
        raise _cancelled()
    if found.status == "scheduled" and version is None:
        state = f"not in force before {format_instant(found.effective_at)}"
        raise InvalidState(kind="plan", state=state, step="subscribed to by then without a version")
    return plan_of(found.version, found.document)


async def hold_version(connection: Connection, plan: Plan) -> None:
    """Keep the version that was chosen from being cancelled until the transaction ends, which puts
    a subscription on it. Raises `InvalidState` where it was cancelled meanwhile.
    """
    if not await storage.hold(connection, plan.key, plan.version):
        raise _cancelled()


def _cancelled() -> InvalidState:
    return InvalidState(kind="plan version", state="cancelled", step="subscribed to")


async def _members(connection: Connection, family: str, at: datetime) -> list[storage.PlanVersion]:
    """What is in force of the family's plans that take subscriptions, by key."""
    found = await storage.family(connection, family, at=at)
    return [one for one in found if one.status == "active" and one.retired_at is None]


def _member_for(
    family: str, members: Sequence[storage.PlanVersion], customer: Customer
) -> storage.PlanVersion:
    """The member that asks for most of what the customer has, by key where several do."""
    regions, cohort = regions_of(customer), cohort_of(customer)
    plans = [(one, plan_of(one.version, one.document)) for one in members]
    fitting = [
        (one, plan)
        for one, plan in plans
        if plan.currency == customer.currency and plan.segment.matches(regions, cohort)
    ]
    if fitting:
        return min(fitting, key=lambda each: (-len(each[1].segment.members), each[0].key))[0]
    offered = [f"{plan.key} (for {plan.segment} in {plan.currency})" for _, plan in plans]
    more = f" and {len(offered) - OFFERS_SHOWN_MAX} more" * (len(offered) > OFFERS_SHOWN_MAX)
    detail = (
        f"No plan of the family {family} is for this customer. It has "
        f"{', '.join(offered[:OFFERS_SHOWN_MAX])}{more}. Say one of them, or offer one in "
        f"{customer.currency}."
    )
    raise Invalid([FieldError("plan", "no_segment", detail)])
