"""Alerts over months: each threshold once in its window, in the transaction that crosses it."""

import asyncio
from typing import Any

from tests.scenarios.story import Json, Story, event, flat, usage_price


async def set_alert(story: Story, name: str, **body: Any) -> None:
    """Define an alert of acme's."""
    await story.ask("PUT", f"/v1/customers/acme/alerts/{name}", json=body)


async def told(story: Story, *names: str, **parameters: str) -> list[tuple[str, ...]]:
    """What was told, the oldest first: of each alert what these members say."""
    names = names or ("kind", "name", "threshold")
    found = await story.everything("/v1/alerts", **parameters)
    return [tuple(str(one[name]) for name in names) for one in reversed(found)]


async def prepaid(story: Story, **price: Any) -> None:
    """acme, whose usage costs 1 USD a unit, drawn from its wallet."""
    await story.customer(enforcement="soft")
    await story.meter("calls")
    price = {"model": "per_unit", "unit": "1", "settle": "wallet", **price}
    await story.plan("payg", usage_price("calls", "calls", **price))
    await story.subscribe("payg")


async def use(story: Story, event_id: str, quantity: str, **fields: Any) -> None:
    """Usage of acme's now."""
    await story.use(event("calls", event_id, await story.now(), q=quantity, **fields))


async def test_spend_is_told_once_in_each_window(story: Story) -> None:
    await prepaid(story)
    await set_alert(story, "spent", on="spend", asset="USD", window="month", at=["100", "500"])
    await use(story, "a", "99.99")
    assert await told(story) == []
    await use(story, "b", "0.01")  # 99.99 + 0.01 = 100
    assert await told(story) == [("spend.threshold", "spent", "100")]
    await use(story, "c", "150")  # 250: between
    assert len(await told(story)) == 1
    await story.advance("2026-02-01T00:00:00Z")
    await use(story, "d", "600")  # another month: over both at once, the lower first
    found = await story.everything("/v1/alerts")
    assert [one["threshold"] for one in found] == ["500", "100", "100"]
    assert found[0] == {
        "id": found[0]["id"], "kind": "spend.threshold", "customer": "acme", "name": "spent",
        "threshold": "500", "at": "2026-02-01T00:00:00Z", "asset": "USD", "spent": "600",
        "window": {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
    }  # fmt: skip


async def test_windows_are_the_customers_own(story: Story) -> None:
    """In Tokyo (UTC+9) a day ends at 15:00Z: 60 on each side of it reach 50 twice, 100 never."""
    await prepaid(story)
    await story.customer("kaito", timezone="Asia/Tokyo", enforcement="soft")
    await story.subscribe("payg", "kaito")
    body = {"on": "spend", "asset": "USD", "window": "day", "at": ["50", "100"]}
    await story.ask("PUT", "/v1/customers/kaito/alerts/daily", json=body)
    for at in ("2026-01-05T14:59:59Z", "2026-01-05T15:00:00Z"):
        await story.advance(at)
        await story.use(event("calls", at, at, customer="kaito", q=60))
    found = await story.everything("/v1/alerts", customer="kaito")
    assert [(one["threshold"], one["window"]) for one in reversed(found)] == [
        ("50", {"from": "2026-01-04T15:00:00Z", "to": "2026-01-05T15:00:00Z"}),
        ("50", {"from": "2026-01-05T15:00:00Z", "to": "2026-01-06T15:00:00Z"}),
    ]


async def test_usage_that_an_invoice_bills_is_told_too(story: Story) -> None:
    """The first 100 cost 1 each, further ones 0.5: 100 + 0.5 * 300 = 250."""
    tiers = [{"up_to": "100", "unit": "1"}, {"up_to": None, "unit": "0.5"}]
    await prepaid(story, settle="invoice", model="graduated", unit=None, tiers=tiers)
    await set_alert(story, "spent", on="spend", asset="USD", window="period", at=["100", "250"])
    await use(story, "a", "399")  # 249.5
    await use(story, "b", "1")  # 250
    assert await told(story, "threshold", "spent") == [("100", "249.5"), ("250", "250")]


async def test_a_threshold_is_told_once_however_many_cross_it(story: Story) -> None:
    """40 requests at once, each 5 of 200: 50, 100 and 150 are reached once each."""
    await prepaid(story)
    await set_alert(
        story, "spent", on="spend", asset="USD", window="total", at=["50", "100", "150"]
    )
    at = await story.now()

    async def send(number: int) -> None:
        await story.use(event("calls", f"e{number}", at, q=5))

    await asyncio.gather(*(send(number) for number in range(40)))
    assert await told(story, "threshold", "window") == [
        ("50", "None"), ("100", "None"), ("150", "None"),
    ]  # fmt: skip
    # What the wallet was drawn: 40 * 5 = 200, with no grant all of it debt.
    assert await story.available() == "-200"


async def test_a_counter_begins_anew_with_its_definition(story: Story) -> None:
    """Deleted and made again, it counts from then on: 60 before, 60 after do not reach 100."""
    await prepaid(story)
    body: Json = {"on": "spend", "asset": "USD", "window": "total", "at": ["100"]}
    await set_alert(story, "spent", **body)
    await use(story, "a", "60")
    await story.ask("DELETE", "/v1/customers/acme/alerts/spent")
    await set_alert(story, "spent", **body)
    await use(story, "b", "60")
    assert await told(story) == []
    await set_alert(story, "spent", **{**body, "at": ["110"]})  # goes on counting: 60 + 50 = 110
    await use(story, "c", "50")
    assert await told(story, "threshold", "spent") == [("110", "110")]


async def test_a_low_balance_is_told_and_again_after_it_was_above(story: Story) -> None:
    await prepaid(story)
    await story.grant("100")
    await set_alert(story, "low", on="balance", asset="USD", below=["10", "0"])
    await use(story, "a", "89")  # 11
    assert await told(story) == []
    await use(story, "b", "1")  # 10: at it is low
    assert await told(story, "kind", "name", "threshold", "balance") == [
        ("balance.low", "low", "10", "10"),
    ]  # fmt: skip
    await use(story, "c", "5")  # 5: still below the same
    await story.grant("3")  # 8: not above it
    await use(story, "d", "7")  # 1
    assert len(await told(story)) == 1
    await story.grant("19")  # 20: armed again
    await use(story, "e", "25")  # -5: both at once, the higher first
    assert await told(story, "threshold", "balance") == [("10", "10"), ("10", "-5"), ("0", "-5")]
    await use(story, "f", "1")  # -6
    await story.grant("8")  # 2: above 0, not above 10
    await use(story, "g", "2")  # 0
    assert await told(story, "threshold", "balance") == [
        ("10", "10"), ("10", "-5"), ("0", "-5"), ("0", "0"),
    ]  # fmt: skip


async def test_a_low_balance_is_told_once_however_many_draw(story: Story) -> None:
    """30 requests of 5 from 100: 10 is reached by the 18th (100 - 90), 0 by the 20th."""
    await prepaid(story)
    await story.grant("100")
    await set_alert(story, "low", on="balance", asset="USD", below=["10", "0"])
    at = await story.now()

    async def send(number: int) -> None:
        await story.use(event("calls", f"e{number}", at, q=5))

    await asyncio.gather(*(send(number) for number in range(30)))
    assert await told(story, "threshold") == [("10",), ("0",)]
    assert await story.available() == "-50"


async def test_a_balance_that_falls_by_itself_is_told(story: Story) -> None:
    """60 that expire beside 30 that stay: on 10 January 30 are left, which is below 50."""
    await prepaid(story)
    await story.grant("60", expires_at="2026-01-10T00:00:00Z")
    await story.grant("30")
    await set_alert(story, "low", on="balance", asset="USD", below=["50"])
    await story.advance("2026-01-09T23:59:59Z")
    assert await told(story) == []
    await story.advance("2026-01-15T00:00:00Z")
    assert await told(story, "threshold", "balance", "at") == [("50", "30", "2026-01-10T00:00:00Z")]
    # A grant for later counts from then on: 30 + 40 = 70, until 25 January.
    await story.grant("40", effective_at="2026-01-20T00:00:00Z", expires_at="2026-01-25T00:00:00Z")
    await story.advance("2026-01-31T00:00:00Z")
    assert await told(story, "balance", "at") == [
        ("30", "2026-01-10T00:00:00Z"), ("30", "2026-01-25T00:00:00Z"),
    ]  # fmt: skip


async def test_a_balance_that_is_taken_back_is_told(story: Story) -> None:
    await prepaid(story)
    grant = await story.grant("60")
    await set_alert(story, "low", on="balance", asset="USD", below=["50"])
    await story.ask("POST", f"/v1/grants/{grant}/void")
    assert await told(story, "threshold", "balance") == [("50", "0")]


async def test_another_definition_of_the_same_name_is_told_anew(story: Story) -> None:
    await prepaid(story)
    await story.grant("20")
    await set_alert(story, "low", on="balance", asset="USD", below=["10"])
    await use(story, "a", "15")  # 5
    await set_alert(story, "low", on="balance", asset="USD", below=["10", "4"])
    await use(story, "b", "2")  # 3: the 10 was told
    assert await told(story, "threshold") == [("10",), ("4",)]
    await story.ask("DELETE", "/v1/customers/acme/alerts/low")
    await set_alert(story, "low", on="balance", asset="USD", below=["10"])
    await use(story, "c", "1")  # told when it was put: 3
    assert await told(story, "threshold", "balance") == [("10", "5"), ("4", "3"), ("10", "3")]


async def test_renewed_credits_are_no_low_balance(story: Story) -> None:
    """A plan grants 60 and 60 a month: between two months there is no instant without them."""
    await story.customer(enforcement="soft")
    await story.meter("calls")
    grants = [
        {"key": key, "asset": "USD", "amount": "60", "every": "period", "expires": "period_end"}
        for key in ("one", "two")
    ]
    price = usage_price("calls", "calls", unit="1", settle="wallet")
    await story.plan("credits", price, credits=grants)
    await story.subscribe("credits")
    await set_alert(story, "low", on="balance", asset="USD", below=["100"])
    await story.advance("2026-03-15T00:00:00Z")
    assert await told(story) == []
    await use(story, "a", "20")  # 120 - 20 = 100
    assert await told(story, "threshold", "balance") == [("100", "100")]


async def set_budget(story: Story, name: str, limit: str, **fields: Any) -> None:
    """A soft budget of acme's, told at 0.5, 0.8 and 1.0 of it."""
    body = {
        "asset": "USD", "limit": limit, "window": "month", "enforcement": "soft",
        "alerts": ["0.5", "0.8", "1.0"], **fields,
    }  # fmt: skip
    await story.ask("PUT", f"/v1/customers/acme/budgets/{name}", json=body)


async def test_shares_of_a_budget_are_told_once_while_all_use_is_charged(story: Story) -> None:
    """A wallet of 50 and 64 clients, each 8 calls of 0.125 that are held, then captured: in all
    64 * 8 * 0.125 = 64. A budget of 50 is told at 25, 40 and 50; the balance is 50 - 64 = -14.
    """
    await prepaid(story)
    await story.grant("50")
    await set_budget(story, "all", "50")
    await set_alert(story, "empty", on="balance", asset="USD", below=["0"])

    async def client() -> None:
        for _ in range(8):
            body: Json = {"customer": "acme", "asset": "USD", "amount": "0.125"}
            hold = await story.ask("POST", "/v1/holds", json=body)
            assert hold["allowed"]
            await story.ask("POST", f"/v1/holds/{hold['id']}/capture", json={"amount": "0.125"})

    await asyncio.gather(*(client() for _ in range(64)))
    found = await story.everything("/v1/alerts", kind="budget.threshold")
    assert [one["threshold"] for one in reversed(found)] == ["0.5", "0.8", "1"]
    assert found[0] == {
        "id": found[0]["id"], "kind": "budget.threshold", "customer": "acme", "name": "all",
        "threshold": "1", "at": "2026-01-01T00:00:00Z", "path": None, "asset": "USD",
        "limit": "50", "spent": found[0]["spent"], "enforcement": "soft",
        "window": {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z"},
    }  # fmt: skip
    assert await story.available() == "-14"
    assert await told(story, "name", "threshold", kind="balance.low") == [("empty", "0")]
    spend = await story.ask("GET", "/v1/customers/acme/spend")
    assert [one for one in spend["alerts"] if one["kind"] == "budget.threshold"] == found
    await story.advance("2026-02-01T00:00:00Z")
    assert (await story.ask("GET", "/v1/customers/acme/spend"))["alerts"] == []


async def test_a_budget_that_goes_down_and_up_again_is_told_once(story: Story) -> None:
    """Volume pricing: 10 units at 10 are 100, the 11th makes all of them cost 1 (11); 100 more
    make 111.
    """
    tiers = [{"up_to": "10", "unit": "10"}, {"up_to": None, "unit": "1"}]
    await prepaid(story, model="volume", unit=None, tiers=tiers)
    await set_budget(story, "all", "100")
    for event_id, quantity in (("a", "10"), ("b", "1"), ("c", "100")):
        await use(story, event_id, quantity)
    assert await told(story, "threshold", "spent") == [
        ("0.5", "100"), ("0.8", "100"), ("1", "100"),
    ]  # fmt: skip
    await story.advance("2026-02-01T00:00:00Z")
    await use(story, "d", "6")  # a new window, and a new period: 6 * 10 = 60 of 100
    assert (await told(story, "threshold", "spent"))[3:] == [("0.5", "60")]


async def test_a_budget_for_a_path_is_told_of_what_lies_within(story: Story) -> None:
    await prepaid(story)
    await set_budget(story, "support", "10", path="support", alerts=["0.5"])
    for event_id, quantity, path in (("a", 9, "sales"), ("b", 4, "support/1"), ("c", 1, "support")):
        assert await told(story) == []
        await story.use({**event("calls", event_id, await story.now(), q=quantity), "path": path})
    # 4 + 1 = 5 of 10
    assert await told(story, "name", "path", "spent") == [("support", "support", "5")]


async def test_what_is_reached_when_it_is_put_is_told_at_once(story: Story) -> None:
    await prepaid(story)
    await story.grant("100")
    await set_budget(story, "all", "200")
    await set_alert(story, "spent", on="spend", asset="USD", window="total", at=["500"])
    await use(story, "a", "70")
    assert await told(story) == []
    await set_budget(story, "all", "80")  # 70 of 80 are 0.875
    await set_alert(story, "spent", on="spend", asset="USD", window="total", at=["60", "500"])
    await set_alert(story, "low", on="balance", asset="USD", below=["30", "0"])
    expected = [
        ("budget.threshold", "all", "0.5"), ("budget.threshold", "all", "0.8"),
        ("spend.threshold", "spent", "60"), ("balance.low", "low", "30"),
    ]  # fmt: skip
    assert await told(story) == expected
    await set_budget(story, "all", "75")
    await use(story, "b", "1")
    assert await told(story) == expected


async def test_pages_of_alerts_are_of_a_customer_and_a_kind(story: Story) -> None:
    await prepaid(story)
    await story.grant("100")
    await set_budget(story, "all", "50")
    await set_alert(story, "low", on="balance", asset="USD", below=["50"])
    await use(story, "a", "60")
    assert len(await told(story, kind="budget.threshold")) == 3
    assert len(await told(story, kind="balance.low", customer="acme")) == 1
    page = await story.ask("GET", "/v1/alerts", params={"limit": 3})
    rest = await story.ask("GET", "/v1/alerts", params={"cursor": page["next_cursor"]})
    assert len({one["id"] for one in page["data"] + rest["data"]}) == 4
    assert rest["next_cursor"] is None
    await story.customer("globex")
    assert await told(story, customer="globex") == []


async def entitled(story: Story, *quotas: Json) -> None:
    """acme, whose plan lets it count queries up to these quotas."""
    await story.customer()
    await story.meter("queries", "count", dimensions=["n"])
    await story.meter("other", "count")
    own = {"feature": "queries", "meter": "queries"}
    await story.plan(
        "pro", flat("base", "0.00"), entitlements=[{**own, **quota} for quota in quotas]
    )
    await story.subscribe("pro")
    await set_alert(story, "used", on="allowance", feature="queries", at=["0.8", "1.0"])


async def ask(story: Story, count: int, name: str, kind: str = "queries") -> None:
    """So many queries now."""
    at = await story.now()
    await story.use(*(event(kind, f"{name}-{n}", at, n=str(n)) for n in range(count)))


async def test_an_allowance_is_told_once_in_each_window(story: Story) -> None:
    await entitled(story, {"limit": "10", "window": "day"})
    await ask(story, 7, "a")
    assert await told(story) == []
    await ask(story, 20, "z", "other")
    await ask(story, 1, "b")  # 8 of 10
    assert await told(story) == [("allowance.threshold", "used", "0.8")]
    await ask(story, 5, "c")  # 13 of 10: used all the same, and told
    await ask(story, 5, "d")
    assert await told(story, "threshold", "used") == [("0.8", "8"), ("1", "13")]
    await story.advance("2026-01-02T00:00:00Z")
    await ask(story, 9, "e")
    (latest, *_) = await story.everything("/v1/alerts")
    assert latest == {
        "id": latest["id"], "kind": "allowance.threshold", "customer": "acme", "name": "used",
        "threshold": "0.8", "at": "2026-01-02T00:00:00Z", "feature": "queries",
        "meter": "queries", "limit": "10", "used": "9",
        "window": {"from": "2026-01-02T00:00:00Z", "to": "2026-01-03T00:00:00Z"},
    }  # fmt: skip


async def test_each_quota_of_a_feature_is_told(story: Story) -> None:
    """Both windows begin on 1 January: 8 of 10 a day, and 8 of 10 a month."""
    await entitled(story, {"limit": "10", "window": "day"}, {"limit": "10", "window": "month"})
    await ask(story, 8, "a")
    await story.advance("2026-01-02T00:00:00Z")
    await ask(story, 2, "b")  # 2 of the day, 10 of the month
    found = await told(story, "threshold", "used")
    assert found == [("0.8", "8"), ("0.8", "8"), ("1", "10")]


async def test_an_allowance_is_told_once_however_many_use_it(story: Story) -> None:
    """40 requests at once of one query each, every one in a row of its own: 8, then 10 of 10."""
    await entitled(story, {"limit": "10", "window": "day"})
    at = await story.now()

    async def send(number: int) -> None:
        await story.use(event("queries", f"e{number}", at, n=str(number)))

    await asyncio.gather(*(send(number) for number in range(40)))
    assert [one[0] for one in await told(story, "threshold")] == ["0.8", "1"]


async def test_what_is_used_when_the_alert_is_put_is_told_at_once(story: Story) -> None:
    await entitled(story, {"limit": "10", "window": "day"})
    await ask(story, 5, "a")
    await set_alert(story, "used", on="allowance", feature="queries", at=["0.5"])
    assert await told(story, "threshold", "used") == [("0.5", "5")]
    await set_alert(story, "unknown", on="allowance", feature="none", at=["0.5"])
    assert len(await told(story)) == 1
