"""`taximeter usage recompute`: what is kept of usage, counted again from the raw events."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from taximeter.cli.database import DATA_DEFAULT
from taximeter.cli.options import DataOption
from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import INTERRUPTED, fail, refuse, say, warn

if TYPE_CHECKING:
    from taximeter.services.recompute import Recomputed


def recompute(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Compare only; change nothing.")] = False,
    customer: Annotated[str | None, typer.Option(help="This customer only.", metavar="KEY")] = None,
    after: Annotated[
        str | None, typer.Option(help="Go on after this customer.", metavar="KEY")
    ] = None,
    data: DataOption = DATA_DEFAULT,
) -> None:
    """Count usage again from the raw events: totals, hours, distinct values, values and levels.

    Each customer is counted in the database, beside what is stored, so it takes no memory however
    many events there are; the first difference is named. With --check nothing is changed, and
    nobody waits. Without it, what differs is set right, while the customer is counted no events are
    taken in; a total that a final invoice has counted is named, and left as it is.

    Exit status: 0 all is right (or was set right), 1 something differs, 2 wrongly called.

    \b
    Examples:
      taximeter usage recompute --check
      taximeter usage recompute --check --after acme
      taximeter usage recompute --customer acme
    """
    if customer is not None and after is not None:
        refuse("Say --customer or --after, not both.")
    runtime: Runtime = context.obj
    with runtime.database(data, create=False) as url:
        if runtime.pending(url):
            fail("The database is not up to date. Run `taximeter db migrate` first.")
        _Recount(runtime, url, repair=not check).count(customer, after)


class _Recount:
    """A recount, and what it has found so far."""

    def __init__(self, runtime: Runtime, url: str, *, repair: bool) -> None:
        self._runtime = runtime
        self._url = url
        self._repair = repair
        self._done = 0
        self._differing = 0
        self._undecided = 0
        self._last: str | None = None

    def count(self, customer: str | None, after: str | None) -> None:
        """Recount one customer, or all after `after`; ends the command where one differs."""
        try:
            asyncio.run(self._count(customer, after))
        except KeyboardInterrupt:
            cure = f" Go on with --after {self._last}." if self._last is not None else ""
            fail(f"Stopped after {self._done:,} customers.{cure}", INTERRUPTED)
        if self._undecided:
            warn(
                f"{self._undecided:,} customers were left out: an event of theirs was received in "
                "the very instant at which a meter changed."
            )
        if self._differing:
            left = "nothing was changed" if not self._repair else "what is final was not changed"
            fail(
                f"The usage of {self._differing:,} of {self._done:,} customers differs from what "
                f"their events come to; {left}."
            )
        say(f"usage is what the events come to: {self._done:,} customers counted")

    async def _count(self, customer: str | None, after: str | None) -> None:
        from taximeter.cli.progress import Progress
        from taximeter.services import books, recompute

        async with self._runtime.context(self._url) as services:
            total = 1 if customer is not None else await books.count_customers(services, after)
            with Progress(total, "the customers") as progress:

                def told(events: int) -> None:
                    text = f"{self._done:,} customers counted, {events:,} events of the next"
                    progress.show(self._done, text)

                if customer is not None:
                    self._note(
                        await recompute.recompute_customer(
                            services, customer, repair=self._repair, told=told
                        )
                    )
                    return
                every = recompute.walk(services, after=after, repair=self._repair, told=told)
                async for found in every:
                    self._note(found)

    def _note(self, found: "Recomputed") -> None:
        self._done += 1
        self._last = found.customer
        self._undecided += found.undecided
        if found.difference is not None:
            say(str(found.difference))
        if found.repaired:
            say(f"{found.customer}: {found.repaired:,} rows were set right")
        if found.left is not None:
            self._differing += 1
            if found.left != found.difference:
                say(str(found.left))
