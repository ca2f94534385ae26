"""`taximeter serve` as its own process: started, fed, killed, started again, stopped."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

PROGRAM = "from taximeter.bootstrap import main; main()"
KEY = "tx_the-admin-key-of-tests"
PLAN = """\
key: tokens
currency: USD
period: month
prices:
  - {key: input, type: usage, meter: input_tokens, model: per_unit, unit: "1.75", per: "1000000"}
  - {key: output, type: usage, meter: output_tokens, model: per_unit, unit: "14", per: "1000000"}
"""
MAPS = ("--map", "input_tokens=ContextTokens", "--map", "output_tokens=GeneratedTokens")
USAGE = ("--customer", "acme", "--type", "llm.completion", "--time-column", "TIMESTAMP", *MAPS)
START_S_MAX = 60


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter; a database server left in it is ended."""
    with tempfile.TemporaryDirectory(prefix="tx-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder
        for pid_file in folder.rglob("postmaster.pid"):
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)


@pytest.fixture
def made(place: Path, put_cluster: Callable[[Path], None]) -> Path:
    """Such a directory, for what begins after the first start: its database is made."""
    put_cluster(place / "data")
    return place


def environment(**variables: str) -> dict[str, str]:
    """This process's environment with these variables, and none of those that we read."""
    ours = ("DATABASE_URL", "TAXIMETER_API_KEY", "TAXIMETER_URL")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return {**kept, **variables}


class Serving:
    """A `taximeter serve` of its own process, up when this is made."""

    def __init__(self, place: Path, *options: object, key: str | None = KEY, port: int = 0) -> None:
        self.log = (place / "serve.log").open("a+")
        words = [sys.executable, "-c", PROGRAM, "serve", "--data", place / "data", "--port", port]
        self.process = subprocess.Popen(
            [str(word) for word in (*words, *options)],
            env=environment(TAXIMETER_API_KEY=key) if key else environment(),
            stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        watch = threading.Timer(START_S_MAX, self.process.kill)
        watch.start()
        assert self.process.stdout
        self.said: list[str] = []
        for line in self.process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("ready "):
                break
        watch.cancel()
        assert self.said and self.said[-1].startswith("ready "), self.logged()
        self.url = self.said[-1].removeprefix("ready ")
        self.key = key or self.said[0].split()[-1]
        self.client = httpx2.Client(timeout=30)

    def __enter__(self) -> "Serving":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.__exit__(None, None, None)
        self.client.close()
        self.log.close()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def logged(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the API that must succeed; its answer."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = self.client.request(method, self.url + path, json=body, headers=headers)
        assert answer.is_success, answer.text
        return answer.json()

    def command(self, *words: object) -> subprocess.CompletedProcess[str]:
        """A `taximeter` command against this server."""
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            env=environment(TAXIMETER_URL=self.url, TAXIMETER_API_KEY=self.key),
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def sell(self, place: Path) -> None:
        """Meters, the plan and a customer who has it since 1 November 2023."""
        for name in ("input_tokens", "output_tokens"):
            body = {"event_type": "llm.completion", "aggregation": "sum", "value": name}
            self.call("PUT", f"/v1/meters/{name}", body)
        (place / "plan.yaml").write_text(PLAN)
        deployed = self.command("plan", "deploy", place / "plan.yaml")
        assert deployed.stdout == "tokens: created version 1\n", deployed.stderr
        self.call("PUT", "/v1/customers/acme", {"name": "Acme"})
        subscription = {"customer": "acme", "plan": "tokens", "starts_at": "2023-11-01T00:00:00Z"}
        self.call("POST", "/v1/subscriptions", subscription)

    def upcoming(self) -> tuple[list[str], list[str], str]:
        """Quantities, amounts and total of the next invoice."""
        invoice = self.call("GET", "/v1/customers/acme/upcoming_invoice")
        lines = invoice["lines"]
        quantities = [line["quantity"] for line in lines]
        return quantities, [line["amount"] for line in lines], invoice["total"]


def counts(report: str) -> dict[str, int]:
    """The counts of an import's report, without those that are 0."""
    found = re.findall(r"^([a-z ]+?) +([0-9,]+)$", report, re.MULTILINE)
    numbers = {name: int(number.replace(",", "")) for name, number in found}
    return {name: number for name, number in numbers.items() if number}


def write_usage(file: Path, rows: Sequence[str]) -> Path:
    """A CSV file of usage with these rows."""
    file.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    return file


SANDBOX = ("--sandbox", "--now", "2023-11-20T00:00:00Z")


def test_an_import_survives_the_death_of_the_server(made: Path) -> None:
    rows = [f"2023-11-16 18:{n % 60:02}:00,{n % 10},{n % 3}" for n in range(7_500)]
    file = write_usage(made / "usage.csv", rows)
    with Serving(made, *SANDBOX) as first:
        first.sell(made)
        words = ["import", file, *USAGE, "--url", first.url, "--key", first.key, "--batch", 100]
        importing = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *map(str, words)],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while first.upcoming()[0][0] == "0" and importing.poll() is None:
            time.sleep(0.01)
        first.process.kill()
        port = first.port
    with Serving(made, *SANDBOX, port=port) as second:
        report, notices = importing.communicate()
        assert importing.returncode == 0, notices
        assert "trying again" in notices, "the server died too late"
        assert counts(report) == {"read": 7_500, "accepted": 7_500}
        # Tokens in: 750 times 0..9 = 33,750, at 1.75 a million 0.0590625; out: 2,500 times
        # 0..2 = 7,500, at 14 a million 0.105.
        assert second.upcoming() == (["33750", "7500"], ["0.06", "0.11"], "0.17")
        again = second.command("import", file, *USAGE)
        assert counts(again.stdout) == {"read": 7_500, "duplicates": 7_500}
        assert second.upcoming()[2] == "0.17"


def test_a_first_start_and_an_orderly_end(place: Path) -> None:
    with Serving(place, key=None) as server:
        assert [line.split()[0] for line in server.said] == ["admin", "ready"]
        assert server.call("GET", "/v1/plans") == {"data": [], "next_cursor": None}
        second = subprocess.run(
            [sys.executable, "-c", PROGRAM, "serve", "--port", str(server.port)],
            env=environment(), cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert f"Port {server.port} of 127.0.0.1 is in use." in second.stderr
        assert second.stderr.count("\n") == 1
        made = subprocess.run(
            [sys.executable, "-c", PROGRAM, "keys", "create", "--name", "n", "--scope", "read",
             "--data", place / "data"],
            env=environment(), capture_output=True, text=True, check=True,
        )  # fmt: skip
        headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
        assert httpx2.get(f"{server.url}/v1/plans", headers=headers).status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.logged()
        assert server.key not in server.logged()
    assert not (place / "data/postgres/data/postmaster.pid").exists(), "the database has ended"
    with Serving(place, key=None, port=server.port) as later:
        assert later.said == [f"ready {server.url}"], "the key is printed once"
        later.process.send_signal(signal.SIGINT)
        assert later.process.wait(30) == 0


def test_a_request_under_way_is_finished(made: Path) -> None:
    """What was sent before the end is answered: half a request waits in the server at SIGTERM."""
    body = b'[{"id":"a","type":"t","subject":"acme"}]'
    with Serving(made) as server:
        head = (
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(body[10:])
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert server.process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        (["--data", "/dev/null/data"], {}, "--data"),
        ([], {"DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/none"}, "DATABASE_URL"),
        ([], {"DATABASE_URL": "no url"}, "postgresql://USER:PASSWORD@HOST:PORT/NAME"),
    ],
)
def test_a_start_that_fails_says_why(
    place: Path, options: Sequence[str], variables: dict[str, str], said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *options],
        env=environment(**variables), cwd=place, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("taximeter: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "hush" not in done.stderr


@pytest.mark.skipif("TAXIMETER_REAL_DATA" not in os.environ, reason="needs TAXIMETER_REAL_DATA")
def test_real_usage_costs_what_it_should(made: Path) -> None:
    """19,366 requests: 22,361,870 tokens in x 1.75 / 10^6 = 39.1332725 and 4,088,665 out x 14 /
    10^6 = 57.24131, printed as 39.13 + 57.24 = 96.37."""
    real = Path(os.environ["TAXIMETER_REAL_DATA"]) / "azure-llm-2023-conversation.csv"
    rows = real.read_text().splitlines()[1:]
    random.Random(11).shuffle(rows)
    shuffled = write_usage(made / "shuffled.csv", rows)
    expected = (["22361870", "4088665"], ["39.13", "57.24"], "96.37")
    with Serving(made, *SANDBOX) as server:
        server.sell(made)
        report = server.command("import", shuffled, *USAGE, "--batch", 7, "--parallel", 8).stdout
        assert counts(report) == {"read": 19_366, "accepted": 19_366}
        assert server.upcoming() == expected
        report = server.command("import", real, *USAGE).stdout
        assert counts(report) == {"read": 19_366, "duplicates": 19_366}
        assert server.upcoming() == expected
