"""Phases of subscriptions as rows, and the plans that price them.

Owns the JSON form of deals, and the reading of stored plan documents. A version never changes, so
each is read once; so is each with the deal of a customer.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec

from taximeter.domain.catalog.deal import NO_DEAL, Deal, agreed_plan
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.plan import Plan
from taximeter.domain.subscription.subscription import Phase, Said
from taximeter.kernel.quantity import format_decimal


def phase_of(row: Sequence[Any]) -> Phase:
    """The phase of a row of (starts_at, ends_at, plan, version, quantities, proration, deal, said,
    document of the plan version).
    """
    starts_at, ends_at, _, version, quantities, proration, deal, said, document = row
    text = msgspec.json.encode(document)
    published = _parse_plan(version, text)
    plan, agreed = published, NO_DEAL
    if deal:
        plan, agreed = _agreed_plan(version, text, msgspec.json.encode(deal))
    return Phase(
        starts_at=starts_at.astimezone(UTC), ends_at=_utc(ends_at), plan=plan,
        quantities=_quantities(quantities), proration=proration, deal=agreed,
        said=None if said is None else _said_of(said, published),
    )  # fmt: skip


def _utc(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC) if at else None


def plan_of(version: int, document: Mapping[str, object]) -> Plan:
    """The plan of a stored document."""
    return _parse_plan(version, msgspec.json.encode(document))


@lru_cache(maxsize=10_000)
def _parse_plan(version: int, document: bytes) -> Plan:
    return parse_plan(msgspec.json.decode(document), version=version)


@lru_cache(maxsize=10_000)
def _agreed_plan(version: int, document: bytes, deal: bytes) -> tuple[Plan, Deal]:
    agreed = _deal_of(msgspec.json.decode(deal))
    return agreed_plan(_parse_plan(version, document), agreed), agreed


def _deal_of(stored: Mapping[str, Any]) -> Deal:
    return Deal(
        overrides=stored.get("overrides", {}),
        factor=Fraction(stored.get("factor", 1)),
        rises={key: Fraction(value) for key, value in stored.get("rises", {}).items()},
        trial=stored.get("trial", False),
        paused=stored.get("paused", False),
    )


def deal_json(deal: Deal) -> dict[str, object]:
    """A deal as stored: an empty object where nothing was agreed."""
    found: dict[str, object] = {
        "overrides": deal.overrides,
        "factor": str(deal.factor) if deal.factor != 1 else None,
        "rises": {key: str(rise) for key, rise in deal.rises.items() if rise != 1},
        "trial": deal.trial,
        "paused": deal.paused,
    }
    return {name: value for name, value in found.items() if value}


def _said_of(stored: Mapping[str, Any], published: Plan) -> Said:
    percent, quantities = stored.get("adjust_percent"), stored.get("quantities")
    return Said(
        plan=published if stored.get("plan") else None,
        quantities=None if quantities is None else _quantities(quantities),
        overrides=stored.get("overrides"),
        adjust_percent=None if percent is None else Decimal(percent),
        trial=stored.get("trial"),
        paused=stored.get("paused"),
    )


def said_json(said: Said | None) -> dict[str, object] | None:
    """What a phase was told, as stored; its plan version stands in the row."""
    if said is None:
        return None
    percent, quantities = said.adjust_percent, said.quantities
    found: dict[str, object] = {
        "plan": None if said.plan is None else True,
        "quantities": None if quantities is None else quantities_json(quantities),
        "overrides": said.overrides,
        "adjust_percent": None if percent is None else format_decimal(percent),
        "trial": said.trial,
        "paused": said.paused,
    }
    return {name: value for name, value in found.items() if value is not None}


def _quantities(stored: Mapping[str, str]) -> dict[str, Decimal]:
    return {key: Decimal(value) for key, value in stored.items()}


def quantities_json(quantities: Mapping[str, Decimal]) -> dict[str, str]:
    """Quantities of seats as stored."""
    return {key: format_decimal(value) for key, value in quantities.items()}
