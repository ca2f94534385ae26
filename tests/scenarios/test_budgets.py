"""What counts towards budgets: nested paths, windows, tiers, and every way in which usage is
charged.
"""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from tests.scenarios.story import Json, Story, event, usage_price

_ids = count()


def used(kind: str, path: str | None, quantity: Any, time: str | None = None, **data: Any) -> Json:
    """Usage by somebody."""
    found = event(kind, f"e{next(_ids)}", time, q=quantity, **data)
    return found if path is None else {**found, "path": path}


async def budget(story: Story, name: str, limit: str = "100", **fields: Any) -> Json:
    """Set a budget, in USD and in total unless `fields` say otherwise."""
    body = {"asset": "USD", "window": "total", "limit": limit, **fields}
    return await story.ask("PUT", f"/v1/customers/acme/budgets/{name}", json=body)


async def spent(story: Story) -> dict[str, str]:
    """What was spent of each budget in its current window."""
    found = await story.everything("/v1/customers/acme/budgets")
    return {one["name"]: one["spent"] for one in found}


GRADUATED = {"model": "graduated", "tiers": [{"up_to": "10", "unit": "1"}, {"unit": "0.50"}]}


async def begin(story: Story, *prices: Json, **customer: Any) -> None:
    await story.customer(**customer)
    for meter in sorted({price["meter"] for price in prices}):
        await story.meter(meter)
    await story.plan("p", *prices)
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")


async def test_nested_budgets_count_what_lies_within_them(story: Story) -> None:
    """An organisation, a team and a user, by day and by month; one price settles from a wallet, the
    other by invoice.

    Calls cost 0.10 each from the wallet, tokens 0.02 each by invoice. Jan 1:
      org/a/kim   10 calls    1.00
      org/a       5 tokens    0.10
      org/b       20 tokens   0.40
      orgx        1 call      0.10
      no path     7 calls     0.70
    org: 1.50, org/a: 1.10, org/a/kim: 1.00, everything: 2.30. Jan 2: 3 calls of kim, 0.30.
    """
    await begin(
        story,
        usage_price("calls", "calls", unit="0.10", settle="wallet"),
        usage_price("tokens", "tokens", unit="0.02"),
    )
    await story.grant("50")
    for name, path in (("org", "org"), ("team", "org/a"), ("user", "org/a/kim"), ("all", None)):
        await budget(story, f"{name}-day", path=path, window="day")
        await budget(story, f"{name}-month", path=path, window="month")
    await budget(story, "credits", asset="credits")
    await story.use(
        used("calls", "org/a/kim", 10), used("tokens", "org/a", 5), used("tokens", "org/b", 20),
        used("calls", "orgx", 1), used("calls", None, 7),
    )  # fmt: skip
    day = {"org-day": "1.5", "team-day": "1.1", "user-day": "1", "all-day": "2.3"}
    month = {"org-month": "1.5", "team-month": "1.1", "user-month": "1", "all-month": "2.3"}
    assert await spent(story) == {**day, **month, "credits": "0"}
    assert await story.available() == "48.2"  # 50 - 18 x 0.10: tokens are billed by invoice
    await story.advance("2026-01-02T00:00:00Z")
    await story.use(used("calls", "org/a/kim", 3))
    day = {"org-day": "0.3", "team-day": "0.3", "user-day": "0.3", "all-day": "0.3"}
    month = {"org-month": "1.8", "team-month": "1.4", "user-month": "1.3", "all-month": "2.6"}
    assert await spent(story) == {**day, **month, "credits": "0"}
    found = await story.ask("GET", "/v1/customers/acme/spend")
    (cap,) = (one for one in found["caps"] if one["name"] == "team-day")
    assert (cap["limit"], cap["spent"], cap["remaining"]) == ("100", "0.3", "99.7")
    assert cap["resets_at"] == "2026-01-03T00:00:00Z"


async def test_two_paths_cross_a_tier_that_an_invoice_bills(story: Story) -> None:
    """10 at 1, then 0.50, in one batch: a's 6 cost 6; x's 8 are 4 at 1 and 4 at 0.50 = 6. Then a's
    4 cost 2, in a batch of their own. All: 14; a: 8; x: 6. The invoice says the same.
    """
    await begin(story, usage_price("calls", "calls", **GRADUATED))
    await budget(story, "a", path="a")
    await budget(story, "x", path="x")
    await budget(story, "all")
    await story.use(used("calls", "x", 8), used("calls", "a", 6))
    assert await spent(story) == {"a": "6", "x": "6", "all": "12"}
    await story.use(used("calls", "a", 4))
    assert await spent(story) == {"a": "8", "x": "6", "all": "14"}
    assert (await story.upcoming())["subtotal"] == "14.00"


async def test_the_graduated_price_of_a_wallet_counts_the_same(story: Story) -> None:
    """Where only a has a budget, x's 8 come first: a's 6 are 2 at 1 and 4 at 0.50 = 4."""
    await begin(story, usage_price("calls", "calls", settle="wallet", **GRADUATED))
    await story.grant("20")
    await budget(story, "a", path="a")
    await budget(story, "all")
    await story.use(used("calls", "x", 8), used("calls", "a", 6))
    assert await spent(story) == {"a": "4", "all": "12"}
    assert await story.available() == "8"


async def test_windows_roll_over_at_the_customers_midnight(story: Story) -> None:
    """Clocks in New York go forward on 8 March 2026: that day begins at 05:00 and ends at 04:00 of
    UTC. A window is the one in which usage is charged, not that of the event's own time.
    """
    price = usage_price("calls", "calls", unit="1")
    await begin(story, price, timezone="America/New_York")
    await budget(story, "day", window="day")
    await budget(story, "week", window="week")
    await story.advance("2026-03-08T04:59:59Z")  # Saturday, a second before midnight
    await story.use(used("calls", None, 1))
    assert await spent(story) == {"day": "1", "week": "1"}
    await story.advance("2026-03-08T05:00:00Z")
    assert await spent(story) == {"day": "0", "week": "1"}
    await story.use(used("calls", None, 2, "2026-03-08T04:59:59Z"))
    assert await spent(story) == {"day": "2", "week": "3"}
    await story.advance("2026-03-09T03:59:59Z")  # 23 hours after it began, but a second
    await story.use(used("calls", None, 4))
    assert await spent(story) == {"day": "6", "week": "7"}
    await story.advance("2026-03-09T04:00:00Z")  # Monday
    assert await spent(story) == {"day": "0", "week": "0"}
    await story.use(used("calls", None, 8))
    assert await spent(story) == {"day": "8", "week": "8"}


async def test_a_window_may_be_the_billing_period(story: Story) -> None:
    """A subscription from 15 January: its period goes to 15 February, and a month to the 1st."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p", starts_at="2026-01-15T00:00:00Z")
    await budget(story, "month", window="month")
    await budget(story, "period", window="period")
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(used("calls", None, 3))
    await story.advance("2026-02-01T00:00:00Z")
    await story.use(used("calls", None, 4))
    assert await spent(story) == {"month": "4", "period": "7"}
    await story.advance("2026-02-15T00:00:00Z")
    assert await spent(story) == {"month": "4", "period": "0"}


async def test_a_budget_counts_from_when_it_is_set(story: Story) -> None:
    """12 calls cost 10 + 1 = 11 before there is a budget. The next 4 cost 0.50 each, as the tier
    says that all 12 have reached: 2. A new limit goes on counting; another path begins anew.
    """
    await begin(story, usage_price("calls", "calls", **GRADUATED))
    await story.use(used("calls", "a", 12))
    await budget(story, "all", window="month")
    assert await spent(story) == {"all": "0"}
    await story.use(used("calls", "a", 4))
    assert await spent(story) == {"all": "2"}
    found = await budget(story, "all", "1", window="month")
    assert (found["spent"], found["remaining"]) == ("2", "0")
    await budget(story, "all", path="a", window="month")
    await story.use(used("calls", "a", 2), used("calls", "b", 2))
    assert await spent(story) == {"all": "1"}
    await story.ask("DELETE", "/v1/customers/acme/budgets/all")
    await budget(story, "all", path="a", window="month")
    assert await spent(story) == {"all": "0"}


async def test_a_charge_may_be_negative(story: Story) -> None:
    """Volume: up to 10 at 1, above at 0.50 for all. 8 cost 8; 4 more make 12 x 0.50 = 6: -2."""
    tiers = [{"up_to": "10", "unit": "1"}, {"unit": "0.50"}]
    await begin(story, usage_price("calls", "calls", model="volume", tiers=tiers))
    await budget(story, "a", path="a")
    await budget(story, "b", path="b")
    await budget(story, "all")
    await story.use(used("calls", "a", 8))
    await story.use(used("calls", "b", 4))
    assert await spent(story) == {"a": "8", "b": "-2", "all": "6"}


async def test_a_minimum_and_fees_are_of_the_period(story: Story) -> None:
    """A price with a minimum of 10 is billed 10 and has spent 3; at 1 a unit up to 5 at most, 7
    more cost 2.
    """
    price = usage_price("calls", "calls", unit="1", minimum="10", maximum="5")
    await story.customer()
    await story.meter("calls")
    await story.plan("p", {**price, "maximum": "50"}, minimum="100")
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    await budget(story, "all")
    await story.use(used("calls", None, 3))
    assert await spent(story) == {"all": "3"}
    await story.use(used("calls", None, 60))
    assert await spent(story) == {"all": "50"}  # its maximum


async def test_outcomes_count_once_they_are_confirmed(story: Story) -> None:
    """2 resolutions at 3 each, of two paths: confirmed 3 + 3, reversed 0."""
    await story.customer()
    await story.meter("done", "count")
    price = usage_price("done", "done", unit="3", outcome={})
    await story.plan("p", price)
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    await budget(story, "a", path="a")
    await budget(story, "all")
    await story.use(
        used("done", "a", 1, outcome_id="o1"), used("done", "b", 1, outcome_id="o1"),
        used("done", "a", 1, outcome_id="o2"),
    )  # fmt: skip
    assert await spent(story) == {"a": "0", "all": "0"}
    body = {"customer": "acme", "reason": "solved"}
    for outcome in ("o1", "o2"):
        await story.ask("POST", f"/v1/outcomes/{outcome}/confirm", json=body)
    # Of the two attempts of o1 the first is billed, which was a's.
    assert await spent(story) == {"a": "6", "all": "6"}
    await story.ask("POST", "/v1/outcomes/o2/reverse", json=body)
    assert await spent(story) == {"a": "3", "all": "3"}


async def test_released_events_count_when_they_are_charged(story: Story) -> None:
    """Usage under a subscription that starts later: 3 x 2, once it is there."""
    await begin(story, usage_price("calls", "calls", unit="2"))
    await budget(story, "a", path="a")
    answer = await story.send(used("calls", "a", 3, subscription="later"))
    assert answer["quarantined"] == 1
    assert await spent(story) == {"a": "0"}
    await story.subscribe("p", key="later", starts_at="2026-01-01T00:00:00Z")
    assert await spent(story) == {"a": "6"}


async def test_a_change_in_the_past_counts_the_difference(story: Story) -> None:
    """10 calls at 2 = 20; moved, as of the start, to a plan at 3: 30 are charged, 10 more, which
    are of no path.
    """
    await begin(story, usage_price("calls", "calls", unit="2"))
    await story.plan("q", usage_price("calls", "calls", unit="3"))
    (found,) = await story.everything("/v1/subscriptions")
    await budget(story, "a", path="a")
    await budget(story, "all")
    await story.use(used("calls", "a", 10))
    await story.advance("2026-01-02T00:00:00Z")
    await story.change(found["id"], plan="q", at="2026-01-01T00:00:00Z")
    assert await spent(story) == {"a": "20", "all": "30"}


async def test_requests_at_once_share_one_ladder(story: Story) -> None:
    """40 requests at once, each of 1 call of its own model, so that no row of totals is theirs all:
    10 x 1 + 30 x 0.50 = 25, however they are batched.
    """
    await story.customer()
    await story.meter("calls", dimensions=["model"])
    await story.plan("p", usage_price("calls", "calls", **GRADUATED))
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    await budget(story, "all")
    requests = [story.use(used("calls", None, 1, model=f"m{n}")) for n in range(40)]
    await asyncio.gather(*requests)
    assert await spent(story) == {"all": "25"}


async def test_what_is_spent_is_what_is_charged_however_it_is_batched(story: Story) -> None:
    """The same 60 events of 3 paths, in one batch or in many: budgets of linear prices agree by
    path, and what all have spent is what the invoice bills and the wallet gave.
    """
    random_ = random.Random(4)
    events = [
        used(kind, random_.choice(["a", "a/b", "c", None]), random_.randint(1, 9))
        for kind in ("linear", "drawn", "ladder")
        for _ in range(20)
    ]
    random_.shuffle(events)
    for meter in ("linear", "drawn", "ladder"):
        await story.meter(meter)
    await story.plan(
        "p",
        usage_price("linear", "linear", unit="0.25"),
        usage_price("drawn", "drawn", unit="0.125", settle="wallet"),
        usage_price("ladder", "ladder", **GRADUATED),
    )
    sizes = (60, 1, 7)
    for number, size in enumerate(sizes):
        await _one_life(story, f"c{number}", events, size)


async def _one_life(story: Story, customer: str, events: Sequence[Json], size: int) -> None:
    await story.customer(customer)
    await story.subscribe("p", customer, starts_at="2026-01-01T00:00:00Z")
    await story.grant("1000", customer)
    budgets = f"/v1/customers/{customer}/budgets"
    for name, path in (("all", None), ("a", "a"), ("b", "a/b"), ("c", "c")):
        body = {"asset": "USD", "window": "total", "limit": "1000", "path": path}
        await story.ask("PUT", f"{budgets}/{name}", json=body)
    mine = [{**one, "subject": customer} for one in events]
    linear = [one for one in mine if one["type"] != "ladder"]
    ladder = [one for one in mine if one["type"] == "ladder"]
    for some in (linear, ladder):
        for start in range(0, len(some), size):
            await story.use(*some[start : start + size])
        if some is linear:
            found = {one["name"]: one["spent"] for one in await story.everything(budgets)}
            assert found == {
                name: f"{_cost(linear, path).normalize():f}"
                for name, path in (("all", ""), ("a", "a"), ("b", "a/b"), ("c", "c"))
            }
    found = {one["name"]: one["spent"] for one in await story.everything(budgets)}
    units = sum(one["data"]["q"] for one in ladder)
    assert units > 10
    whole = _cost(linear, "") + 10 + (units - 10) * Decimal("0.50")
    assert Decimal(found["all"]) == whole
    lines = (await story.upcoming(customer))["lines"]
    billed = sum(Decimal(line["amount"]) for line in lines if line["price"] != "drawn")
    assert billed + 1000 - Decimal(await story.available(customer)) == whole


def _cost(events: Sequence[Json], path: str) -> Decimal:
    """What events at or below a path ("": anywhere) cost by the prices of the test."""
    unit = {"linear": Decimal("0.25"), "drawn": Decimal("0.125")}
    return sum(
        (
            one["data"]["q"] * unit[one["type"]]
            for one in events
            if not path or f"{one.get('path', '')}/".startswith(f"{path}/")
        ),
        Decimal(0),
    )


async def test_what_does_not_add_up_is_of_the_path_that_all_share(story: Story) -> None:
    """The peak costs 1 a unit: 5 by a/x; then 8 by a/x and 7 by a/y together, 3 more, which are a's
    but of neither x nor y alone.
    """
    await story.customer()
    await story.meter("peak", "max")
    await story.plan("p", usage_price("peak", "peak", unit="1"))
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    await budget(story, "a", path="a")
    await budget(story, "x", path="a/x")
    await budget(story, "all")
    await story.use(used("peak", "a/x", 5))
    await story.use(used("peak", "a/x", 8), used("peak", "a/y", 7))
    assert await spent(story) == {"a": "8", "x": "5", "all": "8"}


async def test_open_holds_are_held_within_budgets(story: Story) -> None:
    """A hold of 5 leaves 10 - 5 of its team's budget; captured with 3, it has spent 3. One of 8
    would pass the limit by 1 and is refused; by another team it is not. Suspended, none is.
    """
    await story.customer()
    await story.grant("100")
    await budget(story, "team", "10", path="org/team")
    body = {"customer": "acme", "asset": "USD", "amount": "5", "path": "org/team/kim"}
    hold = await story.ask("POST", "/v1/holds", json=body)
    assert hold["allowed"] is True
    team = "/v1/customers/acme/budgets/team"
    found = await story.ask("GET", team)
    assert (found["spent"], found["held"], found["remaining"]) == ("0", "5", "5")
    await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json={"amount": "3"})
    found = await story.ask("GET", team)
    assert (found["spent"], found["held"], found["remaining"]) == ("3", "0", "7")
    refused = await story.ask("POST", "/v1/holds", json={**body, "amount": "8"})
    assert (refused["reason"], refused["shortfall"]) == ("budget_exceeded", "1")
    assert refused["limit"]["name"] == "team"
    other = {**body, "amount": "8", "path": "org/other"}
    assert (await story.ask("POST", "/v1/holds", json=other))["allowed"] is True
    suspension = {"path": "org", "reason": "runaway"}
    await story.ask("POST", "/v1/customers/acme/suspend", json=suspension)
    assert (await story.ask("POST", "/v1/holds", json=other))["reason"] == "suspended"
    await story.ask("POST", "/v1/customers/acme/resume", json={"path": "org"})
    assert (await story.ask("POST", "/v1/holds", json=other))["allowed"] is True


async def test_a_new_limit_is_told_anew(story: Story) -> None:
    """At 6 of 10 a half is told. Of 20 it is 0.3: nothing. 12 are 0.6 of 20: a half again, once. Of
    12 it is all: 0.8 and 1, and the half no more. What the budget counts anew is told anew.
    """
    await begin(story, usage_price("calls", "calls", unit="1"))

    async def told() -> list[str]:
        found = await story.everything("/v1/alerts", kind="budget.threshold")
        return [one["threshold"] for one in reversed(found)]

    await budget(story, "all", "10", window="month")
    await story.use(used("calls", None, 6))
    assert await told() == ["0.5"]
    for _ in range(2):
        await budget(story, "all", "20", window="month")
        assert await told() == ["0.5"]
    await story.use(used("calls", None, 6))
    assert await told() == ["0.5", "0.5"]
    await budget(story, "all", "12", window="month")
    assert await told() == ["0.5", "0.5", "0.8", "1"]
    await budget(story, "all", "12", window="month", alerts=["0.9", "1", "1.5"])
    assert await told() == ["0.5", "0.5", "0.8", "1", "0.9"]
    await budget(story, "all", "2", path="a", window="month")
    await story.use(used("calls", "a", 1))
    assert await told() == ["0.5", "0.5", "0.8", "1", "0.9", "0.5"]


_TIERS = [{"up_to": "10", "unit": "1"}, {"up_to": "30", "unit": "0.50", "flat": "2"},
          {"unit": "0.25"}]  # fmt: skip
_FEES = [{"up_to": "10", "flat": "3"}, {"up_to": "40", "flat": "9"}, {"flat": "30"}]
MODELS: dict[str, list[Json]] = {
    "volume": [{"model": "volume", "tiers": _TIERS}],
    "stairstep": [{"model": "stairstep", "tiers": _FEES}],
    "package": [{"model": "package", "amount": "5", "size": "7", "free": "3"}],
    "included": [{"unit": "0.50", "included": "20"}],
    "discount": [{"unit": "1", "discount": {"amount": "4"}, "maximum": "50"}],
    "maximum a day": [{"unit": "1", "maximum_per_day": "5"}],
    "pool": [
        {"model": "graduated", "tiers": _TIERS, "pool": "p"},
        {"model": "graduated", "tiers": [{**one, "unit": "2"} for one in _TIERS], "pool": "p"},
    ],
    "percentage": [{"model": "percentage", "percent": "10", "free_amount": "20"}],
    "rates": [
        {"model": "dimensional", "dimensions": ["m"],
         "rates": [{"match": {"m": "x"}, "unit": "1"}, {"match": {"m": "y"}, "unit": "0.25"}]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("settle", ["invoice", "wallet"])
@pytest.mark.parametrize("model", MODELS)
async def test_parts_of_every_model_sum_to_what_is_charged(
    story: Story, model: str, settle: str
) -> None:
    """40 events in batches of 1 to 9, each of one of three paths: what the budgets of the paths
    have spent is in all what that of the customer has, and what is billed or drawn.
    """
    random_ = random.Random(f"{model} {settle}")
    await story.customer()
    prices = []
    for number, price in enumerate(MODELS[model]):
        await story.meter(f"u{number}", dimensions=["m"])
        found = usage_price(f"u{number}", f"u{number}", **price)
        prices.append({**found, "settle": settle})
    await story.plan("p", *prices)
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    paths = ("a", "a/b", "c")
    for name, path in (("all", None), ("a", "a"), ("c", "c")):
        await budget(story, name, path=path)
    events = [
        used(
            random_.choice(prices)["meter"], random_.choice(paths), random_.randint(1, 4),
            f"2026-01-0{random_.randint(1, 3)}T00:00:00Z", m=random_.choice("xy"),
        )
        for _ in range(40)
    ]  # fmt: skip
    await story.advance("2026-01-03T12:00:00Z")
    while events:
        size = random_.randint(1, 9)
        await story.use(*events[:size])
        events = events[size:]
    found = {name: Decimal(amount) for name, amount in (await spent(story)).items()}
    assert found["a"] + found["c"] == found["all"] > 0
    if settle == "wallet":
        assert found["all"] == -Decimal(await story.available())
    else:
        assert found["all"] == Decimal((await story.upcoming())["subtotal"])
