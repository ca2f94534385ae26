"""The log of a server: one JSON object a line, and no local variables."""

import json
import subprocess
import sys

PROGRAM = """
import logging, warnings
import structlog
from taximeter.cli.logs import configure_logging
configure_logging()
def fail(password):
    raise ValueError("no\\nluck")
try:
    fail("hush-hush")
except ValueError as error:
    structlog.get_logger("ours").exception("broken", request_id="req_1")
    structlog.get_logger("ours").error("again", exc_info=error)
    logging.getLogger("theirs").exception("also %s", "broken")
structlog.get_logger("ours").debug("unheard")
warnings.warn("old")
"""


def test_every_entry_is_a_line_without_locals() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    entries = [json.loads(line) for line in done.stderr.splitlines()]
    shown = [(entry["logger"], entry["level"], entry["event"]) for entry in entries[:3]]
    assert shown == [
        ("ours", "error", "broken"),
        ("ours", "error", "again"),
        ("theirs", "error", "also broken"),
    ]
    assert all("ValueError: no\nluck" in entry["exception"] for entry in entries[:3])
    assert entries[0]["request_id"] == "req_1"
    assert entries[3]["logger"] == "py.warnings"
    assert len(entries) == 4
    assert "hush-hush" not in done.stderr.replace('fail("hush-hush")', "").replace(
        'fail(\\"hush-hush\\")', ""
    )
