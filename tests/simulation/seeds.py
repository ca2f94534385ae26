"""Which seeds are run: a few in `make test`; in `make simulate` as many as it is told, from the
first one that it is told. A seed that failed is run again by its number.
"""

import os


def seeds(few: int) -> range:
    """So many seeds, unless the environment asks for others."""
    first = int(os.environ.get("TAXIMETER_SIMULATE_SEED", "1"))
    return range(first, first + int(os.environ.get("TAXIMETER_SIMULATE_SEEDS", few)))
