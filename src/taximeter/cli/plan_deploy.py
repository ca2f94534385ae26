"""`taximeter plan diff` and `deploy`: plan files against what a server has published."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, PlanPaths, UrlOption, YesOption
from taximeter.cli.terminal import FAILED, asks, fail, printable, refuse, say, say_in_colour

if TYPE_CHECKING:
    from taximeter.cli.api import Api
    from taximeter.cli.plan_findings import InFile
    from taximeter.cli.plan_meters import CheckedMeter

_AFTER_ITS_METERS: Mapping[str, Any] = {"outcome": "after_its_meters"}
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
        for meter, version in _new_meters(api, here.meters):
            news = "not published yet" if version == 1 else f"differs from version {version - 1}"
            say(f"meter {meter.meter.key}: {news}")
        for plan in here.plans:
            _compare(api, plan)


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
    on theirs. Meters in the files are published first. Nothing is sent unless every file passes
    its check, here and on the server. On a terminal the changes are shown first, and you are asked.

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
    plans = here.plans
    if effective_at is not None and parse_instant(effective_at) is None:
        refuse(f"--effective-at {effective_at}: say a time such as 2026-04-01T00:00:00Z.")
    when = {} if effective_at is None else {"effective_at": effective_at}
    with Api(*server_of(context.obj, url, key)) as api:
        meters = _new_meters(api, here.meters)
        planned = [_plan_of(api, plan, when, here.meters) for plan in plans]
        if not _all_taken(planned):
            raise typer.Exit(FAILED)
        news = [answer for answer in planned if answer and answer["outcome"] != "unchanged"]
        asking = asks() and not yes and not dry_run and bool(news or meters)
        if dry_run or asking:
            for meter, version in meters:
                say(f"meter {meter.meter.key}: would create version {version}")
            for plan, answer in zip(plans, planned, strict=True):
                assert answer is not None, "it was taken"
                _show(plan.checked.plan.key, answer)
        if dry_run:
            return
        if asking and not typer.confirm("Deploy?"):
            fail("Nothing was deployed.")
        _deploy_meters(api, meters)
        for plan, answer in zip(plans, planned, strict=True):
            assert answer is not None, "it was taken"
            _deploy(api, plan, answer, when)


def _new_meters(
    api: "Api", meters: "Mapping[str, CheckedMeter]"
) -> "list[tuple[CheckedMeter, int]]":
    """The meters that the server does not have, or has in another way, each with the version that
    it will get.
    """
    from taximeter.cli.api import Refused, segment
    from taximeter.cli.plan_meters import parse_answer

    found = []
    for key, one in meters.items():
        try:
            there = api.get(f"/v1/meters/{segment(key)}")
        except Refused as refused:
            if refused.status != 404:
                raise
            found.append((one, 1))
            continue
        if parse_answer(there) != one.meter:
            found.append((one, int(there["version"]) + 1))
    return found


def _deploy_meters(api: "Api", meters: "Sequence[tuple[CheckedMeter, int]]") -> None:
    from taximeter.cli.api import segment

    for one, _ in meters:
        answer = api.put(f"/v1/meters/{segment(one.meter.key)}", one.body)
        say(f"meter {one.meter.key}: created version {answer['version']}")


def _plan_of(
    api: "Api", plan: "InFile", when: Mapping[str, str], meters: "Mapping[str, CheckedMeter]"
) -> Mapping[str, Any] | None:
    """What deploying would do; None where the server refuses it, which is printed. Where only
    meters are missing that come with the files, the server is asked again after them.
    """
    from taximeter.cli.api import Refused, segment
    from taximeter.cli.plan_findings import show
    from taximeter.cli.plan_meters import is_to_come

    path = f"/v1/plans/{segment(plan.checked.plan.key)}"
    body = plan.checked.document.body
    try:
        return api.put(path, body, dry_run="true", **when)
    except Refused as refused:
        if not refused.errors or refused.errors[0].path == "effective_at":
            fail(refused.sentence)
        if all(is_to_come(error, body, meters) for error in refused.errors):
            return _AFTER_ITS_METERS
        show(plan.found(error) for error in refused.errors)
        return None


def _all_taken(planned: Sequence[Mapping[str, Any] | None]) -> bool:
    return all(answer is not None for answer in planned)


def _show(key: str, answer: Mapping[str, Any]) -> None:
    """What would become of a plan, and its changes in words."""
    if answer is _AFTER_ITS_METERS:
        say(f"{key}: would be published after its meters")
        return
    from_then = ""
    if answer["status"] == "scheduled":
        from_then = f", in force from {answer['effective_at']}"
    if answer["outcome"] == "unchanged":
        say(f"{key}: unchanged, version {answer['version']}{from_then}")
        return
    say(f"{key}: would create version {answer['version']}{from_then}")
    _show_changes(answer["changes"])


def _show_changes(changes: Sequence[Mapping[str, Any]]) -> None:
    from rich.text import Text

    for change in changes:
        kind = str(change["kind"])
        sentence = printable(f"  {_SIGNS[kind]} {change['summary']}")
        say_in_colour(Text(sentence, style=_COLOURS[kind]))


def _deploy(
    api: "Api", plan: "InFile", planned: Mapping[str, Any], when: Mapping[str, str]
) -> None:
    """Publish one plan and say what became of it."""
    from taximeter.cli.api import segment

    key = plan.checked.plan.key
    if planned["outcome"] == "unchanged":
        say(f"{key}: unchanged, version {planned['version']}")
        return
    answer = api.put(f"/v1/plans/{segment(key)}", plan.checked.document.body, **when)
    from_then = f", in force from {answer['effective_at']}" if when else ""
    say(f"{key}: created version {answer['version']}{from_then}")
