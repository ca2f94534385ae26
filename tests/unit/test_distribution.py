"""Where tables stand in a cluster, and the order in which they get there."""

from dataclasses import replace

from taximeter.storage.distribution import DISTRIBUTED, LOCAL, REFERENCE, TABLES, Found, plan

MIB = 1024**2
LOCKED = "SELECT create_distributed_table"
ONLINE = "SELECT create_distributed_table_concurrently"
# A phase refers to its subscription, that to its customer; events and buckets to nothing.
FRESH = Found(
    bytes={
        "event": 900 * MIB, "usage_bucket": 90 * MIB, "subscription_phase": 2 * MIB,
        "subscription": MIB, "customer": MIB, "plan_version": MIB, "meter": MIB, "outbox": MIB,
    },
    references={("subscription_phase", "subscription"), ("subscription", "customer")},
    online=True,
)  # fmt: skip


def texts(found: Found) -> list[str]:
    return [text for step in plan(found, shards=64) for text in step.texts]


def test_no_table_is_placed_twice() -> None:
    assert len(TABLES) == len(DISTRIBUTED) + len(REFERENCE) + len(LOCAL)


def test_references_first_then_the_family_then_the_small_before_the_large() -> None:
    assert texts(FRESH) == [
        "SELECT create_reference_table('meter')",
        "SELECT create_reference_table('plan_version')",
        "SET LOCAL citus.multi_shard_modify_mode TO 'sequential'",
        f"{LOCKED}('customer', 'customer', colocate_with => 'none', shard_count => 64)",
        f"{LOCKED}('subscription', 'customer', colocate_with => 'customer')",
        f"{LOCKED}('subscription_phase', 'customer', colocate_with => 'customer')",
        f"{ONLINE}('usage_bucket', 'customer', colocate_with => 'customer')",
        f"{ONLINE}('event', 'customer', colocate_with => 'customer')",
        # Copied under a lock, these leave their old rows behind.
        "SELECT truncate_local_data_after_distributing_table('customer')",
        "SELECT truncate_local_data_after_distributing_table('meter')",
        "SELECT truncate_local_data_after_distributing_table('plan_version')",
        "SELECT truncate_local_data_after_distributing_table('subscription')",
        "SELECT truncate_local_data_after_distributing_table('subscription_phase')",
    ]


def test_tables_that_foreign_keys_connect_move_in_one_step() -> None:
    family = [step for step in plan(FRESH, shards=32) if "customer" in step.tables]
    assert family[0].tables == ("customer", "subscription", "subscription_phase")
    assert not family[0].online


def test_without_logical_wal_every_table_is_locked_while_it_moves() -> None:
    steps = plan(replace(FRESH, online=False), shards=32)
    assert not any(step.online for step in steps)
    event = next(step for step in steps if step.tables == ("event",))
    assert event.sentence == (
        "Distribute event by customer; read meanwhile; writes wait until it is done."
    )


def test_it_goes_on_where_it_was() -> None:
    begun = replace(
        FRESH,
        placed={
            "meter", "plan_version", "customer", "subscription", "subscription_phase",
            "usage_bucket",
        },
        left_behind={"customer"},
    )  # fmt: skip
    assert texts(begun) == [
        f"{ONLINE}('event', 'customer', colocate_with => 'customer')",
        "SELECT truncate_local_data_after_distributing_table('customer')",
    ]
    placed = set(FRESH.bytes) - {"outbox"}
    assert plan(replace(FRESH, placed=placed), shards=32) == []
