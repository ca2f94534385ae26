"""`taximeter plan` against a running server: compare, deploy, schedule, roll back, export."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from typer.testing import Result

from tests.cli.command_line import run
from tests.cli.test_plan_files import LIMITED, SCALE, VIDEO, write
from tests.serving import KEY, PROGRAM, serving

APRIL = "2026-04-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Shop:
    """A server with the meters of the plans here."""

    url: str

    def plan(self, *words: object) -> Result:
        """A `taximeter plan` command against it."""
        return run("plan", *words, TAXIMETER_URL=self.url, TAXIMETER_API_KEY=KEY)

    def lines(self, *words: object) -> list[str]:
        """What a command that succeeds prints."""
        result = self.plan(*words)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Iterator[Shop]:
    now = "2026-03-10T12:00:00Z"
    options = ("--port", 0, "--sandbox", "--now", now)
    with serving(tmp_path / "log", *options, DATABASE_URL=database_url) as server:
        headers = {"authorization": f"Bearer {KEY}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            for meter, more in (("resolutions", {}), ("minutes", {"dimensions": ["speed"]})):
                body = {"event_type": meter, "aggregation": "sum", "value": "n", **more}
                assert client.put(f"/v1/meters/{meter}", json=body).is_success
        yield Shop(server.url)


def test_plans_are_compared_deployed_and_exported(shop: Shop, tmp_path: Path) -> None:
    file = write(tmp_path, f"{SCALE}---\n{VIDEO}")
    assert shop.lines("diff", file) == ["scale: not published yet", "video: not published yet"]
    assert shop.lines("deploy", file, "--dry-run") == [
        "scale: would create version 1", "video: would create version 1",
    ]  # fmt: skip
    created = ["scale: created version 1", "video: created version 1"]
    assert shop.lines("deploy", file) == created
    assert shop.lines("deploy", file) == [
        "scale: unchanged, version 1",
        "video: unchanged, version 1",
    ]

    file.write_text(SCALE.replace('"499.00"', '"599.00"').replace('{percent: "10"}', "null"))
    changes = [
        "  ~ platform: amount 499.00 -> 599.00",
        "  - resolutions: discount removed: percent 10",
    ]
    assert shop.lines("diff", file) == ["scale: 2 changes to version 1", *changes]
    assert shop.lines("deploy", file, "--dry-run") == ["scale: would create version 2", *changes]
    assert shop.lines("deploy", file, "--yes") == ["scale: created version 2"]
    assert shop.lines("diff", file) == ["scale: unchanged, version 2"]

    folder = tmp_path / "exported"
    assert shop.lines("export", "--all", "--output", folder) == [
        f"scale: {folder}/scale.yaml", f"video: {folder}/video.yaml",
    ]  # fmt: skip
    assert shop.lines("deploy", folder) == [
        "scale: unchanged, version 2",
        "video: unchanged, version 1",
    ]
    first = shop.lines("export", "scale", "--version", 1)
    assert first[0] == "key: scale"
    assert any('amount: "499.00"' in line for line in first)
    both = tmp_path / "both.yaml"
    both.write_text(shop.plan("export", "scale", "video").stdout)
    assert len(shop.lines("check", both)) == 2
    for words in (["export"], ["export", "scale", "--all"], ["export", "--all", "--version", "1"]):
        assert shop.plan(*words).exit_code == 2


def test_entitlements_are_compared_and_deployed_with_their_meters(
    shop: Shop, tmp_path: Path
) -> None:
    meters = "meters:\n  - {key: queries, event_type: query, aggregation: count}\n---\n"
    file = write(tmp_path, LIMITED)
    refused = shop.plan("check", "--server", file)
    assert refused.exit_code == 1
    assert f"{file}:9:12: entitlements[1].meter: There is no meter queries" in refused.stderr
    file.write_text(meters + LIMITED)
    assert shop.lines("check", "--server", file)[0].endswith("limited: ok, 1 price in USD")
    assert shop.lines("deploy", file)[-1] == "limited: created version 1"
    file.write_text(
        (meters + LIMITED).replace('"1000"', '"500"').replace("value: true", "value: x")
    )
    assert shop.lines("diff", file) == [
        "limited: 2 changes to version 1",
        "  ~ entitlement sso: value true -> x",
        "  ~ entitlement queries per day: limit 1000 -> 500",
    ]
    preview = shop.plan("preview", file)
    assert preview.exit_code == 0, preview.output
    assert "9.00 USD" in preview.stdout


def test_versions_have_dates_and_can_be_taken_back(shop: Shop, tmp_path: Path) -> None:
    file = write(tmp_path, VIDEO)
    shop.lines("deploy", file)
    file.write_text(VIDEO.replace('"1.00"', '"1.20"'))
    assert shop.lines("deploy", file, "--effective-at", APRIL) == [
        f"video: created version 2, in force from {APRIL}"
    ]
    listed = shop.lines("list")
    assert listed[0].split() == [
        "PLAN", "VERSION", "NAME", "CURRENCY", "PERIOD", "PRICES", "STATUS", "SINCE",
    ]  # fmt: skip
    assert listed[1].split()[:2] == ["video", "1"]
    shown = shop.lines("show", "video")
    assert [line.split()[:3] for line in shown[1:3]] == [
        ["2", "scheduled", APRIL], ["1", "active", "2026-03-10T12:00:00Z"],
    ]  # fmt: skip
    assert "key: video" in shown
    assert shop.lines("cancel", "video", "--version", 2) == ["video: version 2 is cancelled"]
    assert shop.plan("cancel", "video", "--version", 1).exit_code == 1

    assert shop.lines("deploy", file) == ["video: created version 3"]
    back = ["rollback", "video", "--to-version", 1, "--reason", "too dear"]
    assert shop.lines(*back) == ["video: created version 4 with the content of version 1"]
    assert shop.lines(*back) == ["video: unchanged, version 4 is the same"]
    assert shop.lines("retire", "video") == ["video: retired"]
    assert shop.lines("list")[1].split()[-2] == "retired"
    assert "retired since" in "\n".join(shop.lines("show", "video"))
    assert shop.lines("unretire", "video") == ["video: takes new subscriptions"]
    assert len(shop.lines("list", "--family", "none")) == 1  # the header

    refused = shop.plan("deploy", file, "--effective-at", "2026-01-01T00:00:00Z")
    assert refused.exit_code == 1
    assert "now or later" in refused.stderr
    assert shop.plan("deploy", file, "--effective-at", "soon").exit_code == 2


def test_what_the_server_refuses_has_its_line(shop: Shop, tmp_path: Path) -> None:
    file = write(tmp_path, f"{SCALE}---\n{VIDEO.replace('meter: minutes', 'meter: hours')}")
    detail = "There is no meter hours. Create it first, or correct its key."
    refused = shop.plan("deploy", file)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert refused.stderr.splitlines() == [
        f"{file}:21:12: prices[0].meter: {detail}",
        "        meter: hours",
        "               ^~~~~",
    ]
    assert shop.lines("list")[1:] == []
    checked = shop.plan("check", file, "--server")
    assert checked.exit_code == 1
    assert checked.stdout == f"{file}: scale: ok, 3 prices in USD\n"
    assert "There is no meter hours." in checked.stderr
    assert "The meter resolutions does not say what it counts." in checked.stderr


TOGETHER = """\
meters:
  - {key: words, event_type: text, aggregation: sum, value: n}
  - {key: minutes, event_type: minutes, aggregation: sum, value: n, dimensions: [speed, size]}
---
key: video
currency: USD
period: month
prices:
  - key: video
    type: usage
    meter: minutes
    model: dimensional
    dimensions: [size]
    otherwise: quarantine
    rates: [{match: {size: big}, unit: "2.00"}]
  - {key: words, type: usage, meter: words, model: per_unit, unit: "0.01"}
"""


def test_plans_are_judged_by_the_meters_as_they_will_be(shop: Shop, tmp_path: Path) -> None:
    """`minutes` is there without its size, `words` is not there: both are told once, and truly."""
    file, events = write(tmp_path, TOGETHER), tmp_path / "events.json"
    big = {"type": "minutes", "data": {"n": 3, "size": "big"}, "count": "2"}
    events.write_text(json.dumps([big, {"type": "text", "data": {"n": 100}}]))
    # 2 x 3 x 2.00 + 100 x 0.01 = 13.00, by meters that are not published yet
    assert "13.00 USD" in "\n".join(shop.lines("preview", file, "--events", events))
    assert shop.lines("check", file, "--server")[-1] == "meters words, minutes: ok"
    said = ["meter words: {} version 1", "meter minutes: {} version 2", "video: {} version 1"]
    would = [line.format("would create") for line in said]
    assert shop.lines("deploy", file, "--dry-run") == would
    assert shop.lines("deploy", file) == [line.format("created") for line in said]
    assert shop.lines("deploy", file) == ["video: unchanged, version 1"]


def test_a_meter_that_cannot_be_so_is_the_only_error(shop: Shop, tmp_path: Path) -> None:
    file = write(tmp_path, TOGETHER.replace("event_type: minutes", "event_type: film"))
    detail = "A meter keeps its event type (minutes). Use another key."
    place = f"{file}:3:32: meters[1].event_type: {detail}"
    events = tmp_path / "events.json"
    events.write_text('[{"type": "text", "data": {"n": 1}}]')
    for words in (
        ["check", "--server"], ["deploy", "--dry-run"], ["deploy"], ["preview", "--events", events],
    ):  # fmt: skip
        refused = shop.plan(words[0], file, *words[1:])
        assert refused.exit_code == 1
        told = [line for line in refused.stderr.splitlines() if not line.startswith("    ")]
        assert told == [place]
    # `words` was right and came first; yet nothing of it all is there.
    assert shop.lines("diff", file)[0] == "meter words: not published yet"
    # A file in error is not half asked about: its meters would be missing.
    file.write_text(TOGETHER.replace("sum", "summ", 1))
    told = [
        line for line in shop.plan("check", "--server", file).stderr.splitlines() if line[0] != " "
    ]
    assert len(told) == 1
    assert "meters[0].aggregation" in told[0]


def test_events_are_counted_by_the_meters_of_the_server(shop: Shop, tmp_path: Path) -> None:
    file, events = write(tmp_path, VIDEO), tmp_path / "events.json"
    fast = {"type": "minutes", "data": {"n": 2, "speed": "fast"}, "count": "5"}
    events.write_text(json.dumps([fast]).replace('"n": 2', '"n": 2.50'))
    # 5 x 2.50 x 1.00 = 12.50
    shown = shop.plan("preview", file, "--events", events)
    assert shown.exit_code == 0
    assert "12.50 USD" in shown.stdout
    events.write_text(json.dumps([fast | {"type": "none"}]))
    refused = shop.plan("preview", file, "--events", events)
    assert refused.exit_code == 1
    assert f"{events}: events[0]: " in refused.stderr
    file.write_text(VIDEO.replace("meter: minutes", "meter: hours"))
    refused = shop.plan("preview", file, "--events", events, "--quantity", "seats=2")
    assert f"{file}:7:12: prices[0].meter: There is no meter hours." in refused.stderr
    file.write_text(VIDEO)
    refused = shop.plan("preview", file, "--events", events, "--quantity", "seats=2")
    events.write_text("{}")
    assert shop.plan("preview", file, "--events", events).exit_code == 2
    both = shop.plan("preview", file, "--events", events, "--usage", "video=1")
    assert both.exit_code == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [("y", "video: created version 1"), ("n", "Nothing was deployed.")],
)
def test_a_person_at_a_terminal_is_asked(
    shop: Shop, tmp_path: Path, answer: str, said: str
) -> None:
    file = write(tmp_path, VIDEO)
    ours, theirs = pty.openpty()
    words = ["plan", "deploy", str(file), "--url", shop.url, "--key", KEY]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words], stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the terminal is gone with the process
            pass
        process.wait()
    os.close(ours)
    text = shown.decode()
    assert "video: would create version 1" in text
    assert "Deploy?" in text
    assert said in text
    assert (process.returncode == 0) is (answer == "y")
