"""How fast a key may ask: the arithmetic of its bucket."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.entitlement.key_rate import BYTES_PER_REQUEST, KeyRate

SECOND = 1_000_000_000


def test_a_bucket_lets_so_many_pass_and_then_one_at_a_time() -> None:
    rate = KeyRate(3, "minute")  # one in 20 s
    full_at = 0
    for _ in range(3):
        full_at, wait = rate.admit(full_at, 100 * SECOND, 0)
        assert wait == 0
    assert full_at == 160 * SECOND  # 100 + 3 x 20
    assert rate.admit(full_at, 100 * SECOND, 0) == (full_at, 20 * SECOND)
    assert rate.admit(full_at, 119 * SECOND, 0) == (full_at, SECOND)
    assert rate.admit(full_at, 120 * SECOND, 0) == (180 * SECOND, 0)
    # After a pause there are three again, not more.
    assert rate.admit(180 * SECOND, 900 * SECOND, 0) == (920 * SECOND, 0)


def test_a_large_body_counts_as_several() -> None:
    rate = KeyRate(10, "second")  # one in 0.1 s
    assert rate.admit(0, SECOND, BYTES_PER_REQUEST) == (SECOND * 11 // 10, 0)
    assert rate.admit(0, SECOND, BYTES_PER_REQUEST + 1) == (SECOND * 12 // 10, 0)
    # 16 MiB are 4,096 of 4 KiB, but never more than the whole bucket.
    assert rate.admit(0, SECOND, 16 * 1024 * 1024) == (2 * SECOND, 0)
    assert rate.admit(2 * SECOND, SECOND, 0)[1] == SECOND // 10


def test_a_faster_rate_forgives_what_a_slower_one_had_still_to_wait_for() -> None:
    full_at = KeyRate(1, "hour").admit(0, SECOND, 0)[0]  # full again in an hour
    # An empty bucket of 10 a second lets one pass in 0.1 s.
    assert KeyRate(10, "second").admit(full_at, SECOND, 0) == (full_at, SECOND // 10)
    later = 2 * SECOND
    assert KeyRate(10, "second").admit(full_at, later, 0)[1] == SECOND // 10


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, SECOND), st.integers(0, 50_000)), min_size=1, max_size=60),
)
def test_no_span_lets_more_pass_than_the_bucket_and_what_flows_in(
    requests: int, arrivals: list[tuple[int, int]]
) -> None:
    rate = KeyRate(requests, "second")
    now = full_at = 0
    passed = [0]
    for pause, body_bytes in arrivals:
        now += pause
        full_at, wait = rate.admit(full_at, now, body_bytes)
        if wait:
            # Whoever waits as long as is said passes.
            assert rate.admit(full_at, now + wait, body_bytes)[1] == 0
        else:
            passed.append(now)
    # From the start at most `requests`, and one for each interval since.
    assert len(passed) - 1 <= requests + now * requests // SECOND + 1
    assert all(earlier <= later for earlier, later in pairwise(passed))
