"""Probe."""
import asyncio
import random

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import ROOT_KEY, client_for
from tests.scenarios.story import START, Story, event, usage_price


async def test_poison(story: Story) -> None:
    await story.customer()
    await story.meter("u", dimensions=["d"])
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p")
    r = random.Random(1)
    text = "".join(chr(r.randint(1, 31)) for _ in range(1400))
    answer = await story.client.post("/v1/events", json=[event("u", "a", q=1, d=text)])
    print("POISON ctl", answer.status_code, answer.text[:300])
    text = "".join(r.choice('"\\ab') for _ in range(1400))
    answer = await story.client.post("/v1/events", json=[event("u", "b", q=1, d=text)])
    print("POISON quote", answer.status_code, answer.text[:300])
    answer = await story.client.post("/v1/events", json=[event("u", "c", "0001-01-01T00:00:00Z", q=1, d="x"), event("u", "d", "0001-01-01T00:00:00+14:00", q=1, d="x")])
    print("YEAR1", answer.status_code, answer.text[:300])
    for path in ("/v1/events?customer=acme", "/v1/meters/u/usage?customer=acme&from=0001-01-01T00:00:00Z&to=2026-02-01T00:00:00Z&window=total"):
        answer = await story.client.get(path)
        print(path, answer.status_code, answer.text[:200])


async def test_scope(story: Story) -> None:
    story.audited = False
    await story.customer()
    await story.meter("u")
    await story.meter("v")
    await story.plan("p", usage_price("u", "u", unit="1", settle="wallet"), usage_price("v", "v", unit="1", settle="wallet"))
    await story.subscribe("p")
    await story.use(event("u", "a", q=30))
    await story.grant("100", scope={"meters": ["v"]})
    print("before", await story.ask("GET", "/v1/customers/acme/balance"))
    await story.use(event("v", "b", q=1))
    print("after", await story.ask("GET", "/v1/customers/acme/balance"))
    print("grants", await story.everything("/v1/grants", customer="acme"))


async def test_release_version(story: Story) -> None:
    story.audited = False
    await story.meter("u", value="a")
    await story.send(event("u", "a", a=1, b=100))
    await story.meter("u", value="b")
    await story.customer()
    print("usage", await story.usage("u", customer="acme", **{"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "window": "total"}))
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p")
    up = await story.upcoming()
    print("upcoming", up["lines"][0]["quantity"], up["total"])


async def test_first_wallet(database_url: str) -> None:
    for n in range(1):
        settings = Settings(database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=START, workers=False)
        one, two = await open_instance(settings), await open_instance(settings)
        try:
            async with client_for(one, ROOT_KEY) as a, client_for(two, ROOT_KEY) as b:
                story = Story(a)
                await story.meter("u", dimensions=["d"])
                await story.plan("p", usage_price("u", "u", settle="wallet", model="graduated", tiers=[{"up_to": "10", "unit": "10", "flat": "2"}, {"unit": "5", "flat": "3"}]))
                bad = []
                for i in range(40):
                    c = f"c{i}"
                    await story.customer(c)
                    await story.subscribe("p", customer=c)
                    await asyncio.gather(
                        a.post("/v1/events", json=[event("u", f"a{i}", customer=c, q=8, d="x")]),
                        b.post("/v1/events", json=[event("u", f"b{i}", customer=c, q=8, d="y")]),
                    )
                    bad.append(await story.available(c))
                # 2 + 100 + 3 + 30 = 135
                print("FIRST", bad)
        finally:
            await one.close()
            await two.close()
