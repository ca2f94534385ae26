"""NATS JetStream: killed in the middle, with the server away for a while, and told to stop."""

import asyncio
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from tests.cli.command_line import run_on_database
from tests.programs import program
from tests.serving import KEY
from tests.streams.consumer import billing, call, consuming, counted, letters, stopped, until

EVENTS = 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a NATS server with JetStream."""
    path = program("nats-server", "nats-server")
    port = free_port()
    arguments = [path, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(tmp_path / "nats")]
    with (tmp_path / "nats.log").open("w") as log:
        process = subprocess.Popen(arguments, stderr=log)
    try:
        until(lambda: "Server is ready" in (tmp_path / "nats.log").read_text(), "NATS is up")
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def publish(server: str, *messages: tuple[str, bytes, dict[str, str] | None]) -> None:
    """Put these messages into the stream USAGE, made where it is not there."""
    connection = await nats.connect(server)
    stream = connection.jetstream()
    await stream.add_stream(name="USAGE", subjects=["usage.>"])
    for subject, body, headers in messages:
        await stream.publish(subject, body, headers=headers)
    await connection.close()


def text(value: Any) -> bytes:
    """The value as JSON."""
    return json.dumps(value).encode()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_killed_in_the_middle(server: str, tmp_path: Path, database_url: str) -> None:
    """The server is away at first; then the consumer is killed, and another one goes on."""
    binary = {"ce-specversion": "1.0", "ce-id": "a%20b", "ce-type": "call", "ce-subject": "acme",
              "ce-time": "2026-01-05T10:00:00Z"}  # fmt: skip
    messages: list[tuple[str, bytes, dict[str, str] | None]] = [
        ("usage.eu", text(call(number, 2)), None) for number in range(EVENTS)
    ]
    messages += [("usage.us", b"[", None), ("usage.us", text({"q": 5}), binary)]
    asyncio.run(publish(server, *messages))
    port, metrics = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    options = (
        "nats", "--server", server, "--stream", "USAGE", "--durable", "billing", "--ack-wait", 2,
        "--batch", 20,
    )  # fmt: skip
    with consuming(tmp_path / "one.log", url, *options) as first:
        until(lambda: "trying again" in (tmp_path / "one.log").read_text(), "the server is away")
        with billing(tmp_path / "server.log", database_url, port=port) as client:
            until(lambda: counted(client) > 100, "a part is counted")
            first.kill()
            total = EVENTS * 2 + 5
            assert counted(client) < total
            again = (*options, "--metrics-port", metrics)
            with consuming(tmp_path / "two.log", url, *again) as second:
                until(lambda: counted(client) == total, "all is counted")
                shown = f"http://127.0.0.1:{metrics}/metrics"
                done = 'taximeter_stream_lag{stream="nats:USAGE"} 0.0'
                until(lambda: done in httpx.get(shown).text, "the lag is shown")
                assert stopped(second).endswith("; 0 ahead")
            look_at_letters(client)
            consume_rows(server, client)


def look_at_letters(client: httpx.Client) -> None:
    """What was not taken is kept once, until somebody has seen to it."""
    [letter] = letters(client, status="open")
    assert (letter["stream"], letter["position"]) == ("nats:USAGE", str(EVENTS + 1))
    assert (letter["error"]["code"], letter["content"]) == ("malformed", "[")
    path = f"/v1/dead_letters/{letter['id']}/resolve"
    assert client.post(path, json={"resolution": "sent again"}).status_code == 200
    assert client.post(path, json={"resolution": "sent again"}).status_code == 200
    assert client.post(path, json={"resolution": "lost"}).json()["code"] == "invalid_state"
    assert letters(client, status="open") == []


def consume_rows(server: str, client: httpx.Client) -> None:
    """Rows by a mapping, which bring no id: by their place in the stream each counts once, also for
    a second durable consumer, which is given everything again.
    """
    before, at = counted(client), "2026-01-05T10:00:00Z"
    rows = [
        ("usage.row", text({"account": "acme", "n": number, "at": at}), None)
        for number in range(50)
    ]
    asyncio.run(publish(server, *rows, ("usage.row", text({"n": 7, "at": at}), None)))
    options = (
        "nats", "--server", server, "--stream", "USAGE", "--subject", "usage.row", "--type", "call",
        "--customer-column", "account", "--time-column", "at", "--map", "q=n", "--until-idle", 1,
        "--url", client.base_url, "--key", KEY,
    )  # fmt: skip
    said = []
    for durable in ("one", "two"):
        result = run_on_database("consume", *options, "--durable", durable)
        assert result.exit_code == 0, result.stderr
        said.append(result.stdout.splitlines()[-1])
    assert said == [
        "51 messages done: 50 accepted, 0 duplicate, 0 quarantined, 1 refused; 0 ahead",
        "51 messages done: 0 accepted, 50 duplicate, 0 quarantined, 1 refused; 0 ahead",
    ]
    assert counted(client) - before == 1225  # 0 + 1 + ... + 49
    assert [one["error"]["path"] for one in letters(client, status="open")] == ["subject"]
