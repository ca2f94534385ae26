"""The preview of a change for a customer with a million events against one with ten thousand.

A change takes effect now or at the period's end: the preview reads running totals and looks for
later events, so the answer must not take longer the more has been used. For each, medians over
many requests to both customers, taken in turn, and their ratio.
"""

import statistics

from benchmarks.upcoming import BIG, SMALL, fill
from benchmarks.world import Running, customer_key, database, seconds_of, server, set_up

REQUESTS = 100
DEARER = {
    "key": "dearer", "name": "Dearer", "currency": "USD", "period": "month",
    "prices": [
        {"key": "input", "type": "usage", "meter": "input_tokens", "model": "per_unit",
         "unit": "2", "per": "1000000"},
        {"key": "output", "type": "usage", "meter": "output_tokens", "model": "per_unit",
         "unit": "20", "per": "1000000", "settle": "wallet"},
    ],
}  # fmt: skip


def _subscription_of(running: Running, customer: str) -> str:
    page = running.call("GET", f"/v1/subscriptions?customer={customer}")
    assert isinstance(page, dict)
    return str(page["data"][0]["id"])


def main() -> None:
    """Print both medians and their ratio, for a change now and at the period's end."""
    with database() as url, server(url) as running:
        set_up(running, customers=2)
        running.call("PUT", "/v1/plans/dearer", DEARER)
        small, big = customer_key(0), customer_key(1)
        fill(running, small, SMALL)
        fill(running, big, BIG)
        paths = {
            customer: f"/v1/subscriptions/{_subscription_of(running, customer)}/preview_change"
            for customer in (small, big)
        }
        print("preview_change: median time, and its ratio")
        for at in ("now", "period_end"):
            body = {"plan": "dearer", "at": at}
            seconds: dict[str, list[float]] = {small: [], big: []}
            for _ in range(REQUESTS):
                for customer, path in paths.items():
                    seconds[customer].append(
                        seconds_of(lambda path=path, body=body: running.call("POST", path, body))
                    )
            few, many = (statistics.median(seconds[customer]) for customer in (small, big))
            print(
                f"  {at}: {SMALL:,} events {few * 1000:.2f} ms   {BIG:,} events "
                f"{many * 1000:.2f} ms   ratio {many / few:.2f}"
            )


if __name__ == "__main__":
    main()
