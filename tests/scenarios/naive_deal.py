"""What a customer agreed beside the plan, applied naively to the plan's document."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Json = dict[str, Any]
AMOUNTS = {"amount", "unit", "flat", "percent", "fixed", "markup_percent", "markup_fixed"}


@dataclass(frozen=True, slots=True)
class Terms:
    """Of one phase: by how much the plan's amounts and those of each override are multiplied."""

    plan: str
    overrides: Json = field(default_factory=dict)
    factor: Fraction = Fraction(1)
    rises: Mapping[str, Fraction] = field(default_factory=dict)


NO_TERMS = Terms("")


def terms_after(before: Terms, phase: Json) -> Terms:
    """The terms of a phase as the API shows it, after those of the phase before."""
    times = 1 + Fraction(phase["adjust_percent"] or 0) / 100
    factor = before.factor if phase["plan"] == before.plan else Fraction(1)
    rises = {
        key: before.rises[key] * times if before.overrides.get(key) == fields else Fraction(1)
        for key, fields in phase["overrides"].items()
    }
    return Terms(phase["plan"], phase["overrides"], factor * times, rises)


def agreed(plan: Json, terms: Terms, status: str) -> Json:
    """The plan's document as it prices the phase."""
    if status == "paused":
        return {**plan, "prices": [], "minimum": None}
    prices = []
    for price in plan["prices"]:
        key = price["key"]
        override = multiplied(terms.overrides.get(key, {}), terms.rises.get(key, Fraction(1)))
        found = {**multiplied(price, terms.factor), **override}
        if status == "trialing" and found["type"] != "usage":
            continue
        if status == "trialing" and found.get("settle") != "wallet":
            found = {**found, "discount": {"percent": "100"}, "minimum": None}
        prices.append(found)
    minimum = None if status == "trialing" else plan.get("minimum")
    return {**plan, "prices": prices, "minimum": minimum}


def multiplied(fields: Json, factor: Fraction) -> Json:
    """A price, tier or rate with its amounts of money multiplied."""
    if factor == 1:
        return fields
    found = dict(fields)
    for name, value in fields.items():
        of_events = name == "factor" and fields.get("model") == "dynamic"
        if value is not None and (name in AMOUNTS or of_events):
            found[name] = str(Fraction(str(value)) * factor)
        elif name in ("tiers", "rates"):
            found[name] = [multiplied(one, factor) for one in value]
        elif name == "otherwise" and isinstance(value, dict):
            found[name] = multiplied(value, factor)
    return found
