"""`taximeter plan preview`: what a period would cost, as a table of lines with their steps."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, UrlOption
from taximeter.cli.terminal import FAILED, console, printable, refuse, warn

if TYPE_CHECKING:
    import taximeter.domain.invoicing.preview as domain
    from taximeter.cli.api import Api
    from taximeter.cli.plan_findings import Files, InFile
    from taximeter.domain.rating.usage import Usage
    from taximeter.kernel.errors import FieldError

EVENTS_BYTES_MAX = 8 * 1024 * 1024
_OPTIONS = {"quantities": "quantity", "usage": "usage"}


@dataclass(frozen=True, slots=True)
class _Line:
    """A line as it is printed; `steps` are texts and amounts."""

    price: str
    description: str
    quantity: str
    amount: str
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A preview as it is printed; `sums` are what stands below the lines."""

    lines: tuple[_Line, ...]
    sums: tuple[tuple[str, str], ...]


def preview(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", exists=True, readable=True, show_default=False,
            help="YAML with one or more plans, separated by ---; or a directory of such files.",
        ),
    ],
    quantity: Annotated[
        list[str] | None,
        typer.Option(help="Seats: PRICE=NUMBER. Repeatable.", metavar="PRICE=NUMBER"),
    ] = None,
    usage: Annotated[
        list[str] | None,
        typer.Option(
            help="Usage of a period: PRICE=NUMBER, or of some dimension values "
            "PRICE[name=value,...]=NUMBER. Repeatable.",
            metavar="USAGE",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="Events in place of usage, counted by the meters of the files and of the running "
            'server: JSON, a list of {"type", "data", "count"}.',
            metavar="FILE", exists=True, dir_okay=False, readable=True,
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", help="Which plan of the file.", metavar="KEY")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:  # fmt: skip
    """Price one full period under a plan file; without a server, unless there are events.

    \b
    Examples:
      taximeter plan preview plans/scale.yaml --quantity seats=5 --usage resolutions=7250
      taximeter plan preview plans/video.yaml --usage 'video[speed=fast]=10'
      taximeter plan preview plans/scale.yaml --events month.json
    """
    from taximeter.cli.api import Api, server_of
    from taximeter.cli.plan_findings import read_right

    here = read_right([file])
    chosen = _choose(here.plans, file, plan)
    seats = _quantities(quantity or [])
    if events is None:
        shown = _priced_here(chosen, seats, _usage(usage or []))
    else:
        if usage:
            refuse("--usage and --events: usage is read from the events. Say one of them.")
        with Api(*server_of(context.obj, url, key)) as api:
            shown = _priced_there(api, here, chosen, seats, events)
    _print(chosen, shown)


def _choose(plans: "Sequence[InFile]", file: Path, key: str | None) -> "InFile":
    named = [found for found in plans if key is None or found.checked.plan.key == key]
    if len(named) == 1:
        return named[0]
    if not plans:
        return refuse(f"{file} holds no plan, only meters. Say a file with a plan.")
    keys = ", ".join(found.checked.plan.key for found in plans)
    return refuse(f"{file} has the plans {keys}. Say one of them with --plan.")


def _priced_here(
    chosen: "InFile", quantities: Mapping[str, Decimal], usage: "Mapping[str, Usage]"
) -> _Shown:
    """The preview, computed by this process."""
    from taximeter.domain.catalog.currency import minor_digits
    from taximeter.domain.invoicing.preview import preview as price
    from taximeter.kernel.errors import Invalid
    from taximeter.kernel.money import format_minor
    from taximeter.kernel.quantity import format_decimal

    try:
        found = price(chosen.checked.plan, quantities, usage)
    except Invalid as invalid:
        for error in invalid.errors:
            _show_option(error)
        raise typer.Exit(FAILED) from None
    digits = minor_digits(found.currency)
    lines = tuple(
        _Line(
            line.price or "minimum", line.description, format_decimal(line.quantity),
            f"{_printed(line)} {line.asset}",
            tuple((step.text, format_decimal(step.amount)) for step in line.steps),
        )
        for line in found.lines
    )  # fmt: skip
    drawn = ((one.asset, format_decimal(one.amount)) for one in found.credits)
    amounts = (format_minor(one, digits) for one in (found.discount, found.total))
    return _Shown(lines, _sums(found.currency, drawn, *amounts))


def _printed(line: "domain.PreviewLine") -> str:
    from taximeter.domain.catalog.currency import minor_digits
    from taximeter.kernel.money import format_minor
    from taximeter.kernel.quantity import format_decimal

    if line.settled:
        return format_decimal(line.amount)
    return format_minor(line.amount, minor_digits(line.asset))


def _sums(
    currency: str, drawn: Iterable[tuple[str, str]], discount: str, total: str
) -> tuple[tuple[str, str], ...]:
    rows = [("drawn from the wallet", f"{amount} {asset}") for asset, amount in drawn]
    if Decimal(discount):
        rows.append(("discount", f"-{discount} {currency}"))
    return (*rows, ("invoiced", f"{total} {currency}"))


def _priced_there(
    api: "Api", here: "Files", chosen: "InFile", quantities: Mapping[str, Decimal], events: Path
) -> _Shown:
    """The preview by a server, whose meters count the events beside those of the files."""
    from taximeter.cli.api import Refused
    from taximeter.kernel.quantity import format_decimal

    content = events.read_bytes()[: EVENTS_BYTES_MAX + 1]
    try:
        text = content.decode("utf-8-sig")
        right = len(content) <= EVENTS_BYTES_MAX and isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        right, text = False, ""
    if not right:
        refuse(f'{events} is no JSON list of events such as [{{"type": "call", "data": {{}}}}].')
    seats = {price: format_decimal(number) for price, number in quantities.items()}
    plan = {"document": chosen.checked.document.body, "meters": here.meter_documents}
    document = json.dumps({**plan, "quantities": seats})
    # The events go as they are written: their numbers keep every digit.
    body = f'{document[:-1]}, "events": {text}}}'
    try:
        answer = api.post("/v1/plans/preview", body)
    except Refused as refused:
        if not refused.errors:
            raise
        for error in refused.errors:
            _show_refusal(here, chosen, events, error)
        raise typer.Exit(FAILED) from None
    return _from_answer(answer)


def _show_refusal(here: "Files", chosen: "InFile", events: Path, error: "FieldError") -> None:
    """Say what the server refuses, by the file or the option that it is about."""
    from taximeter.cli.plan_findings import show

    if error.path.startswith("events"):
        warn(f"taximeter: {events}: {error.path}: {error.detail}")
    elif error.path.startswith("quantities"):
        _show_option(error)
    elif error.path.startswith("meters["):
        show([here.found(error)])
    else:
        show([chosen.found(error)])


def _show_option(error: "FieldError") -> None:
    """Say what is wrong with a quantity or a usage, by its option."""
    option, _, where = error.path.partition(".")
    warn(f"taximeter: --{_OPTIONS[option]} {where}: {error.detail}")


def _from_answer(answer: Mapping[str, Any]) -> _Shown:
    lines = tuple(
        _Line(
            line["price"] or "minimum", line["description"], line["quantity"],
            f"{line['amount']} {line['asset']}",
            tuple((step["text"], step["amount"]) for step in line["steps"]),
        )
        for line in answer["lines"]
    )  # fmt: skip
    drawn = ((one["asset"], one["amount"]) for one in answer["credits"])
    return _Shown(lines, _sums(answer["currency"], drawn, answer["discount"], answer["total"]))


def _quantities(texts: list[str]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for text in texts:
        key, dimensions, number = _assignment("--quantity", text)
        if dimensions:
            refuse(f"--quantity {text}: seats have no dimensions. Say PRICE=NUMBER.")
        if key in found:
            refuse(f"--quantity {text}: {key} is there already. Say it once.")
        found[key] = number
    return found


def _usage(texts: list[str]) -> "dict[str, Usage]":
    found: dict[str, list[tuple[Mapping[str, str], Decimal]]] = {}
    for text in texts:
        key, dimensions, number = _assignment("--usage", text)
        found.setdefault(key, []).append((dimensions, number))
    return dict(found)


def _assignment(option: str, text: str) -> tuple[str, dict[str, str], Decimal]:
    """`PRICE=NUMBER` or `PRICE[name=value,...]=NUMBER`."""
    from taximeter.kernel.quantity import parse_decimal

    target, _, number_text = text.rpartition("=")
    key, bracket, inside = target.partition("[")
    number = parse_decimal(number_text.strip())
    pairs = [pair.partition("=") for pair in inside[:-1].split(",")] if bracket else []
    whole = not bracket or inside.endswith("]")
    if not key or number is None or not whole or not all(name and eq for name, eq, _ in pairs):
        refuse(f"{option} {text}: write PRICE=NUMBER or PRICE[name=value,...]=NUMBER, the number "
               "in plain digits.")  # fmt: skip
    return key, {name.strip(): value.strip() for name, _, value in pairs}, number


def _print(chosen: "InFile", shown: _Shown) -> None:
    from rich.table import Table
    from rich.text import Text

    plan = chosen.checked.plan
    table = Table(title=Text(f"{plan.name}: one {plan.period}"), title_justify="left")
    table.add_column("Price", overflow="fold")
    table.add_column("Line and steps", overflow="fold")
    table.add_column("Quantity", justify="right", no_wrap=True)
    table.add_column("Amount", justify="right", no_wrap=True)
    for line in shown.lines:
        amount = Text(printable(line.amount), style="bold")
        table.add_row(printable(line.price), printable(line.description), line.quantity, amount)
        for text, part in line.steps:
            step = Text(f"  {printable(text)}", style="dim")
            table.add_row("", step, "", Text(part, style="dim"))
    table.add_section()
    for words, amount_text in shown.sums:
        style = "bold" if words == "invoiced" else ""
        table.add_row("", words, "", Text(printable(amount_text), style=style))
    console().print(table)
