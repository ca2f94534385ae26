"""A second rater, naive on purpose: it shares no code with the product.

It reads the seller's document itself, not the parsed plan, walks unit by unit where the product
uses a formula, and counts in fractions, so that nothing is ever rounded. Slow: a graduated
quantity of a million takes a second.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

Document = Mapping[str, Any]
Usage = Sequence[tuple[Mapping[str, str], Fraction]]


def plan_lines(
    document: Document, quantities: Mapping[str, Fraction], usage: Mapping[str, Usage]
) -> list[tuple[str, Fraction]]:
    """(price key, exact amount) of every line of one period, in the order of the document."""
    found = []
    for price in document["prices"]:
        key = price["key"]
        if price["type"] == "flat":
            amounts = [_less_discount(price, number(price["amount"]))]
        elif price["type"] == "seat":
            amounts = [_less_discount(price, model_amount(price, quantities.get(key, Fraction(0))))]
        else:
            amounts = usage_lines(price, usage.get(key, []))
        found += [(key, amount) for amount in amounts]
    return found


def usage_lines(price: Document, usage: Usage) -> list[Fraction]:
    """The exact amount of each line of a usage price; the last of a dimensional price may be
    what the discount amount, maximum and minimum do to the others.
    """
    if price["model"] == "dimensional":
        lines = _dimensional_lines(price, usage)
        adjustment = _bounded(price, sum(lines, Fraction(0))) - sum(lines, Fraction(0))
        return lines + [adjustment] * (adjustment != 0)
    quantity = sum((part for _, part in usage), Fraction(0))
    included = number(price.get("included", 0))
    if quantity > 0:
        quantity = quantity - included if quantity > included else Fraction(0)
    amount = _less_percent(price, model_amount(price, quantity))
    return [_bounded(price, amount)]


def model_amount(model: Document, quantity: Fraction) -> Fraction:
    """What a quantity costs under the fields of a model."""
    kind = model.get("model", "per_unit")
    if kind == "per_unit":
        return quantity * number(model["unit"]) / number(model.get("per", 1))
    if kind == "package":
        left, amount = quantity - number(model.get("free", 0)), Fraction(0)
        while left > 0:
            left -= number(model["size"])
            amount += number(model["amount"])
        return amount
    if kind == "graduated":
        return _graduated_amount(model["tiers"], quantity)
    tier = _tier_around(model["tiers"], quantity)
    if kind == "stairstep":
        return number(tier["flat"])
    assert kind == "volume", kind
    return _tier_units(tier, quantity) + number(tier.get("flat", 0))


def printed(amount: Fraction, digits: int) -> str:
    """An amount rounded half away from zero, as an invoice prints it."""
    minor, rest = divmod(abs(amount) * 10**digits, 1)
    whole = int(minor) + (1 if rest * 2 >= 1 else 0)
    sign = "-" if amount < 0 and whole else ""
    if not digits:
        return f"{sign}{whole}"
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}d}"


def number(value: object) -> Fraction:
    """The number of a document's string, integer or decimal."""
    return Fraction(str(value))


def _graduated_amount(tiers: Sequence[Document], quantity: Fraction) -> Fraction:
    amount = number(tiers[0].get("flat", 0))
    if quantity < 0:
        return amount + _tier_units(tiers[0], quantity)
    here, at = Fraction(0), 0
    if any(tier.get("size") is not None for tier in tiers):
        return _graduated_blocks(tiers, quantity)
    while here < quantity:
        if at < len(tiers) - 1 and here == number(tiers[at]["up_to"]):
            at += 1
            amount += number(tiers[at].get("flat", 0))
        ends = [here + 1, quantity]
        if at < len(tiers) - 1:
            ends.append(number(tiers[at]["up_to"]))
        amount += _tier_units(tiers[at], min(ends) - here)
        here = min(ends)
    return amount


def _graduated_blocks(tiers: Sequence[Document], quantity: Fraction) -> Fraction:
    """As above, tier by tier: blocks are counted within each tier."""
    amount, start = Fraction(0), Fraction(0)
    for index, tier in enumerate(tiers):
        last = index == len(tiers) - 1
        end = quantity if last else min(quantity, number(tier["up_to"]))
        if index == 0 or quantity > start:
            amount += _tier_units(tier, end - start) + number(tier.get("flat", 0))
        if not last:
            start = number(tier["up_to"])
    return amount


def _tier_around(tiers: Sequence[Document], quantity: Fraction) -> Document:
    found = tiers[0]
    for below, tier in pairwise(tiers):
        if quantity > number(below["up_to"]):
            found = tier
    return found


def _tier_units(tier: Document, units: Fraction) -> Fraction:
    if tier.get("size") is not None:
        blocks = 0
        while blocks * number(tier["size"]) < units:
            blocks += 1
        return blocks * number(tier["unit"])
    return units * number(tier.get("unit", 0)) / number(tier.get("per", 1))


def _dimensional_lines(price: Document, usage: Usage) -> list[Fraction]:
    by_matches = sorted(
        range(len(price["rates"])), key=lambda index: -len(price["rates"][index]["match"])
    )
    totals = [Fraction(0) for _ in range(len(by_matches) + 1)]
    for dimensions, quantity in usage:
        for index in by_matches:
            match = price["rates"][index]["match"]
            if all(dimensions.get(name) == value for name, value in match.items()):
                totals[index] += quantity
                break
        else:
            assert price.get("otherwise", "quarantine") != "quarantine", dimensions
            totals[-1] += quantity
    lines = []
    left = number(price.get("included", 0))
    otherwise = price.get("otherwise")
    models = [*price["rates"], {"unit": "0"} if isinstance(otherwise, str) else otherwise]
    for model, total in zip(models, totals, strict=True):
        if total == 0:
            continue
        free = min(left, total) if total > 0 else Fraction(0)
        left -= free
        lines.append(_less_percent(price, model_amount(model, total - free)))
    return lines


def _less_percent(price: Document, amount: Fraction) -> Fraction:
    percent = number((price.get("discount") or {}).get("percent", 0))
    return amount * (100 - percent) / 100


def _less_discount(price: Document, amount: Fraction) -> Fraction:
    return _less_amount(price, _less_percent(price, amount))


def _less_amount(price: Document, amount: Fraction) -> Fraction:
    off = number((price.get("discount") or {}).get("amount", 0))
    return amount if amount <= 0 else max(Fraction(0), amount - off)


def _bounded(price: Document, amount: Fraction) -> Fraction:
    amount = _less_amount(price, amount)
    if price.get("maximum") is not None and amount > number(price["maximum"]):
        amount = number(price["maximum"])
    if price.get("minimum") is not None and amount < number(price["minimum"]):
        amount = number(price["minimum"])
    return amount
