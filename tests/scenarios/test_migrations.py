"""Moving everybody on a plan: who would pay more, then the move, page by page, and again."""

from tests.scenarios.story import Json, Story, amounts, event, flat, totals, usage_price

SEATS = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "10.00", "timing": "advance"}


async def three_customers(story: Story) -> dict[str, str]:
    """On version 1 of `api`: 100.00 in advance and 0.10 a call; version 2 is 50.00 and 0.50.
    `busy` has made 1,000 calls by the 11th, `quiet` none, `even` 125.
    """
    await story.meter("calls")
    await story.plan("api", flat("base", "100.00", timing="advance"),
                     usage_price("calls", "calls", unit="0.10"))  # fmt: skip
    found = {}
    for name in ("busy", "even", "quiet"):
        await story.customer(name)
        found[name] = await story.subscribe("api", name)
    await story.advance("2026-01-11T00:00:00Z")
    for name, calls in (("busy", 1000), ("even", 125)):
        await story.use(event("calls", name, "2026-01-05T00:00:00Z", customer=name, q=calls))
    await story.plan("api", flat("base", "50.00", timing="advance"),
                     usage_price("calls", "calls", unit="0.50"))  # fmt: skip
    return found


async def impacts(story: Story, plan: str, **body: object) -> tuple[list[Json], list[Json]]:
    """All rows of the impact list, and the totals of its pages."""
    rows: list[Json] = []
    sums: list[Json] = []
    cursor: Json = {}
    while True:
        page = await story.ask(
            "POST", f"/v1/plans/{plan}/preview_migration", json={**body, **cursor}
        )
        rows += page["data"]
        sums.append(page["totals"])
        if page["next_cursor"] is None:
            return rows, sums
        cursor = {"cursor": page["next_cursor"]}


async def test_who_pays_more_and_the_move(story: Story) -> None:
    contracts = await three_customers(story)
    rows, [sums] = await impacts(story, "api")
    found = {
        row["customer"]: (row["before"], row["after"], row["difference"], row["percent"])
        for row in rows
    }
    # A whole month with the calls so far: 100 + 0.1 q against 50 + 0.5 q.
    assert found == {
        "busy": ("200.00", "550.00", "350.00", "175"),
        "even": ("112.50", "112.50", "0.00", "0"),
        "quiet": ("100.00", "50.00", "-50.00", "-50"),
    }
    assert sums == {
        "currency": "USD", "before": "412.50", "after": "712.50", "difference": "300.00",
        "rising": 1, "falling": 1, "unchanged": 1,
    }  # fmt: skip
    assert rows[0]["from"] == {"plan": "api", "version": 1}
    assert rows[0]["to"] == {"plan": "api", "version": 2}
    assert rows[0]["warnings"] == []

    path = "/v1/plans/api/migrate"
    first = await story.ask("POST", path, json={"limit": 2})
    assert (first["migrated"], first["skipped"]) == (2, [])
    second = await story.ask("POST", path, json={"limit": 2, "cursor": first["next_cursor"]})
    assert (second["migrated"], second["next_cursor"]) == (1, None)
    again = await story.ask("POST", path, json={})
    assert (again["migrated"], again["unchanged"], again["skipped"]) == (0, 3, [])
    assert await impacts(story, "api") == ([], [
        {"currency": None, "before": "0", "after": "0", "difference": "0", "rising": 0,
         "falling": 0, "unchanged": 0},
    ])  # fmt: skip

    # January at the old terms; the fee of February, due in advance, at the new ones.
    await story.advance("2026-02-01T01:00:00Z")
    [_, invoice] = await story.invoices("busy")
    assert amounts(invoice) == [("base", "1", "50.00"), ("calls", "1000", "100.00")]
    shown = await story.ask("GET", f"/v1/subscriptions/{contracts['busy']}")
    assert (shown["plan"], shown["version"]) == ("api", 2)


async def test_pages_of_the_impact_list(story: Story) -> None:
    await three_customers(story)
    rows, sums = await impacts(story, "api", limit=1)
    assert [row["customer"] for row in rows] == ["busy", "even", "quiet"]
    assert [one["difference"] for one in sums] == ["350.00", "0.00", "-50.00"]
    assert await story.invoices("busy", status="draft") == []


async def test_what_stands_in_the_way_is_told_and_stops_nobody(story: Story) -> None:
    """To a plan with seats, which nobody has; and one customer is bound for another plan."""
    contracts = await three_customers(story)
    await story.plan("other", flat("base", "1.00"))
    await story.plan("team", SEATS)
    await story.change(contracts["even"], plan="other", at="period_end")
    body = {"to_plan": "team", "at": "period_end"}
    rows, [sums] = await impacts(story, "api", **body)
    assert [[one["code"] for one in row["warnings"]] for row in rows] == [["required"]] * 3
    assert [row["after"] for row in rows] == [None, None, None]
    assert sums["before"] == "0"
    moved = await story.ask("POST", "/v1/plans/api/migrate", json=body)
    assert (moved["migrated"], moved["unchanged"]) == (0, 0)
    assert [one["code"] for one in moved["skipped"]] == ["required"] * 3

    moved = await story.ask("POST", "/v1/plans/api/migrate", json={})
    assert moved["migrated"] == 2
    [skipped] = moved["skipped"]
    assert (skipped["customer"], skipped["code"]) == ("even", "other_plan")
    shown = await story.ask("GET", f"/v1/subscriptions/{contracts['even']}")
    assert [phase["plan"] for phase in shown["phases"]] == ["api", "other"]


async def test_some_by_their_ids_and_versions(story: Story) -> None:
    contracts = await three_customers(story)
    path = "/v1/plans/api/migrate"
    body: Json = {"subscriptions": [contracts["quiet"], "sub_nobody"], "at": "now"}
    moved = await story.ask("POST", path, json=body)
    assert (moved["migrated"], moved["unchanged"]) == (1, 0)
    [skipped] = moved["skipped"]
    assert (skipped["subscription"], skipped["code"]) == ("sub_nobody", "not_found")
    rows, _ = await impacts(story, "api", from_versions=[1])
    assert [row["customer"] for row in rows] == ["busy", "even"]
    # Back to version 1: the fee of the rest of the month is 100 - 50 = 50 a month more.
    back = await story.ask("POST", path, json={"to_version": 1, "from_versions": [2], "at": "now"})
    assert back["migrated"] == 1
    shown = await story.ask("GET", f"/v1/subscriptions/{contracts['quiet']}")
    assert shown["version"] == 1


async def test_the_same_key_moves_once(story: Story) -> None:
    await three_customers(story)
    headers = {"Idempotency-Key": "move-1"}
    first = await story.ask("POST", "/v1/plans/api/migrate", json={}, headers=headers)
    again = await story.ask("POST", "/v1/plans/api/migrate", json={}, headers=headers)
    assert first == again
    assert first["migrated"] == 3


async def test_what_is_not_there(story: Story) -> None:
    await three_customers(story)
    for key, body in (
        ("nothing", {}), ("api", {"to_version": 9}), ("api", {"to_plan": "nothing"}),
    ):  # fmt: skip
        for step in ("preview_migration", "migrate"):
            found = await story.refused("POST", f"/v1/plans/{key}/{step}", json=body)
            assert found == (404, "not_found")


async def test_an_invoiced_time_is_not_moved(story: Story) -> None:
    """A move dated before the last final invoice would change it: every customer is left alone."""
    await three_customers(story)
    await story.advance("2026-02-03T00:00:00Z")
    body = {"at": "2026-01-20T00:00:00Z"}
    rows, _ = await impacts(story, "api", **body)
    assert {row["warnings"][0]["code"] for row in rows} == {"too_early"}
    moved = await story.ask("POST", "/v1/plans/api/migrate", json=body)
    assert [one["code"] for one in moved["skipped"]] == ["too_early"] * 3
    assert totals(await story.invoices("quiet")) == ["100.00", "100.00"]


async def test_new_terms_price_what_the_old_ones_do_not(story: Story) -> None:
    """The other plan charges by image, which nothing counts for a price now; and by the year."""
    await three_customers(story)
    await story.meter("images")
    await story.plan("vision", usage_price("calls", "calls", unit="0.20"),
                     usage_price("images", "images", unit="1"), period="year")  # fmt: skip
    rows, _ = await impacts(story, "api", to_plan="vision", at="now")
    [busy] = [row for row in rows if row["customer"] == "busy"]
    # 100 + 1,000 x 0.10 against 1,000 x 0.20
    assert (busy["before"], busy["after"]) == ("200.00", "200.00")
    assert [one["code"] for one in busy["warnings"]] == ["unpriced_usage", "other_period"]
