"""Where each table stands once the database is a Citus cluster, and the way there.

Owns the placement of every table (a test compares with the schema) and the order in which a
running database is taken apart. Must not do any of it: distribute.py does.

A table is *distributed* by `customer`: its rows stand on the node of their customer, next to all
other rows of that customer. A *reference* table is whole on every node. A *local* one stays as it
is, on the coordinator.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Literal

from psycopg import sql

Kind = Literal["distributed", "reference", "local"]

KEY = "customer"
_OF_CUSTOMER = "rows of a customer"
_REFERENCE = sql.SQL("SELECT create_reference_table({table})")
_FIRST = sql.SQL(
    "SELECT {function}({table}, {key}, colocate_with => 'none', shard_count => {shards})"
)
_BESIDE = sql.SQL("SELECT {function}({table}, {key}, colocate_with => {anchor})")
_ONE_BY_ONE = sql.SQL("SET LOCAL citus.multi_shard_modify_mode TO 'sequential'").format()
_EMPTY = sql.SQL("SELECT truncate_local_data_after_distributing_table({table})")

REFERENCE = {
    "meter": "joined with what customers have on their nodes; a new version now and then",
    "plan_version": "joined with the phases of subscriptions; a new version now and then",
    "plan_retirement": "read with plan_version",
}
LOCAL = {
    "api_key": "few, kept in memory; of no customer or read before the customer is known",
    "archive": "few, one row a file; numbered without gaps under a lock",
    "audit": "of no customer, only appended to",
    "backfill": "few, of one customer or of many; named by its id alone",
    "cache_change": "its table lock is the gate between changes and ingestion: one for all",
    "coupon": "of all customers: a row counts how often all of them redeemed it",
    "dead_letter": "what was no event: it may have no customer",
    "feature": "few keys, looked up by themselves",
    "idempotency": "of an API key, looked up before the customer is known",
    "instance": "one row",
    "number_counter": "of all customers: gap-free numbers, locked last",
    "outbox": "of all customers: read in the order of one sequence",
    "webhook_delivery": "refers to outbox",
    "webhook_endpoint": "few; webhook_delivery refers to it",
}
DISTRIBUTED = {
    "alert": _OF_CUSTOMER,
    "alert_definition": _OF_CUSTOMER,
    "approval": _OF_CUSTOMER,
    "approval_use": _OF_CUSTOMER,
    "archive_part": _OF_CUSTOMER,
    "auto_topup": _OF_CUSTOMER,
    "backfill_customer": _OF_CUSTOMER,
    "backfill_event": _OF_CUSTOMER,
    "budget": _OF_CUSTOMER,
    "budget_spend": _OF_CUSTOMER,
    "credit_grant": _OF_CUSTOMER,
    "customer": "the customer itself: what its other rows refer to",
    "customer_entitlement": _OF_CUSTOMER,
    "erasure": _OF_CUSTOMER,
    "event": "the largest: raw events, unique for ever within their customer",
    "event_correction": _OF_CUSTOMER,
    "event_identity": _OF_CUSTOMER,
    "hold": _OF_CUSTOMER,
    "hold_account": "the row that whoever decides about a customer's holds locks",
    "invoice": _OF_CUSTOMER,
    "invoice_line": _OF_CUSTOMER,
    "level_change": _OF_CUSTOMER,
    "outcome": _OF_CUSTOMER,
    "outcome_event": _OF_CUSTOMER,
    "outcome_step": _OF_CUSTOMER,
    "overage": _OF_CUSTOMER,
    "source_heartbeat": "of a customer; those of all together are customer ''",
    "source_repeat": _OF_CUSTOMER,
    "source_silence": "as source_heartbeat",
    "subscription": _OF_CUSTOMER,
    "subscription_discount": _OF_CUSTOMER,
    "subscription_phase": _OF_CUSTOMER,
    "suspension": _OF_CUSTOMER,
    "topup": _OF_CUSTOMER,
    "usage_bucket": _OF_CUSTOMER,
    "usage_dimension": _OF_CUSTOMER,
    "usage_level": _OF_CUSTOMER,
    "usage_member": _OF_CUSTOMER,
    "usage_total": _OF_CUSTOMER,
    "usage_value": _OF_CUSTOMER,
    "wallet": "locked with each charge; its grants and entries stand beside it",
    "wallet_entry": _OF_CUSTOMER,
}
# Every table of the schema.
TABLES: Mapping[str, Kind] = {
    **dict.fromkeys(REFERENCE, "reference"),
    **dict.fromkeys(LOCAL, "local"),
    **dict.fromkeys(DISTRIBUTED, "distributed"),
}


@dataclass(frozen=True, slots=True)
class Found:
    """What a database is now: the `bytes` of each table with its indexes, which table refers to
    which, those that Citus has placed, those whose old rows still lie on the coordinator, and
    whether Citus can copy a table while it is written to (`wal_level` is `logical`).
    """

    bytes: Mapping[str, int]
    references: Collection[tuple[str, str]]
    placed: Collection[str] = ()
    left_behind: Collection[str] = ()
    online: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What is done at once: all of it or, should it fail, nothing. `online`: the tables are
    written to meanwhile; else they are only read.
    """

    kind: Literal["reference", "distribute", "empty"]
    tables: tuple[str, ...]
    statements: tuple[sql.Composed, ...]
    online: bool

    @property
    def sentence(self) -> str:
        """What is done, and what waits for it."""
        names = ", ".join(self.tables)
        if self.kind == "empty":
            return f"Empty what is left of {names} on the coordinator; its readers wait a moment."
        what = f"Distribute {names} by {KEY}"
        if self.kind == "reference":
            what = f"Copy {names} to every node"
        waits = "read and written meanwhile, but for a moment at the end"
        if not self.online:
            waits = "read meanwhile; writes wait until it is done"
        return f"{what}; {waits}."

    @property
    def texts(self) -> list[str]:
        """The statements, as they are sent."""
        return [statement.as_string() for statement in self.statements]


def plan(found: Found, *, shards: int) -> list[Step]:
    """The steps that are still to be done, in order; `shards` counts where none is distributed yet.

    Reference tables come first. Then, in one transaction, all tables that foreign keys connect,
    the one that is referred to before those that refer to it: between the two halves a foreign key
    would be checked against rows that have moved. Then the others one by one, the small before the
    large, while they are written to where that can be. At last the coordinator lets go of the rows
    it no longer answers from.
    """
    open_tables = [name for name in found.bytes if name not in found.placed]
    steps = [
        Step("reference", (name,), (_REFERENCE.format(table=sql.Literal(name)),), online=False)
        for name in sorted(open_tables)
        if name in REFERENCE
    ]
    tied = {name for pair in found.references for name in pair if set(pair) <= set(DISTRIBUTED)}
    family = [name for name in _in_order(found) if name in tied and name in open_tables]
    single = sorted(
        (name for name in open_tables if name in DISTRIBUTED and name not in tied),
        key=lambda name: (found.bytes[name], name),
    )
    anchor = min((name for name in found.placed if name in DISTRIBUTED), default=None)
    if family:
        moved = []
        for name in family:
            moved.append(_distribution(name, anchor, shards, online=False))
            anchor = anchor or name
        steps.append(Step("distribute", tuple(family), (_ONE_BY_ONE, *moved), online=False))
    for name in single:
        statement = _distribution(name, anchor, shards, online=found.online)
        steps.append(Step("distribute", (name,), (statement,), online=found.online))
        anchor = anchor or name
    copied = [name for step in steps if not step.online for name in step.tables]
    for name in sorted({*copied, *found.left_behind}):
        statement = _EMPTY.format(table=sql.Literal(name))
        steps.append(Step("empty", (name,), (statement,), online=False))
    return steps


def _in_order(found: Found) -> list[str]:
    """All tables, each after those it refers to."""
    sorter: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(sorted(found.bytes), ()))
    for child, parent in sorted(found.references):
        if child != parent:
            sorter.add(child, parent)
    return list(sorter.static_order())


def _distribution(name: str, anchor: str | None, shards: int, *, online: bool) -> sql.Composed:
    text = _BESIDE if anchor else _FIRST
    return text.format(
        function=sql.SQL("create_distributed_table_concurrently" if online else
                         "create_distributed_table"),
        table=sql.Literal(name), key=sql.Literal(KEY), anchor=sql.Literal(anchor),
        shards=sql.Literal(shards),
    )  # fmt: skip
