"""The outbox: what happens is told by a row that is written with it.

Owns the form of a message. It is sent by `deliver`, after the transaction has been committed, to
the webhook endpoints that want its type.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from taximeter.kernel.times import format_instant
from taximeter.services.context import Connection, Context
from taximeter.storage import outbox as storage

# What is told so far.
MESSAGE_TYPES = (
    "allowance.threshold", "approval.approved", "approval.declined", "approval.requested",
    "balance.low", "budget.threshold", "invoice.finalized", "spend.threshold",
    "topup.failed", "topup.paid", "topup.requested",
)  # fmt: skip


class Message(NamedTuple):
    """What happened to `customer` (None: to none of them) at the instant `at`; `data` is JSON."""

    type: str
    customer: str | None
    data: Mapping[str, object]
    at: datetime


async def put(context: Context, connection: Connection, *messages: Message) -> None:
    """Have these messages sent, in this order, once the transaction is committed."""
    if messages:
        await storage.insert(connection, [_row(context, message) for message in messages])


def _row(context: Context, message: Message) -> storage.OutboxRow:
    assert message.type in MESSAGE_TYPES, f"{message.type} is a type that nobody was told of"
    body = {
        "type": message.type, "timestamp": format_instant(message.at), "data": message.data,
    }  # fmt: skip
    return storage.OutboxRow(
        id=context.ids("msg", message.at), at=message.at, type=message.type,
        customer=message.customer, body=msgspec.json.encode(body).decode(),
    )  # fmt: skip
