"""Where the plan files are that come with Taximeter."""

from pathlib import Path

from taximeter.cli.terminal import fail

_ONE_OF_THEM = "demo-tokens.yaml"


def plan_folder() -> Path:
    """In the package, or beside it where it runs from its sources."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "plans", package.parents[1] / "plans")
    found = next((one for one in folders if (one / _ONE_OF_THEM).is_file()), None)
    if found is None:
        fail("The plan files are missing from this installation. Install Taximeter again.")
    return found
