"""`taximeter approval`: what holds wait for somebody to approve, and deciding it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli import import_options as options
from taximeter.cli.options import KeyOption, UrlOption
from taximeter.cli.terminal import say, show_rows

if TYPE_CHECKING:
    from taximeter.cli.api import Api

HEADER = ("ID", "STATE", "CUSTOMER", "BUDGET", "PATH", "FEATURE", "AMOUNT", "USED", "EXPIRES")

approval = typer.Typer(
    no_args_is_help=True,
    help="Holds over a budget's threshold: list what waits, approve, decline.",
)
ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL", help="The id, as list prints it.")]


class State(StrEnum):
    """What an approval is."""

    PENDING = "pending"
    APPROVED = "approved"
    DECLINED = "declined"
    EXPIRED = "expired"
    USED = "used"


@approval.command("list")
def list_(
    context: typer.Context,
    customer: options.CustomerOption = None,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List what was asked for, the newest first.

    \b
    Examples:
      taximeter approval list --state pending
      taximeter approval list --customer acme
    """
    wanted = {"customer": customer, "state": state and state.value}
    given = {name: value for name, value in wanted.items() if value is not None}
    with _api(context, url, key) as api:
        rows = [_cells(one) for one in api.pages("/v1/approvals", **given)]
    show_rows(HEADER, rows)


@approval.command()
def approve(
    context: typer.Context,
    approval_id: ApprovalId,
    amount: Annotated[
        str | None,
        typer.Option(help="What each hold may need; else what was asked for.", metavar="AMOUNT"),
    ] = None,
    uses: Annotated[int, typer.Option(help="How many holds may pass.", min=1)] = 1,
    ttl: Annotated[
        int, typer.Option("--ttl", help="For how long, in seconds.", metavar="SECONDS", min=1)
    ] = 86_400,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Let holds pass that name it. The key needs the scope limits.

    \b
    Examples:
      taximeter approval approve appr_0123
      taximeter approval approve appr_0123 --uses 10 --amount 50 --ttl 3600
    """
    body: dict[str, Any] = {"amount": amount, "uses": uses, "ttl_s": ttl}
    _decide(context, approval_id, "approve", body, url, key)


@approval.command()
def decline(
    context: typer.Context, approval_id: ApprovalId, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Let nothing pass; of what was approved, nothing more. The key needs the scope limits.

    \b
    Example:
      taximeter approval decline appr_0123
    """
    _decide(context, approval_id, "decline", {}, url, key)


def _decide(
    context: typer.Context,
    approval_id: str,
    verb: str,
    body: Mapping[str, Any],
    url: str | None,
    key: str | None,
) -> None:
    from taximeter.cli.api import segment

    with _api(context, url, key) as api:
        found = api.post(f"/v1/approvals/{segment(approval_id)}/{verb}", body)
    allows = f": {found['uses']} of at most {found['allowed']} {found['asset']} each, until "
    until = f"{allows}{found['expires_at']}" if found["state"] == "approved" else ""
    say(f"{found['id']} {found['state']}{until}")


def _api(context: typer.Context, url: str | None, key: str | None) -> "Api":
    from taximeter.cli.api import Api, server_of

    return Api(*server_of(context.obj, url, key))


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    used = f"{one['used']}/{one['uses']}" if one["uses"] else "-"
    return (
        one["id"], one["state"], one["customer"], one["budget"], one["path"] or "-",
        one["feature"] or "-", f"{one['amount']} {one['asset']}", used, one["expires_at"],
    )  # fmt: skip
