"""Plans: put, get, list, preview. Each change makes a new immutable version; subscriptions stay on
theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import Dimensional, Plan, UsagePrice
from taximeter.domain.invoicing.preview import Preview, SampleEvent, preview, usage_of
from taximeter.domain.rating.rate import Usage
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Context
from taximeter.services.ingest import REASONS
from taximeter.storage import plans as storage
from taximeter.storage.terms import current_meters

PlanVersion: TypeAlias = storage.PlanVersion

VERSION_MAX = 2**31 - 1
Outcome = Literal["created", "new_version", "unchanged"]


@dataclass(frozen=True, slots=True)
class PlanPut:
    """The version that a document is, and whether the plan or the version is new."""

    plan: PlanVersion
    outcome: Outcome


async def put_plan(transaction: Transaction, key: str, document: Mapping[str, object]) -> PlanPut:
    """Publish the document as the plan's next version; one of the same meaning as the newest
    version changes nothing.

    Raises `Invalid` with every error of the document, for a key other than `key`, and for prices
    of meters or dimensions that do not exist.
    """
    connection = transaction.connection
    document = with_key(key, document)
    plan = parse_plan(document)
    before = await storage.find(connection, key)
    if before is not None:
        if parse_plan(document, version=before.version) == plan_of(before):
            return PlanPut(before, "unchanged")
    check_meters(plan, await current_meters(connection))
    version = before.version + 1 if before else 1
    after = PlanVersion(key, version, document, transaction.at)
    await storage.insert(connection, after)
    await transaction.audit(
        "plan.updated" if before else "plan.created", key,
        {"version": version, "before": before.document if before else None, "after": document},
    )  # fmt: skip
    return PlanPut(after, "new_version" if before else "created")


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
    """Raise `Invalid` for usage prices of meters that do not exist (`unknown_meter`) and of
    dimensions that their meter does not keep apart (`unknown_dimension`): no rate of such a price
    could ever match.
    """
    known = {meter.key: meter for meter in meters}
    errors = []
    for index, price in enumerate(plan.prices):
        if not isinstance(price, UsagePrice):
            continue
        meter = known.get(price.meter)
        if meter is None:
            detail = f"There is no meter {price.meter}. Create it first, or correct its key."
            errors.append(FieldError(f"prices[{index}].meter", "unknown_meter", detail))
        elif isinstance(price.model, Dimensional):
            for at, name in enumerate(price.model.dimensions):
                if name not in meter.dimensions:
                    detail = f"The meter {meter.key} does not keep {name} apart. Add it there."
                    path = f"prices[{index}].dimensions[{at}]"
                    errors.append(FieldError(path, "unknown_dimension", detail))
    if errors:
        raise Invalid(errors)


async def get_plan(context: Context, key: str, version: int | None = None) -> PlanVersion:
    """The version `version` (None: the newest) of the plan `key`. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        plan = await storage.find(connection, key, version)
    if plan is None:
        name = key if version is None else f"{key} version {version}"
        raise NotFound(kind="plan", key=name)
    return plan


async def list_plans(context: Context, *, limit: int, cursor: str | None) -> Page[PlanVersion]:
    """The newest version of each plan, by key."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(connection, after=after[0] if after else None, limit=limit + 1)
    return make_page(rows, limit, lambda plan: (plan.key,))


async def list_versions(
    context: Context, key: str, *, limit: int, cursor: str | None
) -> Page[PlanVersion]:
    """The versions of one plan, newest first. Raises `NotFound` for an unknown plan."""
    parts = decode_cursor(cursor, 1)
    before = None if parts is None else _version(parts[0])
    async with context.pool.connection() as connection:
        rows = await storage.versions(connection, key, before=before, limit=limit + 1)
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
    if sample.events and sample.usage:
        detail = "Usage is read from the events. Send usage or events."
        raise Invalid([FieldError("events", "conflicting_fields", detail)])
    if not sample.events:
        return preview(plan, sample.quantities, sample.usage)
    async with context.pool.connection() as connection:
        meters = await current_meters(connection)
    check_meters(plan, meters)
    usage, faults = usage_of(plan, meters, sample.events)
    if faults:
        raise Invalid(
            FieldError(f"events[{f.index}]", f.reason, f"Quarantined: {REASONS[f.reason]}")
            for f in faults
        )
    return preview(plan, sample.quantities, usage)
