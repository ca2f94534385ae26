"""Which processes live, and which PostgreSQL processes work in a directory.

Owns looking at processes. Must not start or end any.
"""

import os
import subprocess
from pathlib import Path

_PROC = Path("/proc")


def is_alive(pid: int) -> bool:
    """Whether the process runs. A zombie, which only waits to be reaped, is dead."""
    state = _state(pid)
    return state not in ("", "Z", "X")


def serves(pid: int, data: Path) -> bool:
    """Whether the process is a live PostgreSQL server process on the cluster in `data`.

    A pid file alone proves nothing: after a restart of the machine or of a container its number
    may be anyone's.
    """
    if not is_alive(pid):
        return False
    if _has_proc():
        return _is_postgres_in(_PROC / str(pid), data)
    return "postgres" in _ps(pid, "command")


def left_in(data: Path) -> list[int]:
    """The live PostgreSQL processes on the cluster in `data`; empty where there is no /proc."""
    if not _has_proc():
        return []
    folders = (p for p in _PROC.iterdir() if p.name.isdigit())
    return [int(p.name) for p in folders if _is_postgres_in(p, data) and is_alive(int(p.name))]


def _is_postgres_in(folder: Path, data: Path) -> bool:
    """All processes of a server have its data directory as their working directory."""
    try:
        return (folder / "comm").read_text().strip() == "postgres" and os.path.samestat(
            (folder / "cwd").stat(), data.stat()
        )
    except OSError:  # gone meanwhile, or someone else's
        return False


def _state(pid: int) -> str:
    if not _has_proc():
        return _ps(pid, "stat")[:1]
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[0]


def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


def _ps(pid: int, column: str) -> str:
    answer = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, check=False
    )
    return answer.stdout.decode(errors="replace").strip()
