"""Reading a seller's document field by field.

Owns the form of error paths (`prices[1].tiers[0].up_to`), the error codes of single values, and
the rule that every error is reported, not just the first. Null means "left out". Must not know
what a plan or a meter is.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from types import MappingProxyType
from typing import TypeVar

from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import ZERO, parse_decimal

ERRORS_MAX = 50
TEXT_LENGTH_MAX = 500
NAME_LENGTH_MAX = 60
INTEGER_MAX = 2**53
KEY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
PROPERTY_PATTERN = r"(?=.{1,128}\Z)[A-Za-z_][A-Za-z0-9_/:@-]*(\.[A-Za-z0-9_/:@-]+)*"

Option = TypeVar("Option", bound=str)

_is_key = re.compile(KEY_PATTERN, re.ASCII).fullmatch
_is_property = re.compile(PROPERTY_PATTERN, re.ASCII).fullmatch


class Findings:
    """The errors found in one document, the first `ERRORS_MAX` of them."""

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def add(self, path: str, code: str, detail: str) -> None:
        """Note one error; beyond the bound it is dropped."""
        if not self.full:
            self._errors.append(FieldError(path, code, detail))

    def add_all(self, errors: Iterable[FieldError]) -> None:
        """Note the errors of a part that was read by itself."""
        for error in errors:
            self.add(error.path, error.code, error.detail)

    def take_back(self, path: str, code: str) -> None:
        """Forget an error whose cause is reported elsewhere."""
        self._errors = [e for e in self._errors if (e.path, e.code) != (path, code)]

    @property
    def full(self) -> bool:
        """Whether reading on would find nothing that is still reported."""
        return len(self._errors) >= ERRORS_MAX

    def raise_any(self) -> None:
        """Raise `Invalid` with everything found, if anything was."""
        if self._errors:
            raise Invalid(self._errors)


class Fields:
    """One object of a document. Each field is read once by its kind; `done` then reports those
    that nobody asked for. A reader that finds an error notes it and returns None.
    """

    def __init__(self, body: Mapping[str, object], path: str, findings: Findings) -> None:
        self._body = body
        self._path = path
        self._findings = findings
        self._asked: set[object] = set()

    @classmethod
    def of(cls, value: object, path: str, findings: Findings) -> "Fields | None":
        """The fields of `value`, or None where it is not an object."""
        if isinstance(value, Mapping):
            return cls(value, path, findings)
        findings.add(path, "invalid_type", f"This is {_kind(value)}. Say an object with fields.")
        return None

    @property
    def body(self) -> Mapping[str, object]:
        """The object itself, for what reads it anew."""
        return self._body

    def path(self, name: str) -> str:
        """The path of the field `name`."""
        return f"{self._path}.{name}" if self._path else name

    def fail(self, name: str, code: str, detail: str) -> None:
        """Note an error of the field `name`."""
        self._findings.add(self.path(name), code, detail)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._body.get(name) is not None

    def take(self, name: str) -> object:
        """The raw value of an optional field; None where it is left out."""
        self._asked.add(name)
        return self._body.get(name)

    def ignore(self, names: Collection[str]) -> None:
        """Let `done` pass over fields that an error elsewhere made impossible to judge."""
        self._asked.update(names)

    def _need(self, name: str, cure: str) -> object:
        value = self.take(name)
        if value is None:
            self.fail(name, "required", f"Missing. Say {cure}.")
        return value

    def text(self, name: str, *, default: str | None = None) -> str | None:
        """A line of text; required where there is no default, and then not empty."""
        value = self.take(name) if default is not None else self._need(name, "a text")
        if value is None:
            return default
        problem = text_problem(value)
        if problem is None and default is None and value == "":
            problem = "This is empty. Say a text."
        if problem is not None:
            self.fail(name, "invalid_text", problem)
            return None
        assert isinstance(value, str)
        return value

    def key(self, name: str, *, default: str | None = None, cure: str = "a key") -> str | None:
        """A key of the seller's choice; required where there is no default."""
        value = self.take(name) if default is not None else self._need(name, cure)
        return default if value is None else self._read_key(name, value)

    def keys(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """An optional list of different keys; a wrong one is left out of it."""
        found = (
            self._read_key(f"{name}[{index}]", value)
            for index, value in enumerate(self.items(name, count_max=count_max, required=False))
        )
        return tuple(dict.fromkeys(key for key in found if key is not None))

    def _read_key(self, name: str, value: object) -> str | None:
        if isinstance(value, str) and _is_key(value):
            return value
        self.fail(
            name,
            "invalid_key",
            f"{shown(value)} is no key. Say 1 to 128 letters, digits or . _ : @ - that start "
            "with a letter or digit, in quotes where it looks like a number.",
        )
        return None

    def choice(
        self,
        name: str,
        options: Sequence[Option],
        *,
        default: Option | None = None,
    ) -> Option | None:
        """One of `options`; required where there is no default."""
        listed = ", ".join(options)
        value = self.take(name) if default is not None else self._need(name, f"one of {listed}")
        if value is None:
            return default
        for option in options:
            if value == option:
                return option
        close = _meant(value, options)
        meant = f" Did you mean {close}?" if close else ""
        detail = f"{shown(value)} is none of its values.{meant} Say one of {listed}."
        self.fail(name, "invalid_choice", detail)
        return None

    def number(
        self,
        name: str,
        *,
        default: Decimal | None = None,
        optional: bool = False,
        positive: bool = False,
    ) -> Decimal | None:
        """A number of 0 or more (`positive`: above 0); required where it is not optional and has
        no default.
        """
        value: object
        if optional or default is not None:
            value = self.take(name)
        else:
            value = self._need(name, 'a number in quotes, such as "0.30"')
        if value is None:
            return default
        number = read_number(value)
        if isinstance(number, str):
            self.fail(name, "invalid_number", number)
            return None
        if number < ZERO or (positive and number == ZERO):
            least = "above 0" if positive else "of 0 or more"
            self.fail(name, "out_of_range", f"{shown(value)} is too small. Say a number {least}.")
            return None
        return number

    def flag(self, name: str, *, default: bool) -> bool:
        """true or false."""
        value = self.take(name)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.fail(name, "invalid_type", f"{shown(value)} is neither. Say true or false.")
        return default

    def event_property(self, name: str) -> str | None:
        """The required path of a property of an event's data."""
        value = self._need(name, "a property of the event's data")
        return self._read_property(name, value) if value is not None else None

    def event_properties(self, name: str, *, count_max: int, required: bool) -> tuple[str, ...]:
        """A list of different properties of an event's data; a wrong one is left out of it."""
        found: list[str] = []
        for index, value in enumerate(self.items(name, count_max=count_max, required=required)):
            at = f"{name}[{index}]"
            item = self._read_property(at, value)
            if item is not None and item in found:
                self.fail(at, "duplicate", f"{item} is listed twice. Say it once.")
            elif item is not None:
                found.append(item)
        return tuple(found)

    def _read_property(self, name: str, value: object) -> str | None:
        if is_property(value):
            assert isinstance(value, str)
            return value
        detail = (
            f"{shown(value)} names no property. Say a name such as model, or usage.model for one "
            "inside another (letters, digits, _ / : @ -)."
        )
        self.fail(name, "invalid_property", detail)
        return None

    def items(self, name: str, *, count_max: int, required: bool = True) -> Sequence[object]:
        """The elements of a list; where it is required it has at least one."""
        value = self._need(name, "a list") if required else self.take(name)
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.fail(name, "invalid_type", f"This is {_kind(value)}. Say a list.")
            return ()
        if required and not value:
            self.fail(name, "required", "This list is empty. Say at least one.")
        if len(value) > count_max:
            detail = f"{len(value)} are too many. Say at most {count_max}."
            self.fail(name, "too_many", detail)
            return ()
        return value

    def nested_list(
        self, name: str, *, count_max: int, required: bool = True
    ) -> Iterator[tuple[str, "Fields"]]:
        """The objects in a list, each with its name for `fail`; others are reported."""
        for index, value in enumerate(self.items(name, count_max=count_max, required=required)):
            if self._findings.full:
                return
            at = f"{name}[{index}]"
            fields = Fields.of(value, self.path(at), self._findings)
            if fields is not None:
                yield at, fields

    def nested(self, name: str) -> "Fields | None":
        """The fields of an optional object."""
        value = self.take(name)
        return None if value is None else Fields.of(value, self.path(name), self._findings)

    def within(self, at: str, value: object) -> "Fields | None":
        """The fields of `value`, which stands at `at` in here; None where it is no object."""
        if not isinstance(value, Mapping):
            return None
        return Fields(value, self.path(at), self._findings)

    def entries(self, name: str, *, required: bool) -> Mapping[str, object]:
        """The members of an object whose names are the seller's: properties of an event."""
        value = self._need(name, "an object") if required else self.take(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.fail(name, "invalid_type", f"This is {_kind(value)}. Say an object.")
            return {}
        if required and not value:
            self.fail(name, "required", "This is empty. Say at least one member.")
        found = {}
        for member, content in value.items():
            if self._read_property(f"{name}.{shown_name(member)}", member) is not None:
                assert isinstance(member, str)
                found[member] = content
        return found

    def done(
        self,
        *,
        not_built: Collection[str] = (),
        belongs: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Report every field that was not asked for, save known ones that are null.

        `not_built` are fields of the published grammar that are still to come; `belongs` says of
        a field that is right elsewhere where that is.
        """
        for name, content in self._body.items():
            if self._findings.full:
                return
            if name in self._asked:
                continue
            label = shown_name(name)
            if label in not_built:
                if content is not None:
                    detail = f"{label} is not built yet. Leave it out."
                    self.fail(label, "not_supported", detail)
            elif label in belongs:
                if content is not None:
                    detail = f"{label} belongs to {belongs[label]}. Leave it out here."
                    self.fail(label, "unknown_field", detail)
            else:
                meant = _meant(name, [str(asked) for asked in self._asked])
                cure = f"Did you mean {meant}? Else leave" if meant else "Leave"
                detail = f"There is no such field. {cure} it out."
                if meant:
                    self._findings.take_back(self.path(meant), "required")
                self.fail(label, "unknown_field", detail)


def read_number(value: object) -> Decimal | str:
    """The exact number, or a sentence that says what is wrong with it.

    A number is a string of the contract's pattern, or a whole JSON number within 2^53. A JSON or
    YAML number with a point was binary before we saw it, so it is refused, not repaired.
    """
    if isinstance(value, str):
        number = parse_decimal(value)
        if number is not None:
            return number
        return (
            f"{shown(value)} is not a number. Say at most 18 digits before and 12 after the "
            'point, without blanks or exponent, such as "0.30".'
        )
    if isinstance(value, int) and not isinstance(value, bool):
        if -INTEGER_MAX <= value <= INTEGER_MAX:
            return Decimal(value)
        return "This whole number is too big to be exact here. Write it in quotes."
    return f'This is {_kind(value)}. Write it in quotes, such as "0.30".'


def scalar_text(value: object) -> str | None:
    """The text by which a dimension or filter value is compared: strings as they are, whole
    numbers and booleans as JSON writes them (`true`). None for anything else.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if -INTEGER_MAX <= value <= INTEGER_MAX else None
    return value if isinstance(value, str) and text_problem(value) is None else None


def is_property(value: object) -> bool:
    """Whether `value` is the path of a property, such as `model` or `usage.model`."""
    return isinstance(value, str) and _is_property(value) is not None


def text_problem(value: object) -> str | None:
    """What is wrong with a text, or None."""
    if not isinstance(value, str):
        return f"This is {_kind(value)}. Write it in quotes, as text."
    if len(value) > TEXT_LENGTH_MAX:
        return f"{len(value)} characters are too many. Say at most {TEXT_LENGTH_MAX}."
    if not value.isprintable() and any(_is_control(character) for character in value):
        return "This holds control characters. Leave them out."
    return None


def shown(value: object) -> str:
    """A value as an error quotes it: short, and safe to print whatever it holds."""
    if isinstance(value, str):
        return f'"{shown_name(value)}"'
    if isinstance(value, bool) or not isinstance(value, int):
        return _kind(value)
    return str(value) if -INTEGER_MAX <= value <= INTEGER_MAX else "this number"


def shown_name(name: object) -> str:
    """A field's name as a path quotes it: text that can be printed, stored and sent."""
    text = name if isinstance(name, str) else str(name)
    clean = "".join("\N{REPLACEMENT CHARACTER}" if _is_control(c) else c for c in text[:500])
    return clean if len(clean) <= NAME_LENGTH_MAX else clean[: NAME_LENGTH_MAX - 1] + "…"


def _is_control(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs")


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, int):
        return "a whole number"
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, Sequence) else "a number with a point or a date"


def _meant(value: object, options: Collection[str]) -> str | None:
    """The option that is nearest to `value`, if one is near."""
    if not isinstance(value, str):
        return None
    close = get_close_matches(value[:NAME_LENGTH_MAX].lower(), sorted(options), n=1)
    return close[0] if close else None
