"""`taximeter plan diff` and `deploy`: plan files against what a server has published."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, PlanPaths, UrlOption, YesOption
from taximeter.cli.terminal import FAILED, asks, fail, printable, refuse, say, say_in_colour

if TYPE_CHECKING:
    from taximeter.cli.api import Api
    from taximeter.cli.plan_findings import Files, InFile
    from taximeter.domain.catalog.meter import Meter

_COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "moved": "yellow"}
_SIGNS = {"added": "+", "removed": "-", "changed": "~", "moved": "~"}


def diff(
    context: typer.Context, files: PlanPaths, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Show what plan files change in what is published, field by field and in words.

    \b
    Examples:
      taximeter plan diff plans/scale.yaml
      taximeter plan diff plans/ --url https://billing.example.com
    """
    from taximeter.cli.api import Api, server_of
    from taximeter.cli.plan_findings import read_right

    here = read_right(files)
    with Api(*server_of(context.obj, url, key)) as api:
        for meter in here.meters.values():
            _compare_meter(api, meter.meter)
        for plan in here.plans:
            _compare(api, plan)


def _compare_meter(api: "Api", meter: "Meter") -> None:
    from taximeter.cli.api import Refused, segment
    from taximeter.cli.plan_meters import parse_answer

    try:
        there = api.get(f"/v1/meters/{segment(meter.key)}")
    except Refused as refused:
        if refused.status != 404:
            raise
        say(f"meter {meter.key}: not published yet")
        return
    if parse_answer(there) != meter:
        say(f"meter {meter.key}: differs from version {there['version']}")


def _compare(api: "Api", plan: "InFile") -> None:
    from taximeter.cli.api import Refused, segment

    key = plan.checked.plan.key
    try:
        answer = api.post(
            f"/v1/plans/{segment(key)}/diff", {"document": plan.checked.document.body}
        )
    except Refused as refused:
        if refused.status != 404:
            raise
        say(f"{key}: not published yet")
        return
    count = len(answer["changes"])
    if not count:
        say(f"{key}: unchanged, version {answer['from']}")
        return
    say(f"{key}: {'1 change' if count == 1 else f'{count} changes'} to version {answer['from']}")
    _show_changes(answer["changes"])


def deploy(
    context: typer.Context,
    files: PlanPaths,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    effective_at: Annotated[
        str | None,
        typer.Option(
            "--effective-at",
            help="When the new versions come into force, if not at once: a time ahead such as "
            "2026-04-01T00:00:00Z.",
            metavar="TIME",
        ),
    ] = None,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Publish plan files on a running server.

    A plan that differs from what is published gets its next version; running subscriptions stay
    on theirs. Meters and plans are published together, all or none: nothing changes unless every
    file passes its check, here and on the server. On a terminal the changes are shown first, and
    you are asked.

    \b
    Examples:
      taximeter plan deploy plans/scale.yaml --dry-run
      taximeter plan deploy plans/ --effective-at 2026-04-01T00:00:00Z
      taximeter plan deploy plans/*.yaml --yes --url https://billing.example.com
    """
    from taximeter.cli.api import Api, server_of
    from taximeter.cli.plan_findings import read_right
    from taximeter.kernel.times import parse_instant

    here = read_right(files)
    if effective_at is not None and parse_instant(effective_at) is None:
        refuse(f"--effective-at {effective_at}: say a time such as 2026-04-01T00:00:00Z.")
    when = {} if effective_at is None else {"effective_at": effective_at}
    with Api(*server_of(context.obj, url, key)) as api:
        if dry_run or (asks() and not yes):
            planned = _deploy(api, here, {"dry_run": "true", **when})
            _show(planned, "would create")
            parts = (*planned["meters"], *planned["plans"])
            if dry_run or all(one["outcome"] == "unchanged" for one in parts):
                return
            if not typer.confirm("Deploy?"):
                fail("Nothing was deployed.")
        _show(_deploy(api, here, when), "created")


def _deploy(api: "Api", here: "Files", parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """What became of it all, or would. Ends the command, with all findings, where the server
    refuses something.
    """
    from taximeter.cli.api import Refused
    from taximeter.cli.plan_findings import show

    try:
        return api.post("/v1/plans/deploy", here.deployment, **parameters)
    except Refused as refused:
        if not refused.errors or refused.errors[0].path == "effective_at":
            raise
        show(here.found(error) for error in refused.errors)
        raise typer.Exit(FAILED) from None


def _show(answer: Mapping[str, Any], verb: str) -> None:
    """What became of each meter and plan; and the changes of each plan, where they are to come."""
    for one in answer["meters"]:
        if one["outcome"] != "unchanged":
            say(f"meter {one['key']}: {verb} version {one['version']}")
    for one in answer["plans"]:
        from_then = ""
        if one["status"] == "scheduled":
            from_then = f", in force from {one['effective_at']}"
        if one["outcome"] == "unchanged":
            say(f"{one['key']}: unchanged, version {one['version']}{from_then}")
            continue
        say(f"{one['key']}: {verb} version {one['version']}{from_then}")
        if answer["dry_run"]:
            _show_changes(one["changes"])


def _show_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    from rich.text import Text

    for change in changes:
        kind = str(change["kind"])
        sentence = printable(f"  {_SIGNS[kind]} {change['summary']}")
        say_in_colour(Text(sentence, style=_COLOURS[kind]))
