"""Errors and warnings of plan files, as people and as programs read them.

Owns their layout: the place, the sentence, and beneath it the line of the file with a caret.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import typer
from rich.text import Text

from taximeter.cli.plan_file import (
    CheckedPlan,
    DocumentedMeter,
    Finding,
    PlanFileError,
    files_of,
    read_plan_file,
)
from taximeter.cli.terminal import FAILED, printable, refuse, warn, warn_in_colour
from taximeter.domain.catalog.deployment import within
from taximeter.domain.catalog.meter import Meter
from taximeter.domain.rating.advice import advise
from taximeter.domain.rating.meter_fit import check_meters
from taximeter.kernel.errors import FieldError, Invalid

SHOWN_CHARS_MAX = 160
_COLOURS = {"error": "bold red", "warning": "bold yellow"}


@dataclass(frozen=True, slots=True)
class Found:
    """A finding of a file; `plan` is the key of the plan it is about, where that can be read."""

    file: Path
    kind: Literal["error", "warning"]
    finding: Finding
    plan: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As `--format json` prints it."""
        found = self.finding
        return {
            "file": str(self.file), "line": found.place.line, "column": found.place.column,
            "path": found.path, "code": found.code, "detail": found.detail,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class InFile:
    """A plan, and the file that it stands in."""

    file: Path
    checked: CheckedPlan

    def found(self, error: FieldError, kind: Literal["error", "warning"] = "error") -> Found:
        """An error or a warning about it."""
        finding = self.checked.document.finding(error)
        return Found(self.file, kind, finding, self.checked.plan.key)

    @property
    def contents(self) -> str:
        """What it holds, in a few words."""
        count = len(self.checked.plan.prices)
        prices = "1 price" if count == 1 else f"{count} prices"
        return f"{prices} in {self.checked.plan.currency}"


@dataclass(frozen=True, slots=True)
class MeterInFile:
    """A meter, and the file that it stands in."""

    file: Path
    documented: DocumentedMeter

    @property
    def meter(self) -> Meter:
        """The meter itself."""
        return self.documented.checked.meter

    def found(self, error: FieldError) -> Found:
        """An error about it, with a path within it."""
        [whole] = within(self.documented.checked.path, [error])
        return Found(self.file, "error", self.documented.document.finding(whole))


@dataclass(frozen=True, slots=True)
class Files:
    """What files hold: plans, meters by key, and what is wrong in and between them."""

    plans: Sequence[InFile]
    meters: Mapping[str, MeterInFile]
    errors: Sequence[Found]

    @property
    def meter_documents(self) -> list[Mapping[str, object]]:
        """The meters as a server takes them."""
        return [one.documented.checked.body for one in self.meters.values()]

    @property
    def deployment(self) -> dict[str, object]:
        """All that they hold, as a server takes it."""
        plans = [one.checked.document.body for one in self.plans]
        return {"meters": self.meter_documents, "plans": plans}

    def found(self, error: FieldError, kind: Literal["error", "warning"] = "error") -> Found:
        """What a server found in `deployment`, at the place in its file."""
        part, index, path = _parts_of(error.path)
        there = FieldError(path, error.code, error.detail)
        if part == "meters":
            return list(self.meters.values())[index].found(there)
        return self.plans[index].found(there, kind)


def _parts_of(path: str) -> tuple[str, int, str]:
    """Of a path such as `plans[1].prices[0].meter` the list, the index in it, and the rest."""
    part, _, rest = path.partition("[")
    index, _, inside = rest.partition("]")
    return part, int(index), inside.removeprefix(".")


def read_files(paths: Sequence[Path]) -> Files:
    """What these files and directories hold."""
    plans: list[InFile] = []
    meters: dict[str, MeterInFile] = {}
    errors: list[Found] = []
    files = files_of(paths)
    if not files:
        refuse(f"{paths[0]} holds no plan files. Their names end in .yaml or .yml.")
    for file in files:
        try:
            found = read_plan_file(file)
        except PlanFileError as error:
            errors += [Found(file, "error", finding) for finding in error.findings]
            continue
        except OSError as error:
            detail = f"This cannot be read: {error.strerror}."
            errors.append(Found(file, "error", Finding.of_file(detail)))
            continue
        plans += [InFile(file, checked) for checked in found.plans]
        for documented in found.meters:
            one = MeterInFile(file, documented)
            first = meters.setdefault(one.meter.key, one)
            if first.meter != one.meter:
                detail = f"This meter stands in {first.file} in another way. Keep one of them."
                errors.append(one.found(FieldError("key", "duplicate", detail)))
    misfits = [] if errors else _misfits(plans, [one.meter for one in meters.values()])
    return Files(plans, meters, [*errors, *_between(plans), *misfits])


def _misfits(plans: Sequence[InFile], meters: Sequence[Meter]) -> Iterable[Found]:
    """Where plans do not fit meters that the files bring. Others may be on the server."""
    for one in plans:
        try:
            check_meters(one.checked.plan, meters)
        except Invalid as invalid:
            yield from (one.found(e) for e in invalid.errors if e.code != "unknown_meter")


def _between(plans: Sequence[InFile]) -> Iterable[Found]:
    """What is wrong between plans that are right each by itself."""
    keys: dict[str, Path] = {}
    segments: dict[tuple[object, ...], str] = {}
    for one in plans:
        plan = one.checked.plan
        if plan.key in keys:
            detail = f"The plan {plan.key} stands in {keys[plan.key]} already. Keep one of them."
            yield one.found(FieldError("key", "duplicate", detail))
            continue
        keys[plan.key] = one.file
        if plan.family is None:
            continue
        other = segments.setdefault((plan.family, plan.currency, plan.segment.folded), plan.key)
        if other != plan.key:
            detail = (
                f"Plan {other} of the family {plan.family} is for {plan.segment} in "
                f"{plan.currency} already. Say another segment."
            )
            yield one.found(FieldError("segment", "duplicate_segment", detail))


def read_right(paths: Sequence[Path]) -> Files:
    """What these files and directories hold. Ends the command, with all findings, where something
    is wrong.
    """
    found = read_files(paths)
    if found.errors:
        show(found.errors)
        raise typer.Exit(FAILED)
    return found


def warnings_of(files: Files) -> list[Found]:
    """What these plans had better not say."""
    meters = [one.meter for one in files.meters.values()]
    return [
        one.found(warning, "warning")
        for one in files.plans
        for warning in advise(one.checked.plan, meters)
    ]


def show(found: Iterable[Found]) -> None:
    """Print findings on standard error, in colour on a terminal."""
    for one in found:
        finding = one.finding
        place = f"{one.file}:{finding.place.line}:{finding.place.column}: "
        text = Text()
        text.append(printable(place), style="bold")
        if one.kind == "warning":
            text.append("warning: ", style=_COLOURS["warning"])
        if finding.path:
            text.append(f"{printable(finding.path)}: ", style=_COLOURS[one.kind])
        text.append(printable(finding.detail))
        warn_in_colour(text)
        if finding.text.strip():
            _show_line(finding, _COLOURS[one.kind])


def _show_line(finding: Finding, colour: str) -> None:
    """The line of the file, cut round what is meant where it is long, and a caret beneath."""
    start = finding.place.column - 1
    cut = max(0, start - SHOWN_CHARS_MAX // 2) if len(finding.text) > SHOWN_CHARS_MAX else 0
    shown = printable(finding.text[cut : cut + SHOWN_CHARS_MAX]).rstrip()
    before = "".join("\t" if c == "\t" else " " for c in shown[: start - cut])
    marks = "^" + "~" * (min(finding.place.width, len(shown) - (start - cut)) - 1)
    warn(f"    {shown}")
    warn_in_colour(Text(f"    {before}{marks}", style=colour))
