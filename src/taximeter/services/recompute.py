"""Recomputing usage: all that is kept of it counted again from the raw events, customer by
customer, compared and, on request, set right.

Owns the order of it. Counting goes on in the database, beside what is stored, so memory does not
grow with a customer's events, values or totals. A check sees one snapshot and holds nobody up; a
repair keeps ingestion out while it counts. A total that a final invoice has counted is never
changed, only named. Wallets and budgets are left as they are: they were charged when usage came.
"""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import NamedTuple

from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import Invalid, NotFound
from taximeter.services.books import Difference, is_undecided, told
from taximeter.services.command import Transaction, run
from taximeter.services.context import Connection, Context
from taximeter.services.count import (
    add_totals,
    bucket_rows,
    change_rows,
    fold_events,
    level_rows,
)
from taximeter.services.epochs import read_when_counted
from taximeter.services.opening import foresee_outcomes
from taximeter.services.recount import Step, usage_steps
from taximeter.storage import books as book_storage
from taximeter.storage import ingestion
from taximeter.storage import levels as level_storage
from taximeter.storage import recompute as storage
from taximeter.storage import terms as term_storage

ACTOR = "cli"
CUSTOMERS_PER_PAGE = 100

_ALWAYS = datetime.min.replace(tzinfo=UTC)

# Is told how many events were counted again.
Told = Callable[[int], None]


class Recomputed(NamedTuple):
    """A customer whose usage was counted again: the first difference (None: all is right), how many
    rows were set right, and the first difference that is left.

    `undecided`: nothing says by which version of a meter one of its events was read, so it was left
    out.
    """

    customer: str
    difference: Difference | None = None
    repaired: int = 0
    left: Difference | None = None
    undecided: bool = False


async def recompute_customer(
    context: Context, customer: str, *, repair: bool, told: Told
) -> Recomputed:
    """Count one customer's usage again and compare; with `repair` set right what differs in what no
    final invoice has counted. Raises `NotFound`.
    """

    async def check(transaction: Transaction) -> Recomputed:
        await storage.begin_snapshot(transaction.connection)
        return await _compare(transaction, customer, repair=False, told=told)

    async def set_right(transaction: Transaction) -> Recomputed:
        await term_storage.keep_out(transaction.connection)
        return await _compare(transaction, customer, repair=True, told=told)

    found = await run(context, ACTOR, check, dry_run=True)
    if repair and found.difference is not None:
        found = await run(context, ACTOR, set_right)
    return found


async def _compare(
    transaction: Transaction, customer: str, *, repair: bool, told: Told
) -> Recomputed:
    connection = transaction.connection
    terms = (await term_storage.customer_terms(connection, [customer])).get(customer)
    if terms is None:
        raise NotFound(kind="customer", key=customer)
    versions = await term_storage.meter_versions(connection)
    if await is_undecided(connection, terms, versions):
        return Recomputed(customer, undecided=True)
    schema = await storage.shadow(connection)
    try:
        await _count(connection, terms, told)
    except Invalid as error:
        detail = error.errors[0].detail
        fault = Difference(customer, "usage", "events", "counted", detail)
        return Recomputed(customer, fault, left=fault)
    difference = await _first_difference(connection, customer, schema)
    if difference is None or not repair:
        return Recomputed(customer, difference, left=difference)
    repaired = await storage.repair(connection, customer, schema)
    await transaction.audit(
        "usage.recomputed", customer, {"rows": repaired, "first": str(difference)}
    )
    left = await _first_difference(connection, customer, schema)
    return Recomputed(customer, difference, repaired, left)


async def _count(connection: Connection, terms: CustomerTerms, told: Told) -> None:
    """Count all events of a customer into the tables that stand in for the stored ones."""
    versions = await term_storage.meter_versions(connection)
    since = {meter.key: counts_from for counts_from, meter in versions if meter.version == 1}
    events = 0
    async for step in usage_steps(connection, terms, terms, _ALWAYS, opening=foresee_outcomes):
        await add_totals(connection, step.totals)
        await _count_hours(connection, step, since)
        events += len(step.events)
        told(events)


async def _count_hours(connection: Connection, step: Step, since: dict[str, datetime]) -> None:
    there = [
        (event, read_when_counted(since, stored, readings))
        for stored, (event, readings) in zip(step.events, step.counted, strict=True)
    ]
    parts = fold_events(there)
    levels = [part for part in parts if part.route.level is not None]
    if levels:
        await level_storage.send_levels(connection, level_rows(levels), change_rows(levels))
    hours = bucket_rows(parts, step.folding)
    if hours:
        await ingestion.send_buckets(connection, hours)


async def _first_difference(
    connection: Connection, customer: str, schema: str
) -> Difference | None:
    found = await storage.first_unequal(connection, customer, schema)
    if found is None:
        return None
    return Difference(
        customer, f"{found.kind.name} of {found.key}", found.field, told(found.stored),
        told(found.recomputed),
    )  # fmt: skip


async def walk(
    context: Context, *, after: str | None, repair: bool, told: Told
) -> AsyncIterator[Recomputed]:
    """Recompute customer by customer, in the order of their keys, after `after`."""
    while True:
        async with context.pool.connection() as connection:
            keys = await book_storage.customers_from(
                connection, start=None, after=after, limit=CUSTOMERS_PER_PAGE
            )
        for key in keys:
            yield await recompute_customer(context, key, repair=repair, told=told)
        if len(keys) < CUSTOMERS_PER_PAGE:
            return
        after = keys[-1]
