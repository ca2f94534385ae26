"""Webhook endpoints and the deliveries to them: made, listed, ended, asked for again.

Owns what is asked of them; sending is deliver.py's. An endpoint's address is judged before the
transaction, since that asks the network, and again by each attempt.
"""

import base64
from collections.abc import Sequence
from typing import TypeAlias

from taximeter.gateways import webhooks as gateway
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Connection, Context
from taximeter.storage import webhooks as storage

Webhooks: TypeAlias = gateway.Webhooks
Endpoint: TypeAlias = storage.Endpoint
Delivery: TypeAlias = storage.Delivery
DeliveryState = storage.DeliveryState

_PREFIX = "whsec_"
ENDPOINTS_MAX = 100


def make_secret(random_bytes: bytes) -> str:
    """A signing secret, as Standard Webhooks writes them."""
    return _PREFIX + base64.b64encode(random_bytes).decode()


async def check_address(webhooks: Webhooks, url: str) -> None:
    """Raise `Invalid` (`forbidden_address`) for an address to which nothing may be sent."""
    reason = await webhooks.refusal(url)
    if reason is not None:
        detail = (
            f"{reason} Send the public https address of a receiver; an instance started with "
            "--allow-private-webhooks takes private ones, too."
        )
        raise Invalid([FieldError("url", "forbidden_address", detail)])


async def create_endpoint(
    transaction: Transaction, *, random_bytes: bytes, url: str, events: Sequence[str]
) -> tuple[Endpoint, str]:
    """Tell an address, which was checked, of these types of events; returns the endpoint and its
    secret. Raises `Invalid` where there are too many.
    """
    connection = transaction.connection
    if len(await storage.open_endpoints(connection)) >= ENDPOINTS_MAX:
        detail = f"There are {ENDPOINTS_MAX} endpoints already. Delete one that is not used."
        raise Invalid([FieldError("", "too_many", detail)])
    endpoint = Endpoint(
        id=transaction.new_id("whe"), url=url, events=tuple(events), created_at=transaction.at,
        disabled_at=None, disabled_reason=None,
    )  # fmt: skip
    secret = make_secret(random_bytes)
    await storage.insert_endpoint(connection, endpoint, secret)
    await transaction.audit(
        "webhook_endpoint.created", endpoint.id, {"url": url, "events": list(events)}
    )
    return endpoint, secret


async def delete_endpoint(transaction: Transaction, endpoint_id: str) -> Endpoint:
    """Send nothing more to an endpoint; its deliveries stay in the list. Raises `NotFound`."""
    endpoint = await _endpoint(transaction.connection, endpoint_id, lock=True)
    await storage.delete_endpoint(
        transaction.connection, endpoint_id, "The endpoint was deleted.", transaction.at
    )
    await transaction.audit("webhook_endpoint.deleted", endpoint_id, {"url": endpoint.url})
    return endpoint


async def _endpoint(connection: Connection, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    endpoint = await storage.find_endpoint(connection, endpoint_id, lock=lock)
    if endpoint is None:
        raise NotFound(kind="webhook endpoint", key=endpoint_id)
    return endpoint


async def get_endpoint(context: Context, endpoint_id: str) -> Endpoint:
    """The endpoint with this id. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        return await _endpoint(connection, endpoint_id)


async def list_endpoints(context: Context, *, limit: int, cursor: str | None) -> Page[Endpoint]:
    """Endpoints by age."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page_endpoints(
            connection, after=after[0] if after else None, limit=limit + 1
        )
    return make_page(rows, limit, lambda endpoint: (endpoint.id,))


async def list_deliveries(
    context: Context,
    *,
    endpoint: str | None,
    state: DeliveryState | None,
    limit: int,
    cursor: str | None,
) -> Page[Delivery]:
    """Deliveries, newest first; to one endpoint, in one state."""
    before = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page_deliveries(
            connection, endpoint=endpoint, state=state, before=before[0] if before else None,
            limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda delivery: (delivery.id,))


async def get_delivery(context: Context, delivery_id: str) -> tuple[Delivery, str]:
    """The delivery with this id, and the body that it carries. Raises `NotFound`."""
    async with context.pool.connection() as connection:
        return await _delivery(connection, delivery_id)


async def _delivery(connection: Connection, delivery_id: str) -> tuple[Delivery, str]:
    found = await storage.find_delivery(connection, delivery_id)
    if found is None:
        raise NotFound(kind="webhook delivery", key=delivery_id)
    return found


async def redeliver(transaction: Transaction, delivery_id: str) -> tuple[Delivery, str]:
    """Have a message sent again, at once and then as often as a new one; with the id that it
    always had. Raises `NotFound`, or `InvalidState` where its endpoint takes no more.
    """
    connection = transaction.connection
    delivery, _ = await _delivery(connection, delivery_id)
    endpoint = await storage.find_endpoint(connection, delivery.endpoint, lock=True)
    if endpoint is None or endpoint.disabled_at is not None:
        raise InvalidState(kind="webhook endpoint", state="disabled or deleted", step="sent to")
    await storage.set_pending(connection, delivery_id)
    await transaction.audit("webhook_delivery.repeated", delivery_id, {})
    return await _delivery(connection, delivery_id)
