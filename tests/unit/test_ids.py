"""Ids: their form, and that they sort by time."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.ids import IdSource, encode_id

AT = datetime(2026, 1, 1, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(8000, 1, 1)).map(
    lambda naive: naive.replace(tzinfo=UTC)
)
MILLISECOND = timedelta(milliseconds=1)


def test_an_id_is_a_prefix_and_32_digits_of_which_12_are_time() -> None:
    assert encode_id("inv", 0, 0) == "inv_" + "0" * 32
    assert encode_id("inv", 1, 17) == "inv_" + "0" * 11 + "1" + "0" * 18 + "11"
    assert encode_id("inv", 2**48 - 1, 2**80 - 1) == "inv_" + "f" * 32


def test_ids_of_one_millisecond_count_up_in_the_order_of_calls() -> None:
    new_id = IdSource(lambda bits: 7)
    ids = [new_id("sub", AT + timedelta(microseconds=n)) for n in range(500)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 500


def test_another_millisecond_starts_anew_from_the_random_source() -> None:
    asked: list[int] = []

    def bits(count: int) -> int:
        asked.append(count)
        return 5

    new_id = IdSource(bits)
    first, second = new_id("sub", AT), new_id("sub", AT + MILLISECOND)
    assert first < second
    assert asked == [79, 79]  # one bit is left to count upwards in
    assert first[-20:] == second[-20:]


@given(INSTANTS, INSTANTS)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    early, late = sorted((one, other))
    if late - early >= MILLISECOND:
        assert IdSource(lambda _: 2**79 - 1)("x", early) < IdSource(lambda _: 0)("x", late)


@given(INSTANTS)
def test_an_id_holds_the_exact_millisecond(at: datetime) -> None:
    milliseconds = (at - datetime(1970, 1, 1, tzinfo=UTC)) // MILLISECOND
    assert IdSource(lambda _: 0)("x", at) == encode_id("x", milliseconds, 0)
