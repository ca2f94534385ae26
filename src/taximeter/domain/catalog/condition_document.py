"""Reading what a price asks of an event's properties: a value, several values, or a range.

Owns the grammar of `when` and `match`: `{batch: true}`, `{region: [eu, uk]}`,
`{input_tokens: {above: "200000"}}`. Whether an event meets it is domain/rating.
"""

from collections.abc import Iterator, Sequence

from taximeter.domain.catalog.fields import Fields, scalar_text, shown_name
from taximeter.domain.catalog.plan import Condition

VALUES_MAX = 100
BOUNDS = ("above", "at_least", "below", "at_most")


def read_conditions(fields: Fields, name: str) -> Iterator[tuple[str, Condition]]:
    """The conditions in the required object `name`, each with its place; those in error are left
    out.
    """
    for member, value in fields.entries(name, required=True).items():
        at = f"{name}.{shown_name(member)}"
        nested = fields.within(at, value)
        condition = (
            _read_range(nested, member)
            if nested is not None
            else _read_values(fields, at, member, value)
        )
        if condition is not None:
            yield at, condition


def _read_values(fields: Fields, at: str, name: str, value: object) -> Condition | None:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    items = list(value) if listed and isinstance(value, Sequence) else [value]
    if not 0 < len(items) <= VALUES_MAX:
        fields.fail(at, "invalid_type", f"Say 1 to {VALUES_MAX} values.")
        return None
    texts = []
    for index, item in enumerate(items):
        text = scalar_text(item)
        if text is None:
            detail = (
                "Say one text, whole number, true or false; a number with a point in quotes; a "
                'range as {above: "200000"}.'
            )
            fields.fail(f"{at}[{index}]" if listed else at, "invalid_text", detail)
            return None
        texts.append(text)
    return Condition(name, tuple(dict.fromkeys(texts)))


def _read_range(fields: Fields, name: str) -> Condition | None:
    above, at_least = (
        fields.number("above", optional=True),
        fields.number("at_least", optional=True),
    )
    below, at_most = fields.number("below", optional=True), fields.number("at_most", optional=True)
    given = [bound for bound in BOUNDS if fields.has(bound)]
    fields.done()
    if not given:
        fields.fail("above", "required", "Say at least one of above, at_least, below, at_most.")
        return None
    for pair in (("above", "at_least"), ("below", "at_most")):
        if all(fields.has(bound) for bound in pair):
            fields.fail(pair[0], "conflicting_fields", f"Say either {pair[0]} or {pair[1]}.")
    low = max((bound for bound in (above, at_least) if bound is not None), default=None)
    high = min((bound for bound in (below, at_most) if bound is not None), default=None)
    if low is not None and high is not None and low >= high:
        if low > high or at_least is None or at_most is None:
            fields.fail(given[-1], "out_of_range", "No number is in this range. Widen it.")
    return Condition(name, (), above, at_least, below, at_most)
