"""Transactions are opened and ended in two places; a query's connection writes nothing."""

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.architecture.source import Finding, Function, Module, dotted, expect_none, package

ENDS = ("commit", "rollback", "transaction")
# The two write paths, and the snapshot that cannot write; then the start of an instance, the
# temporary tables of a connection, and migrations, which come before there is a context. What a
# consumer of Kafka commits are offsets.
ALLOWED = {
    "gateways/streams/kafka.py": ("KafkaStream.done",),
    "services/command.py": ("run", "look"),
    "services/committer.py": ("Committer._attempt",),
    "services/instance.py": ("first_start",),
    "storage/distribute.py": ("_carry_out",),
    "storage/ingestion.py": ("prepare_connection",),
    "storage/migrate.py": ("check", "only_us", "_Backend.apply_one"),
}
_WRITES = re.compile(r"\b(INSERT INTO|UPDATE \w+|DELETE FROM|COPY \w+|TRUNCATE)\b(?! \w+ TO\b)")


def find_transactions(module: Module) -> Iterator[Finding]:
    """Calls that begin or end a transaction, outside the functions that may."""
    allowed = [name for path, names in ALLOWED.items() if module.within(path) for name in names]
    inside = {
        id(node)
        for name, function in module.functions()
        if name in allowed
        for node in ast.walk(function)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in ENDS and id(node) not in inside:
                yield module.at(node, f".{node.func.attr}(")


def writers(storage: Iterable[Module]) -> set[str]:
    """The full names of the storage functions whose own statements write."""
    found = set()
    for module in storage:
        name = module.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        writing = {
            target.id
            for node in module.tree.body
            if isinstance(node, ast.Assign) and _texts_write(node)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for function, node in module.functions():
            used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            if _texts_write(node) or used & writing:
                found.add(f"{name}.{function}")
    return found


def _texts_write(node: ast.AST) -> bool:
    """Whether a text in it holds a writing statement, its docstring apart."""
    doc = ast.get_docstring(node, clean=False) if isinstance(node, Function) else None
    texts = (
        each.value
        for each in ast.walk(node)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and each.value != doc
    )
    return any(_WRITES.search(text) for text in texts)


def find_stray_writes(module: Module, writing: set[str]) -> Iterator[Finding]:
    """Writes on a connection of the pool that no transaction was opened on: it commits unseen."""
    imported = module.imported()
    for block in ast.walk(module.tree):
        if not isinstance(block, ast.AsyncWith | ast.With):
            continue
        opened = [item.context_expr for item in block.items]
        names = [
            call.func.attr
            for call in opened
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        ]
        if "connection" not in names or "transaction" in names:
            continue
        for node in ast.walk(block):
            if isinstance(node, ast.Call) and dotted(node.func, imported) in writing:
                yield module.at(node, f"{dotted(node.func, imported)} writes")


def test_transactions_have_two_places() -> None:
    found = (finding for module in package() for finding in find_transactions(module))
    expect_none(found, "Write by services.command.run, or by the committer:")


def test_a_query_does_not_write() -> None:
    writing = writers(module for module in package() if module.within("storage"))
    assert "taximeter.storage.audit.insert" in writing, "the rule sees no write at all"
    found = (finding for module in package() for finding in find_stray_writes(module, writing))
    expect_none(found, "The pool commits when it takes a connection back. Write by command.run:")


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("services/a.py", "async def f(c):\n    await c.commit()", 1),
        ("services/a.py", "async def f(c):\n    async with c.transaction(): ...", 1),
        ("services/command.py", "async def run(c):\n    async with c.transaction(): ...", 0),
        ("services/command.py", "async def other(c):\n    async with c.transaction(): ...", 1),
        ("services/a.py", "async def f(t):\n    return t.at", 0),
    ],
)
def test_the_rule_on_transactions(path: str, text: str, findings: int) -> None:
    assert len(list(find_transactions(Module.of(text, path)))) == findings


@pytest.mark.parametrize(
    ("opened", "call", "findings"),
    [
        ("pool.connection() as c", "store.insert(c)", 1),
        ("pool.connection() as c", "store.find(c)", 0),
        ("pool.connection() as c, c.transaction()", "store.insert(c)", 0),
    ],
)
def test_the_rule_on_stray_writes(opened: str, call: str, findings: int) -> None:
    storage = Module.of(
        '_ADD = "INSERT INTO a VALUES (1)"\n'
        "async def insert(c): await c.execute(_ADD)\n"
        'async def find(c): await c.execute("SELECT 1")\n',
        "storage/store.py",
    )
    service = Module.of(
        "from taximeter.storage import store\n"
        f"async def f(pool):\n    async with {opened}:\n        await {call}\n",
        "services/a.py",
    )
    assert len(list(find_stray_writes(service, writers([storage])))) == findings
