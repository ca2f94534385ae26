"""The naive rater, from single events: what the prices of a plan come to, event by event.

Shares no code with the product. It reads the documents as the seller wrote them, asks every event
each condition, walks the ladder of a pool unit by unit, and counts in fractions. The order of
events is theirs: they are given by time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tests.naive_rater import Document, model_amount, number


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one price's meter: its data, what the meter reads in it, its local day, and the
    share of it that is billed.
    """

    data: Mapping[str, Any]
    value: Fraction
    day: str = "2026-01-01"
    share: Fraction = Fraction(1)

    @property
    def counted(self) -> Fraction:
        """How much of its value is billed."""
        return self.value * self.share


Events = Mapping[str, Sequence[Event]]  # by price key


def price_total(prices: Sequence[Document], key: str, events: Events) -> Fraction:
    """What the usage price `key` among `prices` costs, to the last digit."""
    return sum(price_lines(prices, key, events), Fraction(0))


def price_lines(prices: Sequence[Document], key: str, events: Events) -> list[Fraction]:
    """The exact amount of each line of the usage price `key` among `prices`; the last of a
    dimensional price may be what discount amount, maxima and minimum do to the others.
    """
    price = next(one for one in prices if one["key"] == key)
    lines = _before_bounds(prices, price, events)
    before = sum(lines, Fraction(0))
    total = _less_amount(price, before)
    if price.get("maximum_per_day") is not None:
        total -= _over_days(prices, price, events)
    if price.get("maximum") is not None:
        total = min(total, number(price["maximum"]))
    if price.get("minimum") is not None:
        total = max(total, number(price["minimum"]))
    if price["model"] == "dimensional":
        return [*lines, *([total - before] if total != before else [])]
    return [total]


def _less_amount(price: Document, amount: Fraction) -> Fraction:
    off = number((price.get("discount") or {}).get("amount", 0))
    return amount if amount <= 0 else max(Fraction(0), amount - off)


def _over_days(prices: Sequence[Document], price: Document, events: Events) -> Fraction:
    over, before = Fraction(0), Fraction(0)
    for day in sorted({event.day for event in events[price["key"]]}):
        so_far = [event for event in events[price["key"]] if event.day <= day]
        lines = _before_bounds(prices, price, {**events, price["key"]: so_far})
        amount = _less_amount(price, sum(lines, Fraction(0)))
        over += max(Fraction(0), amount - before - number(price["maximum_per_day"]))
        before = amount
    return over


def _before_bounds(prices: Sequence[Document], price: Document, events: Events) -> list[Fraction]:
    mine = events[price["key"]]
    left = _allowance(price, events)
    lines = []
    for rate, those in _by_rate(price, mine):
        amount = Fraction(0)
        if rate is None or rate.get("model") in ("cost_plus", "dynamic") or _has_fees(rate):
            amount = _fees(price, rate, those)
        elif price.get("pool"):
            amount = _in_pool(prices, price, events)
        else:
            for factors, quantity in _by_factors(price, those):
                free = min(left, quantity) if quantity > 0 else Fraction(0)
                left -= free
                amount += model_amount_of(rate, quantity - free) * factors
        percent = number((price.get("discount") or {}).get("percent", 0))
        lines.append(amount * (100 - percent) / 100)
    return lines


def _allowance(price: Document, events: Events) -> Fraction:
    included = price.get("included", 0)
    if not isinstance(included, Mapping):
        return number(included)
    of = max(Fraction(0), sum((one.counted for one in events[included["of"]]), Fraction(0)))
    return of * number(included["percent"]) / 100


def _by_rate(price: Document, events: Sequence[Event]) -> list[tuple[Document | None, list[Event]]]:
    """The events of each rate, in the order written; a rate is None where usage is free."""
    if price["model"] != "dimensional":
        return [(price, list(events))]
    found: list[tuple[Document | None, list[Event]]] = [(rate, []) for rate in price["rates"]]
    otherwise = price.get("otherwise")
    found.append((None if otherwise == "zero" else otherwise, []))
    for event in events:
        best, most = len(price["rates"]), 0
        for index, rate in enumerate(price["rates"]):
            asked = rate["match"]
            if len(asked) > most and _holds(asked, event.data):
                best, most = index, len(asked)
        found[best][1].append(event)
    return [
        (rate, those) for rate, those in found
        if sum((one.counted for one in those), Fraction(0))
        or (those and (_has_fees(rate) or price.get("multipliers")))
    ]  # fmt: skip


def _holds(asked: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
    for name, wanted in asked.items():
        value = data.get(name)
        if isinstance(wanted, Mapping):
            if not isinstance(value, int):
                return False
            bounds = {
                "above": lambda v, b: v > b, "at_least": lambda v, b: v >= b,
                "below": lambda v, b: v < b, "at_most": lambda v, b: v <= b,
            }  # fmt: skip
            if not all(bounds[word](Fraction(value), number(b)) for word, b in wanted.items()):
                return False
        else:
            texts = [_text(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
            if value is None or _text(value) not in texts:
                return False
    return True


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _which(price: Document, event: Event) -> list[int]:
    multipliers = price.get("multipliers", [])
    return [n for n, one in enumerate(multipliers) if _holds(one["when"], event.data)]


def _by_factors(price: Document, events: Sequence[Event]) -> list[tuple[Fraction, Fraction]]:
    """(factor, quantity) of events that the same multipliers take; what none takes comes first."""
    quantities: dict[str, Fraction] = {}
    factors: dict[str, Fraction] = {}
    for event in events:
        which = _which(price, event)
        name = ",".join(map(str, which))
        factor = Fraction(1)
        for index in which:
            factor *= number(price["multipliers"][index]["factor"])
        quantities[name] = quantities.get(name, Fraction(0)) + event.counted
        factors[name] = factor
    return [(factors[name], quantities[name]) for name in sorted(quantities)] or [
        (Fraction(1), Fraction(0))
    ]


def _has_fees(model: Document | None) -> bool:
    if model is None or model.get("model") != "percentage":
        return model is not None and model.get("model") in ("cost_plus", "dynamic")
    names = ("fixed", "free_events", "min_per_event", "max_per_event")
    return any(number(model.get(name) or 0) > 0 for name in names) or any(
        model.get(name) is not None for name in names[2:]
    )


def _fees(price: Document, model: Document | None, events: Sequence[Event]) -> Fraction:
    if model is None:
        return Fraction(0)
    total, seen, spent, free_is_over = Fraction(0), 0, Fraction(0), False
    free_events, free_amount = int(model.get("free_events", 0)), number(model.get("free_amount", 0))
    for event in events:
        if model["model"] == "cost_plus":
            cost = event.data["cost"]
            cost = number(cost["amount"] if isinstance(cost, Mapping) else cost)
            fee = cost * (100 + number(model.get("markup_percent", 0))) / 100
            fee += number(model.get("markup_fixed", 0))
        elif model["model"] == "dynamic":
            value: Any = event.data
            for part in model["value"].split("."):
                value = value[part]
            fee = number(value) * number(model.get("factor", 1))
        else:
            charged = event.value
            if event.value >= 0 and (free_events or free_amount) and not free_is_over:
                seen += 1
                within = event.value
                if free_amount:
                    within = min(within, free_amount - spent)
                spent += within
                charged = event.value - within
                free_is_over = charged > 0
                if (free_events and seen >= free_events) or (free_amount and spent >= free_amount):
                    free_is_over = True
                if charged == 0:
                    continue
            fee = _percent_fee(model, event.value, charged)
        for index in _which(price, event):
            fee *= number(price["multipliers"][index]["factor"])
        total += fee * event.share
    return total


def _percent_fee(model: Document, carried: Fraction, charged: Fraction) -> Fraction:
    fee = charged * number(model["percent"]) / 100
    if carried < 0:
        return fee
    fee += number(model.get("fixed", 0))
    if model.get("min_per_event") is not None:
        fee = max(fee, number(model["min_per_event"]))
    if model.get("max_per_event") is not None:
        fee = min(fee, number(model["max_per_event"]))
    return fee


def model_amount_of(model: Document, quantity: Fraction) -> Fraction:
    """What a quantity costs under any model of quantities."""
    kind = model.get("model", "per_unit")
    if kind == "percentage":
        free = min(max(quantity, Fraction(0)), number(model.get("free_amount", 0)))
        return (quantity - free) * number(model["percent"]) / 100
    if kind == "graduated_percentage":
        return model_amount(_as_graduated(model), quantity)
    return model_amount(model, quantity)


def _as_graduated(model: Document) -> Document:
    tiers = [
        {**tier, "unit": str(number(tier.get("percent", 0))), "per": "100"}
        for tier in model["tiers"]
    ]
    return {"model": "graduated", "tiers": tiers}


def _between(tier: Document, begin: Fraction, end: Fraction) -> Fraction:
    """What the units from `begin` to `end` within a tier cost."""
    unit = number(tier.get("unit", 0))
    if tier.get("size") is None:
        return (end - begin) * unit / number(tier.get("per", 1))
    begun = [-(-at // number(tier["size"])) for at in (begin, end)]
    return (begun[1] - begun[0]) * unit


def _in_pool(prices: Sequence[Document], price: Document, events: Events) -> Fraction:
    """A price's part of its pool: the ladder up to where it ends, less that up to where it
    begins; by volume and stairstep the tier of all of them.
    """
    members = [one for one in prices if one.get("pool") == price["pool"]]
    billable = {}
    for one in members:
        quantity = max(Fraction(0), sum((e.counted for e in events[one["key"]]), Fraction(0)))
        billable[one["key"]] = quantity - min(quantity, _allowance(one, events))
    before = Fraction(0)
    for one in members:
        if one is price:
            break
        before += billable[one["key"]]
    mine, everything = billable[price["key"]], sum(billable.values(), Fraction(0))
    first = members[0] is price
    if price["model"] == "graduated_percentage":
        price = {**price, **_as_graduated(price)}
    if price["model"] == "package":
        return model_amount(price, before + mine) - model_amount(price, before)
    if price["model"] in ("volume", "stairstep"):
        tier = price["tiers"][0]
        for below, above in zip(price["tiers"], price["tiers"][1:], strict=False):
            if everything > number(below["up_to"]):
                tier = above
        units = _between(tier, before, before + mine)
        return units + (number(tier.get("flat", 0)) if first else 0)
    start, amount = Fraction(0), Fraction(0)
    for index, tier in enumerate(price["tiers"]):
        is_last = index == len(price["tiers"]) - 1
        end = before + mine if is_last else min(before + mine, number(tier["up_to"]))
        begin = max(before, start)
        if end > begin:
            amount += _between(tier, begin - start, end - start)
        if first if index == 0 else before <= start < before + mine:
            amount += number(tier.get("flat", 0))
        if not is_last:
            start = number(tier["up_to"])
    return amount
