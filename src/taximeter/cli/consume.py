"""`taximeter consume`: streams of usage into a running server. The work is consume_stream.py's."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from taximeter.cli import consume_options as own
from taximeter.cli import import_options as options
from taximeter.cli.options import KeyOption, UrlOption
from taximeter.cli.runtime import KafkaOptions, NatsOptions, Runtime
from taximeter.cli.terminal import fail, refuse, say, warn

if TYPE_CHECKING:
    from taximeter.cli.event_mapping import EventMapping

BATCH_DEFAULT = 1000

consume = typer.Typer(
    no_args_is_help=True,
    help="Consume usage from a stream: kafka, nats.",
)


@consume.command()
def kafka(
    context: typer.Context,
    brokers: own.BrokersOption,
    topic: own.TopicOption,
    group: own.GroupOption,
    config: own.ConfigOption = None,
    customer: options.CustomerOption = None,
    customer_column: options.CustomerColumnOption = None,
    event_type: options.TypeOption = None,
    source: options.SourceOption = None,
    time_column: options.TimeColumnOption = None,
    time_zone: options.TimeZoneOption = "UTC",
    id_column: options.IdColumnOption = None,
    maps: options.MapOption = None,
    constants: options.ConstantOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    batch: own.BatchOption = BATCH_DEFAULT,
    metrics_port: own.MetricsPortOption = None,
    metrics_host: own.MetricsHostOption = "127.0.0.1",
    until_idle: own.UntilIdleOption = None,
) -> None:
    """Consume topics of Kafka, or of what speaks its protocol, until told to stop.

    A message is one CloudEvent in JSON, an array of them, or in CloudEvents' binary mode (headers
    ce_id, ce_type, ...). Offsets are committed once the server has committed the events, and an
    event counts once however often its message comes. What the server refuses is kept as a dead
    letter and does not hold up the rest. Needs the extra `kafka`.

    \b
    Examples:
      taximeter consume kafka --brokers kafka:9092 --topic usage --group taximeter
      taximeter consume kafka --brokers kafka:9092 --topic calls --group taximeter \\
        --type llm.completion --customer-column account --time-column at --id-column request
    """
    from taximeter.cli.import_events import row_mapping_of

    mapping = row_mapping_of(
        customer=customer, customer_column=customer_column, event_type=event_type, source=source,
        time_column=time_column, time_zone=time_zone, id_column=id_column, maps=maps or (),
        constants=constants or (),
    )  # fmt: skip
    wanted = KafkaOptions(brokers, topic, group, _settings(config))
    _consume(context.obj, wanted, mapping, url, key, batch, metrics_host, metrics_port, until_idle)


@consume.command()
def nats(
    context: typer.Context,
    server: own.ServerOption,
    stream: own.StreamOption,
    durable: own.DurableOption,
    subject: own.SubjectOption = None,
    credentials: own.CredentialsOption = None,
    ack_wait: own.AckWaitOption = 60,
    customer: options.CustomerOption = None,
    customer_column: options.CustomerColumnOption = None,
    event_type: options.TypeOption = None,
    source: options.SourceOption = None,
    time_column: options.TimeColumnOption = None,
    time_zone: options.TimeZoneOption = "UTC",
    id_column: options.IdColumnOption = None,
    maps: options.MapOption = None,
    constants: options.ConstantOption = None,
    url: UrlOption = None,
    key: KeyOption = None,
    batch: own.BatchOption = BATCH_DEFAULT,
    metrics_port: own.MetricsPortOption = None,
    metrics_host: own.MetricsHostOption = "127.0.0.1",
    until_idle: own.UntilIdleOption = None,
) -> None:
    """Consume a stream of NATS JetStream until told to stop.

    A message is as in `taximeter consume kafka` (in binary mode with headers ce-id, ce-type, ...).
    It is acknowledged once the server has committed its events. Needs the extra `nats`.

    \b
    Example:
      taximeter consume nats --server nats://nats:4222 --stream USAGE --durable taximeter
    """
    from taximeter.cli.import_events import row_mapping_of

    mapping = row_mapping_of(
        customer=customer, customer_column=customer_column, event_type=event_type, source=source,
        time_column=time_column, time_zone=time_zone, id_column=id_column, maps=maps or (),
        constants=constants or (),
    )  # fmt: skip
    file = str(credentials) if credentials is not None else None
    wanted = NatsOptions(server, stream, durable, subject, file, ack_wait)
    _consume(context.obj, wanted, mapping, url, key, batch, metrics_host, metrics_port, until_idle)


def _consume(
    runtime: Runtime,
    wanted: KafkaOptions | NatsOptions,
    mapping: "EventMapping",
    url: str | None,
    key: str | None,
    batch: int,
    metrics_host: str,
    metrics_port: int | None,
    until_idle: int | None,
) -> None:
    from taximeter.cli.api import Api, server_of
    from taximeter.cli.consume_stream import Consumption
    from taximeter.cli.stream_events import StreamReader
    from taximeter.cli.stream_metrics import StreamMetrics
    from taximeter.cli.upload import GaveUp

    address, secret = server_of(runtime, url, key)
    metrics = StreamMetrics()
    if metrics_port is not None:
        metrics.serve(metrics_host, metrics_port)
    with _told_to_stop() as stop:
        stream = runtime.open_stream(wanted, warn)
        try:
            with Api(address, secret) as api:
                say("consuming")
                Consumption(
                    stream, StreamReader(mapping), api, batch=batch, metrics=metrics, stop=stop
                ).run(until_idle)
        except GaveUp as error:
            fail(str(error))
        finally:
            stream.close()


@contextlib.contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Set by the first SIGTERM or Ctrl-C; the second does what it did before."""
    stop = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(*_: object) -> None:
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        restore()


def _settings(file: Path | None) -> dict[str, str]:
    """The settings in a file of properties: NAME=VALUE a line, # begins a comment."""
    found: dict[str, str] = {}
    if file is None:
        return found
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"--config {file} cannot be read: {error}.")
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            name, equals, value = text.partition("=")
            if not equals or not name.strip():
                refuse(f"--config {file}, line {number}: write NAME=VALUE.")
            found[name.strip()] = value.strip()
    return found
