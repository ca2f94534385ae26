"""What would go on or grow without end does not: reads that take long, answers that were kept."""

from datetime import timedelta

import httpx
import psycopg

from taximeter.bootstrap import Instance, Settings, open_instance
from taximeter.services.once import forget_answers
from tests.http.api import NOW, ROOT_KEY, client_for, get, put_customer, put_meter

READS = (
    "/v1/reports/quarantine", "/v1/reports/completeness", "/v1/meters/tokens/usage?customer=acme",
    "/v1/customers/acme/runs", "/v1/approvals?state=used",
)  # fmt: skip


async def test_a_read_that_takes_too_long_is_stopped(database_url: str) -> None:
    settings = Settings(
        database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW, workers=False,
        read_s_max=0.2,
    )  # fmt: skip
    instance = await open_instance(settings)
    try:
        async with client_for(instance, ROOT_KEY) as client:
            await put_customer(client)
            await put_meter(client)
            with psycopg.connect(database_url) as other:
                other.execute("LOCK TABLE event, usage_bucket, approval IN ACCESS EXCLUSIVE MODE")
                for path in READS:
                    answer = await client.get(path)
                    assert (answer.status_code, answer.json()["code"]) == (503, "too_slow"), path
                    assert "over 0.2 s" in answer.json()["detail"]
                waiting = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                assert waiting.fetchone() == (0,), "it has ended in the database, too"
            for path in READS:
                await get(client, path)
    finally:
        await instance.close()


async def test_answers_are_forgotten_after_their_time(
    client: httpx.AsyncClient, instance: Instance
) -> None:
    await put_customer(client)
    body = {"customer": "acme", "asset": "USD", "amount": "1", "kind": "paid"}

    async def grant(key: str) -> tuple[str, bool]:
        answer = await client.post("/v1/grants", json=body, headers={"idempotency-key": key})
        return answer.json()["id"], "idempotent-replay" in answer.headers

    first = [(await grant(f"k{n}"))[0] for n in range(5)]
    await client.post("/v1/test_clock/advance", json={"to": "2026-03-20T12:00:00Z"})
    late, _ = await grant("late")
    await client.post("/v1/test_clock/advance", json={"to": "2026-04-10T12:00:00Z"})
    # 31 days after the first five, 21 after the last
    assert await forget_answers(instance.context, timedelta(days=30)) == 5
    assert await forget_answers(instance.context, timedelta(days=30)) == 0
    assert await grant("late") == (late, True)
    again, replayed = await grant("k0")
    assert again not in first
    assert not replayed
