"""Routes that move the subscriptions of a plan to another version or plan, and show it first."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from taximeter.domain.catalog.currency import minor_digits
from taximeter.domain.invoicing.impact import Impact
from taximeter.http.fields import Body, Key
from taximeter.http.server import Admin, Reader, ok
from taximeter.http.subscriptions import Moment
from taximeter.kernel.money import format_minor
from taximeter.kernel.paging import LIMIT_MAX
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import migrations
from taximeter.services.migrations import ImpactPage, ImpactRow, Migrated, Migration, Place
from taximeter.services.plans import VERSION_MAX

router = APIRouter(prefix="/v1", tags=["Plans"])
PlanPath = Annotated[Key, Path(description="The plan's key")]
Version = Annotated[int, Field(ge=1, le=VERSION_MAX, strict=True)]
MIGRATED_MAX = 200
SUBSCRIPTIONS_MAX = 1_000
VERSIONS_MAX = 1_000


class MigrationBody(Body):
    """Which subscriptions of the plan move where; what is left out stays, or is not asked for."""

    to_plan: Key | None = None
    to_version: Version | None = None
    from_versions: Annotated[list[Version], Field(min_length=1, max_length=VERSIONS_MAX)] | None = (
        None
    )
    at: Moment = "period_end"
    proration: Literal["by_day", "by_second", "none"] = "by_day"
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, strict=True)] = LIMIT_MAX
    cursor: Annotated[str, Field(max_length=4000)] | None = None

    def migration(
        self, plan: str, customer: str | None, subscriptions: list[str] | None = None
    ) -> Migration:
        """What is asked of the service."""
        return Migration(
            plan=plan, to_plan=self.to_plan, to_version=self.to_version,
            from_versions=self.from_versions, at=self.at, proration=self.proration,
            customer=customer, subscriptions=subscriptions,
        )  # fmt: skip


SubscriptionId = Annotated[str, Field(min_length=1, max_length=128)]


class MigrateBody(MigrationBody):
    """As of the preview; `subscriptions` are ids to which the move is restricted."""

    limit: Annotated[int, Field(ge=1, le=MIGRATED_MAX, strict=True)] = MIGRATED_MAX
    subscriptions: Annotated[list[SubscriptionId], Field(max_length=SUBSCRIPTIONS_MAX)] | None = (
        None
    )


def impact_json(page: ImpactPage) -> dict[str, object]:
    """The impact list as answered, with the sums of this page."""
    priced = [(row.currency, row.impact) for row in page.rows if row.impact is not None]
    currency = priced[0][0] if priced else None
    return {
        "data": [_row_json(row) for row in page.rows],
        "next_cursor": page.next_cursor,
        "totals": _totals_json(currency, [impact for own, impact in priced if own == currency]),
    }


def _row_json(row: ImpactRow) -> dict[str, object]:
    found = row.impact
    percent = None if found is None else found.percent
    return {
        "customer": row.customer,
        "subscription": row.subscription,
        "from": _place_json(row.before),
        "to": None if row.after is None else _place_json(row.after),
        "currency": row.currency,
        "before": None if found is None else _money(found.before, row.currency),
        "after": None if found is None else _money(found.after, row.currency),
        "difference": None if found is None else _money(found.difference, row.currency),
        "percent": None if percent is None else format_decimal(percent),
        "warnings": [{"code": one.code, "detail": one.detail} for one in row.warnings],
    }


def _totals_json(currency: str | None, impacts: Iterable[Impact]) -> dict[str, object]:
    found = list(impacts)
    before = sum((one.before for one in found), ZERO)
    after = sum((one.after for one in found), ZERO)
    return {
        "currency": currency,
        "before": _money(before, currency),
        "after": _money(after, currency),
        "difference": _money(after - before, currency),
        "rising": sum(one.difference > ZERO for one in found),
        "falling": sum(one.difference < ZERO for one in found),
        "unchanged": sum(one.difference == ZERO for one in found),
    }


def _money(amount: Decimal, currency: str | None) -> str:
    """With the currency's minor digits; what is drawn from a wallet may have more, and shows
    them.
    """
    if currency is None:
        return format_decimal(amount)
    digits = minor_digits(currency)
    exact = -int(amount.normalize().as_tuple().exponent)
    return format_minor(amount, digits) if exact <= digits else format_decimal(amount)


def _place_json(place: Place) -> dict[str, object]:
    return {"plan": place.plan, "version": place.version}


def migrated_json(done: Migrated) -> dict[str, object]:
    """What a call has moved, and what it left alone."""
    return {
        "migrated": done.migrated,
        "unchanged": done.unchanged,
        "skipped": [
            {
                "subscription": one.subscription,
                "customer": one.customer,
                "code": one.code,
                "detail": one.detail,
            }
            for one in done.skipped
        ],
        "next_cursor": done.next_cursor,
    }


@router.post("/plans/{key}/preview_migration")
async def preview_migration(key: PlanPath, body: MigrationBody, call: Reader) -> Response:
    """What moving the plan's subscriptions would change for each: one whole period at both terms,
    with the seats and the usage of the present one so far. Changes nothing.
    """
    page = await migrations.preview_migration(
        call.context, body.migration(key, call.caller.customer), limit=body.limit,
        cursor=body.cursor,
    )  # fmt: skip
    return ok(impact_json(page))


@router.post("/plans/{key}/migrate")
async def migrate(key: PlanPath, body: MigrateBody, call: Admin) -> Response:
    """Move a page of the plan's subscriptions, each in a transaction of its own.

    What stands in the way of one is told in `skipped`, and stops none of the others. Asked for
    again, those that are moved are `unchanged`.
    """
    wanted = body.migration(key, call.caller.customer, body.subscriptions)
    async with migrations.one_at_a_time():
        return await call.write(
            lambda transaction: migrations.migrate(
                transaction.context, transaction.actor, wanted, limit=body.limit,
                cursor=body.cursor,
            ),
            migrated_json,
        )  # fmt: skip
