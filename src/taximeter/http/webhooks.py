"""Routes of webhook endpoints, and of the deliveries to them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints

from taximeter.http.fields import LIMIT, Body, Cursor, Limit, Name, Url, instant
from taximeter.http.server import Admin, ok, page_json
from taximeter.services import webhooks
from taximeter.services.webhooks import Delivery, DeliveryState, Endpoint

router = APIRouter(prefix="/v1", tags=["Webhooks"])
EVENTS_MAX = 100
EVENT_PATTERN = r"^(\*|[a-z][a-z0-9_]*(\.[a-z0-9_]+)+)$"
EndpointPath = Annotated[Name, Path(description="The endpoint's id")]
DeliveryPath = Annotated[Name, Path(description="The delivery's id")]
EventType = Annotated[str, StringConstraints(pattern=EVENT_PATTERN, max_length=100)]


class EndpointBody(Body):
    """An address that is told of events: of the types listed, or with `*` of all."""

    url: Url
    events: Annotated[list[EventType], Field(min_length=1, max_length=EVENTS_MAX)]


def endpoint_json(endpoint: Endpoint) -> dict[str, object]:
    """An endpoint as answered, without its secret."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "created_at": instant(endpoint.created_at),
        "disabled_at": instant(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
    }


def delivery_json(delivery: Delivery) -> dict[str, object]:
    """A delivery as answered."""
    return {
        "id": delivery.id,
        "webhook_id": delivery.message,
        "endpoint": delivery.endpoint,
        "type": delivery.type,
        "customer": delivery.customer,
        "status": delivery.state,
        "attempts": delivery.attempts,
        "created_at": instant(delivery.created_at),
        "last_attempt_at": instant(delivery.attempted_at),
        "next_attempt_at": instant(delivery.next_at),
        "response_status": delivery.answer_status,
        "response_text": delivery.answer_text,
    }


def _whole_json(found: tuple[Delivery, str]) -> dict[str, object]:
    return {**delivery_json(found[0]), "body": msgspec.json.decode(found[1])}


@router.post("/webhook_endpoints", status_code=201)
async def create_endpoint(body: EndpointBody, call: Admin) -> Response:
    """Have an address told of events. Its signing `secret` is in this answer and nowhere else: an
    answer given again to the same Idempotency-Key leaves it out.
    """
    await webhooks.check_address(call.server.webhooks, body.url)
    return await call.write_secret(
        lambda transaction: webhooks.create_endpoint(
            transaction, random_bytes=call.server.random_bytes(32), url=body.url,
            events=list(dict.fromkeys(body.events)),
        ),
        endpoint_json,
    )  # fmt: skip


@router.get("/webhook_endpoints")
async def list_endpoints(call: Admin, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Endpoints by age, without their secrets."""
    page = await webhooks.list_endpoints(call.context, limit=limit, cursor=cursor)
    return ok(page_json(page, endpoint_json))


@router.get("/webhook_endpoints/{id}")
async def get_endpoint(id: EndpointPath, call: Admin) -> Response:
    """One endpoint."""
    return ok(endpoint_json(await webhooks.get_endpoint(call.context, id)))


@router.delete("/webhook_endpoints/{id}")
async def delete_endpoint(id: EndpointPath, call: Admin) -> Response:
    """Send nothing more to an endpoint. Its deliveries stay in the list."""
    return await call.write(
        lambda transaction: webhooks.delete_endpoint(transaction, id), endpoint_json
    )


@router.get("/webhook_deliveries")
async def list_deliveries(
    call: Admin,
    endpoint: Name | None = None,
    status: Annotated[DeliveryState | None, Query()] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Deliveries, newest first, each as of its last attempt. Their times are real ones, in a
    sandbox, too.
    """
    page = await webhooks.list_deliveries(
        call.context, endpoint=endpoint, state=status, limit=limit, cursor=cursor
    )
    return ok(page_json(page, delivery_json))


@router.get("/webhook_deliveries/{id}")
async def get_delivery(id: DeliveryPath, call: Admin) -> Response:
    """One delivery, with the body that it carries."""
    return ok(_whole_json(await webhooks.get_delivery(call.context, id)))


@router.post("/webhook_deliveries/{id}/redeliver")
async def redeliver(id: DeliveryPath, call: Admin) -> Response:
    """Send a message again, whatever became of it, with the same `webhook-id`."""
    return await call.write(lambda transaction: webhooks.redeliver(transaction, id), _whole_json)
