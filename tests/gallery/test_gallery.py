"""Every entry of the gallery rates to its check figures: as a preview, and as a month of events to
a final invoice.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from taximeter.domain.catalog.meter_document import parse_meter
from tests.cli.command_line import run
from tests.gallery.entry import HERE, Entry, Json, changed, entry, names
from tests.scenarios.story import START, Story

EVENTS_MAX = 10_000


def test_there_are_at_least_twenty() -> None:
    assert len(names()) >= 20
    assert sorted(one.stem for one in HERE.glob("*.yaml")) == names()


def test_every_entry_has_a_row_in_the_docs() -> None:
    page = (HERE.parents[1] / "docs/how-to/gallery.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == names()


def test_no_two_entries_differ_about_a_meter_or_a_plan() -> None:
    """So that all of them can be deployed on one instance."""
    meters: dict[str, Json] = {}
    plans: set[str] = set()
    for name in names():
        found = entry(name)
        for key, meter in found.meters.items():
            assert meters.setdefault(key, meter) == meter, key
        assert not plans & found.plans.keys()
        plans |= found.plans.keys()


@pytest.mark.parametrize("name", names())
def test_an_entry_passes_its_check(name: str) -> None:
    found = entry(name)
    title, source, *_ = found.file.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ") and ": " in title and len(title) <= 100
    assert source.startswith("# Source: ")
    result = run("plan", "check", found.file)
    assert result.exit_code == 0, result.output
    assert result.stderr.count("warning: ") == len(found.warnings), result.stderr
    for key, meter in found.meters.items():
        assert parse_meter(key, meter, version=1).description, f"{key}: say what counts"


@pytest.mark.parametrize("name", names())
async def test_an_entry_rates_and_invoices_to_its_figures(story: Story, name: str) -> None:
    """Each check as a preview; and, unless it is too big to be sent, as a customer's month."""
    found = entry(name)
    story.audited = found.audited
    await found.publish(story)
    warnings = []
    for plan in found.plans.values():
        review = await story.ask("POST", "/v1/plans/check", json=plan)
        warnings += [warning["code"] for warning in review["warnings"]]
    assert sorted(warnings) == sorted(found.warnings)
    months = {}
    for number, check in enumerate(found.checks):
        await _check_preview(story, found, check)
        if _can_be_sent(check):
            months[f"customer-{number}"] = check
    for customer, check in months.items():
        await _begin(story, found, customer, check)
    await story.advance("2026-02-01T02:00:00Z")
    for customer, check in months.items():
        _check_invoice(check, (await story.invoices(customer))[-1])


async def _check_preview(story: Story, found: Entry, check: Json) -> None:
    plan = found.plan_of(check)
    asked: Json = {key: check[key] for key in ("quantities", "usage", "events") if key in check}
    body = {**asked, "document": changed(plan, check)} if "change" in check else asked
    preview = await story.ask("POST", f"/v1/plans/{plan['key']}/preview", json=body)
    assert preview["total"] == check["total"], check["name"]
    _check_amounts(check, preview["lines"])
    if "exact" in check:
        steps = [Decimal(step["amount"]) for line in preview["lines"] for step in line["steps"]]
        assert sum(steps) == Decimal(check["exact"]), check["name"]
    drawn = {one["asset"]: one["amount"] for one in preview["credits"] if one["amount"] != "0"}
    assert drawn == check.get("credits", {}), check["name"]


def _check_invoice(check: Json, invoice: Json) -> None:
    name = check["name"]
    assert invoice["status"] in ("open", "paid"), name
    assert invoice["total"] == check.get("billed", check["total"]), name
    assert invoice["amount_due"] == check.get("due", invoice["amount_due"]), name
    _check_amounts(check, [*invoice["lines"], *invoice["settled"]])
    for asset, amount in check.get("credits", {}).items():
        settled = (Decimal(one["amount"]) for one in invoice["settled"] if one["asset"] == asset)
        assert sum(settled) == Decimal(amount), name


def _check_amounts(check: Json, lines: Sequence[Json]) -> None:
    """The lines of each price that the check names (`minimum`: of the plan) sum to its amount."""
    for price, amount in check.get("lines", {}).items():
        of_price = [one for one in lines if (one["price"] or "minimum") == price]
        summed = sum(Decimal(one["amount"]) for one in of_price)
        assert summed == Decimal(amount), f"{check['name']}: {price}"


def _can_be_sent(check: Json) -> bool:
    count = sum(one.get("count", 1) for one in check.get("events", ()))
    return count <= EVENTS_MAX and not {"change", "usage"} & check.keys()


async def _begin(story: Story, found: Entry, customer: str, check: Json) -> None:
    await story.customer(customer)
    quantities = check.get("quantities", {})
    await story.subscribe(found.plan_of(check)["key"], customer, quantities=quantities)
    events = list(_events(customer, check))
    for at in range(0, len(events), 5_000):
        await story.use(*events[at : at + 5_000])
    for asset, amount in check.get("left", {}).items():
        assert await story.available(customer, asset) == amount, check["name"]


def _events(customer: str, check: Json) -> Iterator[Json]:
    """The events of a check one by one, at the start of the period."""
    number = 0
    for part in check.get("events", ()):
        for _ in range(part.get("count", 1)):
            number += 1
            data = dict(part["data"])
            if data.get("outcome_id") == "*":
                data["outcome_id"] = f"{customer}-{number}"
            yield {
                "id": str(number), "type": part["type"], "subject": customer, "data": data,
                "time": START.isoformat(),
            }  # fmt: skip
