"""`taximeter keys` and `taximeter db`, on the database itself."""

from pathlib import Path

import psycopg
import pytest

from tests.cli.command_line import run_on_database


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the environment names."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def empty_database(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database that the environment names."""
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    return empty_database_url


def test_a_key_is_made_listed_and_revoked(database: str) -> None:
    made = run_on_database(
        "keys", "create", "--name", "gateway", "--scope", "ingest", "--scope", "authorize",
        "--customer", "acme", "--path", "support", "--expires", "2031-01-01T00:00:00+01:00",
        "--rate", "100/minute",
    )  # fmt: skip
    assert made.exit_code == 0
    secret = made.stdout.strip()
    assert secret.startswith("tx_"), "the secret stands alone on standard output"
    key_id = made.stderr.split("secret of ")[1].split()[0]
    listed = run_on_database("keys", "list").stdout
    header, row = listed.splitlines()
    titles = ["ID", "NAME", "SCOPES", "CUSTOMER", "PATH", "CREATED", "EXPIRES", "REVOKED", "RATE"]
    assert header.split() == titles
    assert row.split()[:5] == [key_id, "gateway", "ingest,authorize", "acme", "support"]
    assert row.split()[6] == "2030-12-31T23:00:00Z"
    assert row.split()[-1] == "100/minute"
    assert secret not in listed
    throttled = run_on_database("keys", "throttle", key_id, "--rate", "5/second").stdout
    assert throttled == f"{key_id} (gateway) may ask 5/second.\n"
    freed = run_on_database("keys", "throttle", key_id).stdout
    assert freed == f"{key_id} (gateway) may ask as fast as it likes.\n"
    assert run_on_database("keys", "revoke", key_id).stdout == f"{key_id} (gateway) is revoked.\n"
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT actor, action, object FROM audit ORDER BY id")
        assert rows.fetchall() == [
            ("cli", "api_key.created", key_id),
            ("cli", "api_key.rate_set", key_id),
            ("cli", "api_key.rate_set", key_id),
            ("cli", "api_key.revoked", key_id),
        ]
        row_text = str(connection.execute("SELECT * FROM api_key").fetchall())
    assert secret not in row_text


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ["create", "--name", "a", "--scope", "everything"],
            1,
            "admin, ingest, authorize, limits, read",
        ),
        (["create", "--name", "a", "--scope", "read", "--expires", "soon"], 2, "--expires soon"),
        (["create", "--scope", "read"], 2, "--name"),
        (["throttle", "key_none"], 1, "There is no API key 'key_none'."),
        (["throttle", "key_none", "--rate", "0/minute"], 2, "--rate 0/minute is no rate"),
        (["create", "--name", "a", "--scope", "read", "--rate", "9/day"], 2, "--rate 9/day"),
        (
            ["create", "--name", "a", "--scope", "ingest", "--customer", "c", "--path", ""],
            1,
            "Send 1 to 256 printable characters.",
        ),
        (["revoke", "key_none"], 1, "There is no API key 'key_none'."),
    ],
)
def test_keys_that_cannot_be(database: str, arguments: list[str], status: int, said: str) -> None:
    result = run_on_database("keys", *arguments)
    assert result.exit_code == status
    assert result.stdout == ""
    assert said in result.stderr


def test_a_database_is_brought_up_to_date(empty_database: str) -> None:
    before = run_on_database("db", "status")
    assert before.exit_code == 1
    names = [line.removeprefix("pending ") for line in before.stdout.splitlines()]
    assert names
    for command in (["db", "check"], ["keys", "list"]):
        result = run_on_database(*command)
        assert result.exit_code == 1
        assert "taximeter db migrate" in result.stderr
    applied = run_on_database("db", "migrate").stdout.splitlines()
    assert applied == [f"applied {name}" for name in names]
    assert run_on_database("db", "migrate").stdout == "up to date\n"
    status = run_on_database("db", "status")
    assert status.exit_code == 0
    assert status.stdout.startswith("up to date\nsize ")
    assert "\nTABLE  " in status.stdout
    assert "NODE" not in status.stdout, "there is no cluster"
    checked = run_on_database("db", "check").stdout
    assert checked == "the schema is as declared\nthe books are right: 0 checked\n"


def test_a_changed_schema_is_told(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE stray (id integer)")
    result = run_on_database("db", "check")
    assert result.exit_code == 1
    assert "stray" in result.stderr


@pytest.mark.parametrize("command", [["keys", "list"], ["db", "status"], ["db", "migrate"]])
def test_an_unreachable_database(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
    result = run_on_database(*command)
    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert "secret" not in result.stderr


def test_a_mistyped_directory_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    result = run_on_database("keys", "list", "--data", tmp_path / "typo")
    assert result.exit_code == 1
    assert "There is no database in" in result.stderr
    assert not (tmp_path / "typo").exists()


def test_distributing_says_what_it_would_do_and_what_is_in_the_way(database: str) -> None:
    shown = run_on_database("db", "distribute", "--dry-run", "--shards", "64")
    assert shown.exit_code == 1
    rows = [line.split() for line in shown.stdout.split("\n\n")[0].splitlines()]
    assert rows[0] == ["TABLE", "KIND", "SIZE", "NOW"]
    assert {tuple(row[:2]) for row in rows} >= {
        ("event", "distributed"), ("plan_version", "reference"), ("outbox", "local"),
    }  # fmt: skip
    assert "1. Copy meter to every node" in shown.stdout
    assert "colocate_with => 'none', shard_count => 64);" in shown.stdout
    assert "This server has no Citus. Install Citus" in shown.stderr
    done = run_on_database("db", "distribute", "--yes")
    assert done.exit_code == 1
    assert "This server has no Citus" in done.stderr
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM event").fetchone() == (0,)
