"""Who sets a limit: the seller, or the customer for their own teams. Owns who may change whose."""

from typing import Literal

Setter = Literal["seller", "customer"]


def may_change(setter: Setter, set_by: Setter) -> bool:
    """Whether `setter` may change or lift what was `set_by` somebody: the seller may all."""
    return setter == "seller" or set_by == "customer"
