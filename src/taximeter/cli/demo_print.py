"""What the demo prints: what it loaded, one invoice, and how one of its lines came about."""

import sys
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from taximeter.cli.demo_story import CUSTOMERS, EVENTS_EXPLAINED, Loaded, Shown
from taximeter.cli.terminal import printable, say, warn
from taximeter.kernel.quantity import format_decimal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

EVENTS_EXPECTED = 85_000
LINE_EVERY_S = 5  # seconds
_MARK = "yellow"
_CURRENCY = {"USD": "$"}
_TINY = Decimal("0.001")
_MILLION = Decimal(1_000_000)


class LoadingBar:
    """How far the loading is: a bar on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_s = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._bar = Progress(
                TextColumn("  "), BarColumn(complete_style=_MARK, finished_style=_MARK),
                TextColumn("{task.description}"), TimeElapsedColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("", total=EVENTS_EXPECTED)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, events: int, clock: datetime) -> None:
        """So many events are in; the test clock shows `clock`."""
        text = f"{events:,} events, {clock:%-d %b %Y}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=events, description=text)
        elif time.monotonic() - self._last_s >= LINE_EVERY_S:
            self._last_s = time.monotonic()
            warn(text)


def done(text: str) -> None:
    """A step that is done."""
    say(f"  ✓ {text}" if _speaks_unicode() else f"  - {text}")


def _speaks_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().startswith("utf")


def print_loaded(loaded: Loaded) -> None:
    """What came in, and how fast."""
    speed = int(loaded.events / loaded.seconds) if loaded.seconds else 0
    done(
        f"{loaded.events:,} events stored, counted and priced in {loaded.seconds:.1f} s: "
        f"{speed:,} a second over HTTP, each batch durable when answered"
    )


def print_shown(console: "Console", shown: Shown) -> None:
    """The invoice and the explanation of one of its lines."""
    finalized = sum(one["status"] in ("open", "paid") for one in shown.invoices)
    done(f"January closed by itself on the way: {finalized} invoices are finalized")
    say("")
    _print_invoice(console, shown.invoice)
    _print_explanation(console, shown)


def _print_invoice(console: "Console", invoice: Mapping[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    name = CUSTOMERS[invoice["customer"]][0]
    period = f"{_day(invoice['period']['from'])} to {_day(invoice['period']['to'])}"
    table = Table(
        title=f"{invoice['number']}  {name}  {period}", title_justify="left",
        title_style="bold", box=SIMPLE_HEAD, pad_edge=False, header_style="dim",
    )  # fmt: skip
    table.add_column("Line", no_wrap=True)
    for heading in ("Quantity", "Unit price", "Amount"):
        table.add_column(heading, justify="right")
    for line in invoice["lines"]:
        table.add_row(
            printable(line["description"]), grouped(line["quantity"]), _unit(line["unit_amount"]),
            _amount(line["amount"], line["asset"]),
        )  # fmt: skip
    table.add_section()
    table.add_row("Amount due", "", "", _amount(invoice["amount_due"], invoice["currency"]),
                  style="bold")  # fmt: skip
    console.print(table)


def _print_explanation(console: "Console", shown: Shown) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    line, events = shown.line, shown.explanation["events"]["data"]
    console.print(
        f"Why {_amount(line['amount'], line['asset'])} for “{printable(line['description'])}”?",
        style="bold",
    )
    for step in shown.explanation["steps"]:
        console.print(f"  {step['text']} = {grouped(step['amount'])}, rounded once")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column(f"The first {EVENTS_EXPLAINED} of its events")
    table.add_column("Time")
    table.add_column("Counted", justify="right")
    for event in events:
        table.add_row(printable(event["id"]), event["time"], grouped(event["quantity"]))
    console.print(table)


def _unit(amount: str | None) -> str:
    """A unit price; a tiny one for a million units."""
    if amount is None:
        return ""
    exact = Decimal(amount)
    if abs(exact) >= _TINY:
        return grouped(amount)
    return f"{format_decimal(exact * _MILLION)} per million"


def _day(instant: str) -> str:
    return instant[:10]


def grouped(number: str) -> str:
    """A decimal text with its digits in groups of three."""
    whole, point, fraction = number.partition(".")
    return f"{int(whole):,}{point}{fraction}"


def _amount(amount: str, asset: str) -> str:
    return f"{_CURRENCY.get(asset, asset + ' ')}{grouped(amount)}"
