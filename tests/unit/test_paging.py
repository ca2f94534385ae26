"""Cursors of lists: what is given out comes back, everything else is refused."""

import base64
import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import Invalid
from taximeter.kernel.paging import Page, decode_cursor, encode_cursor, make_page

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_a_cursor_comes_back_as_its_key(key: list[str]) -> None:
    cursor = encode_cursor(key)
    assert decode_cursor(cursor, len(key)) == tuple(key)
    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_the_first_page_has_no_cursor() -> None:
    assert decode_cursor(None, 2) is None


def encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "a",
        "%%%",
        "é",
        "bm8",  # "no"
        "_w",  # no UTF-8
        encoded({"a": "b"}),
        encoded("ab"),
        encoded(["one"]),
        encoded(["one", "two", "three"]),
        encoded(["one", 2]),
        encoded(["one", None]),
        encoded(["one", "\0"]),  # PostgreSQL stores no NUL
        encoded(["one", "\ud800"]),  # nor half a character
        base64.urlsafe_b64encode(b"[" * 5_000).decode(),  # deeper than any stack
    ],
)
def test_what_is_no_cursor_is_refused_with_the_cure(cursor: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_cursor(cursor, 2)
    (error,) = caught.value.errors
    assert (error.path, error.code) == ("cursor", "invalid_cursor")
    assert "next_cursor" in error.detail


@pytest.mark.parametrize(
    ("rows", "limit", "shown", "more"),
    [
        ((), 2, (), False),
        (("a", "b"), 2, ("a", "b"), False),
        (("a", "b", "c"), 2, ("a", "b"), True),
    ],
)
def test_a_page_knows_whether_more_follow(
    rows: Sequence[str], limit: int, shown: Sequence[str], more: bool
) -> None:
    page = make_page(rows, limit, lambda row: (row,))
    assert page == Page(shown, encode_cursor((shown[-1],)) if more else None)
