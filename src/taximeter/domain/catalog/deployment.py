"""A deployment: meters and plans that are published together.

Owns its form, and the paths of what is wrong in its parts (`plans[1].prices[0].meter`). What a
meter or a plan may say is its own document's.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.fields import Fields, Findings
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.catalog.plan import Plan
from taximeter.kernel.errors import FieldError, Invalid

METERS_MAX = 500
PLANS_MAX = 500


@dataclass(frozen=True, slots=True)
class CheckedMeter:
    """A meter's document, the meter that it describes, and where it stands."""

    body: Mapping[str, object]
    meter: Meter
    path: str


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan, and where it stands."""

    plan: Plan
    path: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is published together; no key stands twice."""

    meters: Sequence[CheckedMeter]
    plans: Sequence[CheckedPlan]


def within(path: str, errors: Iterable[FieldError]) -> Iterator[FieldError]:
    """Errors of a part, as errors of the whole, in which the part stands at `path`."""
    for error in errors:
        at = f"{path}.{error.path}" if error.path else path
        yield FieldError(at, error.code, error.detail)


def parse_deployment(body: Mapping[str, object]) -> Deployment:
    """The deployment that `body` describes. Raises `Invalid` with every error found."""
    findings = Findings()
    fields = Fields.of(body, "", findings)
    assert fields is not None, "a document is an object"
    meters = _read_meters(fields, findings, required=False)
    plans = list(_read_plans(fields, findings))
    fields.done()
    findings.raise_any()
    return Deployment(meters, plans)


def parse_meters(body: Mapping[str, object]) -> list[CheckedMeter]:
    """The meters of a document that holds nothing else. Raises `Invalid` with every error found."""
    findings = Findings()
    fields = Fields.of(body, "", findings)
    assert fields is not None, "a document is an object"
    found = _read_meters(fields, findings, required=True)
    fields.done()
    findings.raise_any()
    return found


def _read_meters(fields: Fields, findings: Findings, *, required: bool) -> list[CheckedMeter]:
    found: list[CheckedMeter] = []
    keys: set[str] = set()
    for at, each in fields.nested_list("meters", count_max=METERS_MAX, required=required):
        key = each.key("key")
        if key is None:
            continue
        if key in keys:
            each.fail("key", "duplicate", "Another meter here has this key. Say another.")
        keys.add(key)
        try:
            found.append(CheckedMeter(each.body, parse_meter(key, each.body, version=1), at))
        except Invalid as invalid:
            findings.add_all(within(at, invalid.errors))
    return found


def _read_plans(fields: Fields, findings: Findings) -> Iterator[CheckedPlan]:
    keys: set[str] = set()
    for at, each in fields.nested_list("plans", count_max=PLANS_MAX, required=False):
        try:
            plan = parse_plan(each.body)
        except Invalid as invalid:
            findings.add_all(within(at, invalid.errors))
            continue
        if plan.key in keys:
            each.fail("key", "duplicate", "Another plan here has this key. Say another.")
        keys.add(plan.key)
        yield CheckedPlan(plan, at)
