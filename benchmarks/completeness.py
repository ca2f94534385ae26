"""What was planted against what the report of completeness finds.

Three sources number their events. Of these some are lost on the way, some are sent twice, and some
come two hours after their time; the report must say exactly how many, and the meter count exactly
what arrived. Printed as well: the latency of ingestion, the delays that the report tells, how long
the report takes, and the rate with numbers over the rate without.
"""

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.world import Running, batches, database, events, seconds_of, server, set_up

EVENTS = 60_000
SOURCES = ("gate-1", "gate-2", "gate-3")
BATCH = 500
CUSTOMERS = 20
LOST, TWICE, DELAYED = 0.01, 0.02, 0.03
DELAY = timedelta(hours=2)


@dataclass
class Planted:
    """What one source did: how many events it made, and which of them were lost, sent twice or
    late.
    """

    made: int = 0
    lost: list[int] = field(default_factory=list)
    twice: int = 0
    late: int = 0


def plant(made: list[dict[str, Any]], dice: random.Random) -> dict[str, Planted]:
    """Number the events of each source, and lose, repeat and delay some; `made` becomes what is
    sent.
    """
    planted = {source: Planted() for source in SOURCES}
    now = datetime.now(UTC)
    sent = []
    for event in made:
        event["source"] = dice.choice(SOURCES)
        one = planted[event["source"]]
        one.made += 1
        event |= {"sequence": str(one.made), "sequencetype": "Integer", "time": now.isoformat()}
        if dice.random() < LOST:
            one.lost.append(one.made)
            continue
        if dice.random() < DELAYED:
            one.late += 1
            event["time"] = (now - DELAY).isoformat()
        sent.append(event)
        if dice.random() < TWICE:
            one.twice += 1
            sent.append(event)
    made[:] = sent
    for one in planted.values():  # what is lost after the last that came shows by heartbeats only
        while one.lost and one.lost[-1] == one.made:
            one.lost.pop()
            one.made -= 1
    return planted


def main() -> None:
    """Print planted against found, for each source."""
    dice = random.Random(7)
    with database() as url, server(url) as running:
        set_up(running, customers=CUSTOMERS)
        plain = events(EVENTS // 4, seed=1, customers=CUSTOMERS)
        rate = len(plain) / running.load("/v1/events", batches(plain, BATCH), 8)["wall_s"]
        sent = events(EVENTS, seed=2, customers=CUSTOMERS)
        planted = plant(sent, dice)
        taken = running.load("/v1/events", batches(sent, BATCH), 8)
        numbered = len(sent) / taken["wall_s"]
        rows: dict[str, Any] = {}
        took = seconds_of(lambda: rows.update(read_report(running)))
        print("completeness: planted -> found, of each source")
        for source, one in planted.items():
            row = rows[source]
            print(
                f"  {source}: sent {one.made - len(one.lost):,} -> counted {row['received']:,}"
                f"   lost {len(one.lost)} -> missing {row['missing']}"
                f"   twice {one.twice} -> duplicates {row['duplicates']}"
                f"   delayed {one.late} -> late {row['late']}"
                f"   delay median {row['delays']['median_s']} s, p95 {row['delays']['p95_s']} s"
            )
            found = (row["received"], row["missing"], row["duplicates"], row["late"])
            assert found == (one.made - len(one.lost), len(one.lost), one.twice, one.late)
        print(
            f"  latency of a batch of {BATCH}: p50 {taken['p50_s'] * 1000:.0f} ms, p99"
            f" {taken['p99_s'] * 1000:.0f} ms   the report over {EVENTS:,} events: {took:.2f} s"
        )
        print(
            f"  with numbers {numbered:,.0f} events/s   without {rate:,.0f}"
            f"   ratio {numbered / rate:.2f}"
        )


def read_report(running: Running) -> dict[str, Any]:
    """The report's rows by source."""
    answer: Any = running.call("GET", "/v1/reports/completeness")
    return {row["source"]: row for row in answer["data"]}


if __name__ == "__main__":
    main()
