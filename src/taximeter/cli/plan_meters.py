"""Meters that stand in a plan file: a document of its own with one list, `meters:`.

Owns telling such a document from a plan, and the paths of what is wrong in it. What a meter may say
is domain/catalog's. With its meters a file is complete: it can be deployed on a new instance.
"""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

from taximeter.domain.catalog.fields import Fields, Findings
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.kernel.errors import FieldError, Invalid

METERS_MAX = 500
_parts_of = re.compile(r"([^.\[\]]+)|\[(\d+)\]").findall
_OF_THE_SERVER = ("version", "created_at")


@dataclass(frozen=True, slots=True)
class CheckedMeter:
    """A meter's document and the meter that it describes."""

    body: Mapping[str, object]
    meter: Meter


def holds_meters(body: Mapping[str, object]) -> bool:
    """Whether a document holds meters rather than a plan."""
    return "meters" in body and "key" not in body and "prices" not in body


def parse_meters(body: Mapping[str, object]) -> list[CheckedMeter]:
    """The meters of such a document. Raises `Invalid` with every error found, at paths such as
    `meters[0].value`.
    """
    findings = Findings()
    fields = Fields.of(body, "", findings)
    assert fields is not None, "a document is an object"
    found: dict[str, CheckedMeter] = {}
    for index, item in enumerate(fields.items("meters", count_max=METERS_MAX)):
        at = f"meters[{index}]"
        each = Fields.of(item, at, findings)
        key = each.key("key") if each is not None else None
        if each is None or key is None:
            continue
        if key in found:
            each.fail("key", "duplicate", "Another meter here has this key. Say another.")
        assert isinstance(item, Mapping), "its fields were read"
        try:
            found[key] = CheckedMeter(item, parse_meter(key, item, version=1))
        except Invalid as invalid:
            for error in invalid.errors:
                findings.add(f"{at}.{error.path}", error.code, error.detail)
    fields.done()
    findings.raise_any()
    return list(found.values())


def parse_answer(answer: Mapping[str, object]) -> Meter:
    """The meter that a server answered, to be compared with a checked one."""
    body = {name: value for name, value in answer.items() if name not in _OF_THE_SERVER}
    return parse_meter(str(body["key"]), body, version=1)


def is_to_come(error: FieldError, body: Mapping[str, object], keys: Container[object]) -> bool:
    """Whether a server refuses the plan `body` only because it does not have a meter yet that is
    among `keys`, which are deployed before.
    """
    return error.code == "unknown_meter" and _value_at(body, error.path) in keys


def _value_at(body: Any, path: str) -> object:
    """What stands at a path such as `prices[0].meter`, which a server named in this document."""
    for name, index in _parts_of(path):
        body = body[int(index)] if index else body[name]
    return body
