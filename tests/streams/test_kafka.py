"""Kafka: a consumer that is killed in the middle loses nothing and counts nothing twice."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.streams.consumer import billing, call, consuming, counted, letters, stopped, until

PARTITIONS = 2
EVENTS = 1200


@pytest.fixture
def client(tmp_path: Path, database_url: str) -> Iterator[httpx.Client]:
    """A server of its own."""
    with billing(tmp_path / "server.log", database_url) as found:
        yield found


class Cluster:
    """Brokers in this process, as the Kafka client brings them for tests."""

    def __init__(self) -> None:
        settings = {"bootstrap.servers": "none:1", "test.mock.num.brokers": 1, "log_level": 0}
        self.producer = Producer(settings)
        found = self.producer.list_topics(timeout=20).brokers.values()
        self.brokers = ",".join(f"{one.host}:{one.port}" for one in found)

    def send(self, partition: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.producer.produce(
            "usage", value=body, partition=partition, headers=list((headers or {}).items())
        )

    def committed(self, group: str) -> dict[int, int]:
        """How far the group is, by partition."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        places = [TopicPartition("usage", number) for number in range(PARTITIONS)]
        found = {one.partition: one.offset for one in consumer.committed(places, timeout=20)}
        consumer.close()
        return found


def test_killed_in_the_middle(client: httpx.Client, tmp_path: Path) -> None:
    cluster = Cluster()
    for number in range(EVENTS):
        cluster.send(number % PARTITIONS, call(number, number % 7))
    for number in range(0, EVENTS, 10):  # the producer's own repeats
        cluster.send(0, call(number, number % 7))
    cluster.send(1, [call(5000, 1), call(5001, 2)])
    cluster.send(1, {"q": 4}, {"ce_specversion": "1.0", "ce_id": "6000", "ce_type": "call",
                               "ce_subject": "acme", "ce_source": "gate",
                               "ce_time": "2026-01-05T10:00:00Z"})  # fmt: skip
    cluster.send(0, b"{not json")
    cluster.send(0, b"\xff\x00")
    cluster.send(0, [call(5002, 3), {"id": "x", "type": "call"}, 7])
    cluster.send(0, {**call(1, 1), "id": "i" * 300})
    cluster.send(0, {**call(1, 1), "id": "a\0", "data": {}})
    cluster.send(0, {**call(1, 1), "id": "p", "data": {"a\0": [1e30]}})
    cluster.send(0, call(0, 999))
    cluster.producer.flush(20)
    config = tmp_path / "client.properties"
    config.write_text("# so that the second need not wait long for the first to be given up\n"
                      "session.timeout.ms = 3500\nheartbeat.interval.ms=1000\n")  # fmt: skip
    options = (
        "kafka", "--brokers", cluster.brokers, "--topic", "usage", "--group", "g", "--config",
        config, "--batch", 20,
    )  # fmt: skip
    url = str(client.base_url)
    with consuming(tmp_path / "one.log", url, *options) as first:
        until(lambda: counted(client) > 300, "a part is counted")
        first.kill()
    before = counted(client)
    # Of 0 to 1199: 171 rounds of 0 to 6, which are 21, and 0 + 1 + 2 of the last three, so
    # 3591 + 3; the array's 1 + 2, the header's 4, and 3 of the message of which a part was taken.
    total = 171 * 21 + 3 + 3 + 4 + 3
    assert before < total
    with consuming(tmp_path / "two.log", url, *options) as second:
        until(lambda: counted(client) == total and len(letters(client)) == 8, "all is counted")
        # 600 events, 120 repeats, and 7 messages; 600 events and 2 messages.
        until(lambda: cluster.committed("g") == {0: 727, 1: 602}, "all is committed")
        said = stopped(second)
    assert said.endswith("; 0 ahead")
    assert ", 0 quarantined, 8 refused; " in said
    assert counted(client) == total
    assert [(one["item"], one["error"]["code"], one["encoding"]) for one in letters(client)] == [
        (0, "malformed", "text"), (0, "malformed", "base64"), (1, "missing", "text"),
        (2, "not_an_object", "text"), (0, "invalid_text", "text"),
        (0, "invalid_text", "text"), (0, "number_out_of_bounds", "text"), (0, "conflict", "text"),
    ]  # fmt: skip
    assert {one["stream"] for one in letters(client)} == {"kafka:usage/0"}
    refused = [(one["event_id"], one["error"]["path"]) for one in letters(client)[4:7]]
    assert refused == [("i" * 256, "id"), ("a\ufffd", "id"), ("p", "data.a\ufffd[0]")]
    assert letters(client, code="conflict")[0]["event_id"] == "0"
