"""`taximeter demo`, from nothing to a page, as a stranger runs it; and the usage that it shows."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest

from taximeter.cli.demo_story import plan_files
from taximeter.cli.demo_usage import PROFILES, usage_between
from taximeter.cli.plan_file import read_plan_file
from tests.cli.command_line import run

PROGRAM = "from taximeter.bootstrap import main; main()"
DEMO_S_MAX = 120
DAY = timedelta(days=1)
MONDAY = datetime(2026, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every user can enter; a database server left in it is ended."""
    with tempfile.TemporaryDirectory(prefix="tx-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder
        for pid_file in folder.rglob("postmaster.pid"):
            with suppress(FileNotFoundError, ProcessLookupError, ValueError):
                os.kill(int(pid_file.read_text().split()[0]), signal.SIGQUIT)


def start(place: Path, *options: str) -> subprocess.Popen[str]:
    """`taximeter demo` in a process of its own; a database of the environment must not matter."""
    words = [sys.executable, "-c", PROGRAM, "demo", "--data", str(place / "demo"), "--port", "0"]
    elsewhere = {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [*words, *options], env={**os.environ, **elsewhere}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip


@pytest.fixture(scope="module")
def first_output(place: Path) -> str:
    """What the first run prints; it must end well."""
    with start(place, "--no-serve") as running:
        output, errors = running.communicate(timeout=DEMO_S_MAX)
    assert running.returncode == 0, errors
    assert "Traceback" not in errors
    return output


def test_the_demo_loads_closes_and_explains(first_output: str) -> None:
    loaded = re.search(r"([0-9,]+) events stored, counted and priced", first_output)
    assert loaded is not None, first_output
    assert 60_000 <= int(loaded[1].replace(",", "")) <= 100_000
    assert "January closed by itself" in first_output
    amounts = re.findall(r"tokens: model .*\$([0-9,.]+)", first_output)
    due = re.search(r"Amount due +\$([0-9,.]+)", first_output)
    assert due is not None, first_output
    lines = [Decimal(amount.replace(",", "")) for amount in amounts[:6]]
    assert sum(lines) == Decimal(due[1].replace(",", ""))
    assert len(re.findall(r"^ req-\d{6}-\d{4} ", first_output, re.MULTILINE)) == 3


def test_a_second_run_serves_what_is_there_until_it_is_stopped(
    first_output: str, place: Path
) -> None:
    with start(place) as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line)
            if line.startswith("Usage keeps coming"):
                break
        output = "".join(lines)
        assert "of an earlier run is there" in output
        address = re.search(r"^Open +(http\S+)$", output, re.MULTILINE)
        assert address is not None, output
        with httpx2.Client(trust_env=False, headers={"accept": "text/html"}) as browser:
            assert browser.get(address[1]).status_code == 200
            home = browser.get(address[1].partition("/login")[0] + "/")
            assert "Nimbus Code" in home.text
            assert browser.get(address[1]).status_code == 401
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert "Stopped." in rest
    assert "Traceback" not in errors


def test_a_run_that_was_interrupted_starts_over(place: Path) -> None:
    folder = place / "demo-interrupted"
    with start(place, "--data", str(folder)) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if "Three customers" in line:
                running.send_signal(signal.SIGINT)
                break
        rest, errors = running.communicate(timeout=60)
    assert running.returncode == 130, (rest, errors)
    assert "Stopped. The next run starts over." in errors
    assert "Traceback" not in errors
    assert (folder / "demo-state").read_text() == "loading"


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    result = run("demo", "--data", tmp_path, "--port", "0", "--fresh")
    assert result.exit_code == 1
    assert "holds something else than a demo" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_the_plans_of_the_demo_are_sound() -> None:
    plans = [checked.plan.key for file in plan_files() for checked in read_plan_file(file).plans]
    assert plans == ["demo-tokens", "demo-hybrid", "demo-credits"]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.customer)
def test_usage_is_the_same_however_it_is_cut(profile: object) -> None:
    [one] = [each for each in PROFILES if each is profile]
    whole = list(usage_between(one, MONDAY, MONDAY + DAY))
    cut = MONDAY + timedelta(hours=7, minutes=13)
    parts = [*usage_between(one, MONDAY, cut), *usage_between(one, cut, MONDAY + DAY)]
    assert whole == parts
    assert [event["time"] for event in whole] == sorted(event["time"] for event in whole)
    assert len({event["id"] for event in whole}) == len(whole)


def test_usage_has_a_rhythm_a_spike_and_customers_of_all_sizes() -> None:
    counts = {one.customer: _events(one.customer, MONDAY) for one in PROFILES}
    assert 5 * counts["harbor"] < counts["nimbus"]
    assert 50 * counts["pixelpost"] < counts["nimbus"]
    sunday, spike = MONDAY + 6 * DAY, datetime(2026, 1, 20, tzinfo=UTC)
    assert 2 * _events("nimbus", sunday) < _events("nimbus", MONDAY)
    assert 2 * _events("nimbus", MONDAY) < _events("nimbus", spike)


def _events(customer: str, day: datetime) -> int:
    [profile] = [one for one in PROFILES if one.customer == customer]
    return sum(1 for _ in usage_between(profile, day, day + DAY))
