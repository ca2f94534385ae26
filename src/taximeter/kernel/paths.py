"""Paths of attribution: `organisation/team/user/agent`, from the whole to the part.

Owns what lies within what. A scope of None is the whole customer; usage without a path lies within
that alone.
"""


def lies_within(path: str | None, scope: str | None) -> bool:
    """Whether `path` is `scope` or lies below it."""
    if scope is None:
        return True
    return path is not None and (path == scope or path.startswith(f"{scope}/"))
