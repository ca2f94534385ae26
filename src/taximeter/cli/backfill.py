"""`taximeter backfill`: usage of the past, loaded beside, looked at, applied, reverted."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from taximeter.cli import import_options as options
from taximeter.cli.options import KeyOption, UrlOption, YesOption
from taximeter.cli.terminal import FAILED, asks, fail, say, show_rows, warn

if TYPE_CHECKING:
    from taximeter.cli.api import Api

PREVIEWED_AT_ONCE = 5
HEADER = ("ID", "STATE", "KIND", "CUSTOMER", "FROM", "TO", "LOADED", "REASON")
EFFECT_HEADER = ("CUSTOMER", "WHAT", "BEFORE", "AFTER", "NOTE")

backfill = typer.Typer(
    no_args_is_help=True,
    help="Usage of the past: create, load, preview, apply, discard, revert, list, show.",
)
BackfillId = Annotated[str, typer.Argument(metavar="BACKFILL", help="The id, as create prints it.")]


class Kind(StrEnum):
    """What a backfill does: bring events in, or count those that are there anew."""

    EVENTS = "events"
    METER = "meter"


@backfill.command()
def create(
    context: typer.Context,
    start: Annotated[
        str, typer.Option("--from", help="The first time.", metavar="TIME", show_default=False)
    ],
    reason: Annotated[str, typer.Option(help="Why.", show_default=False)],
    end: Annotated[
        str | None, typer.Option("--to", help="The first time after; else now.", metavar="TIME")
    ] = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Events of this type. Repeatable.", metavar="TYPE"),
    ] = None,
    meter: Annotated[
        str | None, typer.Option(help="Events that this meter reads.", metavar="METER")
    ] = None,
    customer: options.CustomerOption = None,
    replaces: Annotated[
        bool, typer.Option("--replace", help="What is there gives way to what is loaded.")
    ] = False,
    kind: Annotated[
        Kind, typer.Option(help="meter: count anew by its newest version.")
    ] = Kind.EVENTS,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Open a backfill and print its id. Nothing changes before it is applied.

    \b
    Examples:
      taximeter backfill create --from 2026-01-01T00:00:00Z --to 2026-02-01T00:00:00Z \\
        --type llm.completion --replace --reason "January was exported wrong"
      taximeter backfill create --kind meter --meter tokens --from 2026-01-01T00:00:00Z \\
        --reason "cached tokens count a tenth"
    """
    body: dict[str, Any] = {
        "kind": kind.value, "customer": customer, "event_types": event_type, "meter": meter,
        "from": start, "to": end, "replace": replaces, "reason": reason,
    }  # fmt: skip
    with _api(context, url, key) as api:
        say(api.post("/v1/backfills", body)["id"])


@backfill.command()
def load(
    context: typer.Context,
    backfill_id: BackfillId,
    file: options.EventsFile,
    customer: options.CustomerOption = None,
    customer_column: options.CustomerColumnOption = None,
    event_type: options.TypeOption = None,
    source: options.SourceOption = None,
    time_column: options.TimeColumnOption = None,
    time_zone: options.TimeZoneOption = "UTC",
    id_column: options.IdColumnOption = None,
    maps: options.MapOption = None,
    constants: options.ConstantOption = None,
    delimiter: options.DelimiterOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    batch: options.BatchOption = 1000,
    retry_for: options.RetryForOption = 60,
    report: options.ReportOption = None,
) -> None:
    """Load a file of usage into a backfill, as `taximeter import` reads it. It may be repeated.

    \b
    Examples:
      taximeter backfill load bf_0123 january.ndjson
      taximeter backfill load bf_0123 usage.csv --customer acme --type call --time-column at
    """
    from taximeter.cli import import_events as work

    mapping = work.mapping_of(
        file, customer=customer, customer_column=customer_column, event_type=event_type,
        source=source, time_column=time_column, time_zone=time_zone, id_column=id_column,
        maps=maps or (), constants=constants or (),
    )  # fmt: skip
    sending = work.sending_of(
        context.obj, url=url, key=key, batch=batch, parallel=1, retry_for_s=retry_for, state=None
    )
    sending = replace(sending, path=f"{_path(backfill_id)}/events")
    work.import_file(file, mapping, sending, delimiter=delimiter, report_file=report)


@backfill.command()
def preview(
    context: typer.Context, backfill_id: BackfillId, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Show what applying it would change: usage, wallets and invoices of each customer.

    \b
    Example:
      taximeter backfill preview bf_0123
    """
    with _api(context, url, key) as api:
        effects = list(_effects(api, backfill_id))
    rows = [row for effect in effects for row in _effect_rows(effect)]
    if rows:
        show_rows(EFFECT_HEADER, rows)
    else:
        say("Nothing would change.")
    if any(effect["problem"] for effect in effects):
        raise typer.Exit(FAILED)


def _effects(api: "Api", backfill_id: str) -> Iterator[Mapping[str, Any]]:
    cursor: Mapping[str, str] = {}
    while True:
        asked = {"limit": PREVIEWED_AT_ONCE, **cursor}
        page = api.post(f"{_path(backfill_id)}/preview", asked)
        yield from page["data"]
        if page["next_cursor"] is None:
            return
        cursor = {"cursor": page["next_cursor"]}


def _effect_rows(effect: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """What changes for a customer, a line each."""
    customer = effect["customer"]
    if effect["problem"]:
        yield customer, "-", "-", "-", effect["problem"]["detail"]
    for one in effect["usage"]:
        if one["before"] != one["after"]:
            yield customer, f"usage {one['meter']}", one["before"], one["after"], ""
    for one in effect["wallets"]:
        if one["before"] != one["after"]:
            yield customer, f"wallet {one['asset']}", one["before"], one["after"], ""
    for one in effect["invoices"]:
        total = one["total"]
        if total["before"] != total["after"]:
            adjusted = ", ".join(f"{line['price']} {line['amount']}" for line in one["adjustments"])
            note = f"adjusts {adjusted}" if adjusted else ""
            what = f"invoice {one['id']} {one['currency']}"
            yield customer, what, total["before"], total["after"], note


@backfill.command()
def apply(
    context: typer.Context,
    backfill_id: BackfillId,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Apply it to the end, customer by customer. Interrupted, run it again: nothing is done twice.

    \b
    Examples:
      taximeter backfill apply bf_0123
      taximeter backfill apply bf_0123 --yes
    """
    _confirm("Apply", yes=yes)
    _to_the_end(context, backfill_id, "apply", url, key)


@backfill.command()
def revert(
    context: typer.Context,
    backfill_id: BackfillId,
    yes: YesOption = False,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Void what it added, and let what it changed count as before.

    \b
    Example:
      taximeter backfill revert bf_0123 --yes
    """
    _confirm("Revert", yes=yes)
    _to_the_end(context, backfill_id, "revert", url, key)


def _to_the_end(
    context: typer.Context, backfill_id: str, verb: str, url: str | None, key: str | None
) -> None:
    """Take the step again and again until it is done, and say how far it is."""
    with _api(context, url, key) as api:
        found = api.post(f"{_path(backfill_id)}/{verb}", {})
        done = _done(found)
        while found["state"] in ("applying", "reverting"):
            warn(_progress(found))
            found = api.post(f"{_path(backfill_id)}/{verb}", {})
            if _done(found) == done and found["customers"]["failed"]:
                break
            done = _done(found)
    _say(found)
    for one in found["failures"]:
        warn(f"{one['customer']}: {one['code']}: {one['detail']}")
    if found["customers"]["failed"]:
        raise typer.Exit(FAILED)


def _done(found: Mapping[str, Any]) -> object:
    return found["customers"], found["events"]


def _progress(found: Mapping[str, Any]) -> str:
    customers = found["customers"]
    left = customers["pending"] + (customers["applied"] if found["state"] == "reverting" else 0)
    return f"{found['state']}: {left:,} of {customers['total']:,} customers left"


@backfill.command()
def discard(
    context: typer.Context, backfill_id: BackfillId, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Forget what was loaded; it can no longer be applied.

    \b
    Example:
      taximeter backfill discard bf_0123
    """
    with _api(context, url, key) as api:
        _say(api.post(f"{_path(backfill_id)}/discard", {}))


@backfill.command("list")
def list_(
    context: typer.Context,
    customer: options.CustomerOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """List backfills, the newest first.

    \b
    Example:
      taximeter backfill list --customer acme
    """
    wanted = {} if customer is None else {"customer": customer}
    with _api(context, url, key) as api:
        rows = [_cells(one) for one in api.pages("/v1/backfills", **wanted)]
    show_rows(HEADER, rows)


@backfill.command()
def show(
    context: typer.Context, backfill_id: BackfillId, url: UrlOption = None, key: KeyOption = None
) -> None:
    """Show one backfill and how far it is, as JSON.

    \b
    Example:
      taximeter backfill show bf_0123
    """
    with _api(context, url, key) as api:
        say(json.dumps(api.get(_path(backfill_id)), indent=2, ensure_ascii=False))


def _api(context: typer.Context, url: str | None, key: str | None) -> "Api":
    from taximeter.cli.api import Api, server_of

    return Api(*server_of(context.obj, url, key))


def _path(backfill_id: str) -> str:
    from taximeter.cli.api import segment

    return f"/v1/backfills/{segment(backfill_id)}"


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["id"], one["state"], one["kind"], one["customer"] or "-", one["from"], one["to"],
        f"{one['loaded']:,}", one["reason"],
    )  # fmt: skip


def _say(one: Mapping[str, Any]) -> None:
    told = ", ".join(f"{count:,} {name}" for name, count in one["events"].items() if count)
    say(f"{one['id']} {one['state']}" + (f": {told}" if told else ""))


def _confirm(verb: str, *, yes: bool) -> None:
    if yes:
        return
    if not asks():
        fail("Nothing was changed. Say --yes to do it without being asked.")
    if not typer.confirm(f"{verb} it?"):
        fail("Nothing was changed.")
