"""Events that cannot be billed yet: kept, released once, billed in their own period."""

from typing import Any

from tests.scenarios.story import Story, amounts, event, span, totals, usage_price

JANUARY = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z")


async def reasons(story: Story) -> dict[str, str]:
    """Why each quarantined event waits."""
    found = await story.everything("/v1/events", status="quarantined")
    return {one["id"]: one["reason"] for one in found}


async def test_a_customer_that_appears_later(story: Story) -> None:
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="0.10"))
    await story.advance("2026-01-20T00:00:00Z")
    answer = await story.send(event("calls", "a", q=5), event("calls", "b", q=6))
    assert (answer["accepted"], answer["quarantined"]) == (0, 2)
    again = await story.send(event("calls", "a", q=5), event("calls", "b", q=7))
    assert (again["duplicates"], again["rejected"]) == (1, 1)
    assert await reasons(story) == {"a": "unknown_customer", "b": "unknown_customer"}

    await story.advance("2026-02-03T00:00:00Z")
    await story.customer()
    assert await reasons(story) == {}
    [row] = await story.usage("calls", customer="acme", window="month", **{"from": JANUARY[0]})
    assert row["value"] == "11"
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")  # priced from its start on
    await story.send(event("calls", "a", q=5))
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["1.10"]


async def test_a_meter_that_appears_later(story: Story) -> None:
    """Events of January wait for their meter until February; then they are January's usage, and a
    contract that begins on 1 January prices them.
    """
    await story.customer()
    answer = await story.send(event("tokens", "t", q=3), event("images", "i", q=1))
    assert (answer["accepted"], answer["quarantined"]) == (0, 2)
    assert await reasons(story) == {"t": "no_meter", "i": "no_meter"}
    await story.advance("2026-02-10T00:00:00Z")
    await story.meter("tokens")
    await story.meter("large", event_type="tokens", filter={"size": ["large"]})
    assert await reasons(story) == {"i": "no_meter"}
    january = {"from": JANUARY[0], "to": JANUARY[1]}
    [row] = await story.usage("tokens", customer="acme", window="total", **january)
    assert row["value"] == "3"
    assert await story.usage("large", customer="acme", window="total", **january) == []
    await story.plan("p", usage_price("tokens", "tokens", unit="2"))
    await story.subscribe("p", starts_at=JANUARY[0])
    [invoice] = await story.invoices()
    assert (span(invoice), invoice["total"]) == (JANUARY, "6.00")


async def test_a_rate_that_appears_later(story: Story) -> None:
    """Quarantined for want of a rate in January; released in February by a new plan version that
    has it: billed as January's, once, on the next invoice.
    """
    await story.customer()
    await story.meter("minutes", dimensions=["speed"])

    async def publish(*speeds: str) -> None:
        rates = [{"match": {"speed": speed}, "unit": "1"} for speed in speeds]
        await story.plan("p", usage_price(
            "video", "minutes", model="dimensional", dimensions=["speed"], rates=rates,
            otherwise="quarantine",
        ))  # fmt: skip

    await publish("fast")
    subscription = await story.subscribe("p")
    await story.advance("2026-01-20T00:00:00Z")
    answer = await story.send(
        event("minutes", "a", q=4, speed="fast"), event("minutes", "b", q=9, speed="turbo"),
        event("minutes", "c", q=9),
    )  # fmt: skip
    assert (answer["accepted"], answer["quarantined"]) == (1, 2)
    assert await reasons(story) == {"b": "unmatched_dimension", "c": "unmatched_dimension"}
    await publish("fast", "turbo")
    await story.change(subscription, version=2, at="2026-01-10T00:00:00Z", proration="none")
    released = await story.ask("POST", "/v1/events/release", json={"customer": "acme"})
    assert released == {"released": 1, "still_quarantined": 1}
    assert await story.ask("POST", "/v1/events/release") == {"released": 0, "still_quarantined": 1}
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    assert amounts(invoice) == [("video", "4", "4.00"), ("video", "9", "9.00")]


async def test_values_that_cannot_be_read_wait_for_a_new_version_of_the_meter(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p")
    bad: dict[str, Any] = {
        "text": "many", "blank": "", "space": " 5", "full-width": "１２", "true": True,
        "list": [1], "object": {"q": 1}, "null": None, "exponent": "1e3", "nan": "NaN",
        "infinity": "Infinity", "comma": "1,5", "plus": "+1", "long": "1" * 19,
    }  # fmt: skip
    events = [event("calls", key, q=value) for key, value in bad.items()]
    events += [event("calls", "missing"), event("calls", "negative", q=-1)]
    answer = await story.send(*events, event("calls", "good", q="1.5"))
    assert (answer["accepted"], answer["quarantined"]) == (1, len(events))
    expected = dict.fromkeys(bad, "non_numeric_value")
    expected |= {"null": "missing_value", "missing": "missing_value", "negative": "negative_value"}
    assert await reasons(story) == expected
    # Nobody is billed for them, and a release changes nothing while the meter is the same.
    assert (await story.upcoming())["total"] == "1.50"
    released = await story.ask("POST", "/v1/events/release")
    assert released == {"released": 0, "still_quarantined": len(events)}
    await story.meter("calls", allow_negative=True)
    released = await story.ask("POST", "/v1/events/release")
    assert released["released"] == 1
    assert (await story.upcoming())["total"] == "0.50"


async def test_an_event_that_names_a_contract_to_come(story: Story) -> None:
    """It waits for the contract, and is then billed by that one alone; what another contract has
    invoiced for the same weeks stays as it is.
    """
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p", key="main")
    await story.use(event("calls", "a", q=2))
    await story.advance("2026-01-20T00:00:00Z")
    answer = await story.send(event("calls", "b", q=3, subscription="second"))
    assert answer["results"][0]["error"]["code"] == "unknown_subscription"
    await story.advance("2026-02-10T00:00:00Z")
    [january] = await story.invoices()
    assert january["total"] == "2.00"
    await story.plan("q", usage_price("calls", "calls", unit="5"))
    await story.subscribe("q", key="second", starts_at="2026-01-15T00:00:00Z", anchor="2026-01-01")
    assert await reasons(story) == {}
    first, second = await story.invoices()
    assert first == january
    assert (second["total"], second["period"]["from"]) == ("15.00", "2026-01-15T00:00:00Z")
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["2.00", "15.00"]


async def test_what_is_released_into_an_invoiced_month_is_adjusted(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p")
    await story.send(event("calls", "a", q=2), event("calls", "b", q=-3))
    await story.advance("2026-02-10T00:00:00Z")
    assert totals(await story.invoices()) == ["2.00"]
    await story.meter("calls", allow_negative=True)
    await story.ask("POST", "/v1/events/release", json={"type": "calls"})
    # -1 in all: the 2.00 are given back, and 1.00 beyond, to the wallet.
    await story.advance("2026-03-01T02:00:00Z")
    _, february = await story.invoices()
    assert amounts(february, "kind", "quantity", "amount") == [
        ("usage", "0", "0.00"), ("adjustment", "-3", "-3.00"),
    ]  # fmt: skip
    assert (february["total"], february["amount_due"]) == ("-3.00", "0.00")
    assert await story.available() == "3"


async def test_the_money_at_stake_is_shown(story: Story) -> None:
    """Of an unknown speed 10 minutes are worth 1.00 each at most, of each event's other price
    0.50; what cannot be read is counted and has no amount.
    """
    await story.customer()
    await story.meter("minutes", event_type="video", dimensions=["speed"])
    await story.meter("videos", "count", event_type="video")
    rates = [
        {"match": {"speed": "fast"}, "unit": "1.00"},
        {"match": {"speed": "standard"}, "unit": "0.40"},
    ]
    video = usage_price("video", "minutes", unit=None, model="dimensional", rates=rates)
    video |= {"dimensions": ["speed"], "otherwise": "quarantine"}
    await story.plan("x", video, usage_price("each", "videos", unit="0.50"))
    await story.subscribe("x")
    await story.send(
        event("video", "a", speed="turbo", q=10), event("video", "b", speed="turbo", q="x"),
        event("audio", "c", q=5), event("video", "d", speed="fast", q=1),
    )  # fmt: skip
    waiting = await story.everything("/v1/events", customer="acme", status="quarantined")
    each = {"price": "each", "asset": "USD", "amount": "0.5", "amount_min": "0.5"}
    assert {one["id"]: one["at_stake"] for one in waiting} == {
        "a": [{"price": "video", "asset": "USD", "amount": "10", "amount_min": "4"}, each],
        "b": [each],
        "c": [],
    }
    found = await story.ask("GET", "/v1/quarantine", params={"customer": "acme"})
    assert found["complete"]
    once = {"asset": "USD", "amount": "0.5", "amount_min": "0.5"}
    assert [
        (one["reason"], one["events"], one["at_stake"], one["unpriced"]) for one in found["data"]
    ] == [
        ("no_meter", 1, [], 1),
        ("non_numeric_value", 1, [once], 0),
        # 10 minutes at 0.40 to 1.00, and 0.50
        ("unmatched_dimension", 1, [{"asset": "USD", "amount": "10.5", "amount_min": "4.5"}], 0),
    ]
    await story.send(event("video", "e", "2025-12-31T00:00:00Z", customer="globex", q=1))
    rows = await story.everything("/v1/reports/quarantine")
    assert [(one["reason"], one["customer"], one["type"], one["events"]) for one in rows] == [
        ("no_meter", "acme", "audio", 1), ("non_numeric_value", "acme", "video", 1),
        ("unknown_customer", "globex", "video", 1), ("unmatched_dimension", "acme", "video", 1),
    ]  # fmt: skip
    assert (rows[2]["oldest"], rows[2]["at_stake"]) == ("2025-12-31T00:00:00Z", [])
    assert rows[2]["unpriced_because"] == "Nobody's prices apply until there is such a customer."
    assert rows[3]["unpriced_because"] is None
