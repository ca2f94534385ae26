"""Prices that are rated together: those of one pool, and those that share in another's usage.

Owns what such prices must have in common, and the groups they form. How they are rated is
domain/rating.
"""

from collections.abc import Mapping
from dataclasses import replace

from taximeter.domain.catalog.fields import Fields, shown
from taximeter.domain.catalog.plan import (
    Graduated,
    GraduatedPercentage,
    Package,
    Price,
    ShareOf,
    Stairstep,
    UsageModel,
    UsagePrice,
    Volume,
)

Placed = Mapping[str, UsagePrice]


def link_prices(fields: Fields, placed: Mapping[str, Price]) -> tuple[Price, ...]:
    """The prices, in their order, each with its group. `placed` are they by their places in the
    document, at which what is wrong is noted.
    """
    usage = {at: price for at, price in placed.items() if isinstance(price, UsagePrice)}
    by_key = {price.key: price for price in usage.values()}
    groups = {key: key for key in by_key}
    for at, price in usage.items():
        if price.pool is not None:
            _check_pool(
                fields, at, price, [one for one in usage.values() if one.pool == price.pool]
            )
            first = next(one.key for one in usage.values() if one.pool == price.pool)
            _join(groups, price.key, first)
        if isinstance(price.included, ShareOf):
            of = by_key.get(price.included.price)
            _check_share(fields, at, price, of, by_key)
            if of is not None:
                _join(groups, price.key, of.key)
    return tuple(
        replace(price, group=_group(price, by_key, groups))
        if isinstance(price, UsagePrice)
        else price
        for price in placed.values()
    )


def _join(groups: dict[str, str], key: str, other: str) -> None:
    old, new = groups[key], groups[other]
    for member, group in groups.items():
        if group == old:
            groups[member] = new


def _group(
    price: UsagePrice, by_key: Mapping[str, UsagePrice], groups: Mapping[str, str]
) -> tuple[UsagePrice, ...]:
    members = tuple(one for key, one in by_key.items() if groups[key] == groups[price.key])
    return members if len(members) > 1 else ()


def _check_pool(fields: Fields, at: str, price: UsagePrice, members: list[UsagePrice]) -> None:
    first = members[0]
    where = f"{at}.pool"
    if len(members) == 1:
        detail = f"No other price is in the pool {price.pool}. Name it in another, or leave it out."
        fields.fail(where, "pool_alone", detail)
    elif _ladder(price.model) is None:
        detail = (
            "A pool fills one ladder. Say model graduated, volume, stairstep, package or "
            "graduated_percentage, or leave the pool out."
        )
        fields.fail(where, "pool_without_ladder", detail)
    elif _ladder(price.model) != _ladder(first.model):
        detail = (
            f"{first.key}, of the same pool, has another ladder. Say the same model and the same "
            "up_to of each tier, at unit prices of its own (a package: the very same)."
        )
        fields.fail(where, "pool_mismatch", detail)
    elif _terms(price) != _terms(first):
        detail = (
            f"{first.key}, of the same pool, has another asset, settle or period. Say the same."
        )
        fields.fail(where, "pool_mismatch", detail)


def _check_share(
    fields: Fields,
    at: str,
    price: UsagePrice,
    of: UsagePrice | None,
    by_key: Mapping[str, UsagePrice],
) -> None:
    assert isinstance(price.included, ShareOf)
    where = f"{at}.included.of"
    if of is None:
        detail = f"There is no usage price {shown(price.included.price)} here. Say the key of one."
        fields.fail(where, "unknown_price", detail)
    elif _leads_back(price, by_key):
        detail = "This leads back to the price itself. Share in the usage of another."
        fields.fail(where, "circular", detail)
    elif _terms(price)[1:] != _terms(of)[1:]:
        detail = f"{of.key} has another settle or period. Say the same for both."
        fields.fail(where, "share_mismatch", detail)


def _leads_back(price: UsagePrice, by_key: Mapping[str, UsagePrice]) -> bool:
    seen = {price.key}
    at: UsagePrice | None = price
    while at is not None and isinstance(at.included, ShareOf):
        if at.included.price in seen:
            return True
        seen.add(at.included.price)
        at = by_key.get(at.included.price)
    return False


def _ladder(model: UsageModel) -> object:
    """What the members of a pool have alike; None for a model without a ladder."""
    if isinstance(model, Package):
        return model
    if isinstance(model, Graduated | Volume | Stairstep | GraduatedPercentage):
        return type(model), tuple(tier.up_to for tier in model.tiers)
    return None


def _terms(price: UsagePrice) -> tuple[object, ...]:
    return price.asset, price.settle, price.period
