"""`taximeter import`: a file of usage into a running server, counted once however often it runs."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import typer

from taximeter.cli.api import EVENTS, Api, server_of
from taximeter.cli.event_mapping import EventMaker, EventMapping, Ready
from taximeter.cli.event_rows import (
    BadRow,
    CsvRows,
    JsonRows,
    Row,
    UnusableFile,
    format_of,
)
from taximeter.cli.import_report import Report
from taximeter.cli.progress import Progress
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import FAILED, INTERRUPTED, NOT_ALL_TAKEN, fail, refuse, say, warn
from taximeter.cli.upload import Checkpoint, GaveUp, Uploader, batches
from taximeter.kernel.times import zone


@dataclass(frozen=True, slots=True)
class Sending:
    """Where events go (`path`: to which address of the server) and how."""

    url: str
    key: str
    batch: int
    parallel: int
    retry_for_s: int
    state: Path | None
    run: str
    path: str = EVENTS


def mapping_of(
    file: Path,
    *,
    customer: str | None,
    customer_column: str | None,
    event_type: str | None,
    source: str | None,
    time_column: str | None,
    time_zone: str,
    id_column: str | None,
    maps: Sequence[str],
    constants: Sequence[str],
) -> EventMapping:
    """The mapping that the options say. Ends the command where they contradict each other, or
    say too little for this kind of file.
    """
    if not file.is_file():
        refuse(f"{file} is no regular file. Write the rows into one first.")
    with file.open("rb") as stream, _usable():
        cells = format_of(file, stream) == "csv"
    mapping = row_mapping_of(
        customer=customer, customer_column=customer_column, event_type=event_type, source=source,
        time_column=time_column, time_zone=time_zone, id_column=id_column, maps=maps,
        constants=constants, cells=cells,
    )  # fmt: skip
    if not mapping.whole and time_column is None:
        refuse("Say with --time-column when usage happened: it decides the period billed.")
    return mapping


def row_mapping_of(
    *,
    customer: str | None,
    customer_column: str | None,
    event_type: str | None,
    source: str | None,
    time_column: str | None,
    time_zone: str,
    id_column: str | None,
    maps: Sequence[str],
    constants: Sequence[str],
    cells: bool = False,
) -> EventMapping:
    """The mapping of rows that the options say: without a column named they are events, unless they
    are made of `cells`. Ends the command where the options contradict each other, or say too
    little.
    """
    if customer is not None and customer_column is not None:
        refuse("--customer and --customer-column exclude each other. Say one of them.")
    if zone(time_zone) is None:
        refuse(f"--time-zone {time_zone} is no time zone. Say one such as Europe/Paris.")
    whole = not (cells or maps or customer_column or time_column or id_column)
    if not whole:
        if customer is None and customer_column is None:
            refuse("Whose usage is it? Say --customer or --customer-column.")
        if event_type is None:
            refuse("Say the events' type with --type, such as --type llm.completion.")
    return EventMapping(
        whole=whole, customer=customer, customer_column=customer_column, type=event_type,
        source=source, time_column=time_column, time_zone=time_zone, id_column=id_column,
        columns=_pairs("--map", maps) if maps else None,
        constants=_pairs("--constant", constants),
    )  # fmt: skip


def sending_of(
    runtime: Runtime,
    *,
    url: str | None,
    key: str | None,
    batch: int,
    parallel: int,
    retry_for_s: int,
    state: Path | None,
) -> Sending:
    """Where and how to send. Ends the command where no key is given."""
    address, secret = server_of(runtime, url, key)
    run = runtime.random_bytes(12).hex()
    return Sending(address, secret, batch, parallel, retry_for_s, state, run)


def import_file(
    file: Path,
    mapping: EventMapping,
    sending: Sending | None,
    *,
    delimiter: str | None,
    report_file: Path | None,
) -> None:
    """Import `file` (with no `sending`: only check it), report, and end the command with its exit
    status.
    """
    trouble = None
    code = FAILED
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_opened(file))
        report = Report(stack.enter_context(_report_stream(report_file)))
        rows = _rows(file, stream, delimiter, mapping)
        progress = stack.enter_context(Progress(file.stat().st_size, "the file"))
        ready = _events(rows, EventMaker(mapping), report, progress, stream)
        try:
            if sending is None:
                for event in ready:
                    if isinstance(event, BadRow):
                        report.reject(event)
            else:
                _upload(ready, sending, report)
        except GaveUp as error:
            trouble = str(error)
        except KeyboardInterrupt:
            trouble = "Interrupted. Nothing is lost: run the same command again."
            code = INTERRUPTED
    for line in report.lines(dry_run=sending is None):
        say(line)
    warn(f"{report.read:,} rows in {progress.elapsed_s} s")
    if trouble is not None:
        fail(trouble, code)
    if not report.all_taken:
        raise typer.Exit(NOT_ALL_TAKEN)


def _upload(ready: Iterable[Ready | BadRow], sending: Sending, report: Report) -> None:
    with (
        Api(sending.url, sending.key, connections=sending.parallel) as api,
        _checkpoint(sending.state) as checkpoint,
    ):
        uploader = Uploader(
            api, run=sending.run, connections=sending.parallel, retry_s_max=sending.retry_for_s,
            notice=warn, path=sending.path,
        )  # fmt: skip
        found = batches(ready, sending.batch, sending.url, report.reject)
        for confirmed in uploader.upload(found, checkpoint):
            report.confirm(confirmed)


def _events(
    rows: Iterable[Row | BadRow],
    maker: EventMaker,
    report: Report,
    progress: Progress,
    stream: BinaryIO,
) -> Iterator[Ready | BadRow]:
    for row in rows:
        report.read += 1
        if report.read % 256 == 0:
            text = f"{report.read:,} rows read, {report.answered:,} answered"
            progress.show(stream.tell(), text)
        yield row if isinstance(row, BadRow) else maker.event(row)


def _rows(
    file: Path, stream: BinaryIO, delimiter: str | None, mapping: EventMapping
) -> CsvRows | JsonRows:
    """The rows of the file. Ends the command where a named column is not there."""
    with _usable():
        if format_of(file, stream) == "ndjson":
            if delimiter is not None:
                refuse("--delimiter is for CSV, and this is JSON. Leave it out.")
            return JsonRows(stream)
        separator = delimiter or ("\t" if file.suffix.lower() == ".tsv" else ",")
        if len(separator) != 1 or not (separator.isprintable() or separator == "\t"):
            refuse("--delimiter is one character, such as ; between the cells.")
        rows = CsvRows(file, stream, separator)
    shown = ", ".join(name or "(no name)" for name in rows.columns)
    for name in mapping.used:
        if name not in rows.columns:
            refuse(f"{file} has no column {name!r}. It has: {shown}.")
    if mapping.columns is None and "" in rows.columns:
        refuse(f"A column of {file} has no name ({shown}). Say with --map which ones to take.")
    return rows


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or not value:
            refuse(f"{option} {text}: write two names with = between, such as model=gpt-5.2.")
        if name in found:
            refuse(f"{option} {text}: {name} is there already. Say it once.")
        found[name] = value
    return found


@contextlib.contextmanager
def _usable() -> Iterator[None]:
    try:
        yield
    except UnusableFile as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error.filename or 'The file'} cannot be read: {error.strerror}.")


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    with _usable():
        stream = file.open("rb")
    with stream:
        yield stream


@contextlib.contextmanager
def _report_stream(file: Path | None) -> Iterator[TextIO | None]:
    if file is None:
        yield None
        return
    try:
        stream = file.open("w", encoding="utf-8")
    except OSError as error:
        fail(f"--report {file} cannot be written: {error.strerror}.")
    with stream:
        yield stream


def _checkpoint(file: Path | None) -> Checkpoint:
    try:
        return Checkpoint(file)
    except OSError as error:
        fail(f"--state {file} cannot be written: {error.strerror}.")
