"""A running server over HTTP: one request at a time, errors as sentences.

Owns the address and the key of it, and what an answer that is no success means. Sending events
in bulk, with its retries, is upload.py's.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx2

from taximeter.cli.runtime import Runtime
from taximeter.cli.terminal import CommandFailed, fail, refuse
from taximeter.kernel.errors import FieldError, Unavailable

URL_DEFAULT = "http://127.0.0.1:8420"
CONNECT_S_MAX = 5.0
ANSWER_S_MAX = 120.0
EVENTS = "/v1/events"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_CURES = {
    401: "Say a valid key with --key, or in TAXIMETER_API_KEY; `taximeter keys create` makes one.",
    403: "Use a key that has it; `taximeter keys create` makes one.",
}


class Refused(CommandFailed):
    """The server answered with an error; its fields are `errors`."""

    def __init__(
        self, status: int, code: str, detail: str, errors: Sequence[FieldError] = ()
    ) -> None:
        cure = _CURES.get(status, "")
        super().__init__(f"{detail} {cure}".strip())
        self.status = status
        self.code = code
        self.errors = errors


class Api:
    """A server's API, with one key. Safe to use from several threads."""

    def __init__(self, url: str, key: str, *, connections: int = 1) -> None:
        self.url = url
        self._client = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "User-Agent": "taximeter-cli"},
            timeout=httpx2.Timeout(ANSWER_S_MAX, connect=CONNECT_S_MAX),
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
            # A proxy of the environment must not come between us and this machine.
            trust_env=urlsplit(url).hostname not in _LOOPBACK,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, path: str, **parameters: str) -> Mapping[str, Any]:
        """What stands at `path`. Raises `Refused`, `Unavailable`."""
        return self._json(self._send("GET", path, parameters))

    def put(self, path: str, document: Mapping[str, Any], **parameters: str) -> Mapping[str, Any]:
        """Put `document` at `path`. Raises `Refused`, `Unavailable`."""
        body = json.dumps(document, allow_nan=False).encode()
        headers = {"Content-Type": "application/json"}
        return self._json(self._send("PUT", path, parameters, body, headers))

    def post(
        self, path: str, document: Mapping[str, Any] | str, **parameters: str
    ) -> Mapping[str, Any]:
        """Post `document` (a text is JSON already) to `path`. Raises `Refused`, `Unavailable`."""
        text = document if isinstance(document, str) else json.dumps(document, allow_nan=False)
        headers = {"Content-Type": "application/json"}
        return self._json(self._send("POST", path, parameters, text.encode(), headers))

    def delete(self, path: str) -> Mapping[str, Any]:
        """Delete what stands at `path`. Raises `Refused`, `Unavailable`."""
        return self._json(self._send("DELETE", path, {}))

    def pages(self, path: str, **parameters: str) -> Iterator[Mapping[str, Any]]:
        """The rows of the list at `path`, page after page. Raises `Refused`, `Unavailable`."""
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = self.get(path, limit="100", **parameters, **more)
            yield from page["data"]
            cursor = page["next_cursor"]

    def post_events(
        self, body: bytes, headers: Mapping[str, str], path: str = EVENTS
    ) -> httpx2.Response:
        """Post a batch of events; any answer. Raises `httpx2.RequestError`."""
        return self._client.post(path, content=body, headers=dict(headers))

    def _send(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str],
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        try:
            return self._client.request(
                method, path, params=dict(parameters), content=body, headers=headers
            )
        except httpx2.RequestError as error:
            raise Unavailable(
                what=f"The server at {self.url} cannot be reached: {reason_of(error)}.",
                cure="Start it with `taximeter serve`, or say another with --url.",
            ) from None

    @staticmethod
    def _json(response: httpx2.Response) -> Mapping[str, Any]:
        if not response.is_success:
            raise refused(response)
        document = response.json(parse_float=str)
        assert isinstance(document, dict), "the API answers objects"
        return document


def refused(response: httpx2.Response) -> Refused:
    """The error that an answer is."""
    status = response.status_code
    try:
        problem = response.json()
        found = [FieldError(e["path"], e["code"], e["detail"]) for e in problem["errors"]]
        return Refused(status, str(problem["code"]), str(problem["detail"]), found)
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answered {status} and is perhaps no Taximeter. Look at --url."
        return Refused(status, "unknown", detail)


def reason_of(error: Exception) -> str:
    """What went wrong on the way, in a few words."""
    text = str(error).rstrip(".")
    return text or type(error).__name__


def segment(key: str) -> str:
    """`key` as one segment of a path."""
    return quote(key, safe="")


def server_of(runtime: Runtime, url: str | None, key: str | None) -> tuple[str, str]:
    """The address and the key to use: as said, else as the environment says. Ends the command
    where there is none, or no such address can be.
    """
    environment = runtime.environment
    chosen = (url or environment.get("TAXIMETER_URL") or URL_DEFAULT).rstrip("/")
    try:
        parts = urlsplit(chosen)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        valid = valid and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        refuse(f"{chosen} is no address of a server. Say one like {URL_DEFAULT}.")
    secret = key or environment.get("TAXIMETER_API_KEY")
    if not secret:
        fail(
            "An API key is needed. Say it with --key, or set TAXIMETER_API_KEY; "
            "`taximeter keys create` makes one."
        )
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        refuse("The API key holds blanks or other characters that no key has.")
    return chosen, secret
