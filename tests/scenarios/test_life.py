"""The life of a subscription: overrides, ramps, trials, pauses, and changes between them."""

from tests.scenarios.story import Story, amounts, event, flat, span, totals, usage_price


async def test_a_ramp_by_percent_compounds(story: Story) -> None:
    """gallery.md, 19: yearly 100,000, then 5% more each year."""
    await story.customer()
    await story.plan("p", flat("fee", "100000"), period="year")
    phases = [{"after": after, "adjust_percent": "5"} for after in ("P1Y", "P2Y")]
    await story.subscribe("p", phases=phases, term="P3Y")
    await story.advance("2029-02-01T00:00:00Z")
    # 100,000 x 1.05 = 105,000; 105,000 x 1.05 = 110,250
    assert totals(await story.invoices()) == ["100000.00", "105000.00", "110250.00"]


async def test_a_ramp_by_amount(story: Story) -> None:
    """gallery.md, 19: 100,000 + 105,000 + 110,000 = 315,000."""
    await story.customer()
    await story.plan("p", flat("fee", "100000"), period="year")
    phases = [
        {"after": f"P{n}Y", "overrides": {"fee": {"amount": amount}}}
        for n, amount in ((1, "105000"), (2, "110000"))
    ]
    await story.subscribe("p", phases=phases, term="P3Y")
    await story.advance("2029-02-01T00:00:00Z")
    found = totals(await story.invoices())
    assert found == ["100000.00", "105000.00", "110000.00"]
    assert sum(float(one) for one in found) == 315_000


async def test_tiers_of_ones_own_from_the_middle_of_a_month(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    tiers = [{"up_to": "10", "unit": "0"}, {"unit": "2"}]
    await story.plan("p", usage_price("calls", "calls", model="graduated", tiers=tiers))
    subscription = await story.subscribe("p")
    await story.use(event("calls", "a", "2026-01-01T00:00:00Z", q=25))
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(event("calls", "b", q=30))
    own = {"calls": {"tiers": [{"up_to": "5", "unit": "0"}, {"unit": "1.50"}]}}
    changed = await story.change(subscription, overrides=own, at="2026-01-15T00:00:00Z")
    assert changed["overrides"] == own
    # (25 - 10) x 2 = 30; the 30 of the 20th: (30 - 5) x 1.50 = 37.50
    assert amounts(await story.upcoming()) == [("calls", "25", "30.00"), ("calls", "30", "37.50")]
    # A change of something else keeps them; {} takes them back.
    await story.change(subscription, overrides={}, at="2026-01-18T00:00:00Z")
    # (30 - 10) x 2 = 40
    assert amounts(await story.upcoming())[-1] == ("calls", "30", "40.00")
    await story.advance("2026-02-01T02:00:00Z")
    assert totals(await story.invoices()) == ["70.00"]


async def test_overrides_are_kept_on_a_plan_that_has_the_price(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("a", flat("fee", "310.00"), usage_price("calls", "calls", unit="1"))
    await story.plan("b", flat("fee", "620.00"))
    own = {"fee": {"amount": "155.00"}, "calls": {"unit": "0.5"}}
    subscription = await story.subscribe("a", overrides=own)
    await story.use(event("calls", "a", q=10))
    changed = await story.change(subscription, plan="b", at="period_end")
    assert changed["phases"][-1]["overrides"] == {"fee": {"amount": "155.00"}}
    await story.advance("2026-02-01T02:00:00Z")
    assert [amounts(one) for one in await story.invoices()] == [
        [("fee", "1", "155.00")], [("fee", "1", "155.00"), ("calls", "10", "5.00")],
    ]  # fmt: skip


async def test_a_change_passes_on_to_what_is_planned(story: Story) -> None:
    """Seats at 20 (22 from March, by 10% more); five, seven from April; in February eight."""
    await story.customer()
    seats = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20"}
    await story.plan("p", seats)
    subscription = await story.subscribe(
        "p",
        quantities={"seats": "5"},
        phases=[
            {"after": "P2M", "adjust_percent": "10"},
            {"after": "P3M", "quantities": {"seats": 7}},
        ],
    )
    await story.advance("2026-02-01T00:00:00Z")
    await story.change(subscription, quantities={"seats": "8"}, at="2026-02-01T00:00:00Z")
    await story.advance("2026-05-10T00:00:00Z")
    # 5 x 20; 8 x 20; 8 x 22; 7 x 22
    found = [one["lines"][-1]["amount"] for one in await story.invoices()]
    assert found[:4] == ["100.00", "160.00", "176.00", "154.00"]


async def test_a_move_to_another_plan_ends_what_was_planned_for_the_old_one(story: Story) -> None:
    await story.customer()
    await story.plan("a", flat("fee", "100.00"))
    await story.plan("b", flat("fee", "50.00"))
    await story.plan("c", flat("fee", "10.00"))
    subscription = await story.subscribe(
        "a",
        phases=[
            {"after": "P2M", "adjust_percent": "10"},
            {"after": "P3M", "plan": "c"},
            {"after": "P4M", "adjust_percent": "-50"},
        ],
    )
    changed = await story.change(subscription, plan="b", at="period_end")
    plans = [(phase["plan"], phase["adjust_percent"]) for phase in changed["phases"]]
    assert plans == [("a", None), ("b", None), ("c", None), ("c", "-50")]
    await story.advance("2026-05-10T00:00:00Z")
    found = [one["lines"][0]["amount"] for one in await story.invoices()]
    assert found == ["100.00", "50.00", "50.00", "10.00", "5.00"]


async def test_a_trial_is_free_and_then_fees_begin(story: Story) -> None:
    """14 days from 1 January; 17 of 31 days of 31.00 are billed when it ends."""
    await story.customer()
    await story.meter("calls")
    await story.plan(
        "p", flat("fee", "31.00"), usage_price("calls", "calls", unit="1"),
        trial_days=14, minimum="62.00",
    )  # fmt: skip
    subscription = await story.subscribe("p")
    shown = await story.ask("GET", f"/v1/subscriptions/{subscription}")
    assert (shown["status"], shown["trial_ends_at"]) == ("trialing", "2026-01-15T00:00:00Z")
    await story.use(event("calls", "a", q=100))
    assert await story.invoices() == []
    assert amounts(await story.upcoming()) == [("fee", "1", "17.00"), ("calls", "100", "0.00")]
    await story.advance("2026-01-15T02:00:00Z")
    await story.use(event("calls", "b", q=4))
    shown = await story.ask("GET", f"/v1/subscriptions/{subscription}")
    assert shown["status"] == "active"
    await story.advance("2026-02-01T02:00:00Z")
    [trial, january] = await story.invoices()
    assert amounts(trial) == [("fee", "1", "17.00"), ("calls", "100", "0.00")]
    assert [step["text"] for step in trial["lines"][1]["tiers"]] == [
        "100 at 1", "discount of 100%",
    ]  # fmt: skip
    assert span(january) == ("2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z")
    # The minimum of 17 of 31 days is 34.00, less 17.00 and 4.00.
    assert amounts(january) == [
        ("fee", "1", "31.00"), ("calls", "4", "4.00"), (None, "1", "13.00"),
    ]  # fmt: skip


async def test_a_trial_that_is_cancelled_owes_nothing(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    prices = [flat("fee", "31.00"), flat("late", "9.00", timing="arrears"),
              usage_price("calls", "calls", unit="1")]  # fmt: skip
    await story.plan("p", *prices, trial_days=14, minimum="62.00")
    subscription = await story.subscribe("p")
    await story.use(event("calls", "a", q=100))
    await story.advance("2026-01-10T00:00:00Z")
    ended = await story.cancel(subscription, at="now")
    assert [phase["status"] for phase in ended["phases"]] == ["trialing"]
    await story.advance("2026-03-01T00:00:00Z")
    assert totals(await story.invoices()) == ["0.00"]  # it says what was used


async def test_another_plan_gives_no_second_trial(story: Story) -> None:
    await story.customer()
    await story.plan("a", flat("fee", "31.00"), trial_days=14)
    await story.plan("b", flat("fee", "62.00"), trial_days=30)
    subscription = await story.subscribe("a")
    await story.advance("2026-01-05T00:00:00Z")
    changed = await story.change(subscription, plan="b")
    assert changed["trial_ends_at"] == "2026-01-15T00:00:00Z"
    await story.advance("2026-01-20T00:00:00Z")
    await story.change(subscription, plan="a")
    await story.advance("2026-02-01T02:00:00Z")
    # 17 of 31 days of 62.00; then 12 of 31 days back at 62.00 and again at 31.00, and February
    assert totals(await story.invoices()) == ["34.00", "19.00"]


async def test_a_yearly_plan_is_billed_when_its_trial_ends(story: Story) -> None:
    await story.customer()
    await story.plan("p", flat("fee", "365.00"), period="year", trial_days=60)
    await story.subscribe("p", trial_days=14)
    await story.subscribe("p", trial_days=0)
    await story.advance("2026-02-01T00:00:00Z")
    assert sorted(totals(await story.invoices())) == ["351.00", "365.00"]


async def test_a_pause_in_a_month(story: Story) -> None:
    """Paused from the 11th to the 21st of April: 10 of 30 days of 30.00 come back."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", flat("fee", "30.00"), usage_price("calls", "calls", unit="1"))
    await story.advance("2026-04-01T00:00:00Z")
    subscription = await story.subscribe("p")
    await story.use(event("calls", "a", q=1))
    await story.advance("2026-04-11T00:00:00Z")
    path = f"/v1/subscriptions/{subscription}"
    paused = await story.ask("POST", f"{path}/pause", json={})
    assert paused["status"] == "paused"
    assert await story.refused("POST", f"{path}/pause", json={}) == (409, "invalid_state")
    await story.advance("2026-04-15T00:00:00Z")
    await story.use(event("calls", "b", q=1000))
    await story.advance("2026-04-21T00:00:00Z")
    assert (await story.ask("POST", f"{path}/resume", json={}))["status"] == "active"
    assert await story.refused("POST", f"{path}/resume", json={}) == (409, "invalid_state")
    await story.use(event("calls", "c", q=2))
    await story.advance("2026-05-01T02:00:00Z")
    assert [amounts(one) for one in await story.invoices()] == [
        [("fee", "1", "30.00")],
        [
            ("fee", "1", "-20.00"), ("fee", "1", "10.00"), ("fee", "1", "30.00"),
            ("calls", "1", "1.00"), ("calls", "2", "2.00"),
        ],
    ]  # fmt: skip


async def test_a_pause_that_ends_by_itself(story: Story) -> None:
    """At the period's end, for two months; the minimum rests as well."""
    await story.customer()
    await story.plan("p", flat("fee", "30.00"), minimum="40.00")
    subscription = await story.subscribe("p")
    path = f"/v1/subscriptions/{subscription}/pause"
    body = {"at": "period_end", "until": "2026-03-16T00:00:00Z"}
    paused = await story.ask("POST", path, json=body)
    assert [phase["status"] for phase in paused["phases"]] == ["active", "paused", "active"]
    await story.advance("2026-04-01T02:00:00Z")
    # January, its true-up; 16 of 31 days of March at 30.00 (15.48) and of 40.00 (20.65), April
    assert [amounts(one, "price", "amount") for one in await story.invoices()] == [
        [("fee", "30.00")],
        [(None, "10.00")],
        [("fee", "15.48"), ("fee", "30.00"), (None, "5.17")],
    ]  # fmt: skip


async def test_a_planned_pause_is_taken_back(story: Story) -> None:
    await story.customer()
    await story.plan("p", flat("fee", "30.00"))
    subscription = await story.subscribe("p")
    path = f"/v1/subscriptions/{subscription}"
    body = {"at": "2026-02-10T00:00:00Z", "until": "2026-02-20T00:00:00Z"}
    await story.ask("POST", f"{path}/pause", json=body)
    back = await story.ask("POST", f"{path}/resume", json={"at": "2026-02-10T00:00:00Z"})
    assert {phase["status"] for phase in back["phases"]} == {"active"}
    await story.advance("2026-03-01T02:00:00Z")
    assert totals(await story.invoices()) == ["30.00", "30.00", "30.00"]


async def test_a_pause_without_proration_waits_for_the_period_s_end(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", flat("fee", "30.00"), usage_price("calls", "calls", unit="1"))
    subscription = await story.subscribe("p")
    await story.advance("2026-01-10T00:00:00Z")
    path = f"/v1/subscriptions/{subscription}/pause"
    body = {"until": "2026-02-10T00:00:00Z", "proration": "none"}
    await story.ask("POST", path, json=body)
    await story.use(event("calls", "a", q=5))
    await story.advance("2026-03-01T02:00:00Z")
    # January is paid and stays so; February is not billed, fees begin again in March.
    assert totals(await story.invoices()) == ["30.00", "30.00"]


async def test_a_cancel_during_a_pause(story: Story) -> None:
    await story.customer()
    await story.plan("p", flat("fee", "31.00"))
    subscription = await story.subscribe("p")
    await story.advance("2026-01-11T00:00:00Z")
    path = f"/v1/subscriptions/{subscription}/pause"
    await story.ask("POST", path, json={"until": "2026-03-01T00:00:00Z"})
    await story.advance("2026-01-20T00:00:00Z")
    ended = await story.cancel(subscription, at="now")
    assert [phase["status"] for phase in ended["phases"]] == ["active", "paused"]
    await story.advance("2026-04-01T00:00:00Z")
    # 31.00, less 21 of 31 days
    assert totals(await story.invoices()) == ["31.00", "-21.00"]


async def test_aligned_with_the_calendar(story: Story) -> None:
    """From 16 January: 16 of 31 days of 31.00, then whole months from the 1st."""
    await story.customer(timezone="America/New_York")
    await story.plan("p", flat("fee", "31.00"))
    await story.advance("2026-01-16T15:00:00Z")
    subscription = await story.subscribe("p", align="calendar")
    shown = await story.ask("GET", f"/v1/subscriptions/{subscription}")
    assert shown["anchor"] == "2026-01-01T00:00:00"
    await story.advance("2026-03-02T00:00:00Z")
    found = await story.invoices()
    assert totals(found) == ["16.00", "31.00", "31.00"]
    assert span(found[1])[1] == "2026-02-01T05:00:00Z"
    for body in ({"anchor": "2026-01-01"}, {"term": "P1Y", "ends_at": "2027-01-01T00:00:00Z"}):
        json = {"customer": "acme", "plan": "p", "align": "calendar", **body}
        assert (await story.refused("POST", "/v1/subscriptions", json=json))[0] == 422


SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "30"}


async def test_several_changes_of_seats_in_a_month(story: Story) -> None:
    """30 days of April at 30 a seat: 5, on the 11th 8, on the 21st 6."""
    await story.customer()
    await story.plan("p", SEATS)
    await story.advance("2026-04-01T00:00:00Z")
    subscription = await story.subscribe("p", quantities={"seats": "5"})
    for day, seats in ((11, "8"), (21, "6")):
        await story.advance(f"2026-04-{day}T09:00:00Z")
        await story.change(subscription, quantities={"seats": seats})
    await story.advance("2026-05-01T02:00:00Z")
    # 150; 20 of 30 days: -100 + 160; 10 of 30 days: -80 + 60; May 180
    assert [amounts(one) for one in await story.invoices()] == [
        [("seats", "5", "150.00")],
        [
            ("seats", "5", "-100.00"), ("seats", "8", "160.00"), ("seats", "8", "-80.00"),
            ("seats", "6", "60.00"), ("seats", "6", "180.00"),
        ],
    ]  # fmt: skip


async def test_a_seat_that_comes_and_goes_on_one_day(story: Story) -> None:
    """By day it costs nothing; by second 6 of the 720 hours of April: 30 x 6 / 720 = 0.25."""
    for customer, proration in (("a", "by_day"), ("b", "by_second")):
        await story.customer(customer)
        await story.plan("p", SEATS)
        subscription = await story.subscribe(
            "p", customer, quantities={"seats": "1"}, starts_at="2026-04-01T00:00:00Z"
        )
        for hour, seats in ((9, "2"), (15, "1")):
            await story.change(
                subscription, quantities={"seats": seats}, proration=proration,
                at=f"2026-04-10T{hour:02d}:00:00Z",
            )  # fmt: skip
        await story.cancel(subscription, at="2026-05-01T00:00:00Z")
    await story.advance("2026-05-01T02:00:00Z")
    found = {key: totals(await story.invoices(key)) for key in ("a", "b")}
    assert found == {"a": ["30.00", "0.00"], "b": ["30.00", "0.25"]}


async def test_a_downgrade_that_is_taken_back(story: Story) -> None:
    await story.customer()
    await story.plan("big", flat("fee", "50.00"))
    await story.plan("small", flat("fee", "30.00"))
    subscription = await story.subscribe("big")
    await story.change(subscription, plan="small", at="period_end")
    back = await story.change(subscription, plan="big", at="2026-02-01T00:00:00Z")
    assert {phase["plan"] for phase in back["phases"]} == {"big"}
    await story.change(subscription, plan="small", at="2026-03-01T00:00:00Z")
    await story.advance("2026-03-02T00:00:00Z")
    assert totals(await story.invoices()) == ["50.00", "50.00", "30.00"]


async def test_an_upgrade_by_each_proration(story: Story) -> None:
    """examples.md, policy 4: 30.00 to 50.00 on 11 April, and at noon of that day by second."""
    await story.plan("a", flat("fee", "30.00"))
    await story.plan("b", flat("fee", "50.00"))
    expected = {
        # -20.00 + 33.33, and May
        "by_day": ["30.00", "63.33"],
        # 19.5 of 30 days: -19.50 + 32.50
        "by_second": ["30.00", "63.00"],
        "none": ["30.00", "50.00"],
    }
    for proration in expected:
        await story.customer(proration)
        subscription = await story.subscribe("a", proration, starts_at="2026-04-01T00:00:00Z")
        await story.change(subscription, plan="b", at="2026-04-11T12:00:00Z", proration=proration)
    await story.advance("2026-05-01T02:00:00Z")
    assert {key: totals(await story.invoices(key)) for key in expected} == expected


async def test_usage_that_comes_late_for_a_ramp_and_a_trial(story: Story) -> None:
    """Each event is priced by the phase of its own time, however late it comes."""
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"), trial_days=14)
    phases = [{"after": "P1M", "adjust_percent": "100"},
              {"after": "P2M", "overrides": {"calls": {"unit": "5"}}}]  # fmt: skip
    await story.subscribe("p", phases=phases)
    await story.advance("2026-03-20T00:00:00Z")
    await story.use(
        event("calls", "trial", "2026-01-10T00:00:00Z", q=1000),
        event("calls", "january", "2026-01-20T00:00:00Z", q=10),
        event("calls", "february", "2026-02-20T00:00:00Z", q=10),
        event("calls", "march", q=10),
    )
    await story.advance("2026-04-01T02:00:00Z")
    [invoice] = await story.invoices()
    # 10 x 1 + 10 x 2 + 10 x 5
    assert sorted(amounts(invoice, "quantity", "amount")) == [
        ("10", "10.00"), ("10", "20.00"), ("10", "50.00"),
    ]  # fmt: skip


async def test_wallets_are_drawn_by_the_terms_of_the_time(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    burn = usage_price("calls", "calls", unit="1", settle="wallet")
    await story.plan("p", burn, trial_days=14)
    await story.grant("100")
    subscription = await story.subscribe("p")
    await story.use(event("calls", "a", q=10))
    assert await story.available() == "90"  # on trial as always
    await story.advance("2026-01-20T00:00:00Z")
    await story.use(event("calls", "b", q=10))
    own = {"calls": {"unit": "0.5"}}
    await story.change(subscription, overrides=own, at="2026-01-19T00:00:00Z")
    assert await story.available() == "85"  # 10 x 0.5 come back
    path = f"/v1/subscriptions/{subscription}/pause"
    await story.ask("POST", path, json={"at": "2026-01-20T00:00:00Z"})
    assert await story.available() == "90"  # nothing is priced since midnight


async def test_a_line_under_an_override_is_explained_by_it(story: Story) -> None:
    await story.customer()
    await story.meter("calls")
    await story.plan("p", usage_price("calls", "calls", unit="1"))
    await story.subscribe("p", overrides={"calls": {"unit": "0.75"}})
    await story.use(event("calls", "a", q=10))
    await story.advance("2026-02-01T02:00:00Z")
    [invoice] = await story.invoices()
    path = f"/v1/invoices/{invoice['id']}/lines/{invoice['lines'][0]['id']}/explain"
    told = await story.ask("GET", path)
    assert (told["amount"], told["plan"], told["version"]) == ("7.50", "p", 1)
    assert [step["text"] for step in told["steps"]] == ["10 at 0.75"]


async def test_a_contract_renews_until_it_is_cancelled_for_the_end_of_a_term(story: Story) -> None:
    """A year at 100.00 a month from 31 January, paid in advance: the price that comes in June
    counts from the renewal on 31 January 2027; the cancel of 2027 ends it a year later.
    """
    await story.customer()
    await story.plan("x", flat("fee", "100", timing="advance"))
    contract = await story.subscribe("x", starts_at="2026-01-31T00:00:00Z", term="P1Y", renews=True)
    path = f"/v1/subscriptions/{contract}"
    first = {"duration": "P1Y", "from": "2026-01-31T00:00:00Z", "to": "2027-01-31T00:00:00Z"}
    assert (await story.ask("GET", path))["term"] == {**first, "renews": True}
    await story.advance("2026-06-10T00:00:00Z")
    await story.plan("x", flat("fee", "120", timing="advance"))
    await story.change(contract, version=2, at="term_end")
    await story.advance("2027-03-10T00:00:00Z")
    assert totals(await story.invoices()) == ["100.00"] * 12 + ["120.00"] * 2
    ended = await story.cancel(contract, at="term_end")
    assert ended["ends_at"] == "2028-01-31T00:00:00Z"
    assert ended["term"]["renews"] is False
    await story.advance("2028-06-01T00:00:00Z")
    # thirteen fees of 2026 and 2027 on 31 January are of two terms; the last is of 31 December
    assert totals(await story.invoices()) == ["100.00"] * 12 + ["120.00"] * 12


async def test_what_has_no_term_has_no_end_of_one(story: Story) -> None:
    await story.customer()
    await story.plan("x", flat("fee", "1"))
    body = {"customer": "acme", "plan": "x", "renews": True}
    assert await story.refused("POST", "/v1/subscriptions", json=body) == (422, "required")
    body["term"] = "P7D"
    assert await story.refused("POST", "/v1/subscriptions", json=body) == (422, "too_short")
    contract = await story.subscribe("x")
    path = f"/v1/subscriptions/{contract}/cancel"
    assert await story.refused("POST", path, json={"at": "term_end"}) == (422, "no_term")
    assert (await story.ask("GET", f"/v1/subscriptions/{contract}"))["term"] is None
