"""Moving the subscriptions of a plan to another version, or another plan, with a look at it first.

Owns which subscriptions are meant, what becomes of each, and what the move would do to what each
pays. Each is moved in a transaction of its own, by the same change that moves one alone; one that
stands in the way stops none of the others. Pages are bounded; a page that is asked for again
moves nothing twice.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.invoicing.impact import Impact, impact
from taximeter.domain.invoicing.spend import segment_key
from taximeter.domain.rating.usage import Usage
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.domain.subscription.subscription import Phase, Proration, Subscription
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.paging import decode_cursor, encode_cursor
from taximeter.services.command import Transaction, look, run
from taximeter.services.context import Connection, Context
from taximeter.services.moved_usage import moved_usage
from taximeter.services.plans import get_plan
from taximeter.services.preview_change import with_changed
from taximeter.services.spend import OpenUsage, growing_meters, read_open_usage
from taximeter.services.subscriptions import ChangeRequest, change_subscription, planned_change
from taximeter.services.turn import Turn
from taximeter.storage import customers, plan_subscriptions
from taximeter.storage import plans as plan_storage
from taximeter.storage import subscriptions as storage
from taximeter.storage import terms as term_storage
from taximeter.storage.plan_subscriptions import SubscriptionKey

OTHER_PLAN = "other_plan"

one_at_a_time = Turn().taken


@dataclass(frozen=True, slots=True)
class Migration:
    """Which subscriptions of `plan` move where: those on `from_versions` (None: on any), of these
    only those in `subscriptions` (None: all), to `to_version` of `to_plan` (None: what is in force;
    the same plan).
    """

    plan: str
    to_plan: str | None
    to_version: int | None
    from_versions: Sequence[int] | None
    at: datetime | str
    proration: Proration
    customer: str | None
    subscriptions: Sequence[str] | None = None

    def change(self) -> ChangeRequest:
        """The change that moves one of them."""
        return ChangeRequest(
            plan=self.to_plan or self.plan, version=self.to_version, quantities=None, at=self.at,
            proration=self.proration,
        )  # fmt: skip

    def means(self, phase: Phase) -> bool:
        """Whether a subscription in this phase is one of those to move."""
        versions = self.from_versions
        return phase.plan.key == self.plan and (versions is None or phase.plan.version in versions)


class Place(NamedTuple):
    """A version of a plan."""

    plan: str
    version: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What becomes of one subscription. `refusal` is why it cannot be moved; without one, it is
    `changed` as of `since`, or stays as it is where that is the same.
    """

    subscription: Subscription
    changed: Subscription
    since: datetime | None
    refusal: FieldError | None

    @property
    def moves(self) -> bool:
        """Whether there is anything to do."""
        return self.refusal is None and self.changed != self.subscription


@dataclass(frozen=True, slots=True)
class ImpactRow:
    """What the move does to one customer's subscription; no `impact` where it cannot be moved or
    priced, which `warnings` explain.
    """

    customer: str
    subscription: str
    before: Place
    after: Place | None
    currency: str
    impact: Impact | None
    warnings: tuple[FieldError, ...]


@dataclass(frozen=True, slots=True)
class ImpactPage:
    """One page of the impact list, by customer and subscription."""

    rows: tuple[ImpactRow, ...]
    next_cursor: str | None


class Skipped(NamedTuple):
    """A subscription that was left alone, and why."""

    customer: str | None
    subscription: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a call has done."""

    migrated: int
    unchanged: int
    skipped: tuple[Skipped, ...]
    next_cursor: str | None


async def preview_migration(
    context: Context, migration: Migration, *, limit: int, cursor: str | None
) -> ImpactPage:
    """What the migration would do to each of a page of subscriptions that it would move, by
    customer. Writes nothing. Raises `NotFound` for the plan and for what it is to move to.
    """
    await _check_plans(context, migration)
    after, at = _position(cursor), context.clock.now()

    async def read(connection: Connection) -> ImpactPage:
        keys = await _keys(connection, migration, at, after, limit + 1)
        terms = await term_storage.customer_terms(connection, sorted({key[0] for key in keys}))
        usage = await _usage_of(connection, [*terms.values()], at)
        rows = []
        for customer, subscription_id in keys[:limit]:
            one = _subscription_of(terms[customer], subscription_id)
            planned = await _plan_of(connection, migration, one, at)
            if planned.moves or planned.refusal is not None:
                used = usage.get(one.id, {})
                rows.append(await _impact_of(connection, terms[customer], planned, used, at))
        following = encode_cursor(keys[limit - 1]) if len(keys) > limit else None
        return ImpactPage(tuple(rows), following)

    return await look(context, read)


async def migrate(
    context: Context, actor: str, migration: Migration, *, limit: int, cursor: str | None
) -> Migrated:
    """Move a page of subscriptions. Raises `NotFound` as `preview_migration` does; what stands in
    the way of one subscription is told in `skipped`.
    """
    await _check_plans(context, migration)
    after, at = _position(cursor), context.clock.now()

    async def read(connection: Connection) -> tuple[list[SubscriptionKey], set[str]]:
        keys = await _keys(connection, migration, at, after, limit + 1)
        named = migration.subscriptions if after is None else None
        if named is None:
            return keys, set()
        known = await plan_subscriptions.existing(connection, named, customer=migration.customer)
        return keys, {one for one in named if one not in known}

    keys, missing = await look(context, read)
    skipped = [
        Skipped(None, one, NotFound.code, f"There is no subscription {one}.")
        for one in sorted(missing)
    ]
    migrated = unchanged = 0
    for customer, subscription_id in keys[:limit]:
        verdict = await _move(context, actor, migration, customer, subscription_id)
        if isinstance(verdict, FieldError):
            skipped.append(Skipped(customer, subscription_id, verdict.code, verdict.detail))
        elif verdict:
            migrated += 1
        else:
            unchanged += 1
    following = encode_cursor(keys[limit - 1]) if len(keys) > limit else None
    return Migrated(migrated, unchanged, tuple(skipped), following)


async def _check_plans(context: Context, migration: Migration) -> None:
    await get_plan(context, migration.plan)
    to = migration.to_plan
    if migration.to_version is not None:
        await get_plan(context, to or migration.plan, migration.to_version)
    elif to is not None:
        at = context.clock.now()
        async with context.pool.connection() as connection:
            if not await plan_storage.family(connection, to, at=at):
                await get_plan(context, to)


def _position(cursor: str | None) -> tuple[str, str] | None:
    parts = decode_cursor(cursor, 2)
    return (parts[0], parts[1]) if parts else None


async def _keys(
    connection: Connection,
    migration: Migration,
    at: datetime,
    after: tuple[str, str] | None,
    limit: int,
) -> list[SubscriptionKey]:
    return await plan_subscriptions.on_plan(
        connection, migration.plan, versions=migration.from_versions, at=at,
        customer=migration.customer, ids=migration.subscriptions, after=after, limit=limit,
    )  # fmt: skip


def _subscription_of(terms: CustomerTerms, subscription_id: str) -> Subscription:
    return next(one for one in terms.subscriptions if one.id == subscription_id)


async def _plan_of(
    connection: Connection, migration: Migration, subscription: Subscription, now: datetime
) -> Planned:
    """What the migration makes of one subscription."""
    try:
        changed, since = await planned_change(connection, subscription, migration.change(), now)
    except (Invalid, InvalidState, NotFound) as refused:
        return Planned(subscription, subscription, None, _reason(refused))
    phase = subscription.phase_at(since)
    if changed != subscription and (phase is None or not migration.means(phase)):
        detail = "A move to another plan or version is planned by then already. Change it alone."
        refusal = FieldError("at", OTHER_PLAN, detail)
        return Planned(subscription, subscription, since, refusal)
    return Planned(subscription, changed, since, None)


def _reason(refused: Invalid | InvalidState | NotFound) -> FieldError:
    if isinstance(refused, Invalid):
        return refused.errors[0]
    return FieldError("", refused.code, refused.detail)


async def _impact_of(
    connection: Connection,
    terms: CustomerTerms,
    planned: Planned,
    usage: Mapping[str, Usage],
    at: datetime,
) -> ImpactRow:
    one = planned.subscription
    now = one.phase_at(at) or one.phases[0]
    row = ImpactRow(
        customer=one.customer, subscription=one.id, before=_place_of(now), after=None,
        currency=now.plan.currency, impact=None, warnings=(),
    )  # fmt: skip
    if planned.refusal is not None:
        return replace(row, warnings=(planned.refusal,))
    assert planned.since is not None, "what moves has its instant"
    then = planned.changed.phase_at(planned.since)
    assert then is not None, "what moves goes on"
    row = replace(row, after=_place_of(then))
    try:
        await moved_usage(connection, terms, with_changed(terms, planned.changed), planned.since)
        found = impact(now, then, usage)
    except Invalid as refused:
        return replace(row, warnings=(_reason(refused),))
    return replace(row, impact=found, warnings=found.warnings)


def _place_of(phase: Phase) -> Place:
    return Place(phase.plan.key, phase.plan.version)


async def _usage_of(
    connection: Connection, terms: Sequence[CustomerTerms], at: datetime
) -> dict[str, dict[str, Usage]]:
    """The usage of the open period by subscription and price, for all of these customers."""
    growing = growing_meters(await term_storage.current_meters(connection))
    return {
        one.subscription.id: _by_price(one, growing)
        for one in await read_open_usage(connection, terms, at)
    }


def _by_price(used: OpenUsage, growing: Set[str]) -> dict[str, Usage]:
    """The usage of the segments of each price: added up, or where its meter's quantity does not
    add up, that of the last one used.
    """
    found: dict[str, Usage] = {}
    for segment in sorted(used.segments, key=lambda one: one.span.start):
        price, rows = segment.price, used.usage.get(segment_key(segment), ())
        assert isinstance(price, UsagePrice), "only usage has segments to bill"
        if price.meter in growing:
            found[price.key] = [*found.get(price.key, ()), *rows]
        elif rows:
            found[price.key] = rows
    return found


async def _move(
    context: Context, actor: str, migration: Migration, customer: str, subscription_id: str
) -> bool | FieldError:
    """Move one subscription in a transaction of its own: whether there was anything to do, or why
    it cannot be moved.
    """

    async def judged(connection: Connection) -> Planned:
        found = await storage.find(connection, subscription_id, customer=customer)
        assert found is not None, "a subscription is never deleted"
        return await _plan_of(connection, migration, found, context.clock.now())

    async def move(transaction: Transaction) -> bool | FieldError:
        await term_storage.note_change(transaction.connection, customer, transaction.at)
        await customers.find(transaction.connection, customer, lock=True)
        planned = await judged(transaction.connection)
        if planned.moves:
            await change_subscription(
                transaction, subscription_id, customer=customer, request=migration.change()
            )
        return planned.refusal or planned.moves

    first = await look(context, judged)
    if not first.moves:
        return first.refusal or False
    try:
        return await run(context, actor, move)
    except (Invalid, InvalidState, NotFound) as refused:
        return _reason(refused)
