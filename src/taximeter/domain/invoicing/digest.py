"""The digest of what an invoice was computed from.

Owns the canonical form of values. Equal inputs give equal digests on every machine: numbers count
by value (1.0 is 1), instants in UTC, mappings without order. Values of different kinds differ
even where they print alike.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from taximeter.kernel.quantity import format_decimal
from taximeter.kernel.times import format_instant


def input_digest(*inputs: object) -> str:
    """The SHA-256, in hexadecimal, of the inputs in their order: dataclasses (the fields that they
    compare by), mappings with text keys, sequences, texts, whole numbers, Decimals, Fractions,
    aware datetimes, booleans and None.
    """
    text = json.dumps(_canonical(inputs), separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: object) -> object:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Decimal):
        return {"decimal": format_decimal(value)}
    if isinstance(value, Fraction):
        return {"fraction": str(value)}
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return {"local": value.isoformat()}
        return {"instant": format_instant(value)}
    if is_dataclass(value) and not isinstance(value, type):
        members = {f.name: _canonical(getattr(value, f.name)) for f in fields(value) if f.compare}
        return {type(value).__name__: members}
    if isinstance(value, Mapping):
        assert all(isinstance(key, str) for key in value), "a digest's mapping has text keys"
        return {"map": {key: _canonical(member) for key, member in value.items()}}
    assert isinstance(value, Sequence), f"no canonical form of {type(value).__name__}"
    return [_canonical(member) for member in value]
