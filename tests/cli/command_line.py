"""What tests of the command line say often: a command run in this process, and its result."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import count
from pathlib import Path

from typer.testing import CliRunner, Result

from taximeter.bootstrap import ProcessRuntime
from taximeter.cli.main import make_cli
from taximeter.cli.runtime import (
    DatabaseSizes,
    DistributionOutlook,
    DistributionStep,
    KafkaOptions,
    MessageStream,
    NatsOptions,
    RunningInstance,
    ServeOptions,
)
from taximeter.services.context import Context

_NUMBERS = count(1)


class OfflineRuntime:
    """A runtime with an environment and nothing else: a command that asks for more fails."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment

    def random_bytes(self, length: int) -> bytes:
        """Different each time, the same in each run."""
        return next(_NUMBERS).to_bytes(length, "big")

    async def open_instance(self, options: ServeOptions) -> RunningInstance:
        raise AssertionError("this command needs no instance")

    def database(self, data: Path, *, create: bool) -> AbstractContextManager[str]:
        raise AssertionError("this command needs no database")

    def migrate(self, url: str) -> list[str]:
        raise AssertionError("this command needs no database")

    def pending(self, url: str) -> list[str]:
        raise AssertionError("this command needs no database")

    def check(self, url: str) -> str | None:
        raise AssertionError("this command needs no database")

    def outlook(self, url: str, *, shards: int) -> DistributionOutlook:
        raise AssertionError("this command needs no database")

    def distribute(
        self, url: str, *, shards: int, told: Callable[[DistributionStep], None]
    ) -> None:
        raise AssertionError("this command needs no database")

    def sizes(self, url: str) -> DatabaseSizes:
        raise AssertionError("this command needs no database")

    def open_stream(
        self, options: KafkaOptions | NatsOptions, notice: Callable[[str], None]
    ) -> MessageStream:
        raise AssertionError("this command needs no stream")

    def context(self, url: str) -> AbstractAsyncContextManager[Context]:
        raise AssertionError("this command needs no database")


def run(*arguments: object, **environment: str) -> Result:
    """Run `taximeter` with these arguments, without an instance or a database."""
    return _run(OfflineRuntime(environment), arguments)


def run_on_database(*arguments: object) -> Result:
    """Run `taximeter` with the process's own environment and database."""
    return _run(ProcessRuntime(), arguments)


def _run(runtime: OfflineRuntime | ProcessRuntime, arguments: Sequence[object]) -> Result:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        result = CliRunner().invoke(make_cli(runtime), [str(argument) for argument in arguments])
    finally:  # a command may send the log to its standard error, which is closed now
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # what a user would see as a traceback
    return result
