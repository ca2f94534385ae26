"""`taximeter import`: its options, and what it promises. The work is import_events.py's."""

import typer

from taximeter.cli import import_options as options
from taximeter.cli.options import KeyOption, UrlOption


def import_(
    context: typer.Context,
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
    parallel: options.ParallelOption = 4,
    retry_for: options.RetryForOption = 60,
    state: options.StateOption = None,
    report: options.ReportOption = None,
    dry_run: options.DryRunOption = False,
) -> None:
    """Import usage from a file into a running server.

    An import may be repeated at any time: an event counts once, by its customer, source and id.
    Rows without an id column get an id from their content, so the same file may be shuffled, or
    cut into other batches. Equal rows of one file each count; equal rows of two files count
    once, unless the files are given different sources.

    A line of JSON is an event as POST /v1/events takes it, unless columns are named.

    Exit status: 0 all taken, 1 failed, 2 wrongly called, 3 some rejected or quarantined.

    \b
    Examples:
      taximeter import usage.csv --customer acme --type llm.completion --time-column TIMESTAMP
      taximeter import usage.csv --customer-column account --type llm.completion \\
        --time-column at --time-zone Europe/Paris --map input_tokens=prompt --constant model=gpt-5.2
      taximeter import events.ndjson --report problems.ndjson
    """
    from taximeter.cli import import_events as work

    mapping = work.mapping_of(
        file, customer=customer, customer_column=customer_column, event_type=event_type,
        source=source, time_column=time_column, time_zone=time_zone, id_column=id_column,
        maps=maps or (), constants=constants or (),
    )  # fmt: skip
    sending = None
    if not dry_run:
        sending = work.sending_of(
            context.obj, url=url, key=key, batch=batch, parallel=parallel, retry_for_s=retry_for,
            state=state,
        )  # fmt: skip
    work.import_file(file, mapping, sending, delimiter=delimiter, report_file=report)
