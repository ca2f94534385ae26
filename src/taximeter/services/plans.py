"""Plans: put, roll back, retire, get, list, preview. Each change makes a new immutable version, in
force at once or from a time ahead; subscriptions stay on theirs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from taximeter.domain.catalog.difference import Change, differences
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.entitlement import Entitlement, Quota
from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.catalog.plan import Dimensional, Plan, UsagePrice
from taximeter.domain.invoicing.preview import Preview, SampleEvent, preview, usage_of
from taximeter.domain.rating.event_price import event_price
from taximeter.domain.rating.usage import Usage
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.kernel.times import format_instant
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.ingest import REASONS
from taximeter.storage import plans as storage
from taximeter.storage.entitlements import note_features
from taximeter.storage.terms import current_meters

PlanVersion: TypeAlias = storage.PlanVersion

VERSION_MAX = 2**31 - 1
Outcome = Literal["created", "new_version", "unchanged"]


@dataclass(frozen=True, slots=True)
class PlanPut:
    """The version that a document is, and whether the plan or the version is new; `before` is
    what is in force when it comes into force, if anything is.
    """

    plan: PlanVersion
    outcome: Outcome
    before: PlanVersion | None

    @property
    def changes(self) -> list[Change]:
        """What changes to `before`; nothing where that is None."""
        return differences(self.before.document, self.plan.document) if self.before else []


async def put_plan(
    transaction: Transaction,
    key: str,
    document: Mapping[str, object],
    *,
    effective_at: datetime | None = None,
) -> PlanPut:
    """Publish the document as the plan's next version, in force at once or from `effective_at`;
    one of the same meaning as what is in force then changes nothing.

    Raises `Invalid` with every error of the document, for a key other than `key`, for prices of
    meters or dimensions that do not exist, for a time that is not ahead, and for a segment that
    another plan of the family has.
    """
    return await _publish(transaction, key, document, effective_at, {})


async def roll_back(
    transaction: Transaction, key: str, version: int, reason: str | None
) -> PlanPut:
    """Make a new version with the content of `version`, in force at once; nothing changes where
    what is in force has that content. Raises `NotFound`.
    """
    source = await storage.find(transaction.connection, key, version, at=transaction.at)
    if source is None:
        raise NotFound(kind="plan", key=f"{key} version {version}")
    note: dict[str, object] = {"rolled_back_to": version, "reason": reason}
    return await _publish(transaction, key, source.document, None, note)


async def _publish(
    transaction: Transaction,
    key: str,
    document: Mapping[str, object],
    effective_at: datetime | None,
    note: Mapping[str, object],
) -> PlanPut:
    connection = transaction.connection
    document = with_key(key, document)
    plan = parse_plan(document)
    from_then = effective_at or transaction.at
    if effective_at is not None and effective_at <= transaction.at:
        detail = "A version comes into force now or later. Say a time ahead, or leave it out."
        raise Invalid([FieldError("effective_at", "too_early", detail)])
    if plan.family is not None:
        await storage.lock_families(connection)
    before = await storage.find(connection, key, at=from_then)
    if before is not None and before.status == "scheduled":
        before = None
    if before is not None and parse_plan(document, version=before.version) == plan_of(before):
        now = await storage.find(connection, key, before.version, at=transaction.at)
        assert now is not None, "a version is never deleted"
        return PlanPut(now, "unchanged", before)
    check_meters(plan, await current_meters(connection))
    await check_segment(connection, plan, from_then)
    if plan.entitlements:
        await note_features(connection, {one.feature for one in plan.entitlements}, transaction.at)
    last = await storage.last_version(connection, key)
    await storage.insert(
        connection,
        PlanVersion(key, last + 1, document, transaction.at, from_then, "active", None),
    )
    after = await storage.find(connection, key, last + 1, at=transaction.at)
    assert after is not None, "it was inserted"
    await transaction.audit(
        "plan.updated" if last else "plan.created", key,
        {"version": after.version, "effective_at": format_instant(from_then),
         "before": before.document if before else None, "after": document, **note},
    )  # fmt: skip
    return PlanPut(after, "new_version" if last else "created", before)


async def cancel_version(transaction: Transaction, key: str, version: int) -> PlanVersion:
    """Take back a version that is not in force yet. Raises `NotFound`, and `InvalidState` where
    it is in force already, was, or is what a subscription is on.
    """
    connection, at = transaction.connection, transaction.at
    await storage.lock(connection, key, version)
    found = await storage.find(connection, key, version, at=at)
    if found is None:
        raise NotFound(kind="plan", key=f"{key} version {version}")
    if found.status == "cancelled":
        return found
    if found.status != "scheduled":
        raise InvalidState(kind="plan version", state=found.status, step="cancelled")
    if await storage.is_used(connection, key, version):
        state = "what a subscription is on"
        raise InvalidState(kind="plan version", state=state, step="cancelled")
    assert await storage.cancel(connection, key, version, at=at), "it is held and scheduled"
    await transaction.audit("plan.version_cancelled", key, {"version": version})
    return replace(found, status="cancelled")


async def set_retired(transaction: Transaction, key: str, *, retired: bool) -> PlanVersion:
    """Let the plan take no new subscriptions, or take them again. Running ones stay as they are.

    Raises `NotFound`, and `Invalid` where another plan of its family has its segment by now.
    """
    connection, at = transaction.connection, transaction.at
    found = await storage.find(connection, key, at=at)
    if found is None:
        raise NotFound(kind="plan", key=key)
    plan = plan_of(found)
    if not retired and plan.family is not None:
        await storage.lock_families(connection)
        await check_segment(connection, plan, at)
    change = storage.retire(connection, key, at) if retired else storage.unretire(connection, key)
    if await change:
        await transaction.audit("plan.retired" if retired else "plan.unretired", key, {})
    after = await storage.find(connection, key, at=at)
    assert after is not None, "a plan is never deleted"
    return after


async def check_segment(connection: Connection, plan: Plan, at: datetime) -> None:
    """Raise `Invalid` where another plan that is not retired has, at `at` or later, the family,
    currency and segment of `plan`: nobody could tell which of the two is meant.
    """
    if plan.family is None:
        return
    for other in await storage.family(connection, plan.family, at=at):
        if other.key == plan.key or other.retired_at or other.status == "superseded":
            continue
        found = plan_of(other)
        if found.currency == plan.currency and found.segment.folded == plan.segment.folded:
            detail = (
                f"Plan {other.key} of the family {plan.family} is for {plan.segment} in "
                f"{plan.currency} already. Say another segment, or retire that plan."
            )
            raise Invalid([FieldError("segment", "duplicate_segment", detail)])


def plan_of(plan: PlanVersion) -> Plan:
    """The plan that a stored version holds."""
    return parse_plan(plan.document, version=plan.version)


def with_key(key: str, document: Mapping[str, object]) -> Mapping[str, object]:
    """The document with its key, which it may leave out. Raises `Invalid` where it says another."""
    if document.get("key") not in (key, None):
        detail = f"The address says {key}. Say the same, or leave it out."
        raise Invalid([FieldError("key", "invalid_key", detail)])
    return {**document, "key": key}


def check_meters(plan: Plan, meters: list[Meter]) -> None:
    """Raise `Invalid` for usage prices of meters that do not exist (`unknown_meter`), of dimensions
    that their meter does not keep apart (`unknown_dimension`: no rate of such a price could ever
    match), and of meters that do not add up where the price needs single events, a ladder that
    others share (`unsupported_aggregation`) or outcomes (`outcome_on_meter`), and of levels that
    would be drawn from a wallet (`unsupported_settle`). So for quotas (`check_quotas`).
    """
    known = {meter.key: meter for meter in meters}
    errors: list[FieldError] = []
    for index, price in enumerate(plan.prices):
        if not isinstance(price, UsagePrice):
            continue
        meter = known.get(price.meter)
        if meter is None:
            detail = f"There is no meter {price.meter}. Create it first, or correct its key."
            errors.append(FieldError(f"prices[{index}].meter", "unknown_meter", detail))
        else:
            errors += _fit_meter(price, meter, f"prices[{index}]")
    for index, credit in enumerate(plan.credits):
        for at, key in enumerate(credit.scope_meters or ()):
            if key not in known:
                detail = f"There is no meter {key}. Create it first, or correct its key."
                path = f"credits[{index}].scope.meters[{at}]"
                errors.append(FieldError(path, "unknown_meter", detail))
    errors += check_quotas(plan.entitlements, known)
    if errors:
        raise Invalid(errors)


def check_quotas(
    entitlements: Sequence[Entitlement], meters: Mapping[str, Meter]
) -> Iterator[FieldError]:
    """An error for each quota of a meter that does not exist, or does not add up."""
    for index, one in enumerate(entitlements):
        if not isinstance(one, Quota):
            continue
        path = f"entitlements[{index}].meter"
        meter = meters.get(one.meter)
        if meter is None:
            detail = f"There is no meter {one.meter}. Create it first, or correct its key."
            yield FieldError(path, "unknown_meter", detail)
        elif meter.aggregation not in ADDING:
            detail = (
                f"The meter {meter.key} takes the {meter.aggregation} of values, which a quota "
                "cannot be used up by. Say a meter that sums or counts."
            )
            yield FieldError(path, "unsupported_aggregation", detail)


def _fit_meter(price: UsagePrice, meter: Meter, path: str) -> Iterator[FieldError]:
    model = price.model
    if price.outcome is not None and meter.aggregation not in ADDING:
        detail = (
            f"An outcome adds its quantity when it is confirmed, and {meter.aggregation} does "
            "not add up. Use a meter that sums or counts, or leave outcome out."
        )
        yield FieldError(f"{path}.outcome", "outcome_on_meter", detail)
    if price.settle == "wallet" and meter.is_level:
        detail = (
            f"The level of {meter.key} costs while nothing happens, so no event could draw it "
            "from a wallet. Say settle: invoice."
        )
        yield FieldError(f"{path}.settle", "unsupported_settle", detail)
    if isinstance(model, Dimensional) and not model.by_event:
        for at, name in enumerate(model.dimensions):
            if name not in meter.dimensions:
                detail = f"The meter {meter.key} does not keep {name} apart. Add it there."
                yield FieldError(f"{path}.dimensions[{at}]", "unknown_dimension", detail)
    measured = event_price(price, meter.dimensions, "UTC") is not None
    if (measured or price.group) and meter.aggregation not in ADDING:
        detail = (
            f"The meter {meter.key} takes the {meter.aggregation} of values, so single events do "
            "not add up to its quantity. Say a meter that sums or counts, or leave out "
            "multipliers, ranges, pool, maximum_per_day and models of single events."
        )
        yield FieldError(f"{path}.meter", "unsupported_aggregation", detail)


async def get_plan(context: Context, key: str, version: int | None = None) -> PlanVersion:
    """The version `version` of the plan `key`; None: the one in force, or where there is none yet
    the first that will be. Raises `NotFound`.
    """
    async with context.pool.connection() as connection:
        plan = await storage.find(connection, key, version, at=context.clock.now())
    if plan is None:
        name = key if version is None else f"{key} version {version}"
        raise NotFound(kind="plan", key=name)
    return plan


async def list_plans(
    context: Context, *, family: str | None, limit: int, cursor: str | None
) -> Page[PlanVersion]:
    """One version of each plan as `get_plan` chooses it, by key; of one family if it is named."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, after=after[0] if after else None, family=family, limit=limit + 1,
            at=context.clock.now(),
        )  # fmt: skip
    return make_page(rows, limit, lambda plan: (plan.key,))


async def list_versions(
    context: Context, key: str, *, limit: int, cursor: str | None
) -> Page[PlanVersion]:
    """The versions of one plan, newest first. Raises `NotFound` for an unknown plan."""
    parts = decode_cursor(cursor, 1)
    before = None if parts is None else _version(parts[0])
    async with context.pool.connection() as connection:
        rows = await storage.versions(
            connection, key, before=before, limit=limit + 1, at=context.clock.now()
        )
    if not rows and before is None:
        raise NotFound(kind="plan", key=key)
    return make_page(rows, limit, lambda plan: (str(plan.version),))


def _version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= VERSION_MAX):
        raise invalid_cursor()
    return int(text)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a period might hold: seats and usage by price key, or `events` in place of usage."""

    quantities: Mapping[str, Decimal]
    usage: Mapping[str, Usage]
    events: Sequence[SampleEvent] = ()


async def preview_plan(
    context: Context,
    sample: Sample,
    *,
    key: str | None = None,
    version: int | None = None,
    document: Mapping[str, object] | None = None,
) -> Preview:
    """What one full period costs under the plan `key`, or under `document`, which need not be
    published; its meters must exist only where events are given.

    Raises `NotFound` for an unknown plan, `Invalid` for a document in error, quantities or usage
    of prices that are not there, and usage that would be quarantined.
    """
    if document is not None:
        plan = parse_plan(document if key is None else with_key(key, document))
    else:
        assert key is not None, "a plan is named or given"
        plan = plan_of(await get_plan(context, key, version))
    on = context.clock.now().replace(tzinfo=None)
    if sample.events and sample.usage:
        detail = "Usage is read from the events. Send usage or events."
        raise Invalid([FieldError("events", "conflicting_fields", detail)])
    if not sample.events:
        return preview(plan, sample.quantities, sample.usage, on)
    async with context.pool.connection() as connection:
        meters = await current_meters(connection)
    check_meters(plan, meters)
    usage, faults = usage_of(plan, meters, sample.events)
    if faults:
        raise Invalid(
            FieldError(f"events[{f.index}]", f.reason, f"Quarantined: {REASONS[f.reason]}")
            for f in faults
        )
    return preview(plan, sample.quantities, usage, on)
