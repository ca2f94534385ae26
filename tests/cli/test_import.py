"""`taximeter import`: what is read, what is sent, and that nothing is lost or counted twice."""

import io
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import Result

from taximeter.cli.event_mapping import EventMaker, EventMapping, Ready
from taximeter.cli.event_rows import BadRow, CsvRows
from tests.cli.command_line import run
from tests.cli.event_server import KEY, EventServer, serving

USAGE = """\
TIMESTAMP,ContextTokens,GeneratedTokens\r
2023-11-16 18:15:46.6805900,374,44\r
2023-11-16 18:15:50.9951690,396,109\r
2023-11-16 18:15:51.2224670,879,55\r
2023-11-16 18:15:51.2224670,879,55"""
COLUMNS = ("--time-column", "TIMESTAMP")
MAPS = ("--map", "input_tokens=ContextTokens", "--map", "output_tokens=GeneratedTokens")
NAMED = ("--customer", "acme", "--type", "llm.completion")


def write(folder: Path, text: str | bytes, name: str = "usage.csv") -> Path:
    """A file of usage with this text."""
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def run_import(server: EventServer, file: Path, *options: object) -> Result:
    """Import `file` into `server`."""
    return run("import", file, *options, TAXIMETER_URL=server.url, TAXIMETER_API_KEY=KEY)


def counts(result: Result) -> dict[str, int]:
    """The counts of a report, without those that are 0."""
    found = {}
    for line in result.stdout.splitlines():
        name, _, number = line.rpartition("  ")
        if name and number.replace(",", "").isdigit():
            found[name.strip()] = int(number.replace(",", ""))
    return {name: number for name, number in found.items() if number}


def test_a_file_becomes_events(tmp_path: Path) -> None:
    file = write(tmp_path, USAGE)
    with serving() as server:
        result = run_import(server, file, *NAMED, *COLUMNS, *MAPS, "--constant", "model=gpt-5.2")
    assert result.exit_code == 0
    assert counts(result) == {"read": 4, "accepted": 4}
    first = next(iter(server.events.values()))
    assert first.pop("id").startswith("row-")
    assert first == {
        "type": "llm.completion",
        "subject": "acme",
        # Seven digits of a second; what is beyond the microsecond is cut.
        "time": "2023-11-16T18:15:46.680590Z",
        "data": {"input_tokens": "374", "output_tokens": "44", "model": "gpt-5.2"},
    }


def test_a_second_import_counts_nothing_again(tmp_path: Path) -> None:
    header, *rows = USAGE.split("\r\n")
    random.Random(7).shuffle(rows)
    shuffled = write(tmp_path, "\n".join([header, *rows]), "shuffled.csv")
    with serving() as server:
        run_import(server, write(tmp_path, USAGE), *NAMED, *COLUMNS, *MAPS)
        options = (*NAMED, *COLUMNS, *MAPS, "--batch", 1, "--parallel", 3)
        result = run_import(server, shuffled, *options)
    assert result.exit_code == 0
    assert counts(result) == {"read": 4, "duplicates": 4}
    assert len(server.events) == 4  # the two equal rows are two events


def test_another_type_is_another_event_and_other_data_a_conflict(tmp_path: Path) -> None:
    file = write(tmp_path, USAGE)
    with serving() as server:
        run_import(server, file, *NAMED, *COLUMNS, *MAPS)
        result = run_import(server, file, "--customer", "acme", "--type", "other", *COLUMNS)
        assert counts(result) == {"read": 4, "accepted": 4}
        result = run_import(server, file, *NAMED, *COLUMNS)
    assert result.exit_code == 3
    assert counts(result) == {"read": 4, "rejected": 4}
    assert "line 2: id: The first stays." in result.stdout


@given(
    rows=st.lists(st.sampled_from(["1,a", "1,b", "2,a", " 2 , a ", '"2","a"']), max_size=12),
    seed=st.integers(0, 1000),
)
def test_ids_depend_on_the_rows_alone(rows: Sequence[str], seed: int) -> None:
    """However rows are ordered, and whichever column comes first, the ids are the same set."""
    shuffled = list(rows)
    random.Random(seed).shuffle(shuffled)
    swapped = [",".join(reversed(row.split(","))) for row in shuffled]
    ids = ids_of(["n,who", *rows])
    assert len(ids) == len(rows)
    assert ids == ids_of(["n,who", *shuffled]) == ids_of(["who,n", *swapped])


def ids_of(lines: Sequence[str]) -> set[str]:
    """The ids of the events of a CSV file with these lines."""
    mapping = EventMapping(
        whole=False, customer="acme", customer_column=None, type="t", source=None,
        time_column=None, time_zone="UTC", id_column=None, columns=None, constants={},
    )  # fmt: skip
    maker = EventMaker(mapping)
    stream = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    events = []
    for row in CsvRows(Path("x.csv"), stream, ","):
        assert not isinstance(row, BadRow)
        events.append(maker.event(row))
    assert all(isinstance(event, Ready) for event in events)
    return {json.loads(event.body)["id"] for event in events if isinstance(event, Ready)}


def test_bad_rows_are_reported_and_the_rest_is_taken(tmp_path: Path) -> None:
    text = (
        "at,who,n\n"  # line 1
        "2026-01-05T10:00:00Z,acme,1\n"
        "yesterday,acme,2\n"
        "2026-01-05 10:00:00,acme\n"
        '2026-01-05 10:00:00,a"b,4\n'
        '2026-01-05 10:00:00,"a"b,4\n'
        "\n"
        "2026-01-05 10:00:00,a/b,5\n"
        "2026-01-05 10:00:00,,6\n"
        "2026-01-05 10:00:00,\xff,7\n"
    )
    file = write(tmp_path, text.encode("latin-1"))
    report = tmp_path / "problems.ndjson"
    options = ("--customer-column", "who", "--type", "t", "--time-column", "at")
    with serving() as server:
        result = run_import(server, file, *options, "--report", report)
    assert result.exit_code == 3
    # Line 5 has a customer that does not exist; the blank line is no row.
    assert counts(result) == {"read": 8, "accepted": 1, "quarantined": 1, "rejected": 6}
    assert "quarantined 1 x unknown_customer: No such customer." in result.stdout
    problems = [json.loads(line) for line in report.read_text().splitlines()]
    found = {(problem["line"], problem["status"], problem["code"]) for problem in problems}
    assert found == {
        (3, "invalid", "invalid_time"),
        (4, "invalid", "malformed"),
        (5, "quarantined", "unknown_customer"),
        (6, "invalid", "malformed"),
        (8, "invalid", "invalid_text"),
        (9, "invalid", "invalid_text"),
        (10, "invalid", "malformed"),
    }
    for said in ("line 3: at: This is no time.", "line 4: 2 cells, but the header names 3"):
        assert said in result.stdout


def test_a_dry_run_sends_nothing(tmp_path: Path) -> None:
    file = write(tmp_path, USAGE + "\r\nnever,1,2\r\n")
    result = run("import", file, *NAMED, *COLUMNS, *MAPS, "--dry-run")
    assert result.exit_code == 3
    assert counts(result) == {"read": 5, "good": 4, "rejected": 1}


def test_all_other_columns_are_properties_and_empty_cells_are_none(tmp_path: Path) -> None:
    file = write(tmp_path, "at,id,model,n\n2026-01-05 10:00:00,e1, gpt ,\n")
    options = (*NAMED, "--time-column", "at", "--id-column", "id", "--source", "book")
    with serving() as server:
        run_import(server, file, *options, "--time-zone", "Europe/Paris")
    assert server.events == {
        ("acme", "book", "e1"): {
            "type": "llm.completion",
            "subject": "acme",
            "source": "book",
            "id": "e1",
            "time": "2026-01-05T09:00:00Z",
            "data": {"model": "gpt"},
        }
    }


def test_json_lines_are_events_as_they_are(tmp_path: Path) -> None:
    lines = [
        '{"id":"a","type":"t","subject":"acme","time":"2026-01-05T10:00:00Z","data":{"n":1.10}}',
        "",
        '{"type":"t","data":{"n":0.1000000000000000055}}',
        '{"type":"t","subject":"acme","data":{"n":1e400}}',
        '{"type":"t","subject":"acme","data":{"n":1,"n":2}}',
        '{"type":"t","subject":"acme","data":{"n":NaN}}',
        '["no object"]',
        '{"id":"b","type":"t","subject":"acme","data":{"n":3,"wide":"' + "x" * 70_000 + '"}}',
        '{"id":"c","type":"t","subject":"acme","data":{"n":4}}',
    ]
    file = write(tmp_path, "\n".join(lines), "events.ndjson")
    with serving() as server:
        result = run_import(server, file, "--constant", "region=eu")
        assert counts(result) == {"read": 8, "accepted": 2, "rejected": 6}
        assert server.data == [{"n": 1.1, "region": "eu"}, {"n": 4, "region": "eu"}]
        result = run_import(server, file, "--customer", "acme", "--constant", "region=eu")
    # The third line names no customer, but has too many digits to be a quantity.
    assert counts(result) == {"read": 8, "duplicates": 2, "rejected": 6}
    assert result.exit_code == 3


def test_json_rows_with_columns(tmp_path: Path) -> None:
    row = {"when": "2026-01-05T10:00:00Z", "usage": {"in": 374}, "account": "acme", "n": 7}
    file = write(tmp_path, json.dumps(row), "rows.jsonl")
    options = ("--customer-column", "account", "--type", "t", "--time-column", "when")
    with serving() as server:
        run_import(server, file, *options, "--id-column", "n", "--map", "tokens=usage.in")
    assert server.events["acme", "", "7"]["data"] == {"tokens": 374}


@pytest.mark.parametrize(
    "faults", [[503, 503], ["drop"], ["lose"], [500, "lose", 502, "drop", 429, "lose"]]
)
def test_what_is_lost_on_the_way_is_sent_again(tmp_path: Path, faults: list[int | str]) -> None:
    file = write(tmp_path, USAGE)
    with serving(*faults) as server:
        options = (*NAMED, *COLUMNS, *MAPS, "--batch", 2, "--parallel", 2)
        result = run_import(server, file, *options)
    assert result.exit_code == 0
    # Also where the answer to a batch that was taken got lost: it is accepted, no duplicate.
    assert counts(result) == {"read": 4, "accepted": 4}
    assert len(server.events) == 4
    assert "trying again" in result.stderr


def test_it_gives_up_in_time_and_can_be_run_again(tmp_path: Path) -> None:
    file = write(tmp_path, USAGE)
    options = (*NAMED, *COLUMNS, *MAPS, "--batch", 1, "--parallel", 1, "--retry-for", 0)
    with serving() as server:
        server.faults = ["drop"]
        result = run_import(server, file, *options)
        assert result.exit_code == 1
        assert counts(result)["not confirmed"] == counts(result)["read"]
        assert "run the same command again" in result.stderr
        assert counts(run_import(server, file, *options)) == {"read": 4, "accepted": 4}


@pytest.mark.parametrize(("status", "said"), [(401, "taximeter keys create"), (413, "Not now.")])
def test_a_refused_batch_ends_the_import(tmp_path: Path, status: int, said: str) -> None:
    with serving(status) as server:
        result = run_import(server, write(tmp_path, USAGE), *NAMED, *COLUMNS, *MAPS)
    assert result.exit_code == 1
    assert counts(result) == {"read": 4, "not confirmed": 4}
    assert said in result.stderr


def test_confirmed_batches_are_skipped(tmp_path: Path) -> None:
    file, state = write(tmp_path, USAGE), tmp_path / "state"
    options = (*NAMED, *COLUMNS, *MAPS, "--batch", 1, "--parallel", 1, "--state", state)
    with serving() as server:
        run_import(server, file, *options)
        state.write_text(state.read_text()[:-20])  # the last line was cut off by a crash
        server.sizes.clear()
        result = run_import(server, file, *options)
        assert counts(result) == {"read": 4, "confirmed before": 3, "duplicates": 1}
        assert server.sizes == [1]
        assert result.exit_code == 0
    with serving() as other:  # another server has none of it
        assert counts(run_import(other, file, *options)) == {"read": 4, "accepted": 4}


def test_batches_with_problems_are_not_confirmed(tmp_path: Path) -> None:
    file, state = write(tmp_path, USAGE), tmp_path / "state"
    options = ("--customer", "new", "--type", "t", *COLUMNS, *MAPS, "--state", state)
    with serving() as server:
        assert run_import(server, file, *options).exit_code == 3
        server.events.clear()
        server.customers.add("new")
        assert counts(run_import(server, file, *options)) == {"read": 4, "accepted": 4}


def test_many_batches_in_parallel(tmp_path: Path) -> None:
    rows = "".join(f"2026-01-05 10:00:00,{n % 50}\n" for n in range(2000))
    file = write(tmp_path, "at,n\n" + rows)
    options = (*NAMED, "--time-column", "at", "--batch", 7, "--parallel", 8)
    faults: list[int | str] = ["drop", "lose", 503] * 2
    with serving(*faults) as server:
        result = run_import(server, file, *options)
    assert counts(result) == {"read": 2000, "accepted": 2000}
    # 40 times each of 0..49: 40 x 1225 = 49,000
    assert sum(int(data["n"]) for data in server.data) == 49_000
    assert max(server.sizes) == 7


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--type", "t", *COLUMNS], "--customer or --customer-column"),
        (["--customer", "a", "--customer-column", "b", "--type", "t", *COLUMNS], "exclude"),
        (["--customer", "a", *COLUMNS], "--type"),
        (["--customer", "a", "--type", "t"], "--time-column"),
        ([*NAMED, "--time-column", "At"], "It has: TIMESTAMP, ContextTokens, GeneratedTokens"),
        ([*NAMED, *COLUMNS, "--map", "n=Tokens"], "has no column 'Tokens'"),
        ([*NAMED, *COLUMNS, "--map", "n"], "two names with = between"),
        ([*NAMED, *COLUMNS, "--map", "n=a", "--map", "n=b"], "Say it once"),
        ([*NAMED, *COLUMNS, "--time-zone", "Mars/Base"], "Europe/Paris"),
        ([*NAMED, *COLUMNS, "--delimiter", "::"], "one character"),
        ([*NAMED, *COLUMNS, "--batch", "10001"], "--batch"),
    ],
)
def test_a_wrong_call(tmp_path: Path, options: list[str], said: str) -> None:
    result = run("import", write(tmp_path, USAGE), *options, "--dry-run")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert said in result.stderr


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "TIMESTAMP,b,b\n", "two columns 'b'"),
        ("a", '[{"id":"a"}]', "one object a line"),
        ("a.csv", 'TIMESTAMP,"b\n', "the header cannot be read"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path: Path, name: str, text: str, said: str) -> None:
    result = run("import", write(tmp_path, text, name), *NAMED, *COLUMNS, "--dry-run")
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_quotation_mark_left_open_swallows_little(tmp_path: Path) -> None:
    rows = [f"2026-01-05 10:00:00,{n}" for n in range(40_000)]
    rows[10] = '2026-01-05 10:00:00,"10'
    file = write(tmp_path, "\n".join(["TIMESTAMP,n", *rows]))
    result = run("import", file, *NAMED, *COLUMNS, "--dry-run")
    assert result.exit_code == 3
    assert counts(result)["good"] > 30_000
    assert "line 12: Not valid CSV" in result.stdout
    assert "were read as one" in result.stdout
