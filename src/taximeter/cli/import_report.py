"""What became of every row of an import.

Owns the counts, which add up to the rows that were read, the first problems shown, and the file
with all of them.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from taximeter.cli.event_rows import BadRow
from taximeter.cli.upload import Confirmed, ResultError

SHOWN_MAX = 10
_UNKNOWN = ResultError("", "unknown", "The server gave no reason.")


@dataclass(slots=True)
class Report:
    """Counts of rows; `file` gets one JSON object for each problem."""

    file: TextIO | None = None
    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    rejected: int = 0
    confirmed_before: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    cures: dict[str, str] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    @property
    def answered(self) -> int:
        """Rows of which it is known what became of them."""
        taken = self.accepted + self.duplicates + self.quarantined
        return taken + self.rejected + self.confirmed_before

    @property
    def all_taken(self) -> bool:
        """Whether every row is in the books, now or from before."""
        return not (self.quarantined or self.rejected)

    def reject(self, row: BadRow) -> None:
        """Count a row that was not sent, because it is wrong."""
        self.rejected += 1
        error = ResultError(row.path, row.code, row.detail)
        self._note(row.line, row.id, "invalid", error)

    def confirm(self, confirmed: Confirmed) -> None:
        """Count what the server answered to a batch."""
        answer, lines = confirmed.answer, confirmed.batch.lines
        if answer is None:
            self.confirmed_before += len(lines)
            return
        self.accepted += answer.accepted
        self.duplicates += answer.duplicates
        self.quarantined += answer.quarantined
        self.rejected += answer.rejected
        for result in answer.results:
            if result.status in ("accepted", "duplicate"):
                continue
            error = result.error or _UNKNOWN
            if result.status == "quarantined":
                self.reasons[error.code] += 1
                self.cures.setdefault(error.code, error.detail)
            self._note(lines[result.index], result.id, result.status, error)

    def _note(self, line: int, event_id: str | None, status: str, error: ResultError) -> None:
        if status != "quarantined" and len(self.shown) < SHOWN_MAX:
            where = f"{error.path}: " if error.path else ""
            self.shown.append(f"line {line}: {where}{error.detail}")
        if self.file is not None:
            problem = {
                "line": line, "id": event_id, "status": status, "code": error.code,
                "path": error.path, "detail": error.detail,
            }  # fmt: skip
            self.file.write(json.dumps(problem, ensure_ascii=False) + "\n")

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """The report, line by line."""
        counts = {"read": self.read}
        if dry_run:
            counts["good"] = self.read - self.rejected
        else:
            counts |= {
                "accepted": self.accepted,
                "duplicates": self.duplicates,
                "quarantined": self.quarantined,
            }
        counts["rejected"] = self.rejected
        if self.confirmed_before:
            counts["confirmed before"] = self.confirmed_before
        unknown = 0 if dry_run else self.read - self.answered
        if unknown:
            counts["not confirmed"] = unknown
        width = max(len(name) for name in counts)
        digits = max(len(f"{count:,}") for count in counts.values())
        for name, count in counts.items():
            yield f"{name:<{width}}  {count:>{digits},}"
        for code, count in self.reasons.most_common():
            yield f"quarantined {count:,} x {code}: {self.cures[code]}"
        yield from self.shown
        hidden = self.rejected - len(self.shown)
        if hidden > 0:
            yield f"... and {hidden:,} more; --report FILE writes them all."
