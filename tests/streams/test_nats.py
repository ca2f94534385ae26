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

from tests.programs import program
from tests.streams.consumer import billing, call, consuming, counted, ended, letters, stopped, until

EVENTS = 400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a NATS server with JetStream."""
    path = program("nats-server", "nats-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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


def test_killed_in_the_middle(server: str, tmp_path: Path, database_url: str) -> None:
    binary = {"ce-specversion": "1.0", "ce-id": "a%20b", "ce-type": "call", "ce-subject": "acme"}
    messages: list[tuple[str, bytes, dict[str, str] | None]] = [
        ("usage.eu", text(call(number, 2)), None) for number in range(EVENTS)
    ]
    messages += [("usage.us", b"[", None), ("usage.us", text({"q": 5}), binary)]
    asyncio.run(publish(server, *messages))
    metrics = socket.socket()
    metrics.bind(("127.0.0.1", 0))
    port = metrics.getsockname()[1]
    metrics.close()
    options = (
        "nats", "--server", server, "--stream", "USAGE", "--durable", "billing", "--ack-wait", 2,
        "--batch", 20,
    )  # fmt: skip
    with billing(tmp_path / "server.log", database_url) as client:
        url = str(client.base_url)
        with consuming(tmp_path / "one.log", url, *options) as first:
            until(lambda: counted(client) > 100, "a part is counted")
            first.kill()
        total = EVENTS * 2 + 5
        assert counted(client) < total
        again = (*options, "--metrics-port", port)
        with consuming(tmp_path / "two.log", url, *again) as second:
            until(lambda: counted(client) == total, "all is counted")
            shown = f"http://127.0.0.1:{port}/metrics"
            done = 'taximeter_stream_lag{stream="nats:USAGE"} 0.0'
            until(lambda: done in httpx.get(shown).text, "the lag is shown")
            said = stopped(second)
    assert said.endswith("; 0 ahead")
    assert "taximeter: " not in (tmp_path / "two.log").read_text()


def test_rows_by_a_mapping_while_the_server_is_away(
    server: str, tmp_path: Path, database_url: str
) -> None:
    """Each row counts once by its place in the stream, though it brings no id; a stream that waits
    for the server is consumed once that answers.
    """
    at = "2026-01-05T10:00:00Z"
    rows = [
        ("usage.eu", text({"account": "acme", "n": number, "at": at}), None) for number in range(50)
    ]
    asyncio.run(publish(server, *rows, ("usage.eu", text({"n": 7, "at": at}), None)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = (
        "nats", "--server", server, "--stream", "USAGE", "--type", "call", "--customer-column",
        "account", "--time-column", "at", "--map", "q=n", "--until-idle", 1,
    )  # fmt: skip
    # Two durable consumers: the second is given everything again, as one that was made anew.
    away = f"http://127.0.0.1:{port}"
    with consuming(tmp_path / "one.log", away, *options, "--durable", "one") as first:
        until(lambda: "trying again" in (tmp_path / "one.log").read_text(), "the server is away")
        with billing(tmp_path / "server.log", database_url, port=port) as client:
            assert ended(first).endswith(
                "50 accepted, 0 duplicate, 0 quarantined, 1 refused; 0 ahead"
            )
            assert counted(client) == 1225  # 0 + 1 + ... + 49
            with consuming(tmp_path / "two.log", away, *options, "--durable", "two") as second:
                assert "51 messages done: 0 accepted, 50 duplicate," in ended(second)
            assert counted(client) == 1225
            [letter] = letters(client, status="open")
            assert letter["error"]["path"] == "subject"
            path = f"/v1/dead_letters/{letter['id']}/resolve"
            assert client.post(path, json={"resolution": "sent again"}).status_code == 200
            assert client.post(path, json={"resolution": "sent again"}).status_code == 200
            assert client.post(path, json={"resolution": "lost"}).json()["code"] == "invalid_state"
            assert letters(client, status="open") == []
