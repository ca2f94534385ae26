"""Paths of attribution: `organisation/team/user/agent`, from the whole to the part.

Owns what lies within what. A scope of None is the whole customer; usage without a path lies within
that alone.
"""

from collections.abc import Collection, Sequence


def lies_within(path: str | None, scope: str | None) -> bool:
    """Whether `path` is `scope` or lies below it."""
    if scope is None:
        return True
    return path is not None and (path == scope or path.startswith(f"{scope}/"))


def deepest_scope(path: str | None, scopes: Collection[str]) -> str | None:
    """The deepest of these scopes that `path` lies within; None where it lies within none."""
    while path:
        if path in scopes:
            return path
        path = path.rpartition("/")[0]
    return None


def common_path(paths: Sequence[str | None]) -> str | None:
    """The deepest path that all of these lie within; None where that is the whole customer."""
    if not paths or any(path is None for path in paths):
        return None
    parts = [path.split("/") for path in paths if path is not None]
    shared = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return "/".join(shared) or None
