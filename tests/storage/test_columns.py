"""Rows reach the server as they are, whatever they hold."""

import gc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taximeter.kernel.quantity import ONE
from taximeter.storage.columns import Columns


class Row(NamedTuple):
    """A value of each type that a column may have."""

    text: str | None
    number: Decimal | int | None
    whole: int | None
    at: datetime | None
    flag: bool | None
    content: dict[str, Any] | None
    kept: dict[str, Decimal] | None
    digest: bytes | None


ROWS = Columns(
    "r",
    "text text, number numeric, whole bigint, at timestamptz, flag boolean, content jsonb,"
    " kept json, digest bytea",
    decimals="string",
)
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40),
                      max_value=10**40)  # fmt: skip
CONTENT = st.recursive(
    st.none() | st.booleans() | TEXTS | st.integers(-(10**18), 10**18),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ROW = st.builds(
    Row,
    st.none() | TEXTS,
    st.none() | NUMBERS | st.integers(-(10**18), 10**18),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC)),
    st.none() | st.booleans(),
    st.none() | st.dictionaries(TEXTS, CONTENT, max_size=3),
    st.none() | st.dictionaries(TEXTS, NUMBERS, max_size=3),
    st.none() | st.binary(max_size=40),
)
ODD = [
    '"', "\\", "\\n", "\n\r\t\b\f\x01\x1f\x7f", "{}", "{", ",", " ", "", "NULL", "null", "\\u0041",
    "\u2028", "😀", "a\\", '\\"', "'; --", "%s",
]  # fmt: skip


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def returned(connection: psycopg.Connection, parameters: list[str | None]) -> list[Any]:
    return connection.execute(f"SELECT * FROM {ROWS}", parameters).fetchall()


@settings(max_examples=150, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
@given(rows=st.lists(ROW, max_size=5))
def test_rows_come_back(connection: psycopg.Connection, rows: list[Row]) -> None:
    # A column of nothing but nulls is as long as the longest: something stands in one of them.
    rows = [row._replace(whole=number) for number, row in enumerate(rows)]
    found = [
        Row(*one)._replace(kept=one[6] and {name: Decimal(text) for name, text in one[6].items()})
        for one in returned(connection, ROWS.of(rows))
    ]
    assert found == rows
    assert returned(connection, ROWS.of_tuples(rows)) == returned(connection, ROWS.of(rows))


def test_odd_texts_come_back(connection: psycopg.Connection) -> None:
    rows = [
        Row(text, None, number, None, None, {text: [text]}, None, text.encode())
        for number, text in enumerate(ODD)
    ]
    assert returned(connection, ROWS.of(rows)) == rows


@pytest.mark.parametrize(("decimals", "text"), [("number", "1.50"), ("string", '"1.50"')])
def test_numbers_within_json_keep_every_digit(
    connection: psycopg.Connection, decimals: Any, text: str
) -> None:
    columns = Columns("r", "id text, kept json", decimals=decimals)
    parameters = columns.of_tuples([("a", {"n": Decimal("1.50")})])
    found = connection.execute(f"SELECT kept::text FROM {columns}", parameters).fetchone()
    assert found == (f'{{"n":{text}}}',)


def test_no_rows_are_none(connection: psycopg.Connection) -> None:
    assert returned(connection, ROWS.of([])) == []
    assert returned(connection, ROWS.of_columns([[]] * 8)) == []


def test_what_rows_were_written_with_is_freed() -> None:
    rows = [Row("a", ONE, 1, None, True, {"a": 1}, {"b": ONE}, b"c")]
    before = len(gc.get_objects())
    for _ in range(1_000):
        ROWS.of(rows)
    assert len(gc.get_objects()) < before + 500
