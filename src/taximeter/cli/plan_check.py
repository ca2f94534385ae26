"""`taximeter plan check`: what is wrong in plan files, line by line."""

import json
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.options import KeyOption, PlanPaths, UrlOption
from taximeter.cli.terminal import FAILED, say

if TYPE_CHECKING:
    from taximeter.cli.api import Api
    from taximeter.cli.plan_findings import Files, Found, InFile


class Format(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"


def check(
    context: typer.Context,
    files: PlanPaths,
    form: Annotated[
        Format, typer.Option("--format", help="For people, or for editors and pipelines.")
    ] = Format.TEXT,
    server: Annotated[
        bool, typer.Option("--server", help="Ask the running server as well: are its meters there?")
    ] = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Check plan files, without a server unless --server says so.

    Every error is printed as FILE:LINE:COLUMN: path: what is wrong and what to write instead, with
    the line beneath. Warnings are printed in the same way and refuse nothing.

    \b
    Examples:
      taximeter plan check plans/scale.yaml
      taximeter plan check plans/ --format json
      taximeter plan check plans/ --server --url https://billing.example.com
    """
    from taximeter.cli.plan_findings import read_files, show, warnings_of

    here = read_files(files)
    plans, found = here.plans, list(here.errors)
    if not server:
        found += warnings_of(here)
    elif not found:  # of files that are wrong, a server would miss what is in them
        from taximeter.cli.api import Api, server_of

        with Api(*server_of(context.obj, url, key)) as api:
            found += _asked(api, here)
    failed = any(one.kind == "error" for one in found)
    if form is Format.JSON:
        say(json.dumps(_as_json(plans, found, failed), indent=2))
    else:
        show(found)
        wrong = {(one.file, one.plan) for one in found if one.kind == "error"}
        for plan in plans:
            if (plan.file, plan.checked.plan.key) not in wrong:
                say(f"{plan.file}: {plan.checked.plan.key}: ok, {plan.contents}")
        if here.meters and not failed:
            say(f"meters {', '.join(here.meters)}: ok")
    if failed:
        raise typer.Exit(FAILED)


def _asked(api: "Api", here: "Files") -> "Iterator[Found]":
    """What the server says of it all."""
    from taximeter.kernel.errors import FieldError

    answer = api.post("/v1/plans/check", here.deployment)
    for kind in ("error", "warning"):
        for one in answer[f"{kind}s"]:
            found = FieldError(one["path"], one["code"], one["detail"])
            yield here.found(found, kind)


def _as_json(
    plans: "Sequence[InFile]", found: "Sequence[Found]", failed: bool
) -> dict[str, object]:
    return {
        "valid": not failed,
        "errors": [one.as_json() for one in found if one.kind == "error"],
        "warnings": [one.as_json() for one in found if one.kind == "warning"],
        "plans": [{"file": str(plan.file), "key": plan.checked.plan.key} for plan in plans],
    }
