"""Balances, now and in the past, and the movements that explain them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taximeter.bootstrap import Instance
from taximeter.kernel.times import format_instant
from taximeter.services.grants import repay_due
from tests.http.api import NOW, event, get, problem, put_customer, put_meter, send
from tests.http.credit import balance, give, part_of, put_wallet_price, use

DAY = timedelta(days=1)
SetClock = Callable[[datetime], None]


async def test_usage_without_a_grant_is_debt(client: httpx.AsyncClient) -> None:
    # examples.md, C4
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await use(client, "50")
    assert await balance(client) == {
        "asset": "USD", "posted": "-50", "held": "0", "available": "-50", "grants": [],
        "by_kind": {"paid": "0", "bundled": "0", "promotional": "0", "debt": "50"},
        "drawn_per_day": "50", "runs_out_at": format_instant(NOW),
        "enough_for": [{"price": "use", "meter": "tokens", "quantity": "0"}],
    }  # fmt: skip


@pytest.mark.parametrize("turned", [False, True])
async def test_the_grant_that_expires_first_burns_first_whichever_came_first(
    client: httpx.AsyncClient, set_clock: SetClock, turned: bool
) -> None:
    # examples.md, C2: 100 and 100, usage 120
    set_clock(datetime.fromisoformat("2026-01-15T00:00:00Z"))
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client, starts_at="2026-01-01T00:00:00Z")
    ends = ["2026-02-01T00:00:00Z", "2027-01-01T00:00:00Z"]
    made = {
        end: await give(client, amount="100", expires_at=end)
        for end in (ends[::-1] if turned else ends)
    }
    await use(client, "120")
    assert [await part_of(client, made[end]) for end in ends] == ["0", "80"]
    found = await balance(client)
    assert (found["posted"], len(found["grants"])) == ("80", 1)  # the used one is not listed


async def test_one_of_a_thousand_grants_that_expires_a_day_earlier_takes_it_all(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    # examples.md, C2: usage 99 of a thousand grants of 100. All but one come straight from SQL.
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    ends_at = NOW + 30 * DAY
    early = await give(client, amount="100", expires_at=format_instant(ends_at - DAY))
    async with instance.context.pool.connection() as connection:
        await connection.execute(
            """
            INSERT INTO credit_grant (customer, id, asset, kind, amount, remaining, priority,
                effective_at, expires_at, created_at)
            SELECT 'acme', 'grant_' || n, 'USD', 'paid', 100, 100, 50, %(at)s, %(end)s, %(at)s
            FROM generate_series(1, 999) n
            """,
            {"at": NOW, "end": ends_at},
        )
    await use(client, "99")
    assert await part_of(client, early) == "1"
    found = await balance(client)
    assert found["posted"] == "99901"  # 100,000 - 99
    assert [one["remaining"] for one in found["grants"]] == ["1"] + ["100"] * 999


async def test_prepaid_and_promotional_credit_cover_usage_at_list_price(
    client: httpx.AsyncClient,
) -> None:
    # examples.md, T15 (b): usage worth 15,000 at list
    await put_customer(client)
    await put_wallet_price(client)
    paid = await give(client, amount="12000")
    promotional = await give(client, amount="3000", kind="promotional")
    await use(client, "3000")
    assert [await part_of(client, one) for one in (paid, promotional)] == ["12000", "0"]
    await use(client, "12000")
    assert (await balance(client))["available"] == "0"


async def test_a_discounted_price_draws_what_was_prepaid(client: httpx.AsyncClient) -> None:
    # examples.md, T15 (a): 15,000 at list less 20% draws 12,000
    await put_customer(client)
    await put_wallet_price(client, discount={"percent": "20"})
    await give(client, amount="12000")
    await use(client, "15000")
    assert (await balance(client))["available"] == "0"


async def test_a_days_credit_repays_the_day_before(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    # as C6 of examples.md, with the day's grants made by hand
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    midnight = NOW.replace(hour=0) + DAY
    await give(client, amount="100", expires_at=format_instant(midnight))
    await use(client, "120")
    assert (await balance(client))["available"] == "-20"  # 100 - 120
    set_clock(midnight)
    await give(client, amount="100", expires_at=format_instant(midnight + DAY))
    assert (await balance(client))["available"] == "80"  # 100 - 20
    set_clock(midnight + DAY)
    assert (await balance(client))["available"] == "0"


async def test_what_expires_is_no_balance_and_comes_back_in_no_form(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await give(client, amount="100", expires_at=format_instant(NOW + DAY))
    set_clock(NOW + DAY)
    found = await balance(client)
    assert (found["posted"], found["grants"]) == ("0", [])
    await use(client, "5")
    assert (await balance(client))["posted"] == "-5"


async def test_scoped_credit_is_for_its_meters_alone(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await put_meter(client, "images", event_type="image")
    given = await give(client, amount="100", scope={"meters": ["images"]})
    await use(client, "30")
    found = await balance(client)
    assert found["posted"] == "70"  # 100 of images, and a debt of 30
    assert found["grants"] == [
        {"id": given["id"], "kind": "paid", "amount": "100", "remaining": "100", "held": "0",
         "priority": 50, "effective_at": format_instant(NOW), "expires_at": None,
         "scope": {"meters": ["images"]}, "usable": True}
    ]  # fmt: skip


async def test_grants_to_come_are_listed_but_not_counted(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await give(client, amount="5", effective_at=format_instant(NOW + DAY), priority=1)
    await give(client, amount="7")
    found = await balance(client)
    assert found["posted"] == "7"
    shown = [(one["amount"], one["usable"]) for one in found["grants"]]
    assert shown == [("5", False), ("7", True)]  # in burn order


async def test_balances_are_exact(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    await put_wallet_price(client, unit="0.000000000001")
    await give(client, amount="999999999999999999.999999999999")
    await give(client, amount="0.000000000001")
    await use(client, "1")
    assert (await balance(client))["posted"] == "999999999999999999.999999999999"


async def test_a_balance_of_the_past_is_what_it_was(
    client: httpx.AsyncClient, set_clock: SetClock
) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    first = await give(client, amount="100", expires_at=format_instant(NOW + 4 * DAY))
    set_clock(NOW + DAY)
    await use(client, "30")
    set_clock(NOW + 2 * DAY)
    await give(client, amount="50", effective_at=format_instant(NOW + 3 * DAY))
    set_clock(NOW + 5 * DAY)
    await client.post(f"/v1/grants/{first['id']}/void")
    await use(client, "60")
    microsecond = timedelta(microseconds=1)
    expected = {
        NOW: "100",
        NOW + DAY - microsecond: "100",
        NOW + DAY: "70",  # 100 - 30
        NOW + 2 * DAY: "70",
        NOW + 3 * DAY - microsecond: "70",
        NOW + 3 * DAY: "120",  # 70 + 50
        NOW + 4 * DAY - microsecond: "120",
        NOW + 4 * DAY: "50",  # 70 expired
        NOW + 5 * DAY: "-10",  # 50 - 60
    }
    for at, posted in expected.items():
        assert (await balance(client, at=format_instant(at)))["posted"] == posted, at
    listed = (await balance(client, at=format_instant(NOW + 2 * DAY)))["grants"]
    assert [(one["remaining"], one["usable"]) for one in listed] == [("70", True), ("50", False)]
    before = format_instant(NOW - microsecond)
    assert await get(client, "/v1/customers/acme/balance", at=before) == {"wallets": []}


async def test_a_balance_of_the_future_is_refused(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    path = "/v1/customers/acme/balance"
    later = format_instant(NOW + timedelta(microseconds=1))
    problem(await client.get(path, params={"at": later}), 422, "in_the_future")
    problem(await client.get(path, params={"at": "yesterday"}), 422, "invalid")


async def test_an_unknown_customer_has_no_balance(client: httpx.AsyncClient) -> None:
    for path in ("balance", f"balance?at={format_instant(NOW)}", "wallet_entries"):
        problem(await client.get(f"/v1/customers/nobody/{path}"), 404, "not_found")


async def test_entries_are_paged_newest_first(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    given = await give(client, amount="10", asset="credits")
    for quantity in ("1", "2", "3"):
        await use(client, quantity)
    path = "/v1/customers/acme/wallet_entries"
    first = await get(client, path, limit=2)
    second = await get(client, path, limit=2, cursor=first["next_cursor"])
    rows = first["data"] + second["data"]
    assert [row["amount"] for row in rows] == ["-3", "-2", "-1", "10"]
    assert second["next_cursor"] is None
    assert rows[3] == {
        "id": rows[3]["id"], "at": format_instant(NOW), "asset": "credits", "kind": "grant",
        "amount": "10", "grant": given["id"], "ref": given["id"],
    }  # fmt: skip
    assert (await get(client, path, asset="credits"))["data"] == [rows[3]]
    problem(await client.get(path, params={"cursor": "x"}), 422, "invalid_cursor")


# Whatever happens

Step = tuple[str, int, int]
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["give", "give", "use", "use", "image", "void", "wait", "repay"]),
        st.integers(1, 60),
        st.integers(0, 9),
    ),
    min_size=5,
    max_size=30,
)
_names = count(1)


@dataclass
class Story:
    """One customer's history, played through the API."""

    client: httpx.AsyncClient
    instance: Instance
    customer: str
    now: datetime = NOW
    given: list[dict[str, Any]] = field(default_factory=list)
    answered: dict[datetime, Any] = field(default_factory=dict)

    async def play(self, kind: str, amount: int, choice: int) -> None:
        """One step; `choice` varies it."""
        if kind == "give":
            await self._give(amount, choice)
        elif kind in ("use", "image"):
            name = f"{self.customer}-{next(_names)}"
            typed = "image" if kind == "image" else "call"
            await send(self.client, [event(name, customer=self.customer, kind=typed, n=amount)])
        elif kind == "void" and self.given:
            grant = self.given[choice % len(self.given)]
            await self.client.post(f"/v1/grants/{grant['id']}/void")
        elif kind == "repay":
            await repay_due(self.instance.context)
        elif kind == "wait":
            self.now += timedelta(hours=6 * choice)
            assert self.instance.context.test_clock is not None
            self.instance.context.test_clock.set(self.now)

    async def _give(self, amount: int, choice: int) -> None:
        start = self.now + timedelta(hours=6 * (choice % 4 - 1))
        end = start + timedelta(hours=6 * (choice + 1))
        self.given.append(
            await give(
                self.client, customer=self.customer, amount=str(amount), priority=choice % 2,
                kind="paid" if choice % 3 else "promotional",
                effective_at=format_instant(start),
                expires_at=format_instant(end) if choice % 5 else None,
                scope={"meters": ["images"]} if choice == 7 else None,
            )
        )  # fmt: skip

    async def check(self) -> None:
        """The balance of now, by wallets and by entries, and by the sum of the entries."""
        path = f"/v1/customers/{self.customer}"
        found = await get(self.client, f"{path}/balance")
        for wallet in found["wallets"]:  # the past says nothing of what comes
            for name in ("drawn_per_day", "runs_out_at", "enough_for"):
                del wallet[name]
        folded = await get(self.client, f"{path}/balance", at=format_instant(self.now))
        assert found == folded
        self.answered[self.now] = found
        posted = sum(int(wallet["posted"]) for wallet in found["wallets"])
        assert await self._moved() - await self._unusable() == posted

    async def _moved(self) -> int:
        """The sum of all entries."""
        path, moved = f"/v1/customers/{self.customer}/wallet_entries", 0
        cursor: str | None = ""
        while cursor is not None:
            parameters = {"cursor": cursor} if cursor else {}
            page = await get(self.client, path, limit=100, **parameters)
            moved += sum(int(entry["amount"]) for entry in page["data"])
            cursor = page["next_cursor"]
        return moved

    async def _unusable(self) -> int:
        """What is left of grants that have expired or are yet to come."""
        now = format_instant(self.now)
        page = await get(self.client, "/v1/grants", customer=self.customer, limit=100)
        return sum(
            int(grant["remaining"])
            for grant in page["data"]
            if not grant["effective_at"] <= now < (grant["expires_at"] or "9")
        )


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_STEPS)
async def test_the_fold_of_the_entries_is_the_balance_at_every_instant(
    client: httpx.AsyncClient, instance: Instance, steps: list[Step]
) -> None:
    assert instance.context.test_clock is not None
    instance.context.test_clock.set(NOW)
    customer = f"c{next(_names)}"
    await put_customer(client, customer, enforcement="soft")
    await put_meter(client, "images", event_type="image")
    image = {"key": "draw", "type": "usage", "meter": "images", "model": "per_unit", "unit": "2",
             "asset": "USD", "settle": "wallet"}  # fmt: skip
    await put_wallet_price(client, customer, further=[image])
    story = Story(client, instance, customer)
    for step in steps:
        await story.play(*step)
        await story.check()
    for at, answered in story.answered.items():
        path = f"/v1/customers/{customer}/balance"
        assert await get(client, path, at=format_instant(at)) == answered
