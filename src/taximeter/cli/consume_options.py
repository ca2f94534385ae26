"""The options of `taximeter consume`: their names and what they say of themselves."""

from pathlib import Path
from typing import Annotated

import typer

from taximeter.cli.import_options import BATCH_MAX

BrokersOption = Annotated[
    str,
    typer.Option(help="Brokers to begin with, separated by commas.", metavar="HOST:PORT"),
]
TopicOption = Annotated[
    list[str], typer.Option("--topic", help="A topic. Repeatable.", metavar="TOPIC")
]
GroupOption = Annotated[
    str,
    typer.Option(help="The consumer group: its members share the partitions.", metavar="GROUP"),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        help="Settings of the Kafka client, NAME=VALUE a line: security, time-outs.",
        metavar="FILE", exists=True, dir_okay=False, readable=True,
    ),
]  # fmt: skip
ServerOption = Annotated[
    list[str],
    typer.Option("--server", help="A server of NATS. Repeatable.", metavar="nats://HOST:PORT"),
]
StreamOption = Annotated[str, typer.Option(help="The JetStream stream.", metavar="STREAM")]
DurableOption = Annotated[
    str,
    typer.Option(
        help="The durable consumer, made where it is not there; processes share it.",
        metavar="NAME",
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(help="What a new durable consumer is confined to.", metavar="SUBJECT"),
]
CredentialsOption = Annotated[
    Path | None,
    typer.Option(
        help="A file of credentials of NATS.", metavar="FILE", exists=True, dir_okay=False,
        readable=True,
    ),
]  # fmt: skip
AckWaitOption = Annotated[
    int,
    typer.Option(
        help="After how long a new durable consumer gives a message again.",
        metavar="SECONDS", min=1,
    ),
]  # fmt: skip
BatchOption = Annotated[
    int, typer.Option(help="Messages in one portion.", metavar="N", min=1, max=BATCH_MAX)
]
MetricsPortOption = Annotated[
    int | None,
    typer.Option(
        help="Answer GET /metrics on this port, for Prometheus.", metavar="PORT", min=1, max=65535
    ),
]
MetricsHostOption = Annotated[
    str, typer.Option(help="The address that metrics are answered on.", metavar="HOST")
]
UntilIdleOption = Annotated[
    int | None,
    typer.Option(
        help="End when nothing came for so long; without it, never.", metavar="SECONDS", min=1
    ),
]
