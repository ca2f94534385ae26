"""Meters: put, get, list. A change makes a new version; what was counted keeps its own."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from taximeter.domain.catalog.deal import Deal, agreed_plan
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter import ADDING, Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.rating.event_price import needs_adding
from taximeter.kernel.errors import FieldError, Invalid, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.services.plans import Outcome
from taximeter.services.release import release_type
from taximeter.storage import meters as storage
from taximeter.storage import plans
from taximeter.storage.entitlements import limited_by
from taximeter.storage.terms import note_change

MeterVersion: TypeAlias = storage.MeterVersion

_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class MeterPut:
    """The version that a document is, and whether the meter or the version is new."""

    meter: MeterVersion
    outcome: Outcome


async def put_meter(transaction: Transaction, key: str, document: Mapping[str, object]) -> MeterPut:
    """As `store_meter`; and a new meter releases, in the same transaction, events that waited for
    one of their type.
    """
    put = await store_meter(transaction, key, document)
    if put.outcome == "created":
        await release_type(transaction, meter_of(put.meter).event_type)
    return put


async def store_meter(
    transaction: Transaction, key: str, document: Mapping[str, object]
) -> MeterPut:
    """Create the meter or change it by a new version. A document of the same meaning changes
    nothing.

    Raises `Invalid` for a document in error, and where the event type would change, or what a
    level is (`immutable`): such a meter would count something else under the same name; so it is
    where it would no longer add up and a price or a quota of it needs that.
    """
    parse_meter(key, document, version=1)
    connection, at = transaction.connection, transaction.at
    same = _unchanged(await storage.find(connection, key), document)
    if same is not None:
        return MeterPut(same, "unchanged")
    await note_change(connection, None, at)
    before = await storage.find(connection, key)
    same = _unchanged(before, document)
    if same is not None:
        return MeterPut(same, "unchanged")
    version = before.version + 1 if before else 1
    meter = parse_meter(key, document, version=version)
    if before is not None:
        _check_change(meter_of(before), meter)
    if meter.aggregation not in ADDING:
        await _check_prices(connection, meter)
        await _check_quotas(connection, meter)
    after = MeterVersion(key, version, document, at)
    # Whatever was counted until now was received, or read anew, before this.
    last = max(transaction.context.clock.now(), await storage.changed_at(connection))
    await storage.insert(connection, after, last + _INSTANT)
    await transaction.audit(
        "meter.updated" if before else "meter.created", key,
        {"version": version, "before": before.document if before else None, "after": document},
    )  # fmt: skip
    return MeterPut(after, "new_version" if before else "created")


def _check_change(before: Meter, after: Meter) -> None:
    """Refuse what no version may change. A percentile is of all values at once. A level holds
    across versions until the next event of its dimensions, so those, and how levels are read, stay
    as they are.
    """
    if before.event_type != after.event_type:
        detail = f"A meter keeps its event type ({before.event_type}). Use another key."
        raise Invalid([FieldError("event_type", "immutable", detail)])
    if before.percentile != after.percentile and None not in (before.percentile, after.percentile):
        detail = "What was counted is one value of all of a period's. Use another key."
        raise Invalid([FieldError("percentile", "immutable", detail)])
    if not (before.is_level or after.is_level):
        return
    kept: tuple[tuple[str, object, object], ...] = (
        ("aggregation", before.aggregation, after.aggregation),
        ("dimensions", set(before.dimensions), set(after.dimensions)),
        ("signed", before.signed, after.signed),
        ("over", before.over, after.over),
    )
    detail = "Levels that were set hold on, so a meter of levels keeps this. Use another key."
    errors = [FieldError(name, "immutable", detail) for name, old, new in kept if old != new]
    if errors:
        raise Invalid(errors)


async def _check_prices(connection: Connection, meter: Meter) -> None:
    """Refuse that a meter no longer adds up where a price of it, published or agreed with one
    customer, needs it to: for outcomes, single events, or a ladder that others share.
    """
    async with aclosing(plans.pricing(connection, meter.key)) as every:
        async for version, document, overrides in every:
            plan = agreed_plan(parse_plan(document, version=version), Deal(overrides))
            for price in plan.prices:
                if not isinstance(price, UsagePrice) or price.meter != meter.key:
                    continue
                if needs_adding(price):
                    detail = (
                        f"Price {price.key} of plan {plan.key} needs a meter that sums or counts: "
                        "it bills outcomes or single events, or is rated together with others."
                    )
                    raise Invalid([FieldError("aggregation", "immutable", detail)])


async def _check_quotas(connection: Connection, meter: Meter) -> None:
    """Refuse that a meter no longer adds up where a quota, published or agreed, counts it."""
    owner = await limited_by(connection, meter.key)
    if owner is not None:
        detail = f"A quota of {owner} needs a meter that sums or counts. Use another key."
        raise Invalid([FieldError("aggregation", "immutable", detail)])


def meter_of(meter: MeterVersion) -> Meter:
    """The definition that a stored version holds."""
    return parse_meter(meter.key, meter.document, version=meter.version)


def _unchanged(before: MeterVersion | None, document: Mapping[str, object]) -> MeterVersion | None:
    """The stored version, where `document` means the same."""
    if before is None:
        return None
    now = parse_meter(before.key, document, version=before.version)
    return before if now == meter_of(before) else None


async def get_meter(context: Context, key: str) -> MeterVersion:
    """The newest version of the meter `key`. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        meter = await storage.find(connection, key)
    if meter is None:
        raise NotFound(kind="meter", key=key)
    return meter


async def list_meters(context: Context, *, limit: int, cursor: str | None) -> Page[MeterVersion]:
    """The newest version of each meter, by key."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(connection, after=after[0] if after else None, limit=limit + 1)
    return make_page(rows, limit, lambda meter: (meter.key,))
