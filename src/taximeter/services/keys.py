"""API keys: made, listed, revoked, and who a secret belongs to.

A secret is `tx_` and 256 random bits with a checksum; only its SHA-256 is stored. Owns the cache
of who is who, which forgets after 3 seconds, so that a revoked key is dead within 5; and how fast a
key may ask, which each server process counts for itself.
"""

import base64
import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from taximeter.domain.entitlement.key_rate import KeyRate
from taximeter.domain.metering.event import NAME_CHARS_MAX
from taximeter.kernel.errors import (
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    RateLimited,
    Unauthorized,
)
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.kernel.paths import lies_within
from taximeter.kernel.times import format_instant
from taximeter.services.command import Transaction
from taximeter.services.context import Clock, Context
from taximeter.storage import keys as storage

ApiKey: TypeAlias = storage.ApiKey
Scope = Literal["admin", "ingest", "authorize", "limits", "read"]
SCOPES: tuple[Scope, ...] = ("admin", "ingest", "authorize", "limits", "read")
SCOPES_OF_PATH: tuple[Scope, ...] = ("ingest", "authorize")
SECRET_PREFIX = "tx_"
CACHE_S = 3.0
CACHED_MAX = 10_000
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking. `customer` confines the caller to one customer, `path` to what lies within
    that path of theirs; `rate` is how fast it may ask (None: as fast as it likes).
    """

    key_id: str
    scopes: frozenset[str]
    customer: str | None
    expires_at: datetime | None
    rate: KeyRate | None = None
    path: str | None = None

    def require(self, scope: Scope) -> None:
        """Raise `Forbidden` without this scope; `admin` has them all."""
        if scope not in self.scopes and "admin" not in self.scopes:
            raise Forbidden(scope=scope)

    def may_see(self, customer: str) -> bool:
        """Whether this caller may know of the customer."""
        return self.customer is None or self.customer == customer

    def outside(self, path: str | None) -> FieldError | None:
        """What is wrong with work at this path (None: at the caller's own), if it lies outside of
        what the caller is confined to.
        """
        if path is None or lies_within(path, self.path):
            return None
        detail = f"This API key is confined to {self.path}. Name that path, one below it, or none."
        return FieldError("path", "outside_path", detail)


ROOT = Caller("root", frozenset(SCOPES), None, None)


def make_secret(random_bytes: bytes) -> str:
    """The secret of 32 random bytes, with a checksum that tells a typing error."""
    body = base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")
    return f"{SECRET_PREFIX}{body}{zlib.crc32(body.encode()):08x}"


def secret_digest(secret: str) -> bytes:
    """What is stored of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class Callers:
    """Finds callers by their secret, with a short memory. `root_secret` is the admin key that the
    environment names, if any.
    """

    def __init__(self, root_secret: str | None) -> None:
        self._root = secret_digest(root_secret) if root_secret else None
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._full_at_ns: dict[str, int] = {}

    def cached(self, digest: bytes, monotonic_s: float, clock: Clock) -> Caller | None:
        """The caller of this `secret_digest` if known and fresh, without asking the database."""
        if digest == self._root:  # digests: how long it takes tells nothing of a secret
            return ROOT
        known = self._known.get(digest)
        if known is None or monotonic_s - known[0] > CACHE_S:
            return None
        caller = known[1]
        ended = caller.expires_at is not None and caller.expires_at <= clock.now()
        return None if ended else caller

    async def find(self, context: Context, secret: str, monotonic_s: float) -> Caller:
        """The caller whose secret this is. Raises `Unauthorized`."""
        digest = secret_digest(secret)
        caller = self.cached(digest, monotonic_s, context.clock)
        if caller is not None:
            return caller
        now = context.clock.now()
        async with context.pool.connection() as connection:
            key = await storage.find_by_digest(connection, digest)
        if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
            self._known.pop(digest, None)
            raise Unauthorized
        caller = Caller(
            key.id, frozenset(key.scopes), key.customer, key.expires_at, key.rate,
            key.path,
        )  # fmt: skip
        if len(self._known) >= CACHED_MAX:
            self._known.clear()
        self._known[digest] = (monotonic_s, caller)
        return caller

    def admit(self, caller: Caller, monotonic_s: float, body_bytes: int) -> None:
        """Count a request of a caller with a rate. Raises `RateLimited` for one too many, which
        does not count.
        """
        rate = caller.rate
        assert rate is not None, "who has no rate is not counted"
        now = int(monotonic_s * _NS)
        full_at, wait = rate.admit(self._full_at_ns.get(caller.key_id, now), now, body_bytes)
        if wait:
            retry_after_s = -(-wait // _NS)
            raise RateLimited(requests=rate.requests, per=rate.per, retry_after_s=retry_after_s)
        if len(self._full_at_ns) >= CACHED_MAX and caller.key_id not in self._full_at_ns:
            self._full_at_ns = {key: at for key, at in self._full_at_ns.items() if at > now}
        self._full_at_ns[caller.key_id] = full_at


async def create_key(
    transaction: Transaction,
    *,
    random_bytes: bytes,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None = None,
    customer: str | None = None,
    rate: KeyRate | None = None,
    path: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns it and its secret, which is not kept.

    Raises `Invalid` for an unknown scope, for `admin` on a key of one customer (it could make
    itself another key), for a path without a customer or with scopes that are of the whole
    customer, and for an end that is past.
    """
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        detail = f"Use one or more of {', '.join(SCOPES)}."
        raise Invalid([FieldError("scopes", "invalid_scope", detail)])
    if customer is not None and "admin" in scopes:
        detail = "A key of one customer cannot administer the instance. Leave admin out."
        raise Invalid([FieldError("scopes", "invalid_scope", detail)])
    if path is not None:
        _check_path(path, scopes, customer)
    if expires_at is not None and expires_at <= transaction.at:
        detail = f"Send a time after {format_instant(transaction.at)}, which is now."
        raise Invalid([FieldError("expires_at", "too_early", detail)])
    secret = make_secret(random_bytes)
    key = ApiKey(
        id=transaction.new_id("key"), name=name, scopes=tuple(scopes), customer=customer,
        created_at=transaction.at, expires_at=expires_at, revoked_at=None, rate=rate, path=path,
    )  # fmt: skip
    await storage.insert(transaction.connection, key, secret_digest(secret))
    await transaction.audit("api_key.created", key.id, {"name": name, "scopes": list(scopes)})
    return key, secret


def _check_path(path: str, scopes: Sequence[str], customer: str | None) -> None:
    if not 0 < len(path) <= NAME_CHARS_MAX or not path.isprintable():
        detail = f"Send 1 to {NAME_CHARS_MAX} printable characters."
        raise Invalid([FieldError("path", "invalid_text", detail)])
    if path != path.strip("/"):
        raise Invalid([FieldError("path", "invalid", "Send it without / at its ends.")])
    if customer is None:
        raise Invalid([FieldError("path", "invalid", "Say the customer whose path it is.")])
    whole = [scope for scope in scopes if scope not in SCOPES_OF_PATH]
    if whole:
        detail = (
            f"{', '.join(whole)} is of the whole customer. A key of one path has "
            f"{' and '.join(SCOPES_OF_PATH)}."
        )
        raise Invalid([FieldError("scopes", "invalid_scope", detail)])


async def revoke_key(transaction: Transaction, key_id: str) -> ApiKey:
    """End a key; it stops working within 5 s. Again is harmless. Raises `NotFound`."""
    key = await storage.revoke(transaction.connection, key_id, transaction.at)
    if key is None:
        raise NotFound(kind="API key", key=key_id)
    await transaction.audit("api_key.revoked", key_id, {})
    return key


async def set_rate(transaction: Transaction, key_id: str, rate: KeyRate | None) -> ApiKey:
    """Set how fast a key may ask (None: as fast as it likes); it binds within 5 s. Raises
    `NotFound`.
    """
    key = await storage.set_rate(transaction.connection, key_id, rate)
    if key is None:
        raise NotFound(kind="API key", key=key_id)
    said = None if rate is None else {"requests": rate.requests, "per": rate.per}
    await transaction.audit("api_key.rate_set", key_id, {"rate": said})
    return key


async def list_keys(context: Context, *, limit: int, cursor: str | None) -> Page[ApiKey]:
    """Keys by id, which is by age."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(connection, after=after[0] if after else None, limit=limit + 1)
    return make_page(rows, limit, lambda key: (key.id,))
