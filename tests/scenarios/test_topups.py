"""A quarter of a customer whose wallet is topped up by itself."""

from tests.scenarios.story import Story, event, usage_price


async def test_a_wallet_is_topped_up_by_itself_over_months(story: Story) -> None:
    await story.customer(enforcement="soft", timezone="Europe/Paris")
    await story.meter("calls")
    await story.plan("prepaid", usage_price("use", "calls", unit="1", settle="wallet"))
    await story.subscribe("prepaid", starts_at="2026-01-01T00:00:00Z")
    await story.grant("50", kind="promotional", expires_at="2026-01-20T00:00:00Z")
    await story.ask(
        "PUT", "/v1/customers/acme/auto_topup",
        json={"asset": "USD", "threshold": "20", "target": "100", "max_per_day": "200",
              "max_per_month": "250", "expires_after": "P2M"},
    )  # fmt: skip

    # 40 are enough; the grant that expires on 20 January leaves nothing: 100 are bought.
    await story.use(event("calls", "a", q="10"))
    await story.advance("2026-01-19T12:00:00Z")
    assert await story.available() == "40"  # 50 - 10
    await story.advance("2026-01-20T12:00:00Z")
    assert await story.available() == "100"

    # 90 used: 10 are left, 90 are bought. 95 used: 5 are left, and the month allows 250 - 190 = 60.
    await story.use(event("calls", "b", q="90"))
    await story.advance("2026-01-21T12:00:00Z")
    assert await story.available() == "100"
    await story.use(event("calls", "c", q="95"))
    await story.advance("2026-01-22T12:00:00Z")
    assert await story.available() == "65"

    # 60 used: 5 are left. Nothing may be bought before February, which in Paris begins at 23:00.
    await story.use(event("calls", "d", q="60"))
    await story.advance("2026-01-31T22:59:59Z")
    assert await story.available() == "5"
    await story.advance("2026-01-31T23:00:00Z")
    assert await story.available() == "100"
    bought = await story.everything("/v1/topups", customer="acme", state="paid")
    assert [(one["amount"], one["requested_at"]) for one in bought] == [
        ("100", "2026-01-20T00:00:00Z"),
        ("90", "2026-01-20T12:00:00Z"),
        ("60", "2026-01-21T12:00:00Z"),
        ("95", "2026-01-31T23:00:00Z"),
    ]

    # What was bought expires two months later: of the last 100, five are of 21 January and 95 of
    # 1 February. The five end on 21 March at noon: 95 are left, which is enough. On 31 March at
    # 22:00 (midnight in Paris, in summer by then) the 95 end, and 100 are bought.
    await story.advance("2026-03-21T12:00:00Z")
    assert await story.available() == "95"
    await story.advance("2026-03-31T22:00:00Z")
    assert await story.available() == "100"
    entries = await story.everything("/v1/customers/acme/wallet_entries")
    assert sum(int(one["amount"]) for one in entries if one["kind"] == "draw") == -255
    given = sum(int(one["amount"]) for one in entries if one["kind"] == "grant")
    assert given == 495  # 50 + 100 + 90 + 60 + 95 + 100
