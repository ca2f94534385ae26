"""`taximeter plan migrate`: moving the subscriptions of a plan, after a look at the effect."""

import sys
from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, PlanKey, UrlOption, YesOption
from taximeter.cli.terminal import FAILED, asks, fail, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.cli.api import Api

HEADER = ("CUSTOMER", "SUBSCRIPTION", "FROM", "TO", "BEFORE", "AFTER", "DIFFERENCE", "%", "NOTE")
PAGE = 100


class Proration(StrEnum):
    """How the period in which a subscription moves is cut."""

    BY_DAY = "by_day"
    BY_SECOND = "by_second"
    NONE = "none"


def migrate(
    context: typer.Context,
    plan: PlanKey,
    to_version: Annotated[
        int | None, typer.Option(help="The version to move to; else the one in force.", min=1)
    ] = None,
    to_plan: Annotated[
        str | None, typer.Option(help="Another plan to move to.", metavar="KEY")
    ] = None,
    from_version: Annotated[
        list[int] | None,
        typer.Option(help="Move only what is on this version. Repeatable.", min=1),
    ] = None,
    at: Annotated[
        str, typer.Option(help="When: period_end, now, or a date-time with an offset.")
    ] = "period_end",
    proration: Annotated[
        Proration, typer.Option(help="How the period of the move is cut.")
    ] = Proration.BY_DAY,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List only; move nothing.")] = False,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Move the subscriptions of a plan to another version or plan, who pays more or less first.

    The list shows one whole period at both terms, with the usage of the present one so far. A
    subscription that cannot be moved is left alone, and told.

    \b
    Examples:
      taximeter plan migrate scale --to-version 3 --dry-run
      taximeter plan migrate scale --from-version 1 --to-plan growth --at now --yes
    """
    from taximeter.cli.api import Api, segment, server_of

    body: dict[str, Any] = {"at": at, "proration": proration.value}
    wanted = {"to_version": to_version, "to_plan": to_plan, "from_versions": from_version}
    body |= {name: value for name, value in wanted.items() if value}
    with Api(*server_of(context.obj, url, key)) as api:
        path = f"/v1/plans/{segment(plan)}"
        rows = list(_impacts(api, f"{path}/preview_migration", body))
        movable = [row for row in rows if row["to"] is not None and row["after"] is not None]
        _show(rows)
        if dry_run or not rows:
            return
        if not yes:
            _confirm(len(movable))
        skipped = _move(api, f"{path}/migrate", body, len(rows))
    if skipped:
        raise typer.Exit(FAILED)


def _impacts(api: "Api", path: str, body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    cursor: Mapping[str, str] = {}
    while True:
        page = api.post(path, {**body, **cursor, "limit": PAGE})
        yield from page["data"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def _show(rows: list[Mapping[str, Any]]) -> None:
    """The impact list and its sums, by currency."""
    if not rows:
        say("Nothing is to be moved.")
        return
    show_rows(HEADER, [_cells(row) for row in rows])
    for currency in sorted({row["currency"] for row in rows}):
        mine = [row for row in rows if row["currency"] == currency and row["after"] is not None]
        before, after = (
            sum((Decimal(row[name]) for row in mine), Decimal(0)) for name in ("before", "after")
        )
        differences = [Decimal(row["difference"]) for row in mine]
        rising = sum(difference > 0 for difference in differences)
        falling = sum(difference < 0 for difference in differences)
        say(
            f"{len(mine)} to move: {before} {currency} a period before, {after} after "
            f"({after - before:+}); {rising} pay more, {falling} less, "
            f"{len(mine) - rising - falling} the same"
        )
        if len(mine) < sum(row["currency"] == currency for row in rows):
            say("Those without figures stay as they are; their notes say why.")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    notes = "; ".join(one["detail"] for one in row["warnings"])
    figures = (row[name] or "-" for name in ("before", "after", "difference", "percent"))
    return (row["customer"], row["subscription"], _place(row["from"]), _place(row["to"]),
            *figures, notes)  # fmt: skip


def _place(place: Mapping[str, Any] | None) -> str:
    return "-" if place is None else f"{place['plan']} {place['version']}"


def _confirm(count: int) -> None:
    if not asks():
        fail("Nothing was changed. Say --yes to move them without being asked.")
    if not typer.confirm(f"Move {count}?"):
        fail("Nothing was changed.")


def _move(api: "Api", path: str, body: Mapping[str, Any], total: int) -> int:
    """Move page by page and say what became of them; how many were left alone."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    migrated = unchanged = skipped = 0
    cursor: Mapping[str, str] | None = {}
    shown = Console(stderr=True)
    columns = (BarColumn(), TextColumn("{task.completed} of {task.total} moved"))
    with Progress(*columns, console=shown, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)
        while cursor is not None:
            page = api.post(path, {**body, **cursor, "limit": PAGE})
            migrated += page["migrated"]
            unchanged += page["unchanged"]
            skipped += len(page["skipped"])
            for one in page["skipped"]:
                warn(f"{one['customer']} {one['subscription']}: {one['code']}: {one['detail']}")
            bar.update(task, completed=min(total, migrated + skipped))
            following = page["next_cursor"]
            cursor = None if following is None else {"cursor": following}
    say(f"{migrated} moved, {unchanged} there already, {skipped} left alone")
    return skipped
