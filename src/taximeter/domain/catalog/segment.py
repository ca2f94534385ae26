"""Families of plans: which member of a family is for whom.

Owns the reading of `family` and `segment` and the choice among members. Whose region and cohort
are asked for is the caller's to say; must not know a customer.
"""

from collections.abc import Collection
from dataclasses import dataclass

from taximeter.domain.catalog.fields import Fields


@dataclass(frozen=True, slots=True)
class Segment:
    """Whom a plan is for within its family; None: no matter. Capitals make no difference."""

    region: str | None = None
    cohort: str | None = None

    @property
    def members(self) -> tuple[tuple[str, str], ...]:
        """What is asked for, by name."""
        pairs = (("region", self.region), ("cohort", self.cohort))
        return tuple((name, value) for name, value in pairs if value is not None)

    @property
    def folded(self) -> tuple[tuple[str, str], ...]:
        """The members as they are compared."""
        return tuple((name, value.casefold()) for name, value in self.members)

    def matches(self, regions: Collection[str], cohort: str | None) -> bool:
        """Whether it is for somebody who is of all these regions and of this cohort."""
        if self.region is not None and self.region.casefold() not in {
            region.casefold() for region in regions
        }:
            return False
        own = None if cohort is None else cohort.casefold()
        return self.cohort is None or self.cohort.casefold() == own

    def __str__(self) -> str:
        return " ".join(f"{name} {value}" for name, value in self.members) or "everybody"


ANYBODY = Segment()


def read_family(fields: Fields) -> tuple[str | None, Segment]:
    """The `family` of a plan (None: of none) and its `segment` in it."""
    family = fields.key("family", default="") or None
    nested = fields.nested("segment")
    if nested is None:
        return family, ANYBODY
    region, cohort = _member(nested, "region"), _member(nested, "cohort")
    nested.done()
    if not fields.has("family"):
        detail = "A segment tells the plans of a family apart. Say family as well."
        fields.fail("family", "required", detail)
    return family, Segment(region, cohort)


def _member(fields: Fields, name: str) -> str | None:
    text = fields.text(name, default="")
    if text == "" and fields.has(name):
        fields.fail(name, "invalid_text", "This is empty. Say a text, or leave it out.")
    return text or None
