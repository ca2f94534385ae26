"""The page of the database, from the declared schema and its comments."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from docs.generator.markdown import code, page, table

_KEY = re.compile(r"^(CONSTRAINT \w+ )?(PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK|EXCLUDE)\b")
_TYPE_ENDS = re.compile(
    r"\s+(?=COLLATE|NOT NULL|NULL\b|DEFAULT|CHECK|PRIMARY KEY|UNIQUE|REFERENCES|GENERATED)"
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `rules` is what follows its type."""

    name: str
    type: str
    rules: str


@dataclass(slots=True)
class Table:
    """A table; `keys` holds its constraints and unique indexes, each spelt out."""

    name: str
    note: str
    columns: list[Column] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)


def read_tables(sql: str) -> list[Table]:
    """The tables that these statements create, in order."""
    tables: dict[str, Table] = {}
    for note, statement in _statements(sql):
        if found := re.match(r"CREATE TABLE (\w+) \((.*?)\)(?: WITH \([^)]*\))?$", statement):
            tables[found[1]] = _read_table(found[1], note, found[2])
        elif found := re.match(r"CREATE (UNIQUE )?INDEX \w+ ON (\w+) (.*)", statement):
            owner = tables[found[2]]
            if found[1]:
                owner.keys.append(f"UNIQUE {found[3]}")
            else:
                owner.indexes.append(found[3])
    return list(tables.values())


def _statements(sql: str) -> Iterator[tuple[str, str]]:
    """Each statement on one line, with the comment right above it."""
    for block in sql.split(";\n"):
        lines = block.strip().splitlines()
        code_lines = [line for line in lines if not line.startswith("--")]
        above: list[str] = []
        for line in lines:
            if not line.startswith("--"):
                if line.strip():
                    break
                above = []
            else:
                above.append(line.removeprefix("--").strip())
        yield " ".join(above), " ".join(" ".join(code_lines).split()).rstrip(";")


def _read_table(name: str, note: str, body: str) -> Table:
    made = Table(name, note)
    for item in _items(body):
        if _KEY.match(item):
            made.keys.append(item)
            continue
        column, _, rest = item.partition(" ")
        kind, *rules = _TYPE_ENDS.split(rest, maxsplit=1)
        rule = rules[0] if rules else ""
        for key in ("PRIMARY KEY", "UNIQUE"):
            if re.search(rf"\b{key}\b", rule):
                made.keys.append(f"{key} ({column})")
                rule = re.sub(rf"\s*\b{key}\b\s*", " ", rule).strip()
        if reference := re.search(r"\bREFERENCES .*", rule):
            made.keys.append(f"FOREIGN KEY ({column}) {reference[0]}")
            rule = rule.replace(reference[0], "").strip()
        made.columns.append(Column(column, kind, rule))
    return made


def _items(body: str) -> Iterator[str]:
    """What the commas outside any bracket separate."""
    depth, item = 0, ""
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield item.strip()
            item = ""
        else:
            item += character
    if item.strip():
        yield item.strip()


def render(sql: str) -> str:
    """The page."""
    intro = (
        "Every table of a Taximeter database. Money and quantities are `numeric`, times are "
        "`timestamptz` and come from the application. `taximeter db check` compares a database "
        "with this."
    )
    return page("The database", intro, (_section(one) for one in read_tables(sql)))


def _section(one: Table) -> str:
    rows = ([code(c.name), c.type, c.rules.replace('COLLATE "C"', "").strip()] for c in one.columns)
    parts = [f"## {one.name}", one.note, table(["column", "type", "rules"], rows)]
    listed = [*one.keys, *(f"INDEX {index}" for index in one.indexes)]
    parts.append("\n".join(f"- {code(item)}" for item in listed))
    return "\n\n".join(part for part in parts if part)
