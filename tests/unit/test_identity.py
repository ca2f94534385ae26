"""Identities packed into blocks are a mapping: what was put last is found, what was dropped not."""

from bisect import bisect_right

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.metering.identity import (
    BLOCK_ENTRIES_MAX,
    ENTRY_BYTES,
    FIRST_BLOCK,
    Identity,
    changed_blocks,
    identity_key,
    unpack,
)

NAMES = st.integers(0, 300).map(lambda n: identity_key("source", str(n)))
PUTS = st.lists(
    st.builds(Identity, NAMES, st.binary(min_size=16, max_size=16), st.integers(1, 2**31 - 1)),
    max_size=150, unique_by=lambda one: one.key,
)  # fmt: skip


@given(st.lists(st.tuples(PUTS, st.sets(NAMES, max_size=50)), max_size=6))
def test_blocks_are_a_mapping(steps: list[tuple[list[Identity], set[bytes]]]) -> None:
    blocks = {FIRST_BLOCK: b""}
    model: dict[bytes, Identity] = {}
    for put, drop in steps:
        kept = [one for one in put if one.key not in drop]
        blocks |= changed_blocks(blocks, kept, drop)
        model |= {one.key: one for one in kept}
        model = {key: one for key, one in model.items() if key not in drop}
    firsts = sorted(blocks)
    for first, block in blocks.items():
        assert len(block) <= BLOCK_ENTRIES_MAX * ENTRY_BYTES
        for one in unpack(block):
            assert firsts[bisect_right(firsts, one.key) - 1] == first, "in its place"
    assert {one.key: one for block in blocks.values() for one in unpack(block)} == model


def test_source_and_id_do_not_run_together() -> None:
    assert identity_key("a", "bc") != identity_key("ab", "c")
