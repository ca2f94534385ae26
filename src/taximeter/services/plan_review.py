"""Looking at plans before they are published: check, compare, export. Writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taximeter.domain.catalog.difference import Change, differences
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.rating.advice import advise
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.services.context import Context
from taximeter.services.plans import (
    PlanVersion,
    check_meters,
    check_segment,
    get_plan,
    with_key,
)
from taximeter.storage.terms import current_meters


@dataclass(frozen=True, slots=True)
class Review:
    """What is wrong with a document, and what it had better not say."""

    errors: Sequence[FieldError]
    warnings: Sequence[FieldError]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes from one version to another; `after` is None where a document was compared."""

    before: PlanVersion
    after: PlanVersion | None
    changes: Sequence[Change]


async def check_plan(context: Context, document: Mapping[str, object]) -> Review:
    """Everything that publishing `document` would refuse, and the warnings about it."""
    async with context.pool.connection() as connection:
        meters = await current_meters(connection)
        errors: list[FieldError] = []
        try:
            plan = parse_plan(document)
        except Invalid as invalid:
            return Review(invalid.errors, ())
        try:
            check_meters(plan, meters)
        except Invalid as invalid:
            errors += invalid.errors
        try:
            await check_segment(connection, plan, context.clock.now())
        except Invalid as invalid:
            errors += invalid.errors
    return Review(errors, advise(plan, meters))


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
