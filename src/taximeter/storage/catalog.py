"""What a schema consists of, read from PostgreSQL's catalog.

Owns the queries that describe tables, columns, constraints, indexes and the rest as text, so that
two schemas can be compared. Must not change anything.
"""

import re
from typing import Any, LiteralString

import psycopg
from psycopg import sql

_RELATIONS: LiteralString = """
    SELECT 'relation ' || c.relname,
        concat_ws(' ',
            CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table'
                WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence'
                ELSE c.relkind::text END,
            CASE c.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' END,
            pg_get_partkeydef(c.oid),
            CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            (SELECT 'with ' || string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) o),
            CASE WHEN c.relrowsecurity THEN 'row security' END,
            CASE WHEN c.relforcerowsecurity THEN 'forced' END)
    FROM relation c
"""

_COLUMNS: LiteralString = """
    SELECT 'column ' || c.relname || '.' || a.attname,
        concat_ws(' ',
            format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation THEN 'COLLATE ' || l.collname END,
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE a.attidentity WHEN 'a' THEN 'identity always' WHEN 'd' THEN 'identity' END,
            CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN d.oid IS NOT NULL THEN 'DEFAULT'
                END,
            pg_get_expr(d.adbin, d.adrelid),
            CASE WHEN a.attstorage <> t.typstorage THEN 'storage ' || a.attstorage::text END)
    FROM relation c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relkind <> 'S'
"""

# Since 18 NOT NULL is a constraint as well; the column says it already.
_CONSTRAINTS: LiteralString = """
    SELECT 'constraint ' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype <> 'n'
"""

_INDEXES: LiteralString = """
    SELECT 'index ' || c.relname || '.' || n.relname,
        concat_ws(' ', pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END)
    FROM relation c
    JOIN pg_index i ON i.indrelid = c.oid
    JOIN pg_class n ON n.oid = i.indexrelid
"""

_TRIGGERS: LiteralString = """
    SELECT 'trigger ' || c.relname || '.' || g.tgname,
        concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled::text)
    FROM relation c JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal
"""

_POLICIES: LiteralString = """
    SELECT 'policy ' || c.relname || '.' || p.polname,
        concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
            p.polcmd::text,
            (SELECT string_agg(r::regrole::text, ', ' ORDER BY r) FROM unnest(p.polroles) r),
            pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
    FROM relation c JOIN pg_policy p ON p.polrelid = c.oid
"""

_FUNCTIONS: LiteralString = """
    SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) ELSE p.prokind::text END
    FROM pg_proc p JOIN here ON here.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = p.oid AND e.deptype = 'e')
"""

_TYPES: LiteralString = """
    SELECT 'type ' || t.typname,
        coalesce((SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
            FROM pg_enum e WHERE e.enumtypid = t.oid),
            concat_ws(' ', format_type(t.typbasetype, t.typtypmod), t.typdefault,
                CASE WHEN t.typnotnull THEN 'NOT NULL' END,
                (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
                    FROM pg_constraint k WHERE k.contypid = t.oid)))
    FROM pg_type t JOIN here ON here.oid = t.typnamespace
    WHERE t.typtype IN ('e', 'd')
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = t.oid AND e.deptype = 'e')
"""

# Without the migrations' own tables, single partitions, what extensions brought, and the sequences
# that belong to an identity column.
_SOURCES: LiteralString = """
    WITH here AS (SELECT oid FROM pg_namespace WHERE nspname = %s),
    relation AS (
        SELECT c.* FROM pg_class c JOIN here ON here.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT c.relispartition
            AND c.relname NOT LIKE '\\_yoyo%%' AND c.relname <> 'yoyo_lock'
            AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.objid = c.oid
                AND e.classid = 'pg_class'::regclass AND e.deptype IN ('e', 'i'))
    )
"""

_QUERIES: tuple[LiteralString, ...] = (
    _RELATIONS,
    _COLUMNS,
    _CONSTRAINTS,
    _INDEXES,
    _TRIGGERS,
    _POLICIES,
    _FUNCTIONS,
    _TYPES,
)


def describe_schema(connection: psycopg.Connection[tuple[Any, ...]], schema: str) -> dict[str, str]:
    """Each object of `schema` (`column event.id`) and its definition, free of the schema's name.

    Sets the open transaction's search path to `schema`, so that PostgreSQL leaves its name out.
    """
    connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))
    # Indexes and functions name their schema always, in quotes only where they must.
    prefix = re.compile(rf'(?<![\w$"])"?{re.escape(schema)}"?\.')
    described: dict[str, str] = {}
    for query in _QUERIES:
        for name, text in connection.execute(_SOURCES + query, [schema]):
            described[str(name)] = " ".join(prefix.sub("", str(text)).split())
    return described
