"""Migrations: what they build is what is declared, whoever starts first and whatever is killed."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import taximeter.storage
from taximeter.kernel.errors import Unavailable
from taximeter.storage.migrate import check, migrate, pending
from tests.conftest import TestServer

FOLDER = Path(taximeter.storage.__file__).parent / "migrations"
DIGESTS = Path(__file__).parent / "migration_digests.txt"


def names() -> list[str]:
    return [file.stem for file in sorted(FOLDER.glob("*.sql"))]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def test_all_migrations_build_the_declared_schema(
    empty_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pending(empty_database_url) == names()
    assert migrate(empty_database_url) == names()
    assert pending(empty_database_url) == []
    assert migrate(empty_database_url) == []
    assert check(empty_database_url) is None
    assert capfd.readouterr() == ("", "")


def test_asking_what_is_pending_writes_nothing(empty_database_url: str) -> None:
    pending(empty_database_url)
    assert (
        one(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    )


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("ALTER TABLE event ADD extra text", "column event.extra is there but not declared."),
        ("ALTER TABLE event DROP path", "column event.path is declared but missing."),
        (
            "ALTER TABLE event ALTER reason TYPE varchar(9)",
            "column event.reason is `character varying(9)` but declared as `text COLLATE C`.",
        ),
        (
            "ALTER TABLE customer ALTER currency DROP NOT NULL",
            "column customer.currency is `text` but declared as `text NOT NULL`.",
        ),
        (
            "ALTER TABLE event ALTER attributes SET DEFAULT '1'",
            "column event.attributes is `jsonb DEFAULT '1'::jsonb` but declared as `jsonb`.",
        ),
        ("DROP INDEX event_time", "index event.event_time is declared but missing."),
        (
            "ALTER TABLE customer DROP CONSTRAINT customer_enforcement_check",
            "constraint customer.customer_enforcement_check is declared but missing.",
        ),
        ("CREATE TABLE zebra ()", "relation zebra is there but not declared."),
        (
            "ALTER TABLE usage_total RESET (fillfactor)",
            "relation usage_total is `table` but declared as `table with fillfactor=70`.",
        ),
        (
            "ALTER TABLE event ENABLE ROW LEVEL SECURITY",
            "relation event is `table row security` but declared as `table`.",
        ),
        ("CREATE TYPE mood AS ENUM ('a', 'b')", "type mood is there but not declared."),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function f() is there but not declared.",
        ),
    ],
)
def test_check_names_the_first_difference(database_url: str, change: str, difference: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(change.encode())
    assert check(database_url) == difference


def test_check_leaves_nothing_behind(database_url: str) -> None:
    query = "SELECT count(*) FROM pg_class WHERE oid >= 16384"
    before = one(database_url, query)
    assert check(database_url) is None
    assert one(database_url, query) == before


def test_many_at_once_apply_each_migration_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(migrate, [empty_database_url] * 6))
    assert sorted(name for each in applied for name in each) == names()


def test_a_failed_migration_leaves_no_trace_and_keeps_those_before(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(
        tmp_path,
        a="CREATE TABLE a (x int);",
        b="CREATE TABLE b (x int); INSERT INTO b VALUES (1); SELECT 1 / 0 INTO c;",
    )
    with pytest.raises(Unavailable, match="The migration b failed: division by zero"):
        migrate(empty_database_url, folder=folder)
    assert pending(empty_database_url, folder=folder) == ["b"]
    assert one(empty_database_url, "SELECT to_regclass('b') IS NULL") is True

    write(folder, b="CREATE TABLE b (x int);")
    assert migrate(empty_database_url, folder=folder) == ["b"]


def test_a_migration_outside_a_transaction(empty_database_url: str, tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        a="CREATE TABLE a (x int);",
        b="-- transactional: false\nCREATE INDEX CONCURRENTLY IF NOT EXISTS a_x ON a (x);",
    )
    assert migrate(empty_database_url, folder=folder) == ["a", "b"]
    assert one(empty_database_url, "SELECT to_regclass('a_x') IS NOT NULL") is True


def test_a_killed_migration_leaves_neither_its_work_nor_its_lock(
    empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, a="CREATE TABLE a (x int); DO 'BEGIN PERFORM pg_sleep(60); END';")
    code = (
        "import sys, pathlib; from taximeter.storage.migrate import migrate;"
        "migrate(sys.argv[1], folder=pathlib.Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", code, empty_database_url, folder]) as process:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %%pg_sleep%%'"
            while not (
                found := connection.execute(query + " AND pid <> pg_backend_pid()").fetchone()
            ):
                assert process.poll() is None, "it ended before it was killed"
            process.kill()
            # The server notices a dead client when it next writes to it: end the sleep for it.
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [found[0]])
    write(folder, a="CREATE TABLE a (x int);")
    assert migrate(empty_database_url, folder=folder) == ["a"]


def test_a_url_and_keywords_with_signs_in_the_password(
    test_server: TestServer, empty_database_url: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, a="CREATE TABLE a (x int);", b="CREATE TABLE b (x int);")
    role, password = f"odd one {os.getpid()}", "p@ss:w/o?r#d% &'\\é"
    parts = {k: str(v) for k, v in conninfo_to_dict(empty_database_url).items()}
    words = make_conninfo(**parts | {"user": role, "password": password})
    place = f"host={quote(parts['host'], safe='')}&port={parts.get('port', 5432)}"
    login = f"{quote(role)}:{quote(password, safe='')}"
    url = f"postgresql://{login}@/{parts['dbname']}?{place}"
    name = sql.Identifier(role)
    with psycopg.connect(test_server.admin_url, autocommit=True) as admin:
        text = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        admin.execute(text.format(name, sql.Literal(password)))
        with psycopg.connect(empty_database_url) as connection:
            grant = sql.SQL("GRANT CREATE ON SCHEMA public TO {}")
            connection.execute(grant.format(name))
        assert pending(url, folder=folder) == pending(words, folder=folder) == ["a", "b"]
        assert migrate(url, folder=folder) == ["a", "b"]
        (tmp_path / "c.sql").write_text("CREATE TABLE c (x int);")
        assert migrate(words, folder=folder) == ["c"]
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
        admin.execute(drop.format(sql.Identifier(parts["dbname"])))
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://u:secret@127.0.0.1:1/x", "The database cannot be reached"),
        ("postgresql+psycopg://u:secret@localhost/x", "DATABASE_URL cannot be read"),
        ("mysql://u:secret@localhost/x", "DATABASE_URL cannot be read"),
    ],
)
def test_a_wrong_url_is_told_without_its_password(url: str, said: str) -> None:
    for call in (migrate, pending, check):
        with pytest.raises(Unavailable, match=said) as caught:
            call(url)
        assert "secret" not in str(caught.value)


def test_released_migrations_are_never_edited() -> None:
    """Databases that applied the file would never see the edit: write a new migration instead."""
    pinned = dict(line.split()[::-1] for line in DIGESTS.read_text().splitlines())
    found = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in FOLDER.glob("*.sql")}
    for name, digest in sorted(found.items()):
        assert name in pinned, f"new migration: append this line to {DIGESTS}:\n{digest}  {name}"
        assert digest == pinned[name], (
            f"{name} has changed since it was pinned. Was it released? Then undo that, and write a "
            f"new migration. Else its line in {DIGESTS} becomes:\n{digest}  {name}"
        )
    assert pinned.keys() == found.keys(), "a released migration is never removed"
