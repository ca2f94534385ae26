"""How far a long command is: a bar on a terminal, else a line now and then, on standard error."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from taximeter.cli.terminal import warn

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_EVERY_S = 5.0
BAR_EVERY_S = 0.1


class Progress:
    """Shows how much of `total` is done; `whole` is what that is the total of."""

    def __init__(self, total: int, whole: str) -> None:
        self._total = total
        self._whole = whole
        self._last_s = self._started_s = time.monotonic()
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.description}"), TimeElapsedColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total or None)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def elapsed_s(self) -> int:
        """Whole seconds since the start."""
        return int(time.monotonic() - self._started_s)

    def show(self, done: int, text: str) -> None:
        """Show these figures, unless the last ones are still fresh."""
        now = time.monotonic()
        if now - self._last_s < (BAR_EVERY_S if self._bar is not None else LINE_EVERY_S):
            return
        self._last_s = now
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, description=text)
        else:
            share = done * 100 // self._total if self._total else 0
            warn(f"{text} ({share}% of {self._whole})")
