"""What of a statement Citus refuses, in one list: read from its syntax tree, without a cluster.

Owns the forms and their reasons. A statement that names one customer for every distributed table
it touches goes to one node whole, which runs it as any PostgreSQL would; the rules are for those
that touch several customers.
"""

import re
from collections.abc import Iterator
from itertools import product, zip_longest

from sqlglot import exp, parse_one
from sqlglot.errors import ParseError

from taximeter.storage.distribution import DISTRIBUTED, KEY, REFERENCE

WIDE_LOCK = "SELECT … FOR UPDATE or SHARE over several customers: lock by UPDATE … RETURNING"
TABLE_LOCK = "LOCK TABLE on a distributed table: it locks every shard of every node"
WIDE_CTE = "a CTE that writes, over several customers: write in a statement of its own"
MOVED = "the customer of a row is changed: it cannot move to another node"
NO_KEY = "rows without their customer: it decides on which node they are"
CONFLICT = "ON CONFLICT on a key without the customer: it is not unique over the nodes"
JOIN = "distributed tables that are not joined by customer"
CORRELATED = (
    "a subquery that refers to a list, not to a distributed table: join it, or ask for one customer"
)
OUTER = "an outer join from a list to a distributed table: it would be fetched whole"
LATERAL = "LATERAL with LIMIT or an aggregate, from a list: ask for one customer at a time"
REFERENCE_WRITE = "a reference table written from a distributed one: read first, then write"
RETURNED = "a subquery in RETURNING or ON CONFLICT: ask before or after"
RECURSIVE = "WITH RECURSIVE or GROUPING SETS over several customers"
STABLE = "an UPDATE that computes with a STABLE function of a column: compute in the application"
BESIDE_TEMPORARY = "a temporary table beside a distributed one: only the coordinator has it"
NODE_STATE = "a transaction's number or a snapshot: each node has its own"

# Not exhaustive: those of PostgreSQL's STABLE functions that one is tempted to write.
_STABLE = {
    "JSONB_BUILD_OBJECT", "JSON_BUILD_OBJECT", "TO_JSONB", "TO_JSON", "CONCAT", "CONCAT_WS",
    "FORMAT", "TO_CHAR", "TO_TIMESTAMP", "DATE_TRUNC", "AGE", "JSONB_BUILD_ARRAY",
}  # fmt: skip
_GAPS_MAX = 6
_TEMPORARY = "pg_temp"
_NODE_STATE = re.compile(r"\bpg_(current_xact_id|current_snapshot|snapshot_|xact_|visible_in)\w*")
_LOCK_TABLE = re.compile(r"\s*LOCK TABLE (\w+)")
_PARAMETER = re.compile(r"%\(\w+\)s|%s")


class Unread(Exception):
    """The statement cannot be taken apart; it is said."""


def refused(text: str) -> Iterator[str]:
    """Each form in the statement `text` that a cluster refuses. Raises `Unread`."""
    if _NODE_STATE.search(text):
        yield NODE_STATE
    locked = _LOCK_TABLE.match(text)
    if locked:  # no parser of ours knows more of it
        if locked[1] in DISTRIBUTED:
            yield TABLE_LOCK
        return
    tree = _tree(text)
    named = [table for table in tree.find_all(exp.Table) if table.name in DISTRIBUTED]
    tables = [table for table in named if table.db != _TEMPORARY]
    if not tables:
        return
    if len(tables) < len(named):
        yield BESIDE_TEMPORARY
        return
    yield from _refused_writes(tree)
    links = _Links(tree)
    if all(links.one_customer(table) for table in tables):
        return
    if any(_locks(select) for select in tree.find_all(exp.Select)):
        yield WIDE_LOCK
    writes = (exp.Insert, exp.Update, exp.Delete)
    if any(isinstance(cte.this, writes) for cte in tree.find_all(exp.CTE)):
        yield WIDE_CTE
    if tree.find(exp.GroupingSets, exp.Cube, exp.Rollup) or any(
        part.args.get("recursive") for part in tree.find_all(exp.With)
    ):
        yield RECURSIVE
    yield from _refused_reads(tree, links)


def _tree(text: str) -> exp.Expr:
    plain = _PARAMETER.sub(":p", text).replace("%%", "%")
    parts = plain.split("…")
    # A gap may be a condition, a value, or nothing.
    for gaps in product(("", " x "), repeat=min(len(parts) - 1, _GAPS_MAX)):
        text_filled = "".join(map("".join, zip_longest(parts, gaps, fillvalue="")))
        try:
            return parse_one(text_filled, read="postgres")
        except ParseError:
            continue
    raise Unread(text)


def _refused_writes(tree: exp.Expr) -> Iterator[str]:
    for update in tree.find_all(exp.Update):
        if _table(update) in DISTRIBUTED:
            for each in update.expressions:
                if isinstance(each, exp.EQ) and each.this.name == KEY:
                    yield MOVED
        for function in update.find_all(exp.Func):
            if _function(function) in _STABLE and function.find(exp.Column):
                yield STABLE
    for insert in tree.find_all(exp.Insert):
        target = insert.this
        columns = [column.name for column in getattr(target, "expressions", [])]
        conflict = insert.args.get("conflict")
        if _table(insert) in DISTRIBUTED:
            if KEY not in columns:
                yield NO_KEY
            keys = conflict.args.get("conflict_keys") if conflict else None
            if keys and keys[0].name != KEY:
                yield CONFLICT
        for part in (conflict, insert.args.get("returning")):
            if part is not None and part.find(exp.Select):
                yield RETURNED
    for write in tree.find_all(exp.Insert, exp.Update, exp.Delete):
        others = {table.name for table in write.find_all(exp.Table)}
        if _table(write) in REFERENCE and others & set(DISTRIBUTED):
            yield REFERENCE_WRITE


def _refused_reads(tree: exp.Expr, links: "_Links") -> Iterator[str]:
    for select in tree.find_all(exp.Select):
        sources = _sources(select)
        here = [s for s in sources if isinstance(s, exp.Table) and s.name in DISTRIBUTED]
        if any(not links.together(here[0], other) for other in here[1:]):
            yield JOIN
        for join in select.args.get("joins") or ():
            inside = join.this
            spread = isinstance(inside, exp.Table) and inside.name in DISTRIBUTED
            if join.side == "LEFT" and spread and len(here) < 2 and not links.one_customer(inside):
                yield OUTER
            if isinstance(inside, exp.Lateral) and not here and _has_distributed(inside):
                inner = inside.find(exp.Select)
                if inner and (inner.args.get("limit") or inner.find(exp.AggFunc)):
                    yield LATERAL
        if here:
            continue
        for inner in _subqueries(select):
            if _has_distributed(inner) and _refers_out(inner) and sources:
                yield CORRELATED


def _subqueries(select: exp.Select) -> Iterator[exp.Select]:
    """The selects in its columns and conditions, not those it reads from."""
    for inner in select.find_all(exp.Select):
        if inner is select or inner.parent_select is not select:
            continue
        node = inner.parent
        while node is not select and not isinstance(node, exp.From | exp.Join | exp.CTE):
            assert node is not None
            node = node.parent
        if node is select:
            yield inner


def _refers_out(select: exp.Select) -> bool:
    names = {source.alias_or_name for source in select.find_all(exp.Table, exp.Subquery)}
    names |= {alias.name for alias in select.find_all(exp.TableAlias)}
    return any(column.table and column.table not in names for column in select.find_all(exp.Column))


def _sources(select: exp.Select) -> list[exp.Expr]:
    found = []
    if select.args.get("from_") is not None:
        found.append(select.args["from_"].this)
    return found + [join.this for join in select.args.get("joins") or ()]


def _has_distributed(node: exp.Expr) -> bool:
    return any(table.name in DISTRIBUTED for table in node.find_all(exp.Table))


def _locks(select: exp.Select) -> bool:
    if not select.args.get("locks"):
        return False
    return any(isinstance(s, exp.Table) and s.name in DISTRIBUTED for s in _sources(select))


def _table(write: exp.Expr) -> str:
    table = write.this.find(exp.Table)
    return str(table.name) if table else ""


def _function(function: exp.Func) -> str:
    return str(
        function.name if isinstance(function, exp.Anonymous) else function.sql_name()
    ).upper()


class _Links:
    """Which tables' customers a statement makes equal, to each other or to one it is given."""

    _GIVEN = "given"

    def __init__(self, tree: exp.Expr) -> None:
        self._names: dict[int, str] = {}
        self._parents: dict[str, str] = {}
        for number, table in enumerate(tree.find_all(exp.Table)):
            self._names[id(table)] = f"{number} {table.alias_or_name}"
        self._tables = list(tree.find_all(exp.Table))
        for equal in tree.find_all(exp.EQ):
            sides = [self._end(side) for side in (equal.left, equal.right)]
            if all(sides) and self._holds(equal):
                self._parents[self._root(str(sides[0]))] = self._root(str(sides[1]))

    def one_customer(self, table: exp.Table) -> bool:
        """Whether its customer is the one that the statement is given."""
        return self._root(self._names[id(table)]) == self._root(self._GIVEN)

    def together(self, one: exp.Table, other: exp.Table) -> bool:
        """Whether both have the same customer."""
        return self._root(self._names[id(one)]) == self._root(self._names[id(other)])

    def _end(self, side: exp.Expr) -> str | None:
        if isinstance(side, exp.Cast):
            side = side.this
        if isinstance(side, exp.Placeholder | exp.Parameter):
            return self._GIVEN
        if not isinstance(side, exp.Column) or side.name != KEY:
            return None
        scope: exp.Expr | None = side
        while scope is not None:
            scope = scope.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Insert)
            near = [t for t in self._tables if self._owner(t) is scope]
            if side.table:
                near = [t for t in near if t.alias_or_name == side.table]
            else:
                near = [t for t in near if t.name in DISTRIBUTED]
            if near:
                return self._names[id(near[0])]
        return None

    @staticmethod
    def _holds(condition: exp.Expr) -> bool:
        """Whether every row of its select meets it."""
        inside = (exp.Select, exp.Update, exp.Delete, exp.Insert)
        nearest = condition.find_ancestor(exp.Or, exp.Not, exp.Case, *inside)
        return isinstance(nearest, inside)

    @staticmethod
    def _owner(table: exp.Table) -> exp.Expr | None:
        return table.find_ancestor(exp.Select, exp.Update, exp.Delete, exp.Insert)

    def _root(self, name: str) -> str:
        while name in self._parents and self._parents[name] != name:
            name = self._parents[name]
        return name
