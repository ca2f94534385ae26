"""Dimension values as the text that keys totals and buckets: JSON with sorted names."""

import json
from collections.abc import Mapping
from functools import lru_cache


@lru_cache(maxsize=100_000)
def dimension_text(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """The canonical text of these values; `{}` where the meter has no dimensions."""
    pairs = dict(zip(names, values, strict=True))
    return json.dumps(pairs, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@lru_cache(maxsize=100_000)
def dimensions_of(text: str) -> Mapping[str, str]:
    """The values in a text that `dimension_text` made. Do not change the answer."""
    values = json.loads(text)
    assert isinstance(values, dict)
    return values
