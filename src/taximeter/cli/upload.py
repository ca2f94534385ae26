"""Sending events to a running server in batches, in parallel, until each batch is answered.

Owns batches, retries and what was confirmed. Sending again is safe: an event counts once by its
identity, and each batch carries an idempotency key of this run, so that a batch whose answer was
lost is reported as it was first taken.
"""

import gzip
import hashlib
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import httpx2
import msgspec

from taximeter.cli.api import EVENTS, Api, Refused, reason_of, refused
from taximeter.cli.event_mapping import Ready
from taximeter.cli.event_rows import BadRow

BATCH_BYTES_MAX = 8 * 1024 * 1024
BATCHES_WAITING = 2  # for each connection: one under way, one ready
RETRY_FIRST_S = 0.2
RETRY_S_MAX = 5.0
RETRIED = (429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that go in one request. `digest` is of what is sent, and where to."""

    number: int
    lines: Sequence[int]
    body: bytes
    digest: str


class ResultError(msgspec.Struct):
    """Why an event was not plainly accepted."""

    path: str
    code: str
    detail: str


class Result(msgspec.Struct):
    """What became of one event of a batch."""

    index: int
    id: str | None
    status: str
    error: ResultError | None = None


class Answer(msgspec.Struct):
    """What became of a batch; `results` has those that were not plainly accepted."""

    accepted: int
    duplicates: int
    quarantined: int
    rejected: int
    results: list[Result]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A batch and the server's answer; None where an earlier run had it confirmed."""

    batch: Batch
    answer: Answer | None


class GaveUp(Exception):
    """The server did not answer a batch in time, or refused it as a whole."""


class Stopped(Exception):
    """The upload was told to stop before this batch was answered."""


_answer_of = msgspec.json.Decoder(Answer).decode


def batches(
    rows: Iterable[Ready | BadRow], size: int, url: str, reject: Callable[[BadRow], None]
) -> Iterator[Batch]:
    """The events of `rows` in batches of at most `size`; bad rows go to `reject`."""
    number = length = 0
    lines: list[int] = []
    bodies: list[bytes] = []
    for row in rows:
        if isinstance(row, BadRow):
            reject(row)
            continue
        if bodies and (len(bodies) >= size or length + len(row.body) > BATCH_BYTES_MAX):
            yield _batch(number, lines, bodies, url)
            number, length, lines, bodies = number + 1, 0, [], []
        lines.append(row.line)
        bodies.append(row.body)
        length += len(row.body)
    if bodies:
        yield _batch(number, lines, bodies, url)


def _batch(number: int, lines: Sequence[int], bodies: Sequence[bytes], url: str) -> Batch:
    body = b"[" + b",".join(bodies) + b"]"
    digest = hashlib.blake2b(url.encode() + b"\0" + body, digest_size=16).hexdigest()
    return Batch(number, lines, body, digest)


class Checkpoint:
    """A file that remembers, across runs, which batches the server took without exception."""

    def __init__(self, file: Path | None) -> None:
        self._known: set[str] = set()
        self._stream: IO[str] | None = None
        if file is not None:
            self._stream = file.open("a+", encoding="ascii", errors="replace")
            self._stream.seek(0)
            # A line that was cut off by a crash matches no batch; that batch is sent again.
            self._known = {line.strip() for line in self._stream}
            self._stream.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            self._stream.close()

    def has(self, batch: Batch) -> bool:
        """Whether the batch was confirmed by an earlier run."""
        return batch.digest in self._known

    def add(self, batch: Batch) -> None:
        """Remember the batch as confirmed."""
        if self._stream is not None:
            self._stream.write(f"{batch.digest}\n")
            self._stream.flush()


class Uploader:
    """Sends batches over `connections` at once; `run` is the marker of this run's keys."""

    def __init__(
        self,
        api: Api,
        *,
        run: str,
        connections: int,
        retry_s_max: int,
        notice: Callable[[str], None],
        path: str = EVENTS,
    ) -> None:
        self._api = api
        self._run = run
        self._connections = connections
        self._retry_s_max = retry_s_max
        self._notice = notice
        self._path = path
        self._stop = threading.Event()
        self._in_trouble = threading.Event()

    def upload(self, found: Iterable[Batch], checkpoint: Checkpoint) -> Iterator[Confirmed]:
        """Send every batch and give each as it is confirmed, in no order.

        Raises `GaveUp` where one was not: no other is begun then, and those under way are given
        before. Where the caller stops iterating they are waited for only.
        """
        waiting: dict[Future[Answer], Batch] = {}
        trouble: BaseException | None = None
        with ThreadPoolExecutor(self._connections, thread_name_prefix="upload") as pool:
            try:
                for batch in found:
                    if checkpoint.has(batch):
                        yield Confirmed(batch, None)
                        continue
                    while not trouble and len(waiting) >= self._connections * BATCHES_WAITING:
                        trouble = yield from self._collect(waiting, checkpoint)
                    if trouble:
                        break
                    waiting[pool.submit(self._send, batch)] = batch
                while waiting:
                    trouble = (yield from self._collect(waiting, checkpoint)) or trouble
            finally:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
        if trouble is not None:
            raise trouble

    @staticmethod
    def _collect(
        waiting: dict[Future[Answer], Batch], checkpoint: Checkpoint
    ) -> Generator[Confirmed, None, BaseException | None]:
        """The batches that are done, at least one; returns what went wrong, if anything did."""
        done, _ = wait(waiting, return_when=FIRST_COMPLETED)
        trouble: BaseException | None = None
        for future in done:
            batch = waiting.pop(future)
            error = future.exception()
            if error is None:
                answer = future.result()
                if not (answer.rejected or answer.quarantined):
                    checkpoint.add(batch)
                yield Confirmed(batch, answer)
            elif not isinstance(error, Stopped):
                trouble = error
        return trouble

    def _send(self, batch: Batch) -> Answer:
        """One batch, tried until it is answered. Raises `GaveUp`, which stops the others, and
        `Stopped`."""
        try:
            return self._send_until_answered(batch)
        except GaveUp:
            self._stop.set()
            raise

    def _send_until_answered(self, batch: Batch) -> Answer:
        headers = {"Idempotency-Key": f"import-{self._run}-{batch.number}"}
        pause, deadline = RETRY_FIRST_S, 0.0
        while not self._stop.is_set():
            answer, reason, pause_min = post_batch(self._api, batch.body, headers, self._path)
            if answer is not None:
                self._in_trouble.clear()
                return answer
            now = time.monotonic()
            deadline = deadline or now + self._retry_s_max
            if not self._in_trouble.is_set():
                self._in_trouble.set()
                self._notice(f"{reason}; trying again for {self._retry_s_max} s.")
            pause = max(pause, pause_min)
            if now + pause > deadline:
                raise GaveUp(
                    f"{reason}, for {self._retry_s_max} s. Nothing is lost: run the same command "
                    "again."
                )
            self._stop.wait(pause)
            pause = min(pause * 2, RETRY_S_MAX)
        raise Stopped


def post_batch(
    api: Api, body: bytes, headers: Mapping[str, str], path: str = EVENTS
) -> tuple[Answer | None, str, float]:
    """What the server answers to a batch, in JSON that is compressed here; or why there is no
    answer yet and how long to wait at least. Raises `GaveUp` where to try again is in vain.
    """
    try:
        response = api.post_events(
            gzip.compress(body, compresslevel=1, mtime=0),
            {
                "Content-Type": "application/cloudevents-batch+json",
                "Content-Encoding": "gzip",
                **headers,
            },
            path,
        )
    except httpx2.RequestError as error:
        return None, f"The server at {api.url} does not answer ({reason_of(error)})", 0.0
    if response.status_code == 200:
        try:
            return _answer_of(response.content), "", 0.0
        except msgspec.DecodeError:
            raise GaveUp(f"{api.url} is no Taximeter. Look at --url.") from None
    if response.status_code in RETRIED:
        after = response.headers.get("retry-after", "")
        pause_min = min(int(after), RETRY_S_MAX) if after.isdigit() else 0.0
        return None, f"The server answers {response.status_code}", pause_min
    problem: Refused = refused(response)
    raise GaveUp(problem.sentence)
