"""The real catalog keeps to what shards allow: read from a migrated database, not from its text."""

from collections.abc import Iterator

import psycopg
import pytest

from taximeter.storage.distribution import DISTRIBUTED, KEY, LOCAL, TABLES

_TABLES = """
SELECT c.relname, c.oid FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
    AND c.relname NOT LIKE '\\_yoyo%' AND c.relname <> 'yoyo_lock'
"""
# Each key with the column it begins with: a unique index (a primary key is one), a foreign key.
_UNIQUE = """
SELECT c.relname, i.indexrelid::regclass::text, a.attname FROM pg_index i
JOIN pg_class c ON c.oid = i.indrelid
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace
"""
_FOREIGN = """
SELECT k.conrelid::regclass::text, k.confrelid::regclass::text, k.conname, a.attname, b.attname,
    k.confdeltype::text || k.confupdtype::text
FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]
WHERE k.contype = 'f' AND k.connamespace = 'public'::regnamespace
"""
_OTHER = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype IN ('x', 't') AND connamespace = 'public'::regnamespace
UNION ALL SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attidentity <> ''
UNION ALL SELECT d.adrelid::regclass::text, pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d
    WHERE pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval%'
UNION ALL SELECT inhrelid::regclass::text, 'inherits' FROM pg_inherits
    JOIN pg_class c ON c.oid = inhrelid AND NOT c.relispartition AND c.relkind = 'r'
"""
_KEY_TYPES = """
SELECT c.relname, format_type(a.atttypid, a.atttypmod) || ' ' || l.collname
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attname = %s AND c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace
"""


def broken_rules(connection: psycopg.Connection[tuple[str, ...]]) -> Iterator[str]:
    """Each rule of a distributed schema that this database breaks, in a sentence."""
    for table, key, column in connection.execute(_UNIQUE):
        if table in DISTRIBUTED and column != KEY:
            yield f"{key}: a unique key of {table} begins with {column}, not with {KEY}."
    for child, parent, name, column, referred, actions in connection.execute(_FOREIGN):
        by_key = column == referred == KEY
        if parent in DISTRIBUTED and not (child in DISTRIBUTED and by_key):
            yield f"{name}: {child} refers to the distributed {parent}, but not by {KEY}."
        if parent in LOCAL and child not in LOCAL:
            yield f"{name}: {child} refers to {parent}, which only the coordinator has."
        if actions != "aa":
            yield f"{name}: it acts on deletes or updates; {child} must be changed by a statement."
    for table, name in connection.execute(_OTHER):
        if table not in LOCAL and table in TABLES:
            yield f"{table}: {name} is a trigger, an exclusion, a sequence or inheritance."
    types = {row[0]: row[1] for row in connection.execute(_KEY_TYPES, [KEY])}
    for table in DISTRIBUTED:
        if types.get(table) != "text C NOT NULL":
            yield f"{table}: {KEY} is {types.get(table)}, not text C NOT NULL, so it has no place."


def test_every_table_stands_somewhere(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = {row[0] for row in connection.execute(_TABLES)}
    assert found == set(TABLES), "name each table in storage/distribution.py, with the reason"


def test_the_schema_can_be_distributed(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        assert list(broken_rules(connection)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("CREATE UNIQUE INDEX hold_alone ON hold (id)", "hold_alone: a unique key"),
        ("CREATE UNIQUE INDEX hold_turned ON hold (id, customer)", "hold_turned: a unique key"),
        ("ALTER TABLE event ADD n bigint GENERATED ALWAYS AS IDENTITY", "event: n is a trigger"),
        ("ALTER TABLE meter ADD c text REFERENCES customer", "meter refers to the distributed"),
        ("ALTER TABLE hold ADD c text REFERENCES coupon", "hold refers to coupon"),
        ("ALTER TABLE hold ADD FOREIGN KEY (customer) REFERENCES customer ON DELETE CASCADE",
         "it acts on deletes"),
        ("ALTER TABLE wallet ALTER customer TYPE varchar(99)", "wallet: customer is character"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_named(database_url: str, change: str, said: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(change.encode())
        assert said in " ".join(broken_rules(connection))
