"""Idempotency keys within a group of requests that is committed together.

Owns which request of a key is done: the first of the group, where none was done before. What is
answered to the others is their committer's.
"""

from collections.abc import Container, Sequence

from taximeter.storage.idempotency import Key

Name = tuple[str, str]


def fresh_of(
    keys: Sequence[Key | None], stored: Container[Name]
) -> tuple[list[int], dict[Name, int]]:
    """The places of the requests with these keys that are to be done, and the place of the first
    one of each key among them; `stored` are the keys that were used before.
    """
    firsts: dict[Name, int] = {}
    fresh = []
    for number, key in enumerate(keys):
        if key is None:
            fresh.append(number)
        elif (key.scope, key.key) not in stored and (key.scope, key.key) not in firsts:
            firsts[key.scope, key.key] = number
            fresh.append(number)
    return fresh, firsts
