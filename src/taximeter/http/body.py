"""Reading a request body on a hot route: bounded, inflated under a running cap.

Owns the limits of bodies; what a body means is its route's.
"""

import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from taximeter.http.problem import STATUS
from taximeter.kernel.errors import Malformed, TaximeterError, TooLarge

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
BODY_BYTES_MAX = 16 * 1024 * 1024
GZIP_WINDOW = 16 + zlib.MAX_WBITS
INFLATE_STEP = 1024 * 1024
GZIP_MEMBERS_MAX = 100  # each costs a copy of what follows it


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], *, bytes_max: int) -> bytes:
    """The inflated body of a request.

    Raises `TooLarge` over `bytes_max` (as sent or inflated), `Malformed` for a content encoding
    that is not gzip or does not inflate, `ClientGone` where the client left.
    """
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in (b"identity", b"gzip"):
        raise Malformed(reason="Content-Encoding must be gzip or left out.")
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        if chunk:
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
        if not message.get("more_body"):
            break
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return inflate(body, bytes_max) if encoding == b"gzip" else body


def inflate(body: bytes, bytes_max: int) -> bytes:
    """The content of a gzip body, at most `bytes_max`: a bomb is stopped as it unfolds."""
    chunks = []
    size = members = 0
    rest = body
    try:
        while rest:
            members += 1
            if members > GZIP_MEMBERS_MAX:
                raise Malformed(reason=f"send gzip of at most {GZIP_MEMBERS_MAX} members.")
            inflater = zlib.decompressobj(GZIP_WINDOW)
            while rest and not inflater.eof:
                chunk = inflater.decompress(rest, INFLATE_STEP)
                rest = inflater.unconsumed_tail
                size += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                chunks.append(chunk)
            if not inflater.eof:
                raise Malformed(reason="the gzip stream ends early.")
            rest = inflater.unused_data
    except zlib.error:
        raise Malformed(reason="it is not valid gzip.") from None
    return b"".join(chunks)


def _too_large(bytes_max: int) -> TooLarge:
    return TooLarge(
        what="The body", limit=f"{bytes_max // 1024**2} MiB", cure="Send it in smaller batches."
    )


def limited(receive: Receive, bytes_max: int, error: TaximeterError | None = None) -> Receive:
    """`receive` for a framework that reads a body by itself: raises an HTTP error as soon as the
    body is over `bytes_max`: this `error`, or that it is too large.
    """
    size = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > bytes_max:
            found = error or _too_large(bytes_max)
            raise HTTPException(STATUS[type(found)], found.detail)
        return message

    return receiving
