"""`taximeter archive`: what it says and how it ends."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.command_line import run, run_on_database

OLD_EVENTS = """
INSERT INTO customer (customer, document, currency, timezone, enforcement, created_at, updated_at)
VALUES ('acme', '{}', 'USD', 'UTC', 'soft', '2025-01-01Z', '2025-01-01Z');
INSERT INTO event (customer, source, id, type, time, received_at, status, digest, data)
SELECT 'acme', '', 'e' || n, 'call', '2025-01-02Z', '2025-01-02Z', 'accepted',
    decode(md5('x'), 'hex'),
    '{"n": 1.50}' FROM generate_series(1, 7) n;
"""


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that the environment names, with seven events of January 2025."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute(OLD_EVENTS)
    return database_url


def test_events_go_into_files_and_back(database: str, tmp_path: Path) -> None:
    move = ("archive", "run", "--before", "2025-02-01", "--to", tmp_path)
    assert run_on_database(*move, "--dry-run").stdout == "7 events would be moved.\n"
    assert run_on_database(*move).stdout.startswith("7 events moved into 1 files in ")
    assert run_on_database(*move).stdout.startswith("0 events moved into 0 files in ")
    header, row = run_on_database("archive", "list").stdout.splitlines()
    assert header.split()[:2] == ["NUMBER", "EVENTS"]
    assert row.split()[:2] == ["1", "7"]

    (tmp_path / "left.parquet.part").write_bytes(b"")
    verified = run_on_database("archive", "verify", "--dir", tmp_path)
    assert verified.stdout == "the archive is right: 7 events in 1 files\n"
    assert "left.parquet.part belongs to no archive" in verified.stderr

    [path] = tmp_path.glob("*.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    damaged = run_on_database("archive", "verify")
    assert damaged.exit_code == 1
    assert f"{path} is not what was written" in damaged.stdout
    path.write_bytes(content)

    assert run_on_database("archive", "restore", "1").stdout.startswith("7 events are in the data")
    assert not path.exists()
    again = run_on_database("archive", "restore", "1")
    assert (again.exit_code, again.stderr) == (1, "taximeter: There is no archive '1'.\n")
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT count(*), min(data::text) FROM event").fetchall()
    assert rows == [(7, '{"n": 1.50}')], "to the last digit"


def test_a_time_that_is_none(tmp_path: Path) -> None:
    refused = run("archive", "run", "--before", "soon", "--to", tmp_path)
    assert refused.exit_code == 2
    assert "--before soon" in refused.stderr


def test_personal_data_is_taken_away(database: str, tmp_path: Path) -> None:
    run_on_database("archive", "run", "--before", "2025-02-01", "--to", tmp_path)
    done = run_on_database("retention", "run", "--before", "2025-02-01")
    assert done.stdout == "7 events reduced, 1 files written anew.\n"
    assert run_on_database("archive", "verify").exit_code == 0
    asked = ("customer", "erase", "acme", "--reason", "on request")
    assert run_on_database(*asked).exit_code == 2, "there is nobody to ask"
    erased = run_on_database(*asked, "--yes")
    assert erased.stdout == "acme is erased: 0 events were changed.\n"
    unknown = run_on_database("customer", "erase", "nobody", "--reason", "x", "--yes")
    assert (unknown.exit_code, unknown.stderr) == (1, "taximeter: There is no customer 'nobody'.\n")
