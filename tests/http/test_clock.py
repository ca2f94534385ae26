"""The test clock: it stands still, moves on only, and jobs run on the way."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
import pytest

from taximeter.bootstrap import Instance, Settings, open_instance
from taximeter.kernel.errors import ClockBackwards, Unavailable
from taximeter.kernel.times import format_instant
from taximeter.services.clock import advance, one_at_a_time
from taximeter.services.context import Context
from tests.http.api import NOW, ROOT_KEY, client_for, get, problem, put_customer
from tests.http.credit import balance, give, put_wallet_price, use

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def move(client: httpx.AsyncClient, to: datetime) -> httpx.Response:
    """Ask for an advance."""
    return await client.post("/v1/test_clock/advance", json={"to": format_instant(to)})


async def shown(client: httpx.AsyncClient) -> str:
    """What the clock shows."""
    found = await get(client, "/v1/test_clock")
    assert list(found) == ["now"]
    return str(found["now"])


async def test_the_clock_stands_until_it_is_moved(client: httpx.AsyncClient) -> None:
    assert await shown(client) == format_instant(NOW)
    answer = await move(client, NOW + DAY)
    assert (answer.status_code, answer.json()) == (200, {"now": format_instant(NOW + DAY)})
    assert await shown(client) == format_instant(NOW + DAY)


async def test_the_clock_moves_only_forward(client: httpx.AsyncClient) -> None:
    assert (await move(client, NOW)).status_code == 200  # to where it stands
    found = problem(await move(client, NOW - timedelta(microseconds=1)), 409, "clock_backwards")
    assert format_instant(NOW) in found["detail"]
    assert await shown(client) == format_instant(NOW)


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, "missing"), ({"to": "2026-04-01"}, "invalid"), ({"to": 0}, "invalid"),
     ({"to": "2026-04-01T00:00:00Z", "by": "P1D"}, "unknown_field")],
)  # fmt: skip
async def test_an_advance_says_where_to(
    client: httpx.AsyncClient, body: dict[str, object], code: str
) -> None:
    problem(await client.post("/v1/test_clock/advance", json=body), 422, code)


async def test_only_an_admin_has_to_do_with_the_clock(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    made = await client.post(
        "/v1/api_keys", json={"name": "all but admin", "scopes": ["read", "ingest", "authorize"]}
    )
    async with client_for(instance, made.json()["secret"]) as other:
        problem(await other.get("/v1/test_clock"), 403, "forbidden")
        problem(await move(other, NOW + DAY), 403, "forbidden")


async def test_an_instance_on_real_time_has_no_test_clock(database_url: str) -> None:
    settings = Settings(database_url=database_url, root_key=ROOT_KEY, workers=False)
    real = await open_instance(settings)
    try:
        async with client_for(real, ROOT_KEY) as client:
            for answer in (await client.get("/v1/test_clock"), await move(client, NOW)):
                assert "--sandbox" in problem(answer, 404, "not_found")["detail"]
    finally:
        await real.close()


async def test_the_clock_shows_the_same_after_a_restart(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await move(client, NOW + DAY)
    settings = Settings(
        database_url=instance.database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False
    )
    again = await open_instance(settings)
    try:
        assert again.context.clock.now() == NOW + DAY
    finally:
        await again.close()


async def test_the_same_advance_with_its_key_is_answered_once(client: httpx.AsyncClient) -> None:
    body = {"to": format_instant(NOW + DAY)}
    key = {"idempotency-key": "a-day"}
    first = await client.post("/v1/test_clock/advance", json=body, headers=key)
    await move(client, NOW + 2 * DAY)
    again = await client.post("/v1/test_clock/advance", json=body, headers=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert await shown(client) == format_instant(NOW + 2 * DAY)


# What runs on the way


async def test_periods_close_at_their_own_time_on_the_way(client: httpx.AsyncClient) -> None:
    await put_customer(client)
    fee = {"key": "base", "type": "flat", "amount": "10.00", "timing": "arrears"}
    plan = {"key": "flat", "name": "Flat", "currency": "USD", "period": "month", "prices": [fee]}
    await client.put("/v1/plans/flat", json=plan)
    body = {"customer": "acme", "plan": "flat", "starts_at": "2026-03-01T00:00:00Z"}
    assert (await client.post("/v1/subscriptions", json=body)).status_code == 201
    answer = await move(client, datetime.fromisoformat("2026-06-01T00:30:00Z"))
    assert answer.status_code == 200
    found = await get(client, "/v1/invoices", customer="acme")
    # each closes at its month's end and is final an hour later; the last has half an hour to go
    rows = sorted(
        (one["created_at"], one["finalized_at"], one["status"], one["total"])
        for one in found["data"]
    )
    assert rows == [
        ("2026-04-01T00:00:00Z", "2026-04-01T01:00:00Z", "open", "10.00"),
        ("2026-05-01T00:00:00Z", "2026-05-01T01:00:00Z", "open", "10.00"),
        ("2026-06-01T00:00:00Z", None, "draft", "10.00"),
    ]


async def test_what_is_read_after_an_advance_is_of_its_time(client: httpx.AsyncClient) -> None:
    await put_customer(client, enforcement="soft")
    await put_wallet_price(client)
    await give(client, amount="100", expires_at=format_instant(NOW + DAY))
    await use(client, "30")
    await move(client, NOW + DAY)
    assert (await balance(client))["posted"] == "0"  # the other 70 have expired


async def test_advances_at_once_follow_each_other(client: httpx.AsyncClient) -> None:
    targets = [NOW + n * HOUR for n in range(1, 41)]  # more than there are connections
    answers = await asyncio.gather(*(move(client, to) for to in targets))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert answers[-1].status_code == 200
    assert await shown(client) == format_instant(targets[-1])


@dataclass
class Jobs:
    """Jobs by the instant at which they fall due; some make others due when they run."""

    due: list[datetime]
    then: dict[datetime, datetime] = field(default_factory=dict)
    ran: list[tuple[datetime, datetime]] = field(default_factory=list)
    running: int = 0

    async def next_due(self, context: Context) -> datetime | None:
        """The earliest."""
        return min(self.due, default=None)

    async def run_due(self, context: Context) -> int:
        """Run what is due, noting when each was due and what the clock showed."""
        self.running += 1
        assert self.running == 1, "one advance at a time"
        now = context.clock.now()
        jobs = [at for at in self.due if at <= now]
        await asyncio.sleep(0)
        for at in jobs:
            self.due.remove(at)
            self.ran.append((at, now))
            if at in self.then:
                self.due.append(self.then[at])
        self.running -= 1
        return len(jobs)


async def test_the_clock_stops_at_every_job(instance: Instance) -> None:
    overdue, first, second, last = NOW - DAY, NOW + HOUR, NOW + 5 * HOUR, NOW + DAY
    beyond = last + timedelta(microseconds=1)
    jobs = Jobs(due=[beyond, last, first, overdue, first], then={first: second})
    found = await advance(instance.context, last, next_due=jobs.next_due, run_due=jobs.run_due)
    assert found == instance.context.clock.now() == last
    assert jobs.ran == [
        (overdue, NOW), (first, first), (first, first), (second, second), (second, second),
        (last, last),
    ]  # fmt: skip
    assert jobs.due == [beyond]


async def test_a_job_that_never_ends_stops_the_clock_where_it_is_due(
    instance: Instance,
) -> None:
    class Endless(Jobs):
        async def run_due(self, context: Context) -> int:
            return 0

    jobs = Endless(due=[NOW + HOUR])
    with pytest.raises(Unavailable, match=format_instant(NOW + HOUR)):
        await advance(
            instance.context, NOW + DAY, next_due=jobs.next_due, run_due=jobs.run_due, stalls_max=1
        )
    assert instance.context.clock.now() == NOW + HOUR  # it stands where it got to


async def test_advances_at_once_run_each_job_once(instance: Instance) -> None:
    jobs = Jobs(due=[NOW + n * HOUR for n in range(1, 25)])

    async def go(to: datetime) -> bool:
        async with one_at_a_time():
            try:
                await advance(instance.context, to, next_due=jobs.next_due, run_due=jobs.run_due)
            except ClockBackwards:
                return False
            return True

    assert any(await asyncio.gather(*(go(NOW + n * HOUR) for n in (24, 3, 12, 24))))
    assert jobs.ran == [(NOW + n * HOUR, NOW + n * HOUR) for n in range(1, 25)]
