"""Making a cluster and what its server needs to start.

Owns everything between found binaries and a running server: the account, the directories, initdb,
the passwords, the settings file, the socket's directory, and what a killed server left behind.
Every function here expects that we hold the directory's lock. Must not start the server.
"""

import hashlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taximeter.gateways.postgres.account import (
    Account,
    as_account,
    can_reach,
    choose_account,
    give,
)
from taximeter.gateways.postgres.binaries import Binaries, choose_binaries, reachable_copy
from taximeter.gateways.postgres.home import Home
from taximeter.gateways.postgres.processes import is_alive
from taximeter.gateways.postgres.settings import memory_mb, settings_for, settings_text
from taximeter.kernel.errors import Unavailable

SUPERUSER = "postgres"
PASSWORD = "password"
SUPERUSER_PASSWORD = "superuser-password"

# Linux allows 107 bytes for the path of a socket and macOS 103; its name takes 16 of them.
_SOCKET_DIRECTORY_BYTES_MAX = 85
_ORPHAN_PATIENCE_S = 1
# The builtin provider (since 17) does not change its order with an upgrade of the system.
_BUILTIN_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is ready to be started.

    `data` is what the server is told as its directory: where its account cannot walk there (root's
    home is closed), the name `/proc/self/cwd` of the working directory that it starts in. `runtime`
    is where its socket stands (None: TCP). `fresh`: it was made just now.
    """

    home: Home
    account: Account | None
    binaries: Binaries
    data: str
    runtime: Path | None
    fresh: bool


def prepare(
    home: Home, explicit: Path | None, settings: Mapping[str, str], *, tcp: bool
) -> Cluster:
    """Makes the cluster where there is none, and all that a start needs.

    Raises `Unavailable`, or `OSError` where the file system refuses.
    """
    version_file = home.data / "PG_VERSION"
    made = version_file.exists()
    account = choose_account(home.data.stat().st_uid if made else None)
    major = int(version_file.read_text()) if made else None
    found = choose_binaries(explicit, major=major)
    reachable = can_reach(account, home.path)
    outside = _outside(home, account)
    if not reachable and (sys.platform != "linux" or not _make_private(outside, account)):
        raise Unavailable(
            what=f"The user {account.name if account else ''}, which runs PostgreSQL because we "
            f"are root, cannot reach {home.path}.",
            cure="Name a data directory that this user can reach, or run as an ordinary user.",
        )
    binaries = reachable_copy(found, account, home.path if reachable else outside)
    places = [home.path / "run", outside] if reachable else [outside]
    cluster = Cluster(
        home=home,
        account=account,
        binaries=binaries,
        data=str(home.data) if reachable else "/proc/self/cwd",
        runtime=None if tcp else _socket_place(places, account),
        fresh=not made,
    )
    if not made:
        _make(cluster)
    _write_settings(cluster, settings)
    return cluster


def clear_leftovers(home: Home, runtime: Path | None) -> None:
    """Makes way for a start after the last server was killed.

    Expects that no server of this cluster lives: waits for its orphaned processes to end and kills
    those that do not, for they hold its shared memory.
    """
    deadline = time.monotonic() + _ORPHAN_PATIENCE_S
    while orphans := home.orphans():
        if time.monotonic() > deadline + 10 * _ORPHAN_PATIENCE_S:
            raise Unavailable(
                what=f"The last database server was killed, but its processes {orphans} stay.",
                cure="End them, or restart the machine, and start again.",
            )
        if time.monotonic() > deadline:
            for pid in orphans:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    found = home.pid_file()
    if found is None:
        home.pid_path.unlink(missing_ok=True)  # empty or torn: PostgreSQL refuses to start
    elif _exists(found.pid):
        _disown_pid_file(home)
    for name in runtime.glob(".s.PGSQL.*") if runtime else ():
        name.unlink(missing_ok=True)


def _exists(pid: int) -> bool:
    """As PostgreSQL asks: a zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _disown_pid_file(home: Home) -> None:
    """Writes our process id over a stale one that is a stranger's or a zombie's now.

    PostgreSQL would take it for a running server; the id of the process that starts it, it
    ignores. The rest of the file stays: by it PostgreSQL checks itself that nobody uses the
    shared memory of the last server.
    """
    owner = home.pid_path.lstat()
    _, _, rest = home.pid_path.read_text().partition("\n")
    new = home.path / "pid.new"
    new.write_text(f"{os.getpid()}\n{rest}")
    new.chmod(0o600)
    os.chown(new, owner.st_uid, owner.st_gid)
    new.replace(home.pid_path)


def _make(cluster: Cluster) -> None:
    """initdb beside the final name, so that a cluster is whole or not there."""
    home, new = cluster.home, cluster.home.path / "data.new"
    for name in (PASSWORD, SUPERUSER_PASSWORD):
        _write_secret(home.path / name, cluster.account)
    locales = [_BUILTIN_LOCALE] if cluster.binaries.major >= 17 else []
    complaint = ""
    for locale in [*locales, ("--locale=C.UTF-8",), ("--locale=C",)]:
        if new.exists():
            shutil.rmtree(new)
        new.mkdir(mode=0o700)
        give(new, cluster.account)
        complaint = _initdb(cluster, new, locale)
        if not complaint:
            break
        if "locale" not in complaint:
            raise Unavailable(
                what=f"The database could not be made: {complaint}",
                cure=f"Look at the disk and the rights of {home.path}.",
            )
    else:
        raise Unavailable(
            what=f"The database could not be made: {complaint}", cure="Install the locale C.UTF-8."
        )
    with (new / "postgresql.conf").open("a") as file:
        file.write("\ninclude_if_exists = 'taximeter.conf'\n")
    new.rename(home.data)


def _initdb(cluster: Cluster, new: Path, locale: tuple[str, ...]) -> str:
    """Runs initdb into the empty directory `new`; its complaint, "" when it went well."""
    plain = cluster.data != "/proc/self/cwd"
    place = str(new) if plain else cluster.data
    answer: subprocess.CompletedProcess[bytes] = subprocess.run(
        [
            cluster.binaries.initdb,
            f"--pgdata={place}",
            f"--username={SUPERUSER}",
            f"--pwfile={cluster.home.path if plain else place + '/..'}/{SUPERUSER_PASSWORD}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--data-checksums",
            "--no-instructions",
            *locale,
        ],
        capture_output=True,
        check=False,
        cwd=new,
        **as_account(cluster.account),
    )
    if answer.returncode == 0:
        return ""
    lines = answer.stderr.decode(errors="replace").splitlines()
    errors = [line.partition(": ")[2] for line in lines if "error: " in line or "FATAL: " in line]
    return (errors or lines or ["initdb failed."])[0]


def _write_secret(path: Path, account: Account | None) -> None:
    """A new random password, readable by the account that runs the server and by us."""
    path.unlink(missing_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as stream:
        stream.write(secrets.token_hex(24) + "\n")
    give(path, account)


def _write_settings(cluster: Cluster, extra: Mapping[str, str]) -> None:
    home = cluster.home
    settings = settings_for(memory_mb(), lz4=_has_lz4(cluster)) | dict(extra)
    new = home.path / "taximeter.conf.new"
    new.write_text(settings_text(settings))
    new.chmod(0o600)
    give(new, cluster.account)
    # The account may have put a link there: renaming replaces it instead of following it.
    new.replace(home.data / "taximeter.conf")


def _has_lz4(cluster: Cluster) -> bool:
    """Whether these binaries were built with lz4 (the wheel's are not)."""
    command: list[str | Path] = [
        cluster.binaries.postgres,
        "-D",
        cluster.data,
        "-C",
        "wal_compression",
    ]
    answer: subprocess.CompletedProcess[bytes] = subprocess.run(
        [*command, "-c", "wal_compression=lz4"],
        capture_output=True,
        check=False,
        cwd=cluster.home.data,
        **as_account(cluster.account),
    )
    return answer.returncode == 0


def _outside(home: Home, account: Account | None) -> Path:
    """A directory of this cluster among the temporary ones (made when it is needed)."""
    uid = account.uid if account else os.geteuid()
    name = hashlib.sha256(f"{uid} {home.path}".encode(errors="surrogateescape")).hexdigest()[:12]
    return Path(tempfile.gettempdir()).resolve() / f"taximeter-{name}"


def _socket_place(places: list[Path], account: Account | None) -> Path | None:
    """The first of `places` that can hold the socket; None: use TCP."""
    for place in places:
        if _fits(place) and _make_private(place, account) and _can_listen(place):
            return place
    return None


def _fits(place: Path) -> bool:
    """libpq takes a comma in a host for a second host, and the server a quote for a quote."""
    plain = all(char.isalnum() or char in "/ ._-+=@~" for char in str(place))
    return plain and len(os.fsencode(place)) <= _SOCKET_DIRECTORY_BYTES_MAX


def _make_private(place: Path, account: Account | None) -> bool:
    """A directory that only `account` (and root) can enter; False where someone was there first."""
    try:
        place.mkdir(mode=0o700)
        give(place, account)
    except FileExistsError:
        pass
    found = place.lstat()
    owner = account.uid if account else os.geteuid()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o022


def _can_listen(place: Path) -> bool:
    """Some file systems (shared folders of virtual machines) hold no sockets."""
    probe = place / f"probe-{os.getpid()}"
    try:
        with socket.socket(socket.AF_UNIX) as found:
            found.bind(str(probe))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


def end(pid: int, how: signal.Signals, patience_s: int) -> bool:
    """Signals a server that is not our child, and waits; whether it ended in time."""
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        return True
    deadline = time.monotonic() + patience_s
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
