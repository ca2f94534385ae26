"""A real browser: Chromium by Playwright, and a page that fails its test on an error of its own.

Where there is no Chromium, root on Debian gets it installed; everyone else skips these tests.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_S_MAX = 240
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; skips where there is none and none can be installed."""
    return find_chromium() or install_chromium()


def find_chromium() -> str | None:
    """The first that is there."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def install_chromium() -> str:
    """Debian's Chromium, installed by one process while the others wait; skips where it fails."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("no Chromium here: install it, Debian: apt-get install chromium")
    with (Path(tempfile.gettempdir()) / "taximeter-chromium.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find_chromium():
            return found
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
            try:
                done = subprocess.run(
                    ["apt-get", "--quiet", *command], env=quiet, capture_output=True, text=True,
                    timeout=INSTALL_S_MAX, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                pytest.skip(f"no Chromium: apt-get {command[0]} took over {INSTALL_S_MAX} s")
            if done.returncode:
                pytest.skip(f"no Chromium: apt-get {command[0]} failed: {done.stderr[-300:]}")
    found = find_chromium()
    assert found, "the package chromium brings a program of that name"
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for the tests of a module: its event loop must be gone before others begin."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=chromium, args=ARGUMENTS, chromium_sandbox=os.geteuid() != 0
        )
        yield found
        found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh page, as wide as a laptop's. Its errors on the console fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    found = context.new_page()
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    found.on("console", note)
    found.on("pageerror", lambda error: errors.append(str(error)))
    yield found
    context.close()
    assert not errors, f"the page reported errors: {errors}"
