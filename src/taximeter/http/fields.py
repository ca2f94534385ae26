"""Field types of request bodies, as the contract writes them.

Money, prices and quantities are strings of the contract's pattern; a JSON number is taken where
it is a whole number within 2^53. Pydantic would read numbers through a float, so the text is
matched before a Decimal is made.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    WithJsonSchema,
)

from taximeter.kernel.paging import LIMIT_DEFAULT, LIMIT_MAX
from taximeter.kernel.quantity import DECIMAL_PATTERN, format_decimal, parse_decimal
from taximeter.kernel.times import format_instant, parse_instant

KEY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
CUSTOMER_PATTERN = r"^[^/\x00-\x1f\x7f]{1,128}$"
SAFE_INTEGER = 2**53


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= SAFE_INTEGER:
        return Decimal(value)
    number = parse_decimal(value) if isinstance(value, str) else None
    if number is None:
        raise ValueError('send a decimal in quotes, such as "0.05" (at most 18 digits before '
                         "the point and 12 after)")  # fmt: skip
    return number


def _instant(value: Any) -> datetime:
    at = parse_instant(value) if isinstance(value, str) else None
    if at is None:
        raise ValueError("send an RFC 3339 date-time with an offset, such as 2026-01-05T10:00:00Z")
    return at


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("send printable characters only")
    return value


def _without_controls(value: str) -> str:
    if any(character < " " and character not in "\n\t" for character in value):
        raise ValueError("leave out control characters")
    return value


DecimalText = Annotated[
    Decimal,
    BeforeValidator(_decimal),
    WithJsonSchema({"type": "string", "pattern": DECIMAL_PATTERN, "examples": ["0.05"]}),
]
Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-05T10:00:00Z"]}),
]
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
CustomerKey = Annotated[
    str, StringConstraints(pattern=CUSTOMER_PATTERN), AfterValidator(_printable)
]
Text = Annotated[str, StringConstraints(max_length=500), AfterValidator(_without_controls)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_printable)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX)]
LIMIT: int = LIMIT_DEFAULT
Cursor = Annotated[str | None, Query(max_length=4000)]


def instant(at: datetime | None) -> str | None:
    """An instant as answers print it."""
    return format_instant(at) if at is not None else None


def decimal(number: Decimal | None) -> str | None:
    """A decimal as answers print it: in its shortest form."""
    return format_decimal(number) if number is not None else None
