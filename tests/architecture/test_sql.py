"""SQL stands in storage, runs on PostgreSQL 16 to 18, and keeps the schema distributable."""

import ast
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import pytest

from docs.generator.schema import Table, read_tables
from tests.architecture.source import (
    PACKAGE,
    ROOT,
    Finding,
    Function,
    Module,
    expect_none,
    package,
)

# The embedded server is asked whether it lives by the root and by its gateway.
SQL_MAY = ("storage", "gateways/postgres", "bootstrap.py")
# Before migrations have run there is no row to lock, and yoyo's own log has its own time.
EXEMPT = ("storage/migrate.py",)
FORBIDDEN = {
    r"\bpg_(try_)?advisory_": "No advisory locks: lock a row.",
    r"\b(NOTIFY|LISTEN|UNLISTEN)\b": "No notifications: write a row that is read.",
    r"\bTRIGGER\b": "No triggers: do it in the service.",
    r"(?i)\b(now|clock_timestamp|statement_timestamp|transaction_timestamp)\s*\(\s*\)"
    r"|\bCURRENT_(DATE|TIME|TIMESTAMP)\b|\bLOCALTIME(STAMP)?\b": "Times come from the application.",
    r"(?i)\b(gen_random_uuid|uuidv[47]|random)\s*\(": "Ids come from the application.",
    r"(?i)\bnextval\s*\(|\b(BIG|SMALL)?SERIAL\b": "No sequences: ids come from the application.",
    r"\bOFFSET\b": "Page by key: WHERE (a, b) > (…).",
    r"\bSERIALIZABLE\b": "Lock rows: shards do not share a snapshot.",
    r"\bWITHOUT OVERLAPS\b|\bRETURNING (OLD|NEW)\b|\bEXCLUDE USING\b": "It must run on 16 to 18.",
    r"(?i)::\s*(real|double precision|float[48]?|money)\b": "Amounts are numeric.",
}
LOCKING = re.compile(r"\bFOR (NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)\b")
WRITING_WITH = re.compile(r"\bWITH\b.*?\bAS (?:NOT )?(?:MATERIALIZED )?\(\s*(INSERT|UPDATE|DELETE)")
ONE_CUSTOMER = re.compile(r"\bcustomer = (%s|%\(customer\)s)")
STATEMENT = re.compile(
    r"(?s)\s*(SELECT\b|INSERT INTO\b|UPDATE \w+.*\bSET\b|DELETE FROM\b|COPY \w+|LOCK TABLE\b"
    r"|WITH \w+.*\bAS\b|CREATE (TEMP |UNIQUE )?(TABLE|INDEX)\b|ALTER TABLE\b|DROP \w+\b)"
)
LOCAL_TABLES = {
    "api_key", "archive", "audit", "backfill", "cache_change", "coupon", "dead_letter", "feature",
    "idempotency", "instance", "meter", "number_counter", "outbox", "plan_retirement",
    "plan_version", "webhook_delivery", "webhook_endpoint",
}  # fmt: skip
UNLED_INDEX = """
CREATE TABLE hold (customer text PRIMARY KEY, code text);
CREATE UNIQUE INDEX hold_code ON hold (code);
"""
# When a subscription began by the customer's own clock: its periods follow it through DST.
NAIVE_COLUMNS = {("subscription", "anchor_local")}
_TYPES = re.compile(r"^(real|double precision|float\d?|money|(big|small)?serial|json|timestamp)\b")
# Written and read whole, in thousands a second: jsonb would take them apart for nothing.
_KEPT_AS_TEXT = {"hold_account.counters", "hold.amounts", "hold.counters"}


def texts(
    module: Module, known: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[ast.AST, str]]:
    """Every text but docstrings; an f-string with the module's own constants, and those that are
    `known`, filled in, and … for the rest.
    """
    constants = dict(known)
    for statement in module.tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            if statement.targets[0].id in known:
                continue
            text = _text(statement.value, constants)
            if text is not None:
                constants[statement.targets[0].id] = text
    skipped = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and ast.get_docstring(node):
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            skipped.add(id(first.value))
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
    for node in ast.walk(module.tree):
        text = _text(node, constants)
        if text is not None and not isinstance(node, ast.Name) and id(node) not in skipped:
            yield node, text


def _text(node: ast.AST, constants: dict[str, str]) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.Name):
        return constants.get(node.id)
    if isinstance(node, ast.JoinedStr):
        parts = (
            part.value if isinstance(part, ast.FormattedValue) else part for part in node.values
        )
        return "".join(_text(part, constants) or "…" for part in parts)
    return None


def find_misplaced_sql(module: Module) -> Iterator[Finding]:
    """Statements outside storage."""
    if not module.within(*SQL_MAY):
        for node, text in texts(module):
            if STATEMENT.match(text):
                yield module.at(node, " ".join(text.split())[:60])


def find_forbidden_sql(module: Module) -> Iterator[Finding]:
    """What would decide money outside the application, or not run on every server."""
    if not module.within("storage") or module.within(*EXEMPT):
        return
    for node, text in texts(module):
        for pattern, cure in FORBIDDEN.items():
            if match := re.search(pattern, text):
                yield module.at(node, f"{match.group()}. {cure}")


def find_wide_locks(module: Module) -> Iterator[Finding]:
    """Locking reads and writing CTEs that do not name one customer in their own text."""
    if not module.within("storage"):
        return
    for node, text in texts(module):
        flat = " ".join(text.split())
        local = any(f"FROM {table} " in flat for table in LOCAL_TABLES)
        for pattern in (LOCKING, WRITING_WITH):
            match = pattern.search(flat)
            if match and not ONE_CUSTOMER.search(flat) and not local:
                yield module.at(node, match.group()[:60])


def find_bad_table(table: Table) -> Iterator[Finding]:
    """Keys of a big table that do not begin with the customer, and types that lose something."""
    for column in table.columns:
        is_naive = (table.name, column.name) in NAIVE_COLUMNS
        is_kept_as_text = f"{table.name}.{column.name}" in _KEPT_AS_TEXT
        if _TYPES.match(column.type) and not is_naive and not is_kept_as_text:
            yield Finding(f"{table.name}.{column.name}", f"the type {column.type}")
    if table.name in LOCAL_TABLES:
        return
    if not any(key.startswith("PRIMARY KEY") for key in table.keys):
        yield Finding(table.name, "no primary key")
    for key in table.keys:
        columns = key.partition("(")[2]
        if re.split(r"[,)]", columns)[0].strip() != "customer":
            yield Finding(table.name, key)


def test_sql_stands_in_storage() -> None:
    found = (finding for module in package() for finding in find_misplaced_sql(module))
    expect_none(found, "Move the statement to storage; a service calls it by name:")


def test_sql_decides_nothing_and_runs_everywhere() -> None:
    found = [finding for module in package() for finding in find_forbidden_sql(module)]
    for path in sorted((ROOT / PACKAGE / "storage").rglob("*.sql")):
        text = re.sub(r"--.*", "", path.read_text(encoding="utf-8"))
        for pattern, cure in FORBIDDEN.items():
            if match := re.search(pattern, text):
                found.append(Finding(path.name, f"{match.group()}. {cure}"))
    expect_none(found, "The schema must distribute by customer:")


def test_a_lock_names_its_customer() -> None:
    found = (finding for module in package() for finding in find_wide_locks(module))
    expect_none(found, "Say `customer = %s` in the statement, or lock by UPDATE … RETURNING:")


def test_the_customer_leads_every_key() -> None:
    tables = read_tables((ROOT / PACKAGE / "storage/schema.sql").read_text(encoding="utf-8"))
    assert "event" in {table.name for table in tables}
    cure = "The customer comes first in every key of a table that grows with customers:"
    expect_none((finding for table in tables for finding in find_bad_table(table)), cure)


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ('x = "SELECT * FROM event WHERE customer = %s FOR UPDATE"', 0),
        ('x = "SELECT * FROM event FOR UPDATE"', 1),
        ('A = "a FROM event"\nx = f"SELECT {A} WHERE customer = %s FOR UPDATE"', 0),
        ('x = "SELECT value FROM number_counter WHERE name = %s FOR UPDATE"', 0),
        ('x = "WITH gone AS (DELETE FROM hold RETURNING id) SELECT 1"', 1),
        ('def f():\n    """Lock FOR UPDATE."""', 0),
    ],
)
def test_the_rule_on_locks(text: str, findings: int) -> None:
    assert len(list(find_wide_locks(Module.of(text, "storage/a.py")))) == findings


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ('x = "SELECT pg_advisory_lock(1)"', 1),
        ('x = "UPDATE event SET at = now()"', 1),
        ('x = "SELECT 1 ORDER BY id LIMIT %s OFFSET %s"', 1),
        ('x = "UPDATE wallet SET debt = %s"', 0),
    ],
)
def test_the_rule_on_forms(text: str, findings: int) -> None:
    assert len(list(find_forbidden_sql(Module.of(text, "storage/a.py")))) == findings


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("services/a.py", 'x = "SELECT 1"', 1),
        ("services/a.py", 'x = "Select a plan."', 0),
        ("http/a.py", 'x = "UPDATE wallet SET debt = 0"', 1),
        ("storage/a.py", 'x = "SELECT 1"', 0),
    ],
)
def test_the_rule_on_places(path: str, text: str, findings: int) -> None:
    assert len(list(find_misplaced_sql(Module.of(text, path)))) == findings


@pytest.mark.parametrize(
    ("sql", "findings"),
    [
        ("CREATE TABLE hold (customer text, id text, PRIMARY KEY (customer, id));", 0),
        ("CREATE TABLE hold (customer text, id text, PRIMARY KEY (id, customer));", 1),
        ("CREATE TABLE hold (customer text, id text PRIMARY KEY);", 1),
        ("CREATE TABLE hold (customer text, id text);", 1),
        ("CREATE TABLE hold (customer text PRIMARY KEY, amount double precision);", 1),
        (UNLED_INDEX, 1),
        ("CREATE TABLE meter (key text PRIMARY KEY);", 0),
    ],
)
def test_the_rule_on_keys(sql: str, findings: int) -> None:
    assert len([f for table in read_tables(sql) for f in find_bad_table(table)]) == findings
