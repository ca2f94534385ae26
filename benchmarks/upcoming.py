"""The upcoming invoice of a customer with a million events against one with ten thousand.

Both read running totals, so the answer must not take longer the more has been used: the ratio is
printed, of medians over many requests to each, taken in turn.
"""

import statistics
import sys

from benchmarks.world import (
    Running,
    batches,
    customer_key,
    database,
    events,
    seconds_of,
    server,
    set_up,
)

BIG, SMALL = 1_000_000, 10_000
REQUESTS = 200
STEP = 50_000


def fill(running: Running, customer: str, count: int) -> None:
    """Send so many events of one customer."""
    for begin in range(0, count, STEP):
        made = events(min(STEP, count - begin), seed=begin)
        for event in made:
            event["subject"] = customer
        running.load("/v1/events", batches(made, 5000), 4)
        print(f"\r  {customer}: {begin + len(made):,} events", end="", file=sys.stderr)
    print(file=sys.stderr)


def main() -> None:
    """Print both medians and their ratio."""
    with database() as url, server(url) as running:
        set_up(running, customers=2)
        small, big = customer_key(0), customer_key(1)
        fill(running, small, SMALL)
        fill(running, big, BIG)
        seconds: dict[str, list[float]] = {small: [], big: []}
        for _ in range(REQUESTS):
            for customer in (small, big):
                path = f"/v1/customers/{customer}/upcoming_invoice"
                seconds[customer].append(seconds_of(lambda path=path: running.call("GET", path)))
        few = statistics.median(seconds[small])
        many = statistics.median(seconds[big])
        print("upcoming_invoice: median time, and its ratio")
        print(
            f"  {SMALL:,} events {few * 1000:.2f} ms   {BIG:,} events {many * 1000:.2f} ms"
            f"   ratio {many / few:.2f}"
        )


if __name__ == "__main__":
    main()
