"""Who may see the pages, and how a browser gets in."""

from typing import Any

import httpx
import pytest

from taximeter.bootstrap import Instance
from taximeter.web.sessions import LINK_S, SESSION_S, SESSIONS_MAX, Sessions
from tests.http.api import ROOT_KEY
from tests.web.site import HOST

ORIGIN = {"origin": HOST}


async def sign_in(browser: httpx.AsyncClient, key: str, **fields: Any) -> httpx.Response:
    return await browser.post("/login", data={"key": key, **fields}, headers=ORIGIN)


async def new_key(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    body = {"name": "k", "scopes": ["read"], **fields}
    found: dict[str, Any] = (await client.post("/v1/api_keys", json=body)).json()
    return found


@pytest.mark.parametrize(
    "path", ["/", "/customers/acme", "/invoices/inv_1", "/invoices/inv_1/lines/line_1?cursor=x"]
)
async def test_every_page_asks_to_sign_in_first(stranger: httpx.AsyncClient, path: str) -> None:
    answer = await stranger.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    back = httpx.URL(HOST + answer.headers["location"]).params.get("next", "/")
    assert back == path


async def test_figures_do_not_stream_to_strangers(stranger: httpx.AsyncClient) -> None:
    assert (await stranger.get("/live?page=home")).status_code == 401


async def test_a_key_that_reads_signs_in(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    key = await new_key(client)
    answer = await sign_in(stranger, key["secret"], next="/customers/acme?cursor=a")
    assert (answer.status_code, answer.headers["location"]) == (303, "/customers/acme?cursor=a")
    cookie = answer.headers["set-cookie"].lower()
    for flag in ("httponly", "samesite=strict", "path=/", f"max-age={SESSION_S}"):
        assert flag in cookie
    assert "secure" not in cookie
    assert key["secret"].lower() not in cookie
    assert (await stranger.get("/")).status_code == 200


async def test_behind_https_the_cookie_is_secure(stranger: httpx.AsyncClient) -> None:
    headers = {**ORIGIN, "x-forwarded-proto": "https"}
    answer = await stranger.post("/login", data={"key": ROOT_KEY}, headers=headers)
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (None, "no API key of this instance"),
        ({"scopes": ["ingest"]}, "may not read"),
        ({"customer": "acme"}, "one customer alone"),
    ],
)
async def test_other_keys_do_not(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, fields: dict[str, Any] | None, says: str
) -> None:
    secret = "tx_guess" if fields is None else (await new_key(client, **fields))["secret"]
    answer = await sign_in(stranger, secret)
    assert answer.status_code == 401
    assert says in answer.text
    assert secret not in answer.text
    assert (await stranger.get("/")).status_code == 303


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://evil.test"}, {"origin": "null"}, {"origin": f"{HOST}.evil"}]
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
async def test_a_form_of_another_site_is_refused(
    browser: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await browser.post(path, data={"key": ROOT_KEY}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
    assert (await browser.get("/")).status_code == 200


@pytest.mark.parametrize(
    "target", ["//evil.test", "https://evil.test", "/\\evil.test", "", "/a\nb", "javascript:1"]
)
async def test_signing_in_leads_nowhere_else(stranger: httpx.AsyncClient, target: str) -> None:
    answer = await sign_in(stranger, ROOT_KEY, next=target)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_link_signs_in_once(instance: Instance, stranger: httpx.AsyncClient) -> None:
    path = instance.sign_in_path(ROOT_KEY)
    answer = await stranger.get(path)
    assert answer.status_code == 200
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert (await stranger.get("/")).status_code == 200
    stranger.cookies.clear()
    again = await stranger.get(path)
    assert again.status_code == 401
    assert "used before" in again.text
    assert "set-cookie" not in again.headers


async def test_signing_out_ends_the_session_itself(browser: httpx.AsyncClient) -> None:
    token = browser.cookies["taximeter_session"]
    answer = await browser.post("/logout", headers=ORIGIN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    stolen = await browser.get("/", headers={"cookie": f"taximeter_session={token}"})
    assert stolen.status_code == 303


async def test_a_revoked_key_ends_its_sessions(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, instance: Instance
) -> None:
    key = await new_key(client)
    await sign_in(stranger, key["secret"])
    assert (await client.delete(f"/v1/api_keys/{key['id']}")).status_code == 200
    instance.server.callers._known.clear()  # what is forgotten after 3 s is forgotten now
    assert (await stranger.get("/")).status_code == 303


async def test_a_long_form_is_not_read(stranger: httpx.AsyncClient) -> None:
    answer = await sign_in(stranger, ROOT_KEY, filler="x" * 10_000)
    assert answer.status_code == 401


def bytes_in_turn() -> Any:
    numbers = iter(range(1, 10_000))
    return lambda count: next(numbers).to_bytes(count, "big")


def test_sessions_and_links_end() -> None:
    sessions = Sessions(bytes_in_turn())
    token, link = sessions.begin("key", 100), sessions.make_link("key", 100)
    assert sessions.find(token, 100 + SESSION_S - 1) == "key"
    assert sessions.find(token, 100 + SESSION_S) is None
    assert sessions.take_link(link, 100 + LINK_S) is None
    late = sessions.make_link("key", 100)
    assert sessions.take_link(late, 100 + LINK_S - 1) == "key"
    assert sessions.take_link(late, 100 + LINK_S - 1) is None
    assert sessions.find("\udc80", 100) is None


def test_the_oldest_session_makes_room() -> None:
    sessions = Sessions(bytes_in_turn())
    tokens = [sessions.begin(f"key {n}", 0) for n in range(SESSIONS_MAX + 1)]
    assert sessions.find(tokens[0], 1) is None
    assert sessions.find(tokens[1], 1) == "key 1"
    assert sessions.find(tokens[-1], 1) == f"key {SESSIONS_MAX}"
