"""Webhooks: messages to the addresses that others gave us.

Owns which addresses may be reached. What an address says is not believed, in whatever notation:
its name is resolved, every address that it has must be a public one, and the connection goes to
one of these, so that a name that resolves otherwise a moment later changes nothing. Redirects are
not followed, proxies not used, answers read to a bound.
"""

import asyncio
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Protocol

import httpx2

ANSWER_S_MAX = 15.0
RESOLVE_S_MAX = 5.0
ANSWER_BYTES_MAX = 64 * 1024
TEXT_CHARS_MAX = 200
ADDRESSES_TRIED_MAX = 3

_IPV6_PUBLIC = IPv6Network("2000::/3")
_IPV6_TO_IPV4 = IPv6Network("64:ff9b::/96")
_is_name = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?").fullmatch
# What such a name means depends on where one asks.
_INSIDE = (".localhost", ".local", ".internal", ".home.arpa", ".onion")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the answer's status (None: there was no answer) and the beginning of its
    text, or why there was none.
    """

    status: int | None
    text: str

    @property
    def taken(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class Webhooks(Protocol):
    """The way out to webhook endpoints."""

    async def refusal(self, url: str) -> str | None:
        """Why nothing may be sent to this address; None where it may, as far as is known now."""
        ...

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send `body` once, and say what came back. Raises nothing."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class HttpWebhooks:
    """The real one. `allow_private`: private addresses of all kinds are allowed, too, for
    receivers in one's own network.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private
        self._client: httpx2.AsyncClient | None = None

    async def refusal(self, url: str) -> str | None:
        """Why nothing may be sent there. A name that does not resolve now may do so later."""
        try:
            await self._addresses(url)
        except _Forbidden as error:
            return str(error)
        except (OSError, TimeoutError):
            return None
        return None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send it once, within 15 seconds in all."""
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                target, addresses = await self._addresses(url)
                for address in addresses[:-1]:
                    try:
                        return await self._post(target, address, headers, body)
                    except httpx2.ConnectError:
                        continue
                return await self._post(target, addresses[-1], headers, body)
        except _Forbidden as error:
            return Reply(None, str(error))
        except TimeoutError:
            return Reply(None, f"There was no answer within {ANSWER_S_MAX:.0f} seconds.")
        except socket.gaierror:
            return Reply(None, "The name does not resolve.")
        except (httpx2.HTTPError, OSError) as error:
            return Reply(None, _short(str(error)) or type(error).__name__)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _addresses(self, url: str) -> tuple[httpx2.URL, Sequence[str]]:
        """Where `url` leads: its parts, and the addresses that its name has. Raises `_Forbidden`,
        and `OSError` where it does not resolve.
        """
        target = _parse(url)
        host = target.raw_host.decode("ascii")
        name = host.lower().rstrip(".")
        if not self._allow_private and ("." not in name and ":" not in name and not name.isdigit()):
            raise _Forbidden(f"{host} is no public name.")
        if not self._allow_private and f".{name}".endswith(_INSIDE):
            raise _Forbidden(f"{host} is no public name.")
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RESOLVE_S_MAX):
            found = await loop.getaddrinfo(host, target.port or 0, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "The name has no address.")
        for address in () if self._allow_private else addresses:
            if not is_public(address):
                raise _Forbidden(f"{host} leads to {address}, which is no public address.")
        return target, addresses[:ADDRESSES_TRIED_MAX]

    async def _post(
        self, target: httpx2.URL, address: str, headers: Mapping[str, str], body: bytes
    ) -> Reply:
        if self._client is None:
            # No connection is kept: one belongs to a name, and is pooled by its address.
            self._client = httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, timeout=ANSWER_S_MAX,
                limits=httpx2.Limits(max_keepalive_connections=0),
            )  # fmt: skip
        async with self._client.stream(
            "POST", target.copy_with(host=address), content=body,
            headers={**headers, "host": target.netloc.decode("ascii")},
            extensions={"sni_hostname": target.raw_host.decode("ascii")},
        ) as answer:  # fmt: skip
            text = b""
            async for chunk in answer.aiter_raw():
                text += chunk
                if len(text) > ANSWER_BYTES_MAX:
                    break
            return Reply(answer.status_code, _short(text.decode("utf-8", errors="replace")))


class _Forbidden(Exception):
    """The address may not be reached; its text says why."""


def _parse(url: str) -> httpx2.URL:
    try:
        target = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise _Forbidden("This is no address.") from None
    if target.scheme not in ("http", "https"):
        raise _Forbidden("The address does not begin with https:// or http://.")
    if target.userinfo or target.fragment:
        raise _Forbidden("The address holds a user or a fragment.")
    host = target.raw_host.decode("ascii")
    if not _is_name(host) and ":" not in host:
        raise _Forbidden("The address has no host.")
    if target.port is not None and not 0 < target.port < 65536:
        raise _Forbidden("The address has no port that exists.")
    return target


def is_public(text: str) -> bool:
    """Whether this address, as a resolver gives it, belongs to the public network: what an IPv6
    address wraps is what counts of it.
    """
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if address in _IPV6_TO_IPV4:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is None:
            wraps = address.sixtofour is not None or address.teredo is not None
            return address in _IPV6_PUBLIC and address.is_global and not wraps
        address = inner
    return address.is_global and not address.is_multicast and not address.is_reserved


def _short(text: str) -> str:
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable[: 4 * TEXT_CHARS_MAX].split())[:TEXT_CHARS_MAX]
