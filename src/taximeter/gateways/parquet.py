"""Files of events: Parquet, compressed by zstd, which every tool for data reads.

Owns the form of a file: the columns of a row of events as the storage reads them, data and
attributes as the JSON text that they are (so no digit is lost), rows by customer, time, source and
id. A file is whole or not there: it is written under another name, made durable, then renamed.
Needs the extra `parquet`. Must not decide which rows of a file still count.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from taximeter.kernel.errors import Unavailable

Row = tuple[Any, ...]

GROUP_ROWS = 5_000
COLUMNS = (
    "customer", "source", "id", "type", "time", "received_at", "path", "subscription", "data",
    "attributes", "digest", "status", "reason", "counted_at",
)  # fmt: skip
_TIMES = ("time", "received_at", "counted_at")
_CHUNK = 1 << 20


class Written(NamedTuple):
    """A file that is durable: the SHA-256 of its bytes, in hexadecimal, and how many."""

    sha256: str
    bytes: int


def write(path: Path, portions: Iterable[Sequence[Row]]) -> Written:
    """Write these rows, of COLUMNS and in order, to a new file; no more than a portion of them is
    held. Raises `Unavailable`.
    """
    pa, parquet = _library()
    schema = _schema(pa)
    unfinished = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                for rows in portions:
                    writer.write_table(_table(pa, schema, rows), row_group_size=GROUP_ROWS)
            file.flush()
            os.fsync(file.fileno())
        written = Written(digest_of(unfinished), unfinished.stat().st_size)
        unfinished.rename(path)
        _make_durable(path.parent)
    except OSError as error:
        raise Unavailable(
            what=f"The archive cannot be written to {path.parent}: {error}.",
            cure="Name a directory that can be written to and has room.",
        ) from error
    return written


def _table(pa: Any, schema: Any, rows: Sequence[Row]) -> Any:
    columns = zip(*(row[: len(COLUMNS)] for row in rows), strict=True)
    arrays = [
        pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def read(
    path: Path, *, customer: str | None = None, start: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[list[Row]]:  # fmt: skip
    """The rows of a file in its order, some thousands at a time: of one customer only, and only
    from `start` on and before `end`, where so wanted. Raises `Unavailable`.
    """
    _, parquet = _library()
    try:
        with parquet.ParquetFile(path) as file:
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if customer is not None and not _may_hold(group, customer):
                    continue
                columns = file.read_row_group(number).to_pydict()
                rows = [
                    row
                    for row in zip(*(columns[name] for name in COLUMNS), strict=True)
                    if (customer is None or row[0] == customer)
                    and (start is None or row[4] >= start)
                    and (end is None or row[4] < end)
                ]
                if rows:
                    yield rows
    except (OSError, ValueError) as error:  # those of the library derive from these
        raise _unreadable(path, error) from error


def digest_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises `Unavailable`."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def remove(path: Path) -> None:
    """Remove a file that is needed no more; it may be gone already."""
    path.unlink(missing_ok=True)


def names_in(folder: Path) -> list[Path]:
    """The files of events in a directory, finished or not."""
    return sorted(one for one in folder.glob("*.parquet*") if one.suffix in (".parquet", ".part"))


def _unreadable(path: Path, error: Exception) -> Unavailable:
    return Unavailable(
        what=f"The archive file {path} cannot be read: {error}.",
        cure="Put it back where it was; `taximeter archive verify` names what is missing.",
    )


def _library() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise Unavailable(
            what="The archive is kept in Parquet files, and the library for them is missing.",
            cure="Install taximeter[parquet].",
        ) from error


def _schema(pa: Any) -> Any:
    times = pa.timestamp("us", tz="UTC")
    return pa.schema([(name, times if name in _TIMES else pa.string()) for name in COLUMNS])


def _may_hold(group: Any, customer: str) -> bool:
    """Whether a row group's statistics leave room for this customer."""
    statistics = group.column(0).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    # Long texts may be cut in statistics: compare what both have of them.
    low, high = statistics.min, statistics.max
    return bool(low <= customer and customer[: len(high)] <= high)


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
