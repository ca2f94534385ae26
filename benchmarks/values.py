"""Many different values: of a dimension with a limit, and of a percentile.

A customer sends 100,000 values of a dimension of which 1,000 are kept apart: the total must be
exact and the tail one group, and the rate is compared with the same events of one value. A
percentile over 400,000 different values is compared with one over 1,000: how long single events
take.
"""

import statistics
import time
from typing import Any

import psycopg

from benchmarks.world import Running, batches, customer_key, database, events, server, set_up

VALUES = 100_000
KEPT = 1_000
FEW, MANY = 1_000, 400_000
SINGLES = 50
MONTH = "from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z"
_FILL = """
INSERT INTO usage_value (customer, subscription, price, period_start, meter, version, dimensions,
    value, events)
SELECT customer, subscription, price, period_start, meter, version, dimensions, n + 0.5, 1
FROM usage_total, generate_series(1, %(values)s) n WHERE customer = %(customer)s AND price = 'p50'
"""
_FILLED = """
UPDATE usage_total SET events = events + %(values)s, below = NULL
WHERE customer = %(customer)s AND price = 'p50'
"""


def rate_of(running: Running, customer: str, values: int) -> float:
    """Events a second of one customer, with so many values of the dimension in turn."""
    made: list[dict[str, Any]] = events(VALUES, seed=values, customers=1)
    for number, one in enumerate(made):
        one |= {
            "subject": customer,
            "type": "tagged",
            "data": {"q": 1, "tag": f"v{number % values}"},
        }
    return VALUES / running.load("/v1/events", batches(made, 1000), 8)["wall_s"]


def check_tail(running: Running, customer: str) -> None:
    """The total is exact, and so many groups are apart as are kept."""
    path = f"/v1/meters/tagged/usage?customer={customer}&window=month&{MONTH}"
    whole: Any = running.call("GET", path)
    assert [row["value"] for row in whole["data"]] == [str(VALUES)]
    groups: Any = running.call("GET", f"{path}&group_by=tag&limit=1")
    [other] = groups["data"]
    assert (other["group"]["tag"], other["value"]) == ("@other", str(VALUES - KEPT))


def single_s(running: Running, customer: str, values: int) -> float:
    """How long a single event takes, median, where so many values came before."""
    made: list[dict[str, Any]] = events(SINGLES + 2, seed=values, customers=1)
    for number, one in enumerate(made):
        one |= {"subject": customer, "type": "timed", "data": {"ms": number * values // SINGLES}}
    running.call("POST", "/v1/events", made[:1])
    with psycopg.connect(running.database_url) as connection:
        for statement in (_FILL, _FILLED):
            connection.execute(statement, {"values": values, "customer": customer})
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE usage_value")
    running.call("POST", "/v1/events", made[1:2])  # walks them all, once
    taken = []
    for one in made[2:]:
        begun = time.perf_counter()
        running.call("POST", "/v1/events", [one])
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def main() -> None:
    """Print rates and ratios."""
    with database() as url, server(url) as running:
        set_up(running, customers=4)
        tagged = {"event_type": "tagged", "aggregation": "sum", "value": "q",
                  "dimensions": ["tag"], "dimension_limit": KEPT}  # fmt: skip
        running.call("PUT", "/v1/meters/tagged", tagged)
        timed = {"event_type": "timed", "aggregation": "percentile", "percentile": "0.5",
                 "value": "ms"}  # fmt: skip
        running.call("PUT", "/v1/meters/timed", timed)
        prices = [
            {"key": key, "type": "usage", "meter": meter, "model": "per_unit", "unit": "1"}
            for key, meter in (("tagged", "tagged"), ("p50", "timed"))
        ]
        plan = {"key": "many", "name": "Many", "currency": "USD", "period": "month"}
        running.call("PUT", "/v1/plans/many", {**plan, "prices": prices})
        customers = [customer_key(number) for number in range(4)]
        for customer in customers:
            subscription = {"customer": customer, "plan": "many",
                            "starts_at": "2026-11-01T00:00:00Z"}  # fmt: skip
            running.call("POST", "/v1/subscriptions", subscription)
        one, many = rate_of(running, customers[0], 1), rate_of(running, customers[1], VALUES)
        check_tail(running, customers[1])
        few_s, many_s = single_s(running, customers[2], FEW), single_s(running, customers[3], MANY)
        print("values: what many different ones cost")
        print(
            f"  {VALUES:,} values of a dimension, {KEPT:,} kept apart: {many:,.0f} events/s, all of"
            f" one value {one:,.0f}, ratio {many / one:.2f}\n"
            f"  an event of a p50 over {MANY:,} values {many_s * 1000:.1f} ms, over {FEW:,}"
            f" {few_s * 1000:.1f} ms, ratio {many_s / few_s:.2f}"
        )


if __name__ == "__main__":
    main()
