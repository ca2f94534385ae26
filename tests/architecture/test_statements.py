"""No statement has a form that a cluster refuses, but those named here with their reason."""

import importlib
import re
from collections.abc import Iterator

import pytest

from taximeter.storage import ingestion, recompute
from tests.architecture import statements
from tests.architecture.source import Module, package
from tests.architecture.statements import Unread, refused
from tests.architecture.test_sql import STATEMENT, texts

# Of migrations, of PostgreSQL's own catalog, and of Citus's.
_APART = ("catalog.py", "distribute.py", "distribution.py", "migrate.py")
_IN_BRACES = re.compile(r"\{\w+\}")
# What a cluster refuses, or answers otherwise than one server, with what that takes away there.
KNOWN = {
    (
        "ingestion.py",
        statements.CORRELATED,
    ): "No new events of customers whose events were archived.",
    ("recompute.py", statements.BESIDE_TEMPORARY): "No `taximeter usage recompute`.",
    ("kept_values.py", statements.NODE_STATE): (
        "A process may remember values of a bounded dimension that were not committed."
    ),
}


def found_statements() -> Iterator[tuple[str, str]]:
    """Every statement of storage, with its module."""
    for module in package():
        name = module.path.rpartition("/")[2]
        if not module.within("storage") or name in _APART:
            continue
        yield from ((name, text) for text in _statements(module))
    yield "ingestion.py", ingestion._insert(archived=True)
    for kind in recompute.KINDS:
        for template in (recompute._UNEQUAL, recompute._DELETE, recompute._INSERT):
            yield "recompute.py", recompute._statement(template, kind, "public").as_string()


def _statements(module: Module) -> Iterator[str]:
    loaded = importlib.import_module(f"taximeter.storage.{module.path.rpartition('/')[2][:-3]}")
    known = {name: value for name, value in vars(loaded).items() if isinstance(value, str)}
    own = {text for name, text in known.items() if STATEMENT.match(text) and name in module.text}
    inner = {text for _, text in texts(module, known) if STATEMENT.match(text)}
    own, inner = ({text for text in each if not _IN_BRACES.search(text)} for each in (own, inner))
    # What stands in the module with a gap stands in the loaded one without.
    yield from own | {text for text in inner if "…" not in text or not _filled(text, own)}


def _filled(text: str, whole: set[str]) -> bool:
    parts = [part for part in text.split("…") if part.strip()]
    return any(all(part in each for part in parts) for each in whole)


def _told(module: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        yield from ((module, form) for form in refused(text))
    except Unread as error:
        yield module, f"cannot be read: {error}"


def test_every_statement_runs_on_a_cluster() -> None:
    told = {one for module, text in found_statements() for one in _told(module, text)}
    assert told - set(KNOWN) == set(), "each form, with its cure, stands in statements.py"
    assert set(KNOWN) - told == set(), "strike what is mended off the list"


GIVEN = "customer = %s"
UPSERT = "INSERT INTO hold AS h (customer, id) VALUES (%s, %s) ON CONFLICT"
OF_LIST = "SELECT id FROM hold h WHERE h.customer = k.customer LIMIT 1"
OF_ROW = "SELECT max(id) FROM hold h WHERE h.customer = c.customer"
LIST = "FROM json_to_recordset(%s) AS k (customer text)"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (f"SELECT id FROM hold WHERE {GIVEN} FOR UPDATE", None),
        ("SELECT id FROM hold WHERE customer = ANY(%s) FOR UPDATE", statements.WIDE_LOCK),
        (f"SELECT id FROM hold WHERE {GIVEN} OR id = %s FOR UPDATE", statements.WIDE_LOCK),
        ("LOCK TABLE cache_change IN SHARE MODE", None),
        ("LOCK TABLE event IN SHARE MODE", statements.TABLE_LOCK),
        ("SELECT value FROM number_counter WHERE name = %s FOR UPDATE", None),
        (f"WITH a AS (DELETE FROM hold WHERE {GIVEN} RETURNING id) SELECT id FROM a", None),
        ("WITH a AS (DELETE FROM hold RETURNING id) SELECT id FROM a", statements.WIDE_CTE),
        (f"UPDATE hold SET customer = %s WHERE {GIVEN}", statements.MOVED),
        ("INSERT INTO hold (id) VALUES (%s)", statements.NO_KEY),
        (f"{UPSERT} (customer, id) DO NOTHING", None),
        (f"{UPSERT} (id) DO NOTHING", statements.CONFLICT),
        ("SELECT 1 FROM hold h JOIN wallet w ON w.customer = h.customer", None),
        ("SELECT 1 FROM hold h JOIN wallet w ON w.asset = h.id", statements.JOIN),
        (f"SELECT 1 FROM hold h, wallet w WHERE h.{GIVEN} AND w.{GIVEN}", None),
        (f"SELECT (SELECT max(id) FROM hold h WHERE h.customer = k.customer) {LIST}",
         statements.CORRELATED),
        (f"SELECT ({OF_ROW}) {LIST} JOIN customer c ON c.customer = k.customer", None),
        (f"SELECT h.id {LIST} LEFT JOIN hold h ON h.customer = k.customer", statements.OUTER),
        (f"SELECT h.id {LIST} JOIN hold h ON h.customer = k.customer", None),
        (f"SELECT a.id {LIST} CROSS JOIN LATERAL ({OF_LIST}) a", statements.LATERAL),
        ("UPDATE meter SET version = 1 FROM hold WHERE id = key", statements.REFERENCE_WRITE),
        (f"{UPSERT} (customer, id) DO UPDATE SET id = (SELECT max(id) FROM hold)",
         statements.RETURNED),
        ("UPDATE hold SET path = concat(path, 'a') WHERE id = %s", statements.STABLE),
        ("SELECT pg_current_xact_id()", statements.NODE_STATE),
    ],
)  # fmt: skip
def test_the_forms_that_are_refused(text: str, form: str | None) -> None:
    assert set(refused(text)) == ({form} if form else set())
