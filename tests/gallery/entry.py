"""What the gallery's tests know of an entry: its file under plans/, and its check figures beside
this module.

A check says what is used (`quantities`, `usage` by price, or `events` with a `count`) under one of
the file's plans, and what comes of it: `total`, the amounts of `lines` by price (`minimum` for the
plan's), `exact` (the sum of all steps, before rounding) and `credits` drawn by asset; of a month
also what is `left` of each asset, what is `due`, and what is `billed` where that is not the total
(a yearly fee is on another invoice). `change` replaces fields of prices first. An
`outcome_id` of "*" is another one for each event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.scenarios.story import Story

HERE = Path(__file__).parent
PLANS = HERE.parents[1] / "plans"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the gallery: its meters and plans by key, and its checks."""

    file: Path
    meters: Mapping[str, Json]
    plans: Mapping[str, Json]
    checks: list[Json]
    warnings: list[str]

    @property
    def audited(self) -> bool:
        """Whether the second biller knows all that it says: multipliers, shares of another price
        and levels it does not.
        """
        prices = [price for plan in self.plans.values() for price in plan["prices"]]
        levels = any(one["aggregation"] == "weighted_sum" for one in self.meters.values())
        shares = any(isinstance(price.get("included"), dict) for price in prices)
        return not levels and not shares and not any("multipliers" in one for one in prices)

    async def publish(self, story: Story) -> None:
        """Put the meters and the plans of the file."""
        for key, meter in self.meters.items():
            await story.ask("PUT", f"/v1/meters/{key}", json=meter)
        for key, plan in self.plans.items():
            await story.ask("PUT", f"/v1/plans/{key}", json=plan)

    def plan_of(self, check: Json) -> Json:
        """The plan that a check is about."""
        return self.plans[check.get("plan", next(iter(self.plans)))]


def names() -> list[str]:
    """The names of all entries: the files that are not the demo's."""
    return sorted(one.stem for one in PLANS.glob("*.yaml") if not one.stem.startswith("demo-"))


@cache
def entry(name: str) -> Entry:
    """The entry of that name."""
    file = PLANS / f"{name}.yaml"
    documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    meters = [meter for one in documents for meter in one.get("meters", ())]
    plans = [one for one in documents if "meters" not in one]
    figures = yaml.safe_load((HERE / f"{name}.yaml").read_text(encoding="utf-8"))
    return Entry(
        file,
        {meter["key"]: meter for meter in meters},
        {plan["key"]: plan for plan in plans},
        figures["checks"],
        figures.get("warnings", []),
    )


def changed(plan: Json, check: Json) -> Json:
    """The plan with the fields of prices that a check replaces."""
    change = check.get("change", {})
    prices = [{**price, **change.get(price["key"], {})} for price in plan["prices"]]
    return {**plan, "prices": prices}
