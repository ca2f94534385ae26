"""Plan files: YAML with plan documents, read so that every error has its line.

Owns the step from YAML to the document that the API takes. YAML is read by its core schema of
1.2: only `true` and `false` are booleans, so the value `no` stays a text. A number that programs
may read in different ways is not guessed at: it becomes `Unquoted`, which the plan's own parser
refuses. What a plan may say is domain/catalog's.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from taximeter.cli.plan_meters import holds_meters
from taximeter.domain.catalog.deployment import CheckedMeter, parse_meters
from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.fields import shown_name
from taximeter.domain.catalog.plan import Plan
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import parse_decimal

FILE_BYTES_MAX = 16 * 1024 * 1024
NODES_MAX = 200_000
DEPTH_MAX = 50

_SUFFIXES = (".yaml", ".yml")
_ABOUT_THE_NAME = ("unknown_field", "not_supported")
# What ends a line for YAML; splitlines() would end one at more.
_LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_TEXT_TAG = yaml.resolver.BaseResolver.DEFAULT_SCALAR_TAG
_TAGS = (
    _TEXT_TAG,
    yaml.resolver.BaseResolver.DEFAULT_SEQUENCE_TAG,
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG,
)
_NULLS = ("", "~", "null", "Null", "NULL")
_BOOLEANS = {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_is_whole = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII).fullmatch
_is_point = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
    re.ASCII,
).fullmatch
_is_odd = re.compile(r"[-+]?(0[xob][0-9A-Fa-f_]+|[0-9][0-9_]*)", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: line and column from 1, and how many characters it has there."""

    line: int
    column: int = 1
    width: int = 1


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong (or to be warned of) at a place of a file; `path` is "" where it is about the
    file itself. `text` is the line there.
    """

    place: Place
    path: str
    code: str
    detail: str
    text: str = ""

    @classmethod
    def of_file(cls, detail: str, place: Place = Place(1), lines: Sequence[str] = ()) -> "Finding":
        """What is wrong with the file as a whole, found at `place`."""
        text = lines[place.line - 1] if place.line <= len(lines) else ""
        return cls(place, "", "invalid_yaml", detail, text)


class PlanFileError(Exception):
    """A plan file that cannot be used as it is; every reason, by line."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(f"{len(findings)} findings")
        self.findings = sorted(findings, key=lambda found: (found.place.line, found.place.column))


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A number whose text is not its value in every program; the plan's parser refuses it."""

    text: str

    @property
    def cure(self) -> str:
        """What to write instead."""
        exact = parse_decimal(self.text)
        if exact is not None and "." in self.text:
            return (
                f"{self.text} is a number with a point, which programs read inexactly. Write it "
                f'in quotes: "{self.text}".'
            )
        return (
            f"{self.text} may be read in several ways. Write plain digits in quotes, such as "
            '"0.30".'
        )


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """One document of a file. `names` says where the name of each path stands, `values` where its
    value does; `text` holds the file's lines.
    """

    body: Mapping[str, object]
    names: Mapping[str, Place]
    values: Mapping[str, Place]
    unquoted: Mapping[str, Unquoted]
    text: Sequence[str]

    def finding(self, error: FieldError) -> Finding:
        """An error or a warning of this document, with its place."""
        unquoted = self.unquoted.get(error.path)
        detail = unquoted.cure if unquoted is not None else error.detail
        if (error.path, error.code) == ("meters", "unknown_field"):
            detail = "Meters stand in a document of their own. Write --- between them and the plan."
        place = self.place_of(error.path, name=error.code in _ABOUT_THE_NAME)
        return Finding(place, error.path, error.code, detail, self.text[place.line - 1])

    def place_of(self, path: str, *, name: bool = False) -> Place:
        """The place of `path` (of its value, or of its `name`), or of what is nearest above it
        where it is missing.
        """
        asked = path
        while path not in self.names:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        by_name, by_value = self.names[path], self.values[path]
        missing = path != asked
        return by_name if name or missing or by_value.line != by_name.line else by_value


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A document and the plan that it describes."""

    document: PlanDocument
    plan: Plan


@dataclass(frozen=True, slots=True)
class DocumentedMeter:
    """A meter, and the document in whose list it stands."""

    document: PlanDocument
    checked: CheckedMeter


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that are named, and those in the directories that are: what ends in .yaml or .yml,
    by name. A file that is named twice is there once.
    """
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(one for one in path.rglob("*") if one.suffix in _SUFFIXES and one.is_file())
        found.update(dict.fromkeys(inside if path.is_dir() else [path]))
    return list(found)


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a file holds: plans, and meters that stand with them."""

    plans: Sequence[CheckedPlan]
    meters: Sequence[DocumentedMeter]


def read_plan_file(file: Path) -> PlanFile:
    """What `file` holds, checked without a server. Raises `PlanFileError` with all findings."""
    plans: list[CheckedPlan] = []
    meters: list[DocumentedMeter] = []
    findings: list[Finding] = []
    first_lines: dict[str, int] = {}
    for document in read_documents(file):
        try:
            if holds_meters(document.body):
                meters += (DocumentedMeter(document, one) for one in parse_meters(document.body))
                continue
            plan = parse_plan(document.body)
        except Invalid as invalid:
            findings += [document.finding(error) for error in invalid.errors]
            continue
        line = document.place_of("key").line
        if plan.key in first_lines:
            detail = f"The plan {plan.key} stands on line {first_lines[plan.key]} already."
            error = FieldError("key", "duplicate", f"{detail} Keep one of them.")
            findings.append(document.finding(error))
        first_lines.setdefault(plan.key, line)
        plans.append(CheckedPlan(document, plan))
    if findings:
        raise PlanFileError(findings)
    return PlanFile(plans, meters)


def read_documents(file: Path) -> list[PlanDocument]:
    """The documents in `file`, one or more. Raises `PlanFileError` where it is no such YAML."""
    documents = []
    text = _text_of(file)
    lines = _LINE_ENDS.split(text)
    try:
        for root in yaml.compose_all(text, yaml.BaseLoader):
            reader = _Reader(lines)
            body = reader.value(root, "", 0)
            if body is None:
                continue
            if not isinstance(body, dict):
                detail = "This is no plan. Write fields such as key: and prices:."
                raise reader.error(root, "", "invalid_type", detail)
            documents.append(
                PlanDocument(body, reader.names, reader.values, reader.unquoted, lines)
            )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        detail = f"This is no valid YAML: {problem}. Look at the blanks and quotes here."
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1)
        raise PlanFileError([Finding.of_file(detail, place, lines)]) from None
    except yaml.reader.ReaderError as error:
        detail = f"The character U+{error.character:04X} has no place in YAML. Leave it out."
        before = text[: error.position]
        place = Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
        raise PlanFileError([Finding.of_file(detail, place, lines)]) from None
    except RecursionError:
        detail = "This is nested too deeply."
        raise PlanFileError([Finding.of_file(detail, Place(1), lines)]) from None
    if not documents:
        raise PlanFileError([Finding.of_file("There is no plan in this file.", Place(1), lines)])
    return documents


def _text_of(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        limit = f"{FILE_BYTES_MAX // 1024**2} MiB"
        raise PlanFileError([Finding.of_file(f"The file is over {limit}. Split it.", Place(1))])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        detail = "This is not UTF-8. Save it as UTF-8."
        raise PlanFileError([Finding.of_file(detail, Place(line))]) from None


def _place(node: yaml.Node) -> Place:
    start, end = node.start_mark, node.end_mark
    width = end.column - start.column if end.line == start.line else 1
    return Place(start.line + 1, start.column + 1, max(width, 1))


class _Reader:
    """Turns the nodes of one document into values, and notes their places."""

    def __init__(self, text: Sequence[str]) -> None:
        self.names: dict[str, Place] = {}
        self.values: dict[str, Place] = {}
        self.unquoted: dict[str, Unquoted] = {}
        self._text = text
        self._nodes = 0

    def error(self, node: yaml.Node, path: str, code: str, detail: str) -> PlanFileError:
        """The error that a node is."""
        place = _place(node)
        text = self._text[place.line - 1] if place.line <= len(self._text) else ""
        return PlanFileError([Finding(place, path, code, detail, text)])

    def value(self, node: yaml.Node, path: str, depth: int) -> object:
        """The value of `node`, as JSON would carry it. Raises `PlanFileError`."""
        self.values.setdefault(path, _place(node))
        self.names.setdefault(path, _place(node))
        self._nodes += 1  # an alias is read again each time: a few lines could unfold without end
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            detail = "This is nested too deeply, or too big. Make it simpler."
            raise self.error(node, path, "too_deep", detail)
        if node.tag not in _TAGS:
            detail = f"Tags such as {node.tag} are not read. Leave it out."
            raise self.error(node, path, "invalid_yaml", detail)
        if isinstance(node, yaml.MappingNode):
            return {
                key: self.value(value, self.member_path(path, key, at), depth + 1)
                for key, at, value in self.members(node, path)
            }
        if isinstance(node, yaml.SequenceNode):
            return [
                self.value(item, f"{path}[{index}]", depth + 1)
                for index, item in enumerate(node.value)
            ]
        scalar = _scalar(node)
        if isinstance(scalar, Unquoted):
            self.unquoted[path] = scalar
        return scalar

    def member_path(self, path: str, key: str, key_node: yaml.Node) -> str:
        """The path of a member, whose name stands where its key does."""
        member = f"{path}.{shown_name(key)}" if path else shown_name(key)
        self.names.setdefault(member, _place(key_node))
        return member

    def members(
        self, node: yaml.MappingNode, path: str
    ) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The members of a mapping; a key that stands twice is refused, never dropped."""
        first_lines: dict[str, int] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT_TAG:
                detail = "A field's name is a text. Write it as name: value."
                raise self.error(key_node, path, "invalid_yaml", detail)
            key = str(key_node.value)
            if key in first_lines:
                name = f"{path}.{shown_name(key)}" if path else shown_name(key)
                detail = f"This stands on line {first_lines[key]} already. Keep one of them."
                raise self.error(key_node, name, "duplicate_key", detail)
            first_lines[key] = key_node.start_mark.line + 1
            yield key, key_node, value


def _scalar(node: yaml.Node) -> str | int | bool | Unquoted | None:
    """The value of a scalar: what is in quotes is a text, the rest by the core schema."""
    text = str(node.value)
    if getattr(node, "style", None) is not None:
        return text
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _is_whole(text):
        return int(text) if len(text) < 20 else Unquoted(text)
    if _is_point(text) or _is_odd(text):
        return Unquoted(text)
    return text
