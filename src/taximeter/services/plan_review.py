"""Looking at plans before they are published: check, compare, preview. Writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from taximeter.domain.catalog.deployment import parse_deployment
from taximeter.domain.catalog.difference import Change, differences
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.invoicing.preview import Preview, SampleEvent, preview, usage_of
from taximeter.domain.rating.meter_fit import check_meters
from taximeter.domain.rating.usage import Usage
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.services.command import Transaction, run
from taximeter.services.context import Context
from taximeter.services.deploy import Review, review, store_meters
from taximeter.services.ingest import REASONS
from taximeter.services.plans import PlanVersion, get_plan, plan_of, with_key
from taximeter.storage.terms import current_meters


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes from one version to another; `after` is None where a document was compared."""

    before: PlanVersion
    after: PlanVersion | None
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a period might hold: seats and usage by price key, or `events` in place of usage."""

    quantities: Mapping[str, Decimal]
    usage: Mapping[str, Usage]
    events: Sequence[SampleEvent] = ()


async def check_plan(context: Context, actor: str, document: Mapping[str, object]) -> Review:
    """Everything that publishing `document` would refuse, and the warnings about it: of a plan, or
    of a deployment, which has `plans`.
    """
    if "plans" in document:
        return await review(context, actor, document)
    found = await review(context, actor, {"plans": [document]})
    return Review(*([_alone(one) for one in some] for some in (found.errors, found.warnings)))


def _alone(found: FieldError) -> FieldError:
    """What was found in the only plan of a deployment, with its path in that plan's document."""
    path = found.path.removeprefix("plans[0]").removeprefix(".")
    return FieldError(path, found.code, found.detail)


async def compare_plan(
    context: Context,
    key: str,
    *,
    document: Mapping[str, object] | None,
    before: int | None,
    after: int | None,
) -> Comparison:
    """What changes in the plan `key` from the version `before` (None: in force) to the document,
    or to the version `after` (None: in force).

    Raises `NotFound`, and `Invalid` for a document in error.
    """
    old = await get_plan(context, key, before)
    if document is not None:
        return Comparison(old, None, differences(old.document, with_key(key, document)))
    new = await get_plan(context, key, after)
    return Comparison(old, new, differences(old.document, new.document))


async def preview_plan(
    context: Context,
    actor: str,
    sample: Sample,
    *,
    key: str | None = None,
    version: int | None = None,
    document: Mapping[str, object] | None = None,
    meters: Sequence[Mapping[str, object]] = (),
) -> Preview:
    """What one full period costs under the plan `key`, or under `document`, which need not be
    published; its meters must exist only where events are given, or be among the documents
    `meters`, which stand for what they would be.

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
    known = await _meters_with(context, actor, meters)
    check_meters(plan, known)
    usage, faults = usage_of(plan, known, sample.events)
    if faults:
        raise Invalid(
            FieldError(f"events[{f.index}]", f.reason, f"Quarantined: {REASONS[f.reason]}")
            for f in faults
        )
    return preview(plan, sample.quantities, usage, on)


async def _meters_with(
    context: Context, actor: str, documents: Sequence[Mapping[str, object]]
) -> list[Meter]:
    """Every meter as it would be once those of `documents` are published. Raises `Invalid`."""

    async def look(transaction: Transaction) -> list[Meter]:
        await store_meters(transaction, parse_deployment({"meters": documents}))
        return await current_meters(transaction.connection)

    return await run(context, actor, look, dry_run=True)
