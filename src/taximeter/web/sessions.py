"""Who is signed in: sessions and one-time links, in this process's memory.

Owns tokens, their ends and their bounds. A token is 256 random bits; what is kept is found by its
SHA-256, so how long a look-up takes tells nothing of a token. A session holds the API key that it
was begun with and is worth no more than that: the key is looked up at every request. Sessions end
with the process.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

SESSION_S = 12 * 3600
LINK_S = 600
SESSIONS_MAX = 1_000
LINKS_MAX = 100
TOKEN_BYTES = 32


class _Kept(NamedTuple):
    secret: str
    ends_s: float


class Sessions:
    """Tokens and the API keys that they stand for. Times are seconds of a monotonic clock."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._sessions: OrderedDict[bytes, _Kept] = OrderedDict()
        self._links: OrderedDict[bytes, _Kept] = OrderedDict()

    def begin(self, secret: str, now_s: float) -> str:
        """Begin a session with this API key; its token. Of too many the oldest ends."""
        return self._keep(self._sessions, secret, now_s + SESSION_S, SESSIONS_MAX)

    def find(self, token: str, now_s: float) -> str | None:
        """The API key of the session with this token, if it has not ended."""
        kept = self._sessions.get(_digest(token))
        return kept.secret if kept is not None and now_s < kept.ends_s else None

    def end(self, token: str) -> None:
        """End a session; one that is not there is no error."""
        self._sessions.pop(_digest(token), None)

    def make_link(self, secret: str, now_s: float) -> str:
        """A token that signs in once, within ten minutes."""
        return self._keep(self._links, secret, now_s + LINK_S, LINKS_MAX)

    def take_link(self, token: str, now_s: float) -> str | None:
        """The API key of a one-time token, which is used up by that."""
        kept = self._links.pop(_digest(token), None)
        return kept.secret if kept is not None and now_s < kept.ends_s else None

    def _keep(
        self, kept: OrderedDict[bytes, _Kept], secret: str, ends_s: float, count_max: int
    ) -> str:
        token = self._random_bytes(TOKEN_BYTES).hex()
        kept[_digest(token)] = _Kept(secret, ends_s)
        while len(kept) > count_max:
            kept.popitem(last=False)
        return token


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
