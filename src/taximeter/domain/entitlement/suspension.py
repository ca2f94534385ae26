"""Suspensions: a customer, or a part of it, for which nothing new is authorized.

Owns the value and what it covers. Usage that happens all the same is recorded and charged.
"""

from dataclasses import dataclass
from datetime import datetime

from taximeter.domain.entitlement.setter import Setter
from taximeter.kernel.paths import lies_within


@dataclass(frozen=True, slots=True)
class Suspension:
    """Since `at` what lies within `path` (None: the whole customer) is suspended. `set_by` says who
    may lift it.
    """

    customer: str
    path: str | None
    reason: str
    at: datetime
    set_by: Setter = "seller"

    def covers(self, path: str | None) -> bool:
        """Whether work at `path` is suspended."""
        return lies_within(path, self.path)
