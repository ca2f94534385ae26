"""Plans: put, roll back, retire, get, list. Each change makes a new immutable version, in
force at once or from a time ahead; subscriptions stay on theirs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, TypeAlias

from taximeter.domain.catalog.difference import Change, differences
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.rating.meter_fit import check_meters
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.paging import Page, decode_cursor, invalid_cursor, make_page
from taximeter.kernel.times import format_instant
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
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
    return await _publish(transaction, with_key(key, document), effective_at, {})


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
    return await _publish(transaction, source.document, None, note)


async def _publish(
    transaction: Transaction,
    document: Mapping[str, object],
    effective_at: datetime | None,
    note: Mapping[str, object],
) -> PlanPut:
    plan = parse_plan(document)
    refuse_past(transaction, effective_at)
    meters = await current_meters(transaction.connection)
    put = await store_plan(transaction, plan, meters, effective_at, note)
    if put.outcome != "unchanged":
        await check_segment(transaction.connection, plan, put.plan.effective_at)
    return put


async def store_plan(
    transaction: Transaction,
    plan: Plan,
    meters: Sequence[Meter],
    effective_at: datetime | None,
    note: Mapping[str, object],
) -> PlanPut:
    """As `put_plan`, for a plan that is read and meters that are known already; `note` goes to the
    audit log. The caller calls `check_segment` once all that it stores is there.
    """
    connection, key, document = transaction.connection, plan.key, plan.document
    from_then = effective_at or transaction.at
    if plan.family is not None:
        await storage.lock_families(connection)
    before = await storage.find(connection, key, at=from_then)
    if before is not None and before.status == "scheduled":
        before = None
    if before is not None and replace(plan, version=before.version) == plan_of(before):
        now = await storage.find(connection, key, before.version, at=transaction.at)
        assert now is not None, "a version is never deleted"
        return PlanPut(now, "unchanged", before)
    check_meters(plan, meters)
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


def refuse_past(transaction: Transaction, effective_at: datetime | None) -> None:
    """Raise `Invalid` for a time that is not ahead."""
    if effective_at is not None and effective_at <= transaction.at:
        detail = "A version comes into force now or later. Say a time ahead, or leave it out."
        raise Invalid([FieldError("effective_at", "too_early", detail)])


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
