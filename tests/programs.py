"""Programs that tests need and the project does not bring.

Where one is missing, root on Debian gets it installed; everyone else skips the tests.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

INSTALL_S_MAX = 240


def program(package: str, *names: str) -> str:
    """The path of the first of these programs that is there, else of Debian's `package`, installed
    by one process while the others wait. Skips where that fails.
    """
    if found := _find(names):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(f"no {names[0]} here: install it, Debian: apt-get install {package}")
    with (Path(tempfile.gettempdir()) / f"taximeter-{package}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := _find(names):
            return found
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "--yes", "--no-install-recommends", package]):
            try:
                done = subprocess.run(
                    ["apt-get", "--quiet", *command], env=quiet, capture_output=True, text=True,
                    timeout=INSTALL_S_MAX, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                pytest.skip(f"no {package}: apt-get {command[0]} took over {INSTALL_S_MAX} s")
            if done.returncode:
                pytest.skip(f"no {package}: apt-get {command[0]} failed: {done.stderr[-300:]}")
    found = _find(names)
    assert found, f"the package {package} brings a program of that name"
    return found


def _find(names: tuple[str, ...]) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)
