"""The page of error codes: classes from the kernel, statuses from the edge, fields from here.

Owns what each code of a field means. A test compares that list with the source.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docs.generator.markdown import code, page, table
from taximeter.http.problem import STATUS, TITLES
from taximeter.kernel.errors import TaximeterError
from taximeter.services.ingest import REASONS

_CALLS = ("FieldError", "InvalidEvent", "_invalid", "add", "fail")
_CODE = re.compile(r"[a-z][a-z0-9_]*")

# The first class of a code: a kind of it that has the same code says more in `detail`.
_CLASS_CODES = {error.code: error for error in reversed(STATUS)}
# Answers that no class of the kernel stands for.
_MESSAGES = {
    "invalid": "Fields are wrong; `errors` names each of them with its cure.",
    "unavailable": "A part that is needed cannot be had; the cure stands with it.",
}
_EDGE_CODES = {
    "atomic_refused": (422, "An event of an atomic batch is wrong, so none was taken."),
    "internal": (500, "Something went wrong on the server; its log has the request id."),
    "method_not_allowed": (405, "The address does not take this method."),
}
ERROR_CODES = {*_CLASS_CODES, *_EDGE_CODES}
FIELD_CODES = {
    "being_erased": "An erasure of the customer goes on; ask again when it has finished.",
    "circular": "What the price shares in leads back to the price itself.",
    "conflicting_fields": "These do not go together.",
    "coupon_expired": "The coupon was ended, or its time to be redeemed is over.",
    "coupon_not_applicable": "The coupon is not for this customer, plan, price or currency.",
    "coupon_not_started": "The coupon cannot be redeemed yet.",
    "coupon_used_up": "The coupon was redeemed as often as it allows.",
    "credit_unit_on_invoice": "A credit unit is drawn from a wallet, never invoiced.",
    "currency_as_unit": "A currency needs no price; a credit unit may have one.",
    "currency_mismatch": "The plan and the customer have different currencies.",
    "dearer_pack": "A bigger pack costs more a unit than a smaller one. (Warning.)",
    "duplicate": "This stands in the list twice.",
    "duplicate_key": "A JSON object has this key twice.",
    "duplicate_segment": "Another plan of the family has this currency and segment.",
    "falling": "A count that only grows is below what it was.",
    "forbidden_address": "Nothing may be sent to this address: it is no public one.",
    "free_in_rate": "What is free first cannot be told within one rate of a price.",
    "free_on_wallet": "What is free is known at the end, and a wallet is drawn at once.",
    "hidden_family": "A family has the name of one of its plans. (Warning.)",
    "immutable": "This cannot be changed once it is used.",
    "in_the_future": "The time lies further ahead than is taken.",
    "included_without_units": "The model prices events, not units, so no unit of it can be free.",
    "insufficient_credits": "Less than that is available; `detail` says how much.",
    "invalid_choice": "The value is none of those listed.",
    "invalid_cost": "`data.cost` is no amount of money. (Quarantines.)",
    "invalid_cursor": "The cursor is not one that an answer gave.",
    "invalid_date": "This is no local date or date-time, such as `2026-06-01`.",
    "invalid_dimension": "A dimension is an object, an array or too long. (Quarantines.)",
    "invalid_duration": "This is no ISO 8601 duration such as PT1H.",
    "invalid_expression": "This is no expression: `detail` says at which character.",
    "invalid_key": "This is no key: 1 to 128 letters, digits or `. _ : @ -`.",
    "invalid_number": 'This is no exact number in quotes, such as `"0.30"`.',
    "invalid_property": "This names no property of an event's data.",
    "invalid_scope": "There is no such scope, or it does not go with the others.",
    "invalid_span": "The time from begin to end is empty, or longer than is taken.",
    "invalid_text": "This is no text, too long a text, or holds control characters.",
    "invalid_time": "This is no RFC 3339 date-time with an offset.",
    "invalid_type": "This is of another kind: an object, a list, a text is wanted.",
    "invoiced": "A finalized invoice covers that time, and does not change.",
    "measured_otherwise": "The usage was measured in the way of another price. (A warning.)",
    "minimum_on_wallet": "A price that is drawn from a wallet has no minimum.",
    "missing": "This is needed and was left out.",
    "missing_cost": "A price is of the cost, and `data.cost` is missing. (Quarantines.)",
    "missing_outcome": "A price bills confirmed outcomes, and the event names none. (Quarantines.)",
    "missing_value": "The property that a meter reads is missing. (Quarantines.)",
    "multipliers_on_tiers": "A multiplier needs a price at which each unit costs the same.",
    "needs_amounts": "A hold of several assets, or of none, is captured by amounts.",
    "needs_events": "The price is of single events: send events instead of a quantity.",
    "needs_idempotency_key": "Parts are charged each time: send an Idempotency-Key with each.",
    "negative": "The number must be 0 or more.",
    "negative_value": "The metered value is negative. (Quarantines.)",
    "never_applies": "This part of a price never changes an amount. (Warning.)",
    "no_meter": "No meter reads events of this type. (Quarantines.)",
    "no_name": "Invoices will print a key, since there is no name. (Warning.)",
    "no_rate": "No rate of the price matches these dimensions.",
    "no_segment": "No plan of the family is for this customer.",
    "no_unit_price": "A credit unit has no price in the plan's currency, so no margin is told.",
    "no_term": "The subscription has no term that renews.",
    "no_unit": "A meter does not say what it counts. (Warning.)",
    "non_numeric_value": "The property that a meter reads is not a number. (Quarantines.)",
    "not_an_object": "A JSON object is wanted here.",
    "not_overridable": "This field of a price is the plan's for every customer.",
    "not_supported": "This is part of the published grammar and not built yet.",
    "number_out_of_bounds": "A number has over 18 digits before or 12 after the point.",
    "other_asset_cost": "`data.cost` is in another asset than the price. (Quarantines.)",
    "other_credits": "Other amounts of credit units would be drawn. (A warning.)",
    "other_currency": "An invoice has one currency, and this is another.",
    "other_period": "Periods of different lengths stand side by side. (A warning.)",
    "out_of_range": "The value is below or above what is taken.",
    "outside_path": "The API key is confined to a path, and this lies outside of it.",
    "outcome_event": "An outcome decides what the event is billed: it is decided, not corrected.",
    "outcome_on_meter": "Only a meter that sums or counts can bill outcomes.",
    "phase_order": "Phases follow each other in time.",
    "pool_alone": "No other price is in the pool.",
    "pool_mismatch": "The prices of a pool differ in their ladder, asset, settle or period.",
    "pool_without_ladder": "The model has no ladder that a pool could share.",
    "required": "This is needed and was left out.",
    "rising_rate": "A tier is dearer per unit than the one before. (Warning.)",
    "rollover_of_currency": "Credit that pays invoices cannot roll over.",
    "rollover_without_expiry": "Only credit that expires with its step can roll over.",
    "same_asset": "Both assets are the same one.",
    "share_mismatch": "The price that is shared in has another settle or period.",
    "tier_order": "The bounds of tiers must ascend.",
    "too_deep": "The event's data is nested too deeply.",
    "too_early": "The time lies before one that it must follow.",
    "too_late": "The time lies after one that it must precede. Of an event: it was older than its "
    "meter takes. (Quarantines.)",
    "too_long": "The text is too long.",
    "too_many": "The list is longer than is taken.",
    "too_many_events": "More events would be counted again than one change may; `detail` says how "
    "many.",
    "too_many_properties": "The event has more properties than are taken.",
    "too_short": "The duration is shorter than is taken.",
    "uncomputable_value": "The meter's expression has no result for the event. (Quarantines.)",
    "unknown_currency": "This is no ISO 4217 currency.",
    "unknown_customer": "There is no such customer yet. (Quarantines.)",
    "unknown_dimension": "This is not among the dimensions.",
    "unknown_field": "There is no such field.",
    "unknown_meter": "There is no such meter.",
    "unknown_price": "The plan has no such price.",
    "unknown_subscription": "The customer has no such subscription. (Quarantines.)",
    "unmatched_dimension": "No rate matches the event's dimensions. (Quarantines.)",
    "unmatched_usage": "Usage that was counted would have no rate under these terms.",
    "unpriced_usage": "No price counts the usage so far. (A warning.)",
    "unreadable_usage": "Usage that was counted has no price under these terms: no cost, say.",
    "unsupported_aggregation": "The values of the meter do not add up, and the price needs it.",
    "unsupported_settle": "What this meter measures cannot be drawn from a wallet.",
    "unsupported_version": "The specversion is not 1.0.",
    "unused_dimension": "No rate differs by this dimension. (Warning.)",
    "vague_unit": "A meter's unit tells a customer nothing. (Warning.)",
    "value_on_count": "A meter that counts events reads no value.",
}


def render() -> str:
    """The page."""
    intro = (
        "An error is answered as a problem document (RFC 9457, `application/problem+json`). Decide "
        "by `code`, which is stable; `detail` is for people. A `422` lists in `errors` every "
        "field that is wrong; where all of them have one code, `code` is that code."
    )
    return page("Errors", intro, ["## Answers", _answers(), "## Fields and events", _fields()])


def _answers() -> str:
    rows = [(STATUS[error], name, _message(error)) for name, error in _CLASS_CODES.items()]
    rows += [(status, name, meaning) for name, (status, meaning) in _EDGE_CODES.items()]
    head = ["status", "", "code", "message"]
    return table(head, ([str(s), TITLES[s], code(n), m] for s, n, m in sorted(rows)))


def _message(error: type[TaximeterError]) -> str:
    return _MESSAGES.get(error.code) or (error.__doc__ or "").replace("!r}", "}")


def _fields() -> str:
    intro = (
        "What `errors[].code` and an event's `error.code` say. *Quarantines*: the event is stored "
        "and counts as soon as what it lacks is there."
    )
    rows = ([code(name), meaning] for name, meaning in sorted(FIELD_CODES.items()))
    return "\n\n".join([intro, table(["code", "meaning"], rows)])


def codes_in_use(folder: Path) -> set[str]:
    """Every code that the source under `folder` can answer with."""
    found = {*_CLASS_CODES, *REASONS}
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(_codes_of(node))
    return found


def _codes_of(node: ast.AST) -> Iterator[str]:
    """The codes in a call that makes an error, or in a table of codes."""
    if isinstance(node, ast.Call):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _CALLS and len(node.args) >= 3:
            yield from _constants(node.args[-2])
        elif name == "problem" and len(node.args) >= 2:
            yield from _constants(node.args[1])
    elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
        target = ast.unparse(node.targets[0])
        if target.lower().endswith("codes"):
            for value in node.value.values:
                yield from _constants(value)


def _constants(node: ast.AST | None) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from _constants(node.body)
        yield from _constants(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        if _CODE.fullmatch(node.value):
            yield node.value
