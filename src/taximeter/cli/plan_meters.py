"""Meters that stand in a plan file: a document of its own with one list, `meters:`.

Owns telling such a document from a plan, and comparing a meter with what a server answers. What a
meter may say is domain/catalog's. With its meters a file is complete: it can be deployed on a new
instance.
"""

from collections.abc import Mapping

from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter

_OF_THE_SERVER = ("version", "created_at")


def holds_meters(body: Mapping[str, object]) -> bool:
    """Whether a document holds meters rather than a plan."""
    return "meters" in body and "key" not in body and "prices" not in body


def parse_answer(answer: Mapping[str, object]) -> Meter:
    """The meter that a server answered, to be compared with a checked one."""
    body = {name: value for name, value in answer.items() if name not in _OF_THE_SERVER}
    return parse_meter(str(body["key"]), body, version=1)
