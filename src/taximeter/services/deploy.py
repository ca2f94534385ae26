"""Publishing meters and plans together: all of them or, where one is refused, none.

Owns the order: meters first, so that plans are judged by the meters as they will be; then the
plans; the segments of their families once all are there; events that waited for a new meter last,
so that every meter of theirs counts them. What each may be is meters.py's and plans.py's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from taximeter.domain.catalog.deployment import Deployment, parse_deployment, within
from taximeter.domain.rating.advice import advise
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.meters import MeterPut, meter_of, store_meter
from taximeter.services.plans import PlanPut, check_segment, refuse_past, store_plan
from taximeter.services.release import release_type
from taximeter.storage.terms import current_meters


@dataclass(frozen=True, slots=True)
class Deployed:
    """What became, or would become, of each part, in the order in which they were sent."""

    meters: Sequence[MeterPut]
    plans: Sequence[PlanPut]


@dataclass(frozen=True, slots=True)
class Review:
    """What is wrong with what was sent, and what it had better not say."""

    errors: Sequence[FieldError]
    warnings: Sequence[FieldError]


async def deploy(
    transaction: Transaction, body: Mapping[str, object], *, effective_at: datetime | None = None
) -> Deployed:
    """Publish the meters and plans in `body`; the plans' new versions come into force at once or
    from `effective_at`. What has the same meaning as what is published changes nothing.

    Raises `Invalid` with every error found: those of documents; then those of meters against what
    is published; then those of plans, under the meters as they would be.
    """
    deployed = await rehearse(transaction, body, effective_at=effective_at)
    created = (put.meter for put in deployed.meters if put.outcome == "created")
    for event_type in sorted({meter_of(meter).event_type for meter in created}):
        await release_type(transaction, event_type)
    return deployed


async def rehearse(
    transaction: Transaction, body: Mapping[str, object], *, effective_at: datetime | None = None
) -> Deployed:
    """As `deploy`, but no event is released: for a transaction that is rolled back."""
    refuse_past(transaction, effective_at)
    deployment = parse_deployment(body)
    meters = await store_meters(transaction, deployment)
    plans, errors = await _store_plans(transaction, deployment, effective_at)
    if errors:
        raise Invalid(errors)
    return Deployed(meters, plans)


async def store_meters(transaction: Transaction, deployment: Deployment) -> list[MeterPut]:
    """Store the deployment's meters; no event is released. Raises `Invalid`."""
    meters: list[MeterPut] = []
    errors: list[FieldError] = []
    for one in deployment.meters:
        try:
            meters.append(await store_meter(transaction, one.meter.key, one.body))
        except Invalid as invalid:
            errors += within(one.path, invalid.errors)
    if errors:
        raise Invalid(errors)
    return meters


async def _store_plans(
    transaction: Transaction, deployment: Deployment, effective_at: datetime | None
) -> tuple[list[PlanPut], list[FieldError]]:
    """What became of the plans that could be stored, and every error."""
    connection = transaction.connection
    meters = await current_meters(connection)
    puts: list[PlanPut] = []
    errors: list[FieldError] = []
    changed = []
    for one in deployment.plans:
        try:
            put = await store_plan(transaction, one.plan, meters, effective_at, {})
        except Invalid as invalid:
            errors += within(one.path, invalid.errors)
            continue
        puts.append(put)
        if put.outcome != "unchanged":
            changed.append(one)
    for one in changed:
        try:
            await check_segment(connection, one.plan, effective_at or transaction.at)
        except Invalid as invalid:
            errors += within(one.path, invalid.errors)
    return puts, errors


async def review(context: Context, actor: str, body: Mapping[str, object]) -> Review:
    """Everything that deploying `body` would refuse, and the warnings about its plans under the
    meters as they would be. Changes nothing.
    """

    async def look(transaction: Transaction) -> Review:
        deployment = parse_deployment(body)
        await store_meters(transaction, deployment)
        _, errors = await _store_plans(transaction, deployment, None)
        meters = await current_meters(transaction.connection)
        warnings = [
            warning
            for one in deployment.plans
            for warning in within(one.path, advise(one.plan, meters))
        ]
        return Review(errors, warnings)

    try:
        return await run(context, actor, look, dry_run=True)
    except Invalid as invalid:
        return Review(invalid.errors, ())
