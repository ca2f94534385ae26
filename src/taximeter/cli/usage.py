"""`taximeter usage`: whether what was used has arrived, and what is kept of it is right."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from taximeter.cli.options import KeyOption, UrlOption
from taximeter.cli.terminal import say, show_rows
from taximeter.cli.usage_recompute import recompute

NOT_COMPLETE = 3
GAPS_SHOWN = 5
HEADER = (
    "source", "received", "expected", "missing", "duplicates", "conflicts", "quarantined", "late",
    "median s", "95% s", "look at",
)  # fmt: skip

usage = typer.Typer(no_args_is_help=True, help="Usage: completeness, recompute.")
usage.command()(recompute)


@usage.command()
def completeness(
    context: typer.Context,
    source: Annotated[str | None, typer.Option(help="This source only.", metavar="SOURCE")] = None,
    customer: Annotated[
        str | None, typer.Option(help="Events of this customer only.", metavar="KEY")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Events from this time on; else 24 hours.", metavar="TIME"),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Events before this time.", metavar="TIME")
    ] = None,
    url: UrlOption = None,
    key: KeyOption = None,
) -> None:
    """Compare what each source sent with what arrived: by the numbers of its events, and by its
    heartbeats.

    Exit status: 0 all is well, 1 failed, 2 wrongly called, 3 something should be looked at.

    \b
    Examples:
      taximeter usage completeness
      taximeter usage completeness --source gateway-1 --from 2026-03-09T00:00:00Z
    """
    from taximeter.cli.api import Api, server_of

    address, secret = server_of(context.obj, url, key)
    wanted = {"source": source, "customer": customer, "from": start, "to": end}
    parameters = {name: value for name, value in wanted.items() if value is not None}
    with Api(address, secret) as api:
        rows = list(api.pages("/v1/reports/completeness", **parameters))
    if not rows:
        say("no events and no heartbeats")
        return
    show_rows(HEADER, [_cells(row) for row in rows])
    for row in rows:
        _show_gaps(row)
    if any(row["states"] for row in rows):
        raise typer.Exit(NOT_COMPLETE)


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    delays = row["delays"] or {"median_s": "", "p95_s": ""}
    names = ("received", "expected", "missing", "duplicates", "conflicts", "quarantined", "late")
    counts = ["unknown" if row[name] is None else f"{row[name]:,}" for name in names]
    states = ", ".join(row["states"]).replace("_", " ") or "ok"
    return (row["source"] or "(no source)", *counts, delays["median_s"], delays["p95_s"], states)


def _show_gaps(row: Mapping[str, Any]) -> None:
    gaps = row["sequence"]["gaps"] if row["sequence"] else []
    if gaps:
        shown = [
            f"{gap['first']}" if gap["first"] == gap["last"] else f"{gap['first']} to {gap['last']}"
            for gap in gaps[:GAPS_SHOWN]
        ]
        more = ", ..." if len(gaps) > GAPS_SHOWN else ""
        say(f"{row['source']} misses {', '.join(shown)}{more}")
