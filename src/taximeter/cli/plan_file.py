"""Plan files: YAML with plan documents, read so that every error has its line.

Owns the step from YAML to the document that the API takes. YAML is read by its core schema of
1.2: only `true` and `false` are booleans, so the value `no` stays a text. A number that programs
may read in different ways is not guessed at: it becomes `Unquoted`, which the plan's own parser
refuses. What a plan may say is domain/catalog's.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from taximeter.domain.catalog.document import parse_plan
from taximeter.domain.catalog.fields import shown_name
from taximeter.domain.catalog.plan import Plan
from taximeter.kernel.errors import FieldError, Invalid
from taximeter.kernel.quantity import parse_decimal

FILE_BYTES_MAX = 16 * 1024 * 1024
NODES_MAX = 200_000
DEPTH_MAX = 50

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
class Finding:
    """What is wrong at a line of a file; `path` is "" where it is about the file itself."""

    line: int
    path: str
    detail: str

    def at(self, file: Path) -> str:
        """`FILE:LINE: path: what to write instead`."""
        where = f"{self.path}: " if self.path else ""
        return f"{file}:{self.line}: {where}{self.detail}"


class PlanFileError(Exception):
    """A plan file that cannot be used as it is; every reason, by line."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(f"{len(findings)} findings")
        self.findings = sorted(findings, key=lambda finding: finding.line)


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
    """One document of a file. `lines` says where each path of it stands."""

    body: Mapping[str, object]
    lines: Mapping[str, int]
    unquoted: Mapping[str, Unquoted]

    def line_of(self, path: str) -> int:
        """The line of `path`, or of what is nearest above it where it is missing."""
        while path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines[path]

    def finding(self, error: FieldError) -> Finding:
        """An error of this document, with its line."""
        unquoted = self.unquoted.get(error.path)
        detail = unquoted.cure if unquoted is not None else error.detail
        return Finding(self.line_of(error.path), error.path, detail)


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A document and the plan that it describes."""

    document: PlanDocument
    plan: Plan


def read_plans(file: Path) -> list[CheckedPlan]:
    """The plans in `file`, checked without a server. Raises `PlanFileError` with all findings."""
    plans: list[CheckedPlan] = []
    findings: list[Finding] = []
    first_lines: dict[str, int] = {}
    for document in read_documents(file):
        try:
            plan = parse_plan(document.body)
        except Invalid as invalid:
            findings += [document.finding(error) for error in invalid.errors]
            continue
        line = document.line_of("key")
        if plan.key in first_lines:
            detail = f"The plan {plan.key} stands on line {first_lines[plan.key]} already."
            findings.append(Finding(line, "key", f"{detail} Keep one of them."))
        first_lines.setdefault(plan.key, line)
        plans.append(CheckedPlan(document, plan))
    if findings:
        raise PlanFileError(findings)
    return plans


def read_documents(file: Path) -> list[PlanDocument]:
    """The documents in `file`, one or more. Raises `PlanFileError` where it is no such YAML."""
    documents = []
    try:
        for root in yaml.compose_all(_text_of(file), yaml.BaseLoader):
            reader = _Reader()
            body = reader.value(root, "", 0)
            if body is None:
                continue
            if not isinstance(body, dict):
                raise _error(root, "", "This is no plan. Write fields such as key: and prices:.")
            documents.append(PlanDocument(body, reader.lines, reader.unquoted))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        detail = f"This is no valid YAML: {problem}. Look at the blanks and quotes here."
        raise PlanFileError([Finding(mark.line + 1 if mark else 1, "", detail)]) from None
    except yaml.reader.ReaderError as error:
        detail = f"The character U+{error.character:04X} has no place in YAML. Leave it out."
        raise PlanFileError([Finding(1, "", detail)]) from None
    except RecursionError:
        raise PlanFileError([Finding(1, "", "This is nested too deeply.")]) from None
    if not documents:
        raise PlanFileError([Finding(1, "", "There is no plan in this file.")])
    return documents


def _text_of(file: Path) -> str:
    with file.open("rb") as stream:
        content = stream.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        limit = f"{FILE_BYTES_MAX // 1024**2} MiB"
        raise PlanFileError([Finding(1, "", f"The file is over {limit}. Split it.")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PlanFileError([Finding(line, "", "This is not UTF-8. Save it as UTF-8.")]) from None


def _error(node: yaml.Node, path: str, detail: str) -> PlanFileError:
    return PlanFileError([Finding(node.start_mark.line + 1, path, detail)])


class _Reader:
    """Turns the nodes of one document into values, and notes their lines."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.unquoted: dict[str, Unquoted] = {}
        self._nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> object:
        """The value of `node`, as JSON would carry it. Raises `PlanFileError`."""
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._nodes += 1  # an alias is read again each time: a few lines could unfold without end
        if depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise _error(node, path, "This is nested too deeply, or too big. Make it simpler.")
        if node.tag not in _TAGS:
            raise _error(node, path, f"Tags such as {node.tag} are not read. Leave it out.")
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
        """The path of a member, whose line is that of its key."""
        member = f"{path}.{shown_name(key)}" if path else shown_name(key)
        self.lines.setdefault(member, key_node.start_mark.line + 1)
        return member

    @staticmethod
    def members(node: yaml.MappingNode, path: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """The members of a mapping; a key that stands twice is refused, never dropped."""
        first_lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT_TAG:
                raise _error(key_node, path, "A field's name is a text. Write it as name: value.")
            key = str(key_node.value)
            if key in first_lines:
                name = f"{path}.{shown_name(key)}" if path else shown_name(key)
                detail = f"This stands on line {first_lines[key]} already. Keep one of them."
                raise PlanFileError([Finding(line, name, detail)])
            first_lines[key] = line
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
