"""Who runs the server: ourselves, or an unprivileged user where we are root.

Owns the choice of the account and running programs under it. Must not touch the cluster's files.
PostgreSQL refuses to run as root.
"""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taximeter.kernel.errors import Unavailable

_PREFERRED = ("postgres", "nobody")
_CURE = "Run as an ordinary user, or set DATABASE_URL to a PostgreSQL server that runs elsewhere."


@dataclass(frozen=True, slots=True)
class Account:
    """A user other than ourselves."""

    name: str
    uid: int
    gid: int


def choose_account(owner: int | None) -> Account | None:
    """Who runs the server of a cluster that the user id `owner` has (None: not made yet).

    None means ourselves. Raises `Unavailable` where the cluster belongs to someone else and we
    are not root, or where root finds no unprivileged user.
    """
    ourselves = os.geteuid()
    if ourselves != 0:
        if owner in (None, ourselves):
            return None
        raise Unavailable(
            what=f"The data belongs to the user {_name(owner or 0)}, not to {_name(ourselves)}.",
            cure="Start as that user, or as root if root started it before, or name another data "
            "directory.",
        )
    if owner:
        entry = _entry(owner)
        return Account(_name(owner), owner, entry.pw_gid if entry else owner)
    for name in _PREFERRED:  # initdb wants a user that is in passwd
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(name, found.pw_uid, found.pw_gid)
    raise Unavailable(
        what="PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`.",
        cure=_CURE,
    )


def as_account(account: Account | None) -> dict[str, Any]:
    """The arguments of `subprocess` that run a program as `account`, cut off from our terminal,
    groups and environment."""
    common = {"env": clean_environment(), "stdin": subprocess.DEVNULL, "umask": 0o077}
    if account is None:
        return common
    return common | {"user": account.uid, "group": account.gid, "extra_groups": []}


def clean_environment() -> dict[str, str]:
    """An environment in which no PG* variable, locale or preloaded library of ours counts."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def can_reach(account: Account | None, path: Path) -> bool:
    """Whether `account` may execute (a file) or enter (a directory) `path`.

    Raises `Unavailable` where we may not act as that account at all.
    """
    if account is None:
        return os.access(path, os.X_OK)
    try:
        answer = subprocess.run(["test", "-x", path], cwd="/", check=False, **as_account(account))
    except PermissionError as error:
        raise Unavailable(
            what=f"We are root, but may not run programs as the user {account.name}.", cure=_CURE
        ) from error
    return answer.returncode == 0


def give(path: Path, account: Account | None) -> None:
    """Makes `account` the owner of one file or directory that we made."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _entry(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _name(uid: int) -> str:
    entry = _entry(uid)
    return entry.pw_name if entry else str(uid)
