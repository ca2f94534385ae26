"""The clock, chance and the environment are read in the composition root alone."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.source import Finding, Module, dotted, expect_none, package

ROOT_MODULE = "bootstrap.py"
# Why each may: a password for the embedded server; the id of a row in yoyo's own log.
EXEMPT = {
    "gateways/postgres/cluster.py": ("secrets.",),
    "storage/migrate.py": ("uuid.",),
}
BANNED = {
    "datetime.datetime.now": "Take `at`, or ask the context's clock.",
    "datetime.datetime.utcnow": "Take `at`, or ask the context's clock.",
    "datetime.datetime.today": "Take `at`, or ask the context's clock.",
    "datetime.date.today": "Take `at`, or ask the context's clock.",
    "time.time": "Take `at`, or ask the context's clock; time.monotonic measures a wait.",
    "time.time_ns": "Take `at`, or ask the context's clock; time.monotonic measures a wait.",
    "time.gmtime": "Take `at`, or ask the context's clock.",
    "time.localtime": "Take `at`, or ask the context's clock.",
    "random.": "Take ids from the context, and random bytes as an argument.",
    "secrets.": "Take ids from the context, and random bytes as an argument.",
    "uuid.": "Take ids from the context.",
    "os.urandom": "Take random bytes as an argument.",
    "os.environ": "Take it as an argument; bootstrap.py reads the environment.",
    "os.environb": "Take it as an argument; bootstrap.py reads the environment.",
    "os.getenv": "Take it as an argument; bootstrap.py reads the environment.",
}


def find_readings(module: Module) -> Iterator[Finding]:
    """Uses of a banned name; one that ends with a point stands for all below it."""
    if module.within(ROOT_MODULE):
        return
    imported = module.imported()
    exempt = [names for path, names in EXEMPT.items() if module.within(path)]
    for node in ast.walk(module.tree):
        name = dotted(node, imported)
        if name is None or any(name.startswith(prefix) for names in exempt for prefix in names):
            continue
        for banned, cure in BANNED.items():
            if name == banned or (banned.endswith(".") and name.startswith(banned)):
                yield module.at(node, f"{name}. {cure}")


def test_only_bootstrap_reads_the_surroundings() -> None:
    found = (finding for module in package() for finding in find_readings(module))
    expect_none(found, "What a function needs from outside is given to it:")


@pytest.mark.parametrize(
    ("path", "text", "findings"),
    [
        ("services/a.py", "from datetime import datetime\nat = datetime.now()", 1),
        ("services/a.py", "import datetime\nat = datetime.datetime.now()", 1),
        ("services/a.py", "import datetime as d\nat = d.datetime.utcnow()", 1),
        ("services/a.py", "at = context.clock.now()", 0),
        ("services/a.py", "from time import time\nat = time()", 1),
        ("services/a.py", "from time import monotonic\nat = monotonic()", 0),
        ("cli/a.py", "import os\nurl = os.environ['DATABASE_URL']", 1),
        ("services/a.py", "import secrets\nkey = secrets.token_bytes(32)", 1),
        ("gateways/postgres/cluster.py", "import secrets\nword = secrets.token_hex()", 0),
        ("gateways/postgres/cluster.py", "import os\nhome = os.environ", 1),
        ("bootstrap.py", "import os\nhome = os.environ", 0),
    ],
)
def test_the_rule(path: str, text: str, findings: int) -> None:
    assert len(list(find_readings(Module.of(text, path)))) == findings
