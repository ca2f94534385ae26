"""Dimensions of which a client sends more values than are kept apart: the total stays right, the
tail is counted as one and shown as such.
"""

import asyncio
from typing import Any

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.conftest import check_books
from tests.scenarios.story import START, Json, Story, amounts, event, usage_price

JANUARY = {"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "customer": "acme"}


def uses(*models: str, day: str = "2026-01-01", **fields: Any) -> list[Json]:
    """An event of 1 for each model, named by it and the day."""
    return [
        event("m", f"{day}-{model}", f"{day}T00:00:00Z", q=1, model=model, **fields)
        for model in models
    ]


async def groups(story: Story, window: str = "month", **parameters: Any) -> list[tuple[str, str]]:
    rows = await story.usage("m", window=window, group_by="model", **{**JANUARY, **parameters})
    return [(row["group"]["model"], row["value"]) for row in rows]


async def test_the_tail_is_counted_as_one_but_for_what_rates_name(story: Story) -> None:
    await story.customer()
    await story.meter("m", dimensions=["model"], dimension_limit=2)
    rates = [{"match": {"model": "a"}, "unit": "1"}, {"match": {"model": "z"}, "unit": "5"}]
    await story.plan(
        "p", usage_price("all", "m", unit="1"),
        usage_price("rated", "m", model="dimensional", dimensions=["model"], rates=rates,
                    otherwise={"model": "graduated", "tiers": [{"up_to": "3", "unit": "2"},
                                                               {"unit": "0.5"}]}),
        usage_price("drawn", "m", unit="0.1", settle="wallet",
                    multipliers=[{"when": {"batch": True}, "factor": "0.5"}]),
    )  # fmt: skip
    subscription = await story.subscribe("p")
    await story.advance("2026-01-05T00:00:00Z")
    await story.use(*uses("a", "b", "c", "d"))
    await story.use(*uses("z", "e", "b", "f", day="2026-01-02", batch=True))
    await story.use(*uses("a", "c", day="2026-01-03"))
    # a and b came first; c, d, z, e, f and c again are the tail
    expected = [("@other", "6"), ("a", "2"), ("b", "2")]
    assert await groups(story) == expected
    minutes = [
        ("@other", "2"),
        ("a", "1"),
        ("b", "1"),
        ("@other", "3"),
        ("b", "1"),
        ("@other", "1"),
    ]
    assert await groups(story, "minute") == [*minutes, ("a", "1")]
    bill = [
        ("all", "10", "10.00"), ("rated", "2", "2.00"), ("rated", "1", "5.00"),
        ("rated", "7", "8.00"),  # b, c, d, e, f: 3 x 2 + 4 x 0.5
    ]  # fmt: skip
    assert amounts(await story.upcoming()) == bill
    # 6 x 0.1 + 4 x 0.1 x 0.5
    assert await story.available() == "-0.8"
    # Counted again by another plan from the second on: the same values are the tail.
    await story.plan("p", usage_price("all", "m", unit="3"))
    await story.change(subscription, version=2, at="2026-01-02T00:00:00Z")
    assert amounts(await story.upcoming()) == [
        ("all", "4", "4.00"), ("all", "6", "18.00"), ("rated", "1", "1.00"), ("rated", "3", "6.00"),
    ]  # fmt: skip
    assert await groups(story) == expected


async def test_corrections_fold_as_the_events_did(story: Story) -> None:
    await story.customer()
    await story.meter("m", dimensions=["model"], dimension_limit=1)
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(*uses("a", "b", "c"))
    who = {"customer": "acme", "source": "", "reason": "wrong"}
    await story.ask("POST", "/v1/events/2026-01-01-c/void", json=who)
    amended = {**who, "data": {"q": 5, "model": "d"}}
    await story.ask("POST", "/v1/events/2026-01-01-b/amend", json=amended)
    assert await groups(story) == [("@other", "5"), ("a", "1")]
    assert amounts(await story.upcoming()) == [("m", "6", "6.00")]


async def test_another_month_and_another_version_begin_anew(story: Story) -> None:
    await story.customer()
    await story.meter("m", "count", dimensions=["model"], dimension_limit=1)
    await story.plan("p", usage_price("m", "m", unit="1"))
    await story.subscribe("p")
    await story.use(*uses("a", "b"))
    await story.advance("2026-02-02T00:00:00Z")
    await story.use(*uses("b", "a", day="2026-02-01"))
    february = {"from": "2026-02-01T00:00:00Z", "to": "2026-03-01T00:00:00Z"}
    assert await groups(story) == [("@other", "1"), ("a", "1")]
    assert await groups(story, **february) == [("@other", "1"), ("b", "1")]
    await story.meter("m", "count", dimensions=["model"], dimension_limit=3)
    await story.use(*uses("c", "a", "d", "e", day="2026-02-02"))  # of this version, three are kept
    assert await groups(story, **february) == [
        ("@other", "2"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "1"),
    ]  # fmt: skip
    story.audited = False  # the API shows the newest version only


async def test_a_hundred_times_more_values_than_are_kept(story: Story) -> None:
    await story.customer()
    await story.meter("m", dimensions=["model", "team"], dimension_limit=50)
    await story.plan("p", usage_price("m", "m", unit="0.01"))
    await story.subscribe("p")
    names = [f"v{n}" for n in range(5_000)]
    for begin in range(0, 5_000, 1_000):
        await story.use(*uses(*names[begin : begin + 1_000], team="one"))
    again = await story.send(*uses(*names[:1_000], team="one"))
    assert again["duplicates"] == 1_000
    assert amounts(await story.upcoming()) == [("m", "5000", "50.00")]
    rows = dict(await groups(story))
    assert (len(rows), rows["@other"], rows["v0"], rows["v49"]) == (51, "4950", "1", "1")
    # A window that cuts the hour is counted from the events, and folds them alike.
    cut = dict(await groups(story, "total", to="2026-01-01T00:30:00Z"))
    assert cut == rows


async def test_two_processes_keep_the_same_values(database_url: str, anyio_backend: str) -> None:
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False,
        lanes=2,
    )  # fmt: skip
    first, second = await open_instance(settings), await open_instance(settings)
    try:
        async with client_for(first, ROOT_KEY) as one, client_for(second, ROOT_KEY) as other:
            stories = (Story(one), Story(other))
            await stories[0].customer()
            await stories[0].meter("m", dimensions=["model"], dimension_limit=20)
            await stories[0].plan("p", usage_price("m", "m", unit="1"))
            await stories[0].subscribe("p")
            events = [
                event("m", f"e{n}", f"2026-01-01T00:00:{n % 60:02}Z", q=1, model=f"v{n % 40}")
                for n in range(400)
            ]
            parts = [events[part::8] for part in range(8)]
            sent = [
                stories[number % 2].use(*part[begin : begin + 5])
                for number, part in enumerate(parts)
                for begin in range(0, len(part), 5)
            ]
            await asyncio.gather(*sent)
            rows = dict(await groups(stories[0]))
            # Twenty values of ten each are kept, the other twenty are one.
            assert (len(rows), rows.pop("@other")) == (21, "200")
            assert set(rows.values()) == {"10"}
            await check_books(first)
    finally:
        await second.close()
        await first.close()
