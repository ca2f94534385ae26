"""`POST /v1/events` under any bytes at all: never a 5xx, and every event ends as exactly one of
accepted, duplicate, quarantined and rejected.
"""

import asyncio
import gzip
import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taximeter.bootstrap import Settings, open_instance
from tests.http.api import NOW, ROOT_KEY, client_for, get, put_customer, put_meter

Found = TypeVar("Found")
EXAMPLES = settings(
    max_examples=150, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
CUSTOMERS = ["acme", "globex", "nobody"]
PARAMETERS = [
    "",
    "?results=all",
    "?atomic=true",
    "?atomic=true&results=all",
    "?atomic=maybe",
    "?x=1",
]


@dataclass(frozen=True, slots=True)
class Loop:
    """An instance and the loop that it runs on, for tests that are not coroutines."""

    run: Callable[[Coroutine[Any, Any, Found]], Found]
    client: httpx.AsyncClient


@pytest.fixture
def loop(database_url: str) -> Iterator[Loop]:
    """An instance with two customers, and meters of all sorts that read any event."""

    async def prepare(client: httpx.AsyncClient) -> None:
        for customer in CUSTOMERS[:2]:
            await put_customer(client, customer)
        for aggregation in ("sum", "max", "latest", "unique"):
            await put_meter(
                client, aggregation, aggregation=aggregation, event_type="both",
                allow_negative=True, dimensions=["model", "a.b"],
            )  # fmt: skip
        await put_meter(client, "call", event_type="call")
        prices = [
            {"key": meter, "type": "usage", "meter": meter, "model": "per_unit", "unit": "0.01",
             "settle": settle}
            for meter, settle in (("call", "wallet"), ("sum", "invoice"), ("unique", "wallet"))
        ]  # fmt: skip
        plan = {"currency": "USD", "period": "day", "prices": prices}
        answer = await client.put("/v1/plans/p", json=plan)
        assert answer.status_code == 201, answer.text
        body = {"customer": "acme", "plan": "p", "starts_at": "2026-03-01T00:00:00Z"}
        answer = await client.post("/v1/subscriptions", json=body)
        assert answer.status_code == 201, answer.text

    with asyncio.Runner() as runner:
        instance = runner.run(
            open_instance(
                Settings(database_url=database_url, root_key=ROOT_KEY, sandbox=True, now=NOW,
                         workers=False)
            )
        )  # fmt: skip
        client = client_for(instance, ROOT_KEY)
        try:
            runner.run(prepare(client))
            yield Loop(runner.run, client)
        finally:
            runner.run(client.aclose())
            runner.run(instance.close())


texts = st.text(st.characters(exclude_categories=[]), max_size=12)
names = st.one_of(st.sampled_from(["a", "b", "", "\x00", "ü", "x" * 257]), texts)
numbers = st.one_of(
    st.integers(), st.integers(-5, 5), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([10**17, 10**18, -(10**18), 2**63, 2**64, 1e308, 5e-324, 10**400]),
)  # fmt: skip
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), numbers, texts, st.sampled_from(["1", "1.5", "1e3", "NaN"])
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
times = st.one_of(
    st.sampled_from(["2026-03-10T12:00:00Z", "2026-03-01T00:00:00Z", "2026-02-28T23:59:59.9999999Z",
                     "2026-03-11T12:00:01Z", "1000-01-01T00:00:00Z", "8999-01-01T00:00:00Z"]),
    st.datetimes().map(lambda at: at.isoformat() + "+00:00"),
    values,
)  # fmt: skip
data = st.one_of(
    st.fixed_dictionaries(
        {"n": numbers | values}, optional={"model": texts | values, "a": values, "extra": values}
    ),
    values,
)
kinds = st.sampled_from(["call", "call", "both", "both", "none"])
events = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdef") | st.integers(0, 2_000).map(str) | names,
        "type": kinds,
        "subject": st.sampled_from(["acme", "acme", *CUSTOMERS]),
        "data": data,
    },
    optional={
        "source": names | values,
        "time": times,
        "path": names,
        "subscription": names,
        "specversion": st.sampled_from(["1.0", "0.3", None, 1]),
        "traceparent": values,
    },
)
broken = st.builds(lambda one, name, value: {**one, name: value}, events,
                   st.sampled_from(["id", "type", "subject", "data", "time"]), values)  # fmt: skip
batches = st.lists(events | broken | values, max_size=12) | events | values


def check(answer: httpx.Response, sent: object, parameters: str) -> None:
    """What must hold of any answer to JSON that was sent."""
    assert answer.status_code < 500, answer.text
    if answer.status_code != 200:
        body = answer.json()
        assert (body["status"], answer.headers["content-type"]) == (
            answer.status_code, "application/problem+json",
        )  # fmt: skip
        return
    body = answer.json()
    count = len(sent) if isinstance(sent, list) else 1
    counts = {name: body[name] for name in ("accepted", "duplicates", "quarantined", "rejected")}
    assert sum(counts.values()) == count, counts
    listed = [one["status"] for one in body["results"]]
    others = count - body["accepted"]
    assert len(listed) == (count if "results=all" in parameters else others)
    assert listed.count("duplicate") == counts["duplicates"]
    assert listed.count("quarantined") == counts["quarantined"]
    assert listed.count("invalid") + listed.count("conflict") == counts["rejected"]
    for one in body["results"]:
        if one["status"] in ("invalid", "conflict", "quarantined"):
            assert one["error"]["code"] and one["error"]["detail"]


def test_any_json(loop: Loop) -> None:
    @EXAMPLES
    @given(batches, st.sampled_from(PARAMETERS), st.booleans())
    def holds(batch: object, parameters: str, ascii_only: bool) -> None:
        try:
            body = json.dumps(batch, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            body = json.dumps(batch).encode()
        answer = loop.run(
            loop.client.post(
                f"/v1/events{parameters}", content=body,
                headers={"content-type": "application/json"},
            )
        )  # fmt: skip
        check(answer, batch, parameters)
        if answer.status_code >= 400:
            assert answer.status_code == 422, answer.text
            assert "atomic" in parameters or "x" in parameters

    holds()
    loop.run(conserved(loop.client))


def test_any_bytes(loop: Loop) -> None:
    kinds = ["application/json", "application/cloudevents+json", "text/html", "a;b;c", ""]
    encodings = ["gzip", "identity", "br", ""]
    chunks = st.sampled_from(
        [b'{"id":"a"', b',"data":{"n":1}', b'"', b"}", b"]", b"[", b"\\", b"\\u0000", b"\xff",
         b'"n":1e5', b'"type":"call"', b",", b":", b" ", b'"subject":"acme"', b"{", b"NaN", b"-0"]
    )  # fmt: skip
    bodies = st.binary(max_size=60) | st.lists(chunks, max_size=14).map(b"".join)

    @EXAMPLES
    @given(bodies, st.sampled_from(kinds), st.sampled_from(encodings), st.booleans())
    def holds(body: bytes, kind: str, encoding: str, zipped: bool) -> None:
        headers = {"content-type": kind}
        if encoding:
            headers["content-encoding"] = encoding
        content = gzip.compress(body, 1) if zipped else body
        answer = loop.run(loop.client.post("/v1/events", content=content, headers=headers))
        assert answer.status_code in (200, 400, 413, 422), answer.text
        if answer.status_code == 200:
            check(answer, json.loads(body.decode(errors="surrogatepass")), "")

    holds()
    loop.run(conserved(loop.client))


@dataclass(slots=True)
class Twisted:
    """A JSON text that no encoder writes: keys that stand twice, odd blanks, odd numbers."""

    text: str
    twice: bool = field(default=False)


def write(value: object, dice: Any) -> Twisted:
    """The value as JSON text, twisted at will."""
    blank = dice.draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, Mapping):
        parts, twice, seen = [], False, set()
        for key, item in value.items():
            inner = write(item, dice)
            twice |= inner.twice or key in seen
            seen.add(key)
            parts.append(f"{json.dumps(key)}{blank}:{inner.text}")
        if parts and dice.draw(st.integers(0, 9)) == 0:
            parts.append(parts[0])
            twice = True
        return Twisted("{" + f",{blank}".join(parts) + blank + "}", twice)
    if isinstance(value, Sequence) and not isinstance(value, str):
        inners = [write(item, dice) for item in value]
        text = "[" + f"{blank},".join(inner.text for inner in inners) + "]"
        return Twisted(text, any(inner.twice for inner in inners))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**15:
        forms = [str(value), f"{value}.0", f"{value}e0", f"{value * 10}E-1"]
        return Twisted(dice.draw(st.sampled_from(forms)))
    return Twisted(json.dumps(value))


def test_twisted_json(loop: Loop) -> None:
    @EXAMPLES
    @given(st.lists(events | broken, min_size=1, max_size=4), st.data())
    def holds(batch: list[dict[str, Any]], dice: st.DataObject) -> None:
        written = [write(one, dice) for one in batch]
        body = "[" + ",".join(one.text for one in written) + "]"
        answer = loop.run(
            loop.client.post(
                "/v1/events?results=all", content=body.encode(),
                headers={"content-type": "application/json"},
            )
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        check(answer, batch, "?results=all")
        for one, result in zip(written, answer.json()["results"], strict=True):
            if one.twice:
                assert result["status"] == "invalid", (one.text, result)
        # The same texts plainly written are duplicates, unless they never were events.
        plain = loop.run(
            loop.client.post(
                "/v1/events?results=all", content=json.dumps(batch),
                headers={"content-type": "application/json"},
            )
        ).json()  # fmt: skip
        for one, first, again in zip(
            written, answer.json()["results"], plain["results"], strict=True
        ):
            if not one.twice and first["status"] == "accepted":
                assert again["status"] == "duplicate", (one.text, again)

    holds()
    loop.run(conserved(loop.client))


async def conserved(client: httpx.AsyncClient) -> None:
    """Totals, buckets and wallets say what the accepted events say, whatever came before."""
    stored: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(client, "/v1/events", limit=100, status="accepted", **cursor)
        stored += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    span = {"from": "1000-01-01T00:00:00Z", "to": "2026-03-12T00:00:00Z", "window": "total"}
    for meter, kind in (("call", "call"), ("sum", "both")):
        rows = (await get(client, f"/v1/meters/{meter}/usage", **span))["data"]
        for customer in CUSTOMERS:
            mine = [one for one in stored if (one["subject"], one["type"]) == (customer, kind)]
            total = sum((Decimal(str(one["data"]["n"])) for one in mine), Decimal(0))
            found = {row["customer"]: Decimal(row["value"]) for row in rows}
            assert found.get(customer, Decimal(0)) == total, (meter, customer)
    start = "2026-03-01T00:00:00Z"
    calls = [
        Decimal(str(one["data"]["n"]))
        for one in stored
        if (one["subject"], one["type"]) == ("acme", "call") and one["time"] >= start
        and one["subscription"] is None
    ]  # fmt: skip
    entries = (await get(client, "/v1/customers/acme/wallet_entries", limit=100))["data"]
    if len(entries) < 100 and calls:
        drawn = -sum(Decimal(one["amount"]) for one in entries if one["ref"].endswith("/call"))
        assert drawn == sum(calls) * Decimal("0.01")
