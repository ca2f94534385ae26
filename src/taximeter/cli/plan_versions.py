"""`taximeter plan rollback`, `cancel`, `retire` and `unretire`: what becomes of published plans."""

from typing import Annotated

import typer

from taximeter.cli.options import KeyOption, PlanKey, UrlOption, YesOption
from taximeter.cli.terminal import asks, fail, say


def rollback(
    context: typer.Context,
    plan: PlanKey,
    version: Annotated[
        int, typer.Option("--to-version", help="The version whose content is to return.", min=1)
    ],
    reason: Annotated[str | None, typer.Option(help="Why, for the audit log.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Make a new version with the content of an earlier one, in force at once.

    \b
    Example:
      taximeter plan rollback scale --to-version 2 --reason "wrong unit price"
    """
    from taximeter.cli.api import Api, segment, server_of

    body = {"version": version} | ({} if reason is None else {"reason": reason})
    with Api(*server_of(context.obj, url, key)) as api:
        answer = api.post(f"/v1/plans/{segment(plan)}/rollback", body)
    if answer["outcome"] == "unchanged":
        say(f"{plan}: unchanged, version {answer['version']} is the same")
    else:
        say(f"{plan}: created version {answer['version']} with the content of version {version}")


def cancel(
    context: typer.Context,
    plan: PlanKey,
    version: Annotated[int, typer.Option(help="The scheduled version.", min=1)],
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Take back a version that is scheduled and not in force yet.

    \b
    Example:
      taximeter plan cancel scale --version 3
    """
    from taximeter.cli.api import Api, segment, server_of

    with Api(*server_of(context.obj, url, key)) as api:
        api.delete(f"/v1/plans/{segment(plan)}/versions/{version}")
    say(f"{plan}: version {version} is cancelled")


def retire(
    context: typer.Context,
    plan: PlanKey,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Take no new subscriptions to a plan; running ones stay as they are.

    \b
    Example:
      taximeter plan retire scale
    """
    if asks() and not yes and not typer.confirm(f"Take no new subscriptions to {plan}?"):
        fail("Nothing was changed.")
    _post(context, plan, "retire", url, key)
    say(f"{plan}: retired")


def unretire(
    context: typer.Context, plan: PlanKey, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Take new subscriptions to a plan again.

    \b
    Example:
      taximeter plan unretire scale
    """
    _post(context, plan, "unretire", url, key)
    say(f"{plan}: takes new subscriptions")


def _post(context: typer.Context, plan: str, step: str, url: str | None, key: str | None) -> None:
    from taximeter.cli.api import Api, segment, server_of

    with Api(*server_of(context.obj, url, key)) as api:
        api.post(f"/v1/plans/{segment(plan)}/{step}", {})
