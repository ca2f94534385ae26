"""`taximeter plan`: pricing as code, checked and previewed here, published on a server."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, UrlOption
from taximeter.cli.terminal import FAILED, console, fail, printable, refuse, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.cli.api import Api
    from taximeter.cli.plan_file import CheckedPlan
    from taximeter.domain.invoicing.preview import Preview, PreviewLine
    from taximeter.domain.rating.usage import Usage

plan = typer.Typer(
    no_args_is_help=True,
    help="Pricing as code: check, preview, deploy, export.",
)
PlanFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False,
        help="YAML with one or more plans, separated by ---.",
    ),
]  # fmt: skip
PlanFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", exists=True, dir_okay=False, readable=True, show_default=False,
        help="YAML with one or more plans, separated by ---.",
    ),
]  # fmt: skip


@plan.command()
def check(files: PlanFiles) -> None:
    """Check plan files, without a server.

    Every error is printed as FILE:LINE: path: what to write instead.

    \b
    Examples:
      taximeter plan check plans/scale.yaml
      taximeter plan check plans/*.yaml
    """
    failed = False
    for file in files:
        found = _read(file)
        failed |= found is None
        for one in found or ():
            count = len(one.plan.prices)
            prices = "1 price" if count == 1 else f"{count} prices"
            say(f"{file}: {one.plan.key}: ok, {prices} in {one.plan.currency}")
    if failed:
        raise typer.Exit(FAILED)


@plan.command()
def preview(
    file: PlanFile,
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
    key: Annotated[
        str | None, typer.Option("--plan", help="Which plan of the file.", metavar="KEY")
    ] = None,
) -> None:
    """Price one full period under a plan file, without a server.

    \b
    Examples:
      taximeter plan preview plans/scale.yaml --quantity seats=5 --usage resolutions=7250
      taximeter plan preview plans/video.yaml --usage 'video[speed=fast]=10'
    """
    from taximeter.domain.invoicing.preview import preview as price
    from taximeter.kernel.errors import Invalid

    chosen = _choose(_checked(file), file, key)
    try:
        shown = price(chosen.plan, _quantities(quantity or []), _usage(usage or []))
    except Invalid as invalid:
        for error in invalid.errors:
            where = error.path.removeprefix("quantities.").removeprefix("usage.")
            option = "quantity" if error.path.startswith("quantities.") else "usage"
            warn(f"taximeter: --{option} {where}: {error.detail}")
        raise typer.Exit(FAILED) from None
    _print_preview(chosen, shown)


@plan.command()
def deploy(
    context: typer.Context,
    files: PlanFiles,
    url: UrlOption = None,
    key: KeyOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
) -> None:
    """Publish plan files on a running server.

    A plan that differs from what is published gets its next version; running subscriptions stay
    on theirs. Nothing is sent unless every file passes its check.

    \b
    Examples:
      taximeter plan deploy plans/scale.yaml --dry-run
      taximeter plan deploy plans/*.yaml --url https://billing.example.com
    """
    checked = [(file, found) for file in files for found in _checked(file)]
    from taximeter.cli.api import Api, server_of

    with Api(*server_of(context.obj, url, key)) as api:
        failed = [not _deploy(api, file, found, dry_run) for file, found in checked]
    if any(failed):
        raise typer.Exit(FAILED)


@plan.command()
def export(
    context: typer.Context,
    plan_key: Annotated[str, typer.Argument(metavar="PLAN", help="The plan's key.")],
    version: Annotated[
        int | None, typer.Option(help="Which version; else the newest.", min=1)
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Print a published plan as YAML, as `check` and `deploy` read it.

    \b
    Examples:
      taximeter plan export scale > plans/scale.yaml
      taximeter plan export scale --version 2
    """
    from taximeter.cli.api import Api, segment, server_of
    from taximeter.services.plan_yaml import plan_yaml

    parameters = {"format": "json"} | ({} if version is None else {"version": str(version)})
    with Api(*server_of(context.obj, url, key)) as api:
        answer = api.get(f"/v1/plans/{segment(plan_key)}/export", **parameters)
    say(plan_yaml(answer).rstrip("\n"))


@plan.command("list")
def list_(context: typer.Context, url: UrlOption = None, key: KeyOption = None) -> None:
    """List the published plans, each in its newest version.

    \b
    Example:
      taximeter plan list
    """
    from taximeter.cli.api import Api, server_of

    header = ("PLAN", "VERSION", "NAME", "CURRENCY", "PERIOD", "PRICES", "PUBLISHED")
    rows: list[tuple[str, ...]] = []
    with Api(*server_of(context.obj, url, key)) as api:
        cursor: str | None = ""
        while cursor is not None:
            parameters = {"cursor": cursor} if cursor else {}
            page = api.get("/v1/plans", limit="100", **parameters)
            for found in page["data"]:
                texts = (str(found.get(name) or "") for name in ("name", "currency", "period"))
                prices = str(len(found.get("prices") or ()))
                version = str(found["version"])
                rows.append((found["key"], version, *texts, prices, found["created_at"]))
            cursor = page["next_cursor"]
    show_rows(header, rows)


def _read(file: Path) -> "list[CheckedPlan] | None":
    """The plans of `file`, or None where it has errors, which are printed."""
    from taximeter.cli.plan_file import PlanFileError, read_plans

    try:
        return read_plans(file)
    except PlanFileError as error:
        for finding in error.findings:
            warn(finding.at(file))
    except OSError as error:
        warn(f"{file}: cannot be read: {error.strerror}.")
    return None


def _checked(file: Path) -> "list[CheckedPlan]":
    found = _read(file)
    if found is None:
        raise typer.Exit(FAILED)
    return found


def _choose(plans: "list[CheckedPlan]", file: Path, key: str | None) -> "CheckedPlan":
    named = [found for found in plans if key is None or found.plan.key == key]
    if len(named) == 1:
        return named[0]
    keys = ", ".join(found.plan.key for found in plans)
    return refuse(f"{file} has the plans {keys}. Say one of them with --plan.")


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


def _print_preview(chosen: "CheckedPlan", shown: "Preview") -> None:
    from rich.table import Table
    from rich.text import Text

    from taximeter.kernel.quantity import format_decimal

    described = chosen.plan
    table = Table(title=Text(f"{described.name}: one {described.period}"), title_justify="left")
    table.add_column("Price", overflow="fold")
    table.add_column("Line and steps", overflow="fold")
    table.add_column("Quantity", justify="right", no_wrap=True)
    table.add_column("Amount", justify="right", no_wrap=True)
    for line in shown.lines:
        table.add_row(
            line.price or "minimum", printable(line.description), format_decimal(line.quantity),
            Text(f"{_printed(line)} {line.asset}", style="bold"),
        )  # fmt: skip
        for step in line.steps:
            amount = Text(format_decimal(step.amount), style="dim")
            table.add_row("", Text(f"  {printable(step.text)}", style="dim"), "", amount)
    table.add_section()
    for drawn in shown.credits:
        sum_drawn = f"{format_decimal(drawn.amount)} {drawn.asset}"
        table.add_row("", "drawn from the wallet", "", sum_drawn)
    from taximeter.domain.catalog.currency import minor_digits
    from taximeter.kernel.money import format_minor

    digits = minor_digits(shown.currency)
    if shown.discount:
        table.add_row(
            "", "discount", "", f"{format_minor(-shown.discount, digits)} {shown.currency}"
        )
    total = format_minor(shown.total, digits)
    table.add_row("", "invoiced", "", Text(f"{total} {shown.currency}", style="bold"))
    console().print(table)


def _printed(line: "PreviewLine") -> str:
    from taximeter.domain.catalog.currency import minor_digits
    from taximeter.kernel.money import format_minor
    from taximeter.kernel.quantity import format_decimal

    if line.settled:
        return format_decimal(line.amount)
    return format_minor(line.amount, minor_digits(line.asset))


def _deploy(api: "Api", file: Path, found: "CheckedPlan", dry_run: bool) -> bool:
    """Publish one plan and say what became of it; whether it was taken."""
    from taximeter.cli.api import Refused, segment

    path = f"/v1/plans/{segment(found.plan.key)}"
    body: Mapping[str, Any] = found.document.body
    try:
        planned = api.put(path, body, dry_run="true")
        if planned["outcome"] == "unchanged":
            say(f"{found.plan.key}: unchanged, version {planned['version']}")
        elif dry_run:
            say(f"{found.plan.key}: would create version {planned['version']}")
        else:
            say(f"{found.plan.key}: created version {api.put(path, body)['version']}")
    except Refused as refused:
        if not refused.errors:
            fail(refused.sentence)
        for error in refused.errors:
            warn(found.document.finding(error).at(file))
        return False
    return True
