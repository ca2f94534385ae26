"""Probe."""
import asyncio
import random
import string
import time

from tests.scenarios.story import Story, event, usage_price


async def test_poison(story: Story) -> None:
    story.audited = False
    r = random.Random(1)
    customer = "".join(chr(r.randint(0x20000, 0x2A000)) for _ in range(128))
    await story.customer(customer)
    await story.meter("u", dimensions=["d"])
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p", customer=customer)
    esc = '"\\\b\t\n\f\r'
    plain = string.ascii_letters + string.digits + "!#$%&()*+,-./:;<=>?@[]^_`{|}~"
    for frac in (0.6, 0.7, 0.8, 1.0, "ctl"):
        if frac == "ctl":
            text = "".join(r.choice([chr(r.randint(1, 31)), r.choice(plain)]) for _ in range(1450))
        else:
            text = "".join(r.choice(esc) if r.random() < frac else r.choice(plain) for _ in range(1450))
        t = time.time()
        answer, other = await asyncio.gather(
            story.client.post("/v1/events", json=[event("u", f"a{frac}", customer=customer, q=1, d=text)]),
            story.client.post("/v1/events", json=[event("u", f"o{frac}", customer=customer, q=1, d="x")]))
        print("POISON", frac, answer.status_code, answer.text[:200], other.status_code, time.time() - t)
    # event keys
    src = "".join(chr(r.randint(0x20000, 0x2A000)) for _ in range(256))
    eid = "".join(chr(r.randint(0x20000, 0x2A000)) for _ in range(256))
    answer = await story.client.post("/v1/events", json=[event("zz", eid, customer=customer, q=1, source=src)])
    print("KEYS", answer.status_code, answer.text[:100])
    # idempotency key
    answer = await story.client.post("/v1/events", json=[event("zz", "k", customer=customer, q=1)], headers={"idempotency-key": "x" * 5000})
    print("IDEM", answer.status_code, answer.text[:200])


async def test_release_version(story: Story) -> None:
    story.audited = False
    await story.meter("u", value="a")
    await story.send(event("u", "a", a=1, b=100))
    await story.advance("2026-01-02T00:00:00Z")
    await story.meter("u", value="b")
    await story.customer()
    print("usage", await story.usage("u", customer="acme", **{"from": "2026-01-01T00:00:00Z", "to": "2026-02-01T00:00:00Z", "window": "total"}))
    await story.plan("p", usage_price("u", "u", unit="1"))
    await story.subscribe("p", starts_at="2026-01-01T00:00:00Z")
    up = await story.upcoming()
    print("upcoming", up["lines"][0]["quantity"], up["total"])


async def test_nuls(story: Story) -> None:
    story.audited = False
    await story.customer()
    for path in ("/v1/events?customer=%00", "/v1/events?type=%00", "/v1/customers/%00", "/v1/invoices/%00", "/v1/grants?customer=a%00", "/v1/meters/%00/usage", "/v1/subscriptions/%00", "/v1/invoices?subscription=%00&customer=%00",
        "/v1/customers/acme/wallet_entries?asset=%00", "/v1/invoices?cursor=WyJcdTAwMDAiXQ", "/v1/events?cursor=WyJhIiwiYiIsImMiLCJkIl0"):
        answer = await story.client.get(path)
        print(path, answer.status_code, answer.text[:120])
    for headers in ({"idempotency-key": "a\x00b"}, {"idempotency-key": ""}, {"idempotency-key": "\xe9"}):
        try:
            answer = await story.client.post("/v1/events", json=[event("zz", "k", q=1)], headers=headers)
            print(headers, answer.status_code, answer.text[:150])
        except Exception as e:
            print(headers, e)
    for amount in ("999999999999999999.999999999999",):
        for i in range(3):
            await story.grant(amount)
    await story.meter("m"); await story.plan("p", usage_price("m", "m", unit="999999999999.999999999999", settle="wallet"))
    await story.subscribe("p")
    answer = await story.client.post("/v1/events", json=[event("m", f"k{i}", q="999999999999999999.999999999999") for i in range(100)])
    print("HUGE", answer.status_code, answer.text[:300])
    answer = await story.client.get("/v1/customers/acme/balance"); print(answer.status_code, answer.text[:200])
    answer = await story.client.get("/v1/customers/acme/upcoming_invoice"); print(answer.status_code, answer.text[:300])
    answer = await story.client.post("/v1/events", json=[event("m", f"kk{i}", "1970-01-01T00:00:00Z", q="1") for i in range(2)])
    print("OLD", answer.status_code, answer.text[:300])
