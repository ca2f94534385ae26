"""The page of the plan and meter documents, asked from the parser itself.

For each kind of object the parser is given a small right one that notes which fields it asks for.
Leaving a field out shows whether it is needed, and a wrong value makes the parser say what is
right. Owns only what each field means; a field without a meaning, or the reverse, is an error.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from docs.generator.markdown import code, page, table
from taximeter.domain.catalog import credit as credit_shapes
from taximeter.domain.catalog import entitlement as rights
from taximeter.domain.catalog import plan as shapes
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.catalog.meter_document import parse_meter
from taximeter.domain.catalog.model_document import MODEL_FIELDS
from taximeter.domain.catalog.segment import Segment
from taximeter.kernel.errors import Invalid

Document = dict[str, Any]
_WRONG = 0.5  # of no field's kind: texts, lists, objects, choices, whole numbers and quoted ones
_SHORT = {
    "1 to 128 letters, digits": "a key",
    "in quotes, as text": "text",
    "in quotes, such as": "a number",
    "a name such as model": "a property",
}
_CURE = re.compile(r"\b(?:Say|Write it) (.*?)\.?$", re.DOTALL)

MEANINGS = {
    "aggregation": "How events become a quantity",
    "allow_negative": "Whether a negative value counts; else the event is quarantined",
    "amount": "The fee",
    "Discount amount": "The amount off",
    "Invoice discount amount": "The amount off each invoice",
    "Model package amount": "The price of each package begun",
    "auto_confirm_after": "Confirms itself this long after its last event; left out: never",
    "asset": "What the price is counted in: the plan's currency unless said",
    "Credit asset": "What is granted: the plan's currency, or a credit unit of your own",
    "Credit unit asset": "The unit",
    "assets": "Credit units with a price",
    "Commitment amount": "What fees and usage must come to in each term",
    "commitment": "A spend agreed for a term that may be longer than the period",
    "Credit amount": "What is granted for each step",
    "credits": "What the plan grants",
    "currency": "What invoices are in",
    "concurrency": "So many holds that name the feature may be open at once",
    "rate": "For so much of the feature, by their `quantity`, holds are placed in each `second`, "
    "`minute` or `hour`: `limit` and `per`",
    "description": "What counts and what does not, for people",
    "dimension_limit": "How many values of each dimension are kept apart for a customer and month; "
    "the others are counted as `@other` (`count` and `sum` only)",
    "dimensions": "The properties of the event that tell usage apart",
    "cohort": "The `cohort` of the customer's metadata",
    "discount": "Off the price: `percent` or `amount`",
    "Plan discount": "Off whole invoices: `percent` or `amount`, for so many `months`",
    "event_type": "The type of the events that count",
    "entitlements": "What customers may use, and how much of it",
    "feature": "Its name in the API; several entries on one all apply",
    "family": "The plans it belongs to, of which a subscription may name the family alone",
    "percentile": "The share of all values that are not above the one that is taken",
    "filter": "Which events count: for each property the values that do, or `{not: [...]}`",
    "every": "How long a step is, counted from the subscription's anchor; `period`: as the plan's",
    "expires": "`period_end` (the end of its step), `never`, or a duration such as `P1Y`",
    "flat": "A fee, once when the tier is entered",
    "free": "Units free of charge, before packages",
    "from": "Only steps that start on this local date (or date-time) or later",
    "grace": "How long a draft waits for late usage after its period",
    "human_review": "Whether an outcome that needed a person is billed: `bill` or `free`",
    "included": "Units free in each period, before the model",
    "key": "Its name in the API",
    "Credit key": "What names the credit across versions; the asset's name unless said",
    "kind": "`paid` pays an invoice, `promotional` is a discount on it",
    "late_limit": "How old an event may be when it comes; else it is quarantined (`too_late`)",
    "limit": "At most this in each window",
    "match": "The dimension values that it asks for",
    "max_per_period": "At most this is granted within one of the plan's periods",
    "maximum": "At most this for a period",
    "meter": "The meter whose quantity is priced",
    "Entitlement: quota meter": "The meter whose quantity is limited: one that sums or counts",
    "minimum": "At least this for a period",
    "Plan minimum": "At least this for a period over all prices",
    "model": "How the quantity becomes an amount; see below",
    "months": "How long it lasts; for good if left out",
    "name": "What people read",
    "otherwise": "What becomes of usage that no rate matches: `quarantine`, `zero` or a model",
    "overage": "Whether more than the limit is refused, or only told",
    "outcome": "Billed only once confirmed; see below",
    "Credit per": "`seat`, or the key of a seat price: the amount times its quantity",
    "per": "So many units are what `unit` prices",
    "percent": "Percent off",
    "Commitment period": "How long a term is, counted from the subscription's anchor",
    "period": "How long a period is; a price's own may differ from its plan's",
    "prices": "What the plan charges",
    "priority": "0 to 1000; low burns first",
    "rates": "A model for each combination of dimension values; most matched wins, then the first",
    "segment": "Whom it is for in its family: `region`, `cohort`",
    "region": "The customer's `tax.country`, `tax.region` or `metadata.region`",
    "retries": "Of several events of an outcome `once` bills the first, `each` all",
    "reversible_for": "How long it can be taken back after it was confirmed; left out: for ever",
    "rollover_max": "Up to so much of what is left at a step's end goes into the next",
    "Commitment rollover_max": "Up to so much of a true-up becomes credit for the next term",
    "scope": "What it may be used for: `meters`, and the `path` of events",
    "settle": "Where it is paid: `invoice`, or `wallet` at once from credits",
    "size": "Units in a package",
    "Tier size": "In place of `per`: sold in whole blocks of so many units",
    "bucket": "`max`, `min` and `latest` of each are added up, and rated one by one",
    "over": "`period`: the average level instead of level-hours (`weighted_sum`)",
    "signed": "Whether a value is the change of the level, not the level (`weighted_sum`)",
    "tiers": "In ascending order; the last may be without end",
    "timing": "Billed before (`advance`) or after (`arrears`) the period",
    "margin": "What each call must leave over: `floor`, `enforcement`, `free_cost_max`",
    "floor": "Percent of a call's price that must be left when its cost is paid; below 100",
    "enforcement": "`soft`: credit and budgets only tell, also of customers who are `hard`",
    "Margin enforcement": "`hard` refuses a call that breaks the floor, `soft` tells",
    "free_cost_max": "What a call that is free to the customer may cost; left out: any",
    "trial_days": "How many days a new subscription is free of fees",
    "type": "What kind of price it is",
    "unit": "The price of `per` units",
    "unit_price": "The list value of a unit, and what one past the grants costs",
    "until": "Only steps that start before this",
    "Meter unit": "What is counted, for people",
    "up_to": "The tier's last unit; left out: without end",
    "above": "More than this",
    "at_least": "This or more",
    "at_most": "This or less",
    "below": "Less than this",
    "factor": "On the amount of the events that meet `when`",
    "Model dynamic factor": "On the price that the event carries",
    "fixed": "For each event",
    "free_amount": "So much of the amounts is free, what comes first",
    "free_events": "So many events are free, those that come first",
    "markup_fixed": "For each event, beside its cost",
    "markup_percent": "More than its cost",
    "max_per_event": "An event costs at most this",
    "maximum_per_day": "At most this for each local day",
    "min_per_event": "An event costs at least this",
    "multipliers": "Factors on the amount of some events, in the order written",
    "of": "The key of the other usage price",
    "Model percentage percent": "Of the amount",
    "Percent tier percent": "Of the part of the amount that falls in the tier",
    "Share percent": "Of what the other price counts",
    "pool": "Prices of one pool fill one ladder of tiers",
    "Entitlement: switch value": "`false`: off, `true`: on; a text: on, with this setting",
    "Model dynamic value": "The property that holds the event's price",
    "when": "What must hold of the event: a value, one of several, or a range",
    "window": "In the customer's time zone; weeks begin on Monday, `period` is the billing period",
    "value": "The property of the event's data that is metered, or an expression over several",
}


class _Watched(dict[str, Any]):
    """An object of a document that notes which fields are asked for."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.asked: dict[str, None] = {}

    def get(self, key: str, default: Any = None) -> Any:
        self.asked[key] = None
        return super().get(key, default)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of object: a right one, and how the parser is given it."""

    title: str
    note: str
    sample: Document
    parse: Callable[[Document], object]
    fields: tuple[str, ...] | None = None  # those to show, where others show the rest


def render() -> str:
    """The page."""
    kinds = list(_kinds())
    intro = (
        "A plan as `PUT /v1/plans/{key}` and `taximeter plan` take it, and a meter as "
        "`PUT /v1/meters/{key}` does. Numbers stand in quotes, so that they stay exact. A key has "
        "1 to 128 letters, digits or `. _ : @ -` and starts with a letter or digit. A property is "
        "a name in an event's `data`; `usage.model` is one inside another. Unknown fields are "
        "refused."
    )
    return page("Plan and meter documents", intro, (_section(kind) for kind in kinds))


def _section(kind: _Kind) -> str:
    rows = [
        [
            code(name),
            "yes" if _is_needed(kind, name) else "",
            _values(kind, name),
            MEANINGS.get(f"{kind.title} {name}") or MEANINGS[name],
        ]
        for name in _asked(kind)
        if kind.fields is None or name in kind.fields
    ]
    example = yaml.safe_dump(kind.sample, default_flow_style=True, sort_keys=False, width=1000)
    return "\n\n".join(
        [
            f"## {kind.title}",
            kind.note,
            table(["field", "needed", "value", "meaning"], rows),
            f"```yaml\n{example.strip()}\n```",
        ]
    )


def _asked(kind: _Kind) -> list[str]:
    """The fields that the parser reads in such an object, in its order."""
    watched = _Watched(kind.sample)
    kind.parse(watched)
    return list(watched.asked)


def _findings(kind: _Kind, sample: Document, name: str) -> list[tuple[str, str]]:
    """Code and sentence of what is wrong with the field `name` of `sample`."""
    try:
        kind.parse(sample)
    except Invalid as error:
        return [(f.code, f.detail) for f in error.errors if f.path.rpartition(".")[2] == name]
    return []


def _is_needed(kind: _Kind, name: str) -> bool:
    left = {key: value for key, value in kind.sample.items() if key != name}
    return any(found == "required" for found, _ in _findings(kind, left, name))


def _values(kind: _Kind, name: str) -> str:
    """What the parser says is right, where it was given something wrong."""
    found = _findings(kind, {**kind.sample, name: _WRONG}, name)
    assert found, f"the parser takes anything as {name} of a {kind.title}"
    cure = _CURE.search(found[0][1])
    words = cure[1] if cure else ""
    return next((short for start, short in _SHORT.items() if words.startswith(start)), words)


def _plan(**fields: Any) -> Document:
    return {"key": "scale", "currency": "USD", "period": "month", **fields}


def _usage(**fields: Any) -> Document:
    return {"key": "tokens", "type": "usage", "meter": "tokens", **fields}


def _parse_price(price: Document) -> object:
    return parse_plan(_plan(prices=[price]))


def _parse_tier(tier: Document) -> object:
    return _parse_price(_usage(model="graduated", tiers=[tier]))


def _parse_percent_tier(tier: Document) -> object:
    return _parse_price(_usage(model="graduated_percentage", tiers=[tier]))


def _parse_multiplier(multiplier: Document) -> object:
    return _parse_price(_usage(model="per_unit", unit="1", multipliers=[multiplier]))


def _parse_range(bounds: Document) -> object:
    return _parse_multiplier({"when": {"input_tokens": bounds}, "factor": "2"})


def _parse_share(share: Document) -> object:
    compute = _usage(model="per_unit", unit="3") | {"key": "compute"}
    services = _usage(model="per_unit", unit="3", included=share) | {"key": "services"}
    return parse_plan(_plan(prices=[compute, services]))


def _parse_rate(rate: Document) -> object:
    return _parse_price(_usage(model="dimensional", dimensions=["model"], rates=[rate]))


def _parse_discount(discount: Document) -> object:
    return _parse_price({"key": "fee", "type": "flat", "amount": "1", "discount": discount})


def _parse_invoice_discount(discount: Document) -> object:
    fee = {"key": "fee", "type": "flat", "amount": "1"}
    return parse_plan(_plan(prices=[fee], discount=discount))


def _parse_outcome(outcome: Document) -> object:
    return _parse_price(_usage(model="per_unit", unit="0.99", outcome=outcome))


def _parse_credit(credit: Document) -> object:
    return parse_plan(_plan(prices=[_usage(model="per_unit", unit="1")], credits=[credit]))


def _parse_unit(unit: Document) -> object:
    return parse_plan(_plan(prices=[_usage(model="per_unit", unit="1")], assets=[unit]))


def _parse_commitment(commitment: Document) -> object:
    prices = [_usage(model="per_unit", unit="1")]
    return parse_plan(_plan(prices=prices, commitment=commitment))


def _parse_margin(margin: Document) -> object:
    prices = [_usage(model="per_unit", unit="1")]
    return parse_plan(_plan(prices=prices, margin=margin))


def _parse_entitlement(entitlement: Document) -> object:
    fee = {"key": "fee", "type": "flat", "amount": "1"}
    return parse_plan(_plan(prices=[fee], entitlements=[entitlement]))


def _note(shape: type) -> str:
    return " ".join((shape.__doc__ or "").split())


def _kinds() -> Iterator[_Kind]:
    fee: Document = {"key": "platform", "type": "flat", "amount": "499.00"}
    seats: Document = {"key": "seats", "type": "seat", "model": "per_unit", "unit": "20.00"}
    meter: Document = {"event_type": "llm.completion", "aggregation": "sum", "value": "tokens"}
    yield _Kind("Plan", "One version of a plan.", _plan(prices=[fee]), parse_plan)
    yield _Kind("Flat price", "A fee for each period.", fee, _parse_price)
    yield _Kind(
        "Seat price", "A fee for each seat; the subscription says how many.", seats, _parse_price,
        ("key", "type", "model", "asset", "period", "discount", "name", "timing"),
    )  # fmt: skip
    yield _Kind(
        "Usage price",
        "A price for what a meter counts. In this order: `included`, the model (over the `pool`), "
        "`multipliers`, `discount`, `maximum_per_day`, `maximum`, `minimum`.",
        _usage(model="per_unit", unit="0.30"), _parse_price,
        ("key", "type", "meter", "model", "settle", "asset", "period", "discount", "name",
         "included", "pool", "multipliers", "maximum_per_day", "maximum", "minimum", "outcome"),
    )  # fmt: skip
    yield from _models()
    yield _Kind(
        "Tier", _note(shapes.Tier), {"up_to": "1000", "unit": "0.30", "flat": "5"}, _parse_tier
    )
    yield _Kind(
        "Percent tier", _note(shapes.PercentTier), {"up_to": "1000", "percent": "2", "flat": "5"},
        _parse_percent_tier,
    )  # fmt: skip
    yield _Kind(
        "Multiplier", _note(shapes.Multiplier), {"when": {"batch": True}, "factor": "0.5"},
        _parse_multiplier,
    )  # fmt: skip
    yield _Kind(
        "Range", "A number asked of a property, in `when` of a multiplier or `match` of a rate.",
        {"above": "200000", "at_most": "1000000"}, _parse_range,
    )  # fmt: skip
    yield _Kind(
        "Share", "Units included by what another usage price of the plan counts.",
        {"percent": "10", "of": "compute"}, _parse_share,
    )  # fmt: skip
    yield _Kind(
        "Rate", _note(shapes.Rate), {"match": {"model": "large"}, "unit": "14"}, _parse_rate,
        ("match", "model"),
    )  # fmt: skip
    yield _Kind(
        "Segment", _note(Segment), {"region": "eu", "cohort": "founders"},
        lambda segment: parse_plan(_plan(prices=[fee], family="scale", segment=segment)),
    )  # fmt: skip
    yield _Kind(
        "Outcome", _note(shapes.OutcomeTerms).partition(".")[0] + ".",
        {"auto_confirm_after": "PT24H", "reversible_for": "P30D"}, _parse_outcome,
    )  # fmt: skip
    yield _Kind(
        "Credit", "A grant at the start of each step while the plan applies.",
        {"asset": "credits", "amount": "1000"}, _parse_credit,
    )  # fmt: skip
    yield _Kind(
        "Credit unit", _note(credit_shapes.CreditUnit), {"asset": "credits", "unit_price": "0.01"},
        _parse_unit,
    )  # fmt: skip
    yield _Kind(
        "Commitment", _note(credit_shapes.Commitment), {"amount": "12000", "period": "year"},
        _parse_commitment,
    )  # fmt: skip
    yield from _limits()
    yield _Kind("Discount", "Exactly one of the two.", {"percent": "10"}, _parse_discount)
    yield _Kind(
        "Invoice discount", "Exactly one of `percent` and `amount`.",
        {"percent": "20", "months": 3}, _parse_invoice_discount,
    )  # fmt: skip
    yield _Kind("Meter", _note(Meter), meter, lambda body: parse_meter("m", body, version=1))


def _limits() -> Iterator[_Kind]:
    yield _Kind(
        "Margin", "What a call must leave over when its cost is paid, when a hold is placed.",
        {"floor": "30", "enforcement": "hard", "free_cost_max": "0.05"}, _parse_margin,
    )  # fmt: skip
    for shape, entry in (
        (rights.Switch, {"value": True}),
        (rights.Quota, {"meter": "queries", "limit": "1000", "window": "day"}),
        (rights.Slots, {"concurrency": "5"}),
        (rights.Rate, {"rate": {"limit": "100", "per": "minute"}}),
    ):
        yield _Kind(
            f"Entitlement: {shape.__name__.lower()}", _note(shape), {"feature": "queries", **entry},
            _parse_entitlement,
            ("feature", *entry, *(("overage",) if shape is rights.Quota else ())),
        )  # fmt: skip


def _models() -> Iterator[_Kind]:
    tier = {"up_to": "1000", "unit": "0.30"}
    rate = {"match": {"model": "large"}, "unit": "14", "per": "1000000"}
    models: tuple[tuple[str, type, Document], ...] = (
        ("per_unit", shapes.PerUnit, {"unit": "1.75", "per": "1000000"}),
        ("package", shapes.Package, {"amount": "10", "size": "1000"}),
        ("graduated", shapes.Graduated, {"tiers": [tier, {"unit": "0.20"}]}),
        ("volume", shapes.Volume, {"tiers": [tier, {"unit": "0.20"}]}),
        ("stairstep", shapes.Stairstep, {"tiers": [{"up_to": "1000", "flat": "49"}]}),
        ("percentage", shapes.Percentage, {"percent": "2.9", "fixed": "0.30"}),
        (
            "graduated_percentage",
            shapes.GraduatedPercentage,
            {"tiers": [{"up_to": "1000", "percent": "2"}, {"percent": "1"}]},
        ),
        ("cost_plus", shapes.CostPlus, {"markup_percent": "20"}),
        ("dynamic", shapes.Dynamic, {"value": "quote", "factor": "1.1"}),
        ("dimensional", shapes.Dimensional, {"dimensions": ["model"], "rates": [rate]}),
    )
    own = tuple(MODEL_FIELDS)
    for name, shape, fields in models:
        note = _note(shape).partition(" `by_shape`")[0]
        yield _Kind(f"Model {name}", note, _usage(model=name, **fields), _parse_price, own)
