"""A small stand-in for the server's POST /v1/events that misbehaves as it is told.

Holds to the contract: an event counts once by its identity, equal content again is a duplicate,
other content a conflict, and an idempotency key gives the first answer again.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "tx_the-key-of-tests"


@dataclass
class EventServer:
    """`faults` are spent one a request: a status, `drop` (nothing is taken, the connection ends)
    or `lose` (all is taken, but the answer is lost). Customers not in `customers` are unknown.
    """

    faults: list[int | str] = field(default_factory=list)
    customers: set[str] = field(default_factory=lambda: {"acme"})
    events: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def take(self, events: list[dict[str, Any]]) -> dict[str, Any]:
        """Take a batch in; its answer."""
        counts = {"accepted": 0, "duplicates": 0, "quarantined": 0, "rejected": 0}
        results = []
        self.sizes.append(len(events))
        for index, event in enumerate(events):
            identity = (event["subject"], event.get("source", ""), event["id"])
            first = self.events.setdefault(identity, event)
            error = None
            if first is not event:
                status, count = "duplicate", "duplicates"
                if first != event:
                    status, count = "conflict", "rejected"
                    error = {"path": "id", "code": "conflict", "detail": "The first stays."}
            elif event["subject"] not in self.customers:
                status, count = "quarantined", "quarantined"
                error = {"path": "", "code": "unknown_customer", "detail": "No such customer."}
            else:
                status, count = "accepted", "accepted"
            counts[count] += 1
            if status != "accepted":
                result = {"index": index, "id": event["id"], "status": status}
                results.append(result if error is None else {**result, "error": error})
        return {**counts, "results": results}

    @property
    def data(self) -> list[dict[str, Any]]:
        """The data of every event that is there."""
        return [event["data"] for event in self.events.values()]


@contextmanager
def serving(*faults: int | str) -> Iterator[EventServer]:
    """A running stand-in with these faults."""
    state = EventServer(faults=list(faults))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with state.lock:
                fault = state.faults.pop(0) if state.faults else None
                if fault == "drop":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    self.answer(fault, b'{"code": "over", "detail": "Not now.", "errors": []}')
                    return
                if self.headers["Authorization"] != f"Bearer {KEY}":
                    self.answer(401, b'{"code": "unauthorized", "detail": "No.", "errors": []}')
                    return
                assert self.headers["Content-Encoding"] == "gzip"
                name = self.headers["Idempotency-Key"]
                if name not in state.answers:
                    taken = state.take(json.loads(gzip.decompress(body)))
                    state.answers[name] = json.dumps(taken).encode()
                if fault == "lose":
                    self.close_connection = True
                    return
                self.answer(200, state.answers[name])

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 503:
                self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
