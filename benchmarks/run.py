"""Every benchmark, one after the other: `make bench`, or `make bench ARGS=ingest` for one. What
begins with a dash, and all behind it, are options of the one that was named.
"""

import sys
from itertools import takewhile

from benchmarks import completeness, growth, holds, ingest, preview, rating, upcoming, values

ALL = {
    "ingest": ingest.main,
    "growth": growth.main,
    "holds": holds.main,
    "rating": rating.main,
    "upcoming": upcoming.main,
    "preview": preview.main,
    "completeness": completeness.main,
    "values": values.main,
}


def main() -> None:
    """Run those named as arguments, else all."""
    names = list(takewhile(lambda each: not each.startswith("-"), sys.argv[1:])) or list(ALL)
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"There is no benchmark {', '.join(unknown)}. Choose from {', '.join(ALL)}.")
    for name in names:
        ALL[name]()


if __name__ == "__main__":
    main()
