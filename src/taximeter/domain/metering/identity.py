"""The narrow form of an event's identity, which stays when its content is archived.

Owns how identities are packed: blocks of a customer, each of the keys from its first up to the
next block's first. A key and a digest are hashes, so blocks fill evenly; a full one is split in
two. Packed, an event takes a quarter of what a row and its entry in an index take.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Mapping
from typing import NamedTuple

KEY_BYTES = 16
DIGEST_BYTES = 16
ENTRY_BYTES = KEY_BYTES + DIGEST_BYTES + 4
BLOCK_ENTRIES_MAX = 50  # 1,800 bytes: a row of that size stays in its page
FIRST_BLOCK = b""


class Identity(NamedTuple):
    """One archived event: its key, the digest of its first content, and which file it is in."""

    key: bytes
    digest: bytes
    archive: int


def identity_key(source: str, event_id: str) -> bytes:
    """What stands for (source, id) among a customer's archived events: half of a SHA-256, so that
    two do not meet in as many events as there can be.
    """
    return hashlib.sha256(f"{source}\0{event_id}".encode()).digest()[:KEY_BYTES]


def unpack(block: bytes) -> list[Identity]:
    """The identities in a block, by key."""
    assert len(block) % ENTRY_BYTES == 0, "a block holds whole entries"
    return [entry_of(block[at : at + ENTRY_BYTES]) for at in range(0, len(block), ENTRY_BYTES)]


def entry_of(packed: bytes) -> Identity:
    """The identity that an entry of a block says."""
    digest_end = KEY_BYTES + DIGEST_BYTES
    return Identity(
        packed[:KEY_BYTES], packed[KEY_BYTES:digest_end],
        int.from_bytes(packed[digest_end:], "big"),
    )  # fmt: skip


def changed_blocks(
    blocks: Mapping[bytes, bytes], put: Collection[Identity], drop: Collection[bytes]
) -> dict[bytes, bytes]:
    """Those of a customer's `blocks` (by their first key) that change, and new ones, where these
    identities are put, in place of others of their keys, and those of the keys `drop` removed.
    `blocks` must hold every block that one of these keys belongs in.
    """
    firsts = sorted(blocks)
    puts: dict[bytes, dict[bytes, Identity]] = {}
    drops: dict[bytes, set[bytes]] = {}
    for one in put:
        puts.setdefault(firsts[bisect_right(firsts, one.key) - 1], {})[one.key] = one
    for key in drop:
        drops.setdefault(firsts[bisect_right(firsts, key) - 1], set()).add(key)
    changed: dict[bytes, bytes] = {}
    for first in puts.keys() | drops.keys():
        entries = {one.key: one for one in unpack(blocks[first])} | puts.get(first, {})
        for key in drops.get(first, ()):
            entries.pop(key, None)
        changed |= _split(first, [entries[key] for key in sorted(entries)])
    return changed


def _split(first: bytes, entries: list[Identity]) -> dict[bytes, bytes]:
    if len(entries) <= BLOCK_ENTRIES_MAX:
        return {first: b"".join(_packed(one) for one in entries)}
    middle = len(entries) // 2
    return _split(first, entries[:middle]) | _split(entries[middle].key, entries[middle:])


def _packed(one: Identity) -> bytes:
    assert len(one.key) == KEY_BYTES and len(one.digest) == DIGEST_BYTES
    return one.key + one.digest + one.archive.to_bytes(4, "big")
