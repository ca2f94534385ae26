"""`taximeter plan list`, `show`, `export` and `schema`: what a server has published."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli.options import KeyOption, PlanKey, UrlOption
from taximeter.cli.terminal import refuse, say, show_rows

if TYPE_CHECKING:
    from taximeter.cli.api import Api


def list_(
    context: typer.Context,
    family: Annotated[
        str | None, typer.Option(help="The plans of this family only.", metavar="FAMILY")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List the published plans, each in the version that is in force.

    \b
    Example:
      taximeter plan list
    """
    from taximeter.cli.api import Api, server_of

    header = ("PLAN", "VERSION", "NAME", "CURRENCY", "PERIOD", "PRICES", "STATUS", "SINCE")
    parameters = {"family": family} if family else {}
    with Api(*server_of(context.obj, url, key)) as api:
        rows = []
        for found in api.pages("/v1/plans", **parameters):
            texts = (str(found.get(name) or "") for name in ("name", "currency", "period"))
            prices = str(len(found.get("prices") or ()))
            status = "retired" if found["retired_at"] else found["status"]
            rows.append(
                (found["key"], str(found["version"]), *texts, prices, status, found["effective_at"])
            )
    show_rows(header, rows)


def show(
    context: typer.Context, plan: PlanKey, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Show one plan: its versions with their dates, and the document that is in force.

    \b
    Example:
      taximeter plan show scale
    """
    from taximeter.cli.api import Api, segment, server_of
    from taximeter.services.plan_yaml import plan_yaml

    with Api(*server_of(context.obj, url, key)) as api:
        versions = list(api.pages(f"/v1/plans/{segment(plan)}/versions"))
        document = _document(api, plan, None)
    header = ("VERSION", "STATUS", "IN FORCE FROM", "PUBLISHED")
    names = ("version", "status", "effective_at", "created_at")
    show_rows(header, ([str(found[name]) for name in names] for found in versions))
    if versions[0]["retired_at"]:
        say(f"retired since {versions[0]['retired_at']}: no new subscriptions")
    say("")
    say(plan_yaml(document).rstrip("\n"))


def export(
    context: typer.Context,
    plans: Annotated[
        list[str] | None, typer.Argument(metavar="[PLAN]...", help="The plans' keys.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every plan.")] = False,
    version: Annotated[
        int | None, typer.Option(help="Which version; else the one in force.", min=1)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write PLAN.yaml for each into this directory, in place of printing them.",
            metavar="DIR", file_okay=False,
        ),
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:  # fmt: skip
    """Print published plans as YAML, as `check` and `deploy` read it: deployed again, nothing
    changes.

    \b
    Examples:
      taximeter plan export scale > plans/scale.yaml
      taximeter plan export scale --version 2
      taximeter plan export --all --output plans/
    """
    from taximeter.cli.api import Api, server_of
    from taximeter.services.plan_yaml import plan_yaml

    chosen = plans or []
    if bool(chosen) == all_:
        refuse("Say which plans, or --all.")
    if version is not None and len(chosen) != 1:
        refuse("--version goes with one plan.")
    with Api(*server_of(context.obj, url, key)) as api:
        if all_:
            chosen = [str(found["key"]) for found in api.pages("/v1/plans")]
        written = {one: plan_yaml(_document(api, one, version)) for one in chosen}
    if output is None:
        say("---\n".join(written.values()).rstrip("\n"))
        return
    output.mkdir(parents=True, exist_ok=True)
    for one, text in written.items():
        file = output / f"{one}.yaml"
        file.write_text(text, encoding="utf-8")
        say(f"{one}: {file}")


def _document(api: "Api", plan: str, version: int | None) -> dict[str, Any]:
    from taximeter.cli.api import segment

    parameters = {} if version is None else {"version": str(version)}
    return dict(api.get(f"/v1/plans/{segment(plan)}/export", format="json", **parameters))


def schema() -> None:
    """Print the JSON Schema of a plan document, by which editors complete and check plan files.

    A server publishes it as well, at /v1/schemas/plan.json.

    \b
    Example:
      taximeter plan schema > plan.schema.json
    """
    from taximeter.domain.catalog.plan_schema import PLAN_SCHEMA

    say(json.dumps(PLAN_SCHEMA, indent=2))
