"""Dead letters: what a consumer of a stream could not deliver, kept until somebody has seen to it.

Owns when two letters are the same: the same content from the same place, so that a consumer that
is given a message again keeps it once. A letter changes nothing else: its event, mended, is sent
again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from taximeter.kernel.errors import InvalidState, NotFound
from taximeter.kernel.paging import Page, decode_cursor, make_page
from taximeter.services.command import Transaction
from taximeter.services.context import Context
from taximeter.storage import dead_letters as storage
from taximeter.storage.dead_letters import LetterRow

DeadLetter: TypeAlias = storage.DeadLetter
Encoding: TypeAlias = storage.Encoding


@dataclass(frozen=True, slots=True)
class NewLetter:
    """The `item`th part of the message at `position` of `stream`, and why it was not taken.
    `content` may be cut: it was of `bytes`.
    """

    stream: str
    position: str
    item: int
    event_id: str | None
    path: str
    code: str
    detail: str
    bytes: int
    encoding: Encoding
    content: str


async def keep(transaction: Transaction, letters: Sequence[NewLetter]) -> int:
    """Keep these letters; how many were not kept before."""
    rows = [
        LetterRow(
            one.stream, one.position, one.item, _digest(one), transaction.new_id("letter"),
            transaction.at, one.event_id, one.path, one.code, one.detail, one.bytes, one.encoding,
            one.content,
        )
        for one in letters
    ]  # fmt: skip
    return await storage.insert(transaction.connection, rows)


async def list_letters(
    context: Context,
    *,
    stream: str | None,
    code: str | None,
    resolved: bool | None,
    limit: int,
    cursor: str | None,
) -> Page[DeadLetter]:
    """Letters, the oldest first; None stands for any."""
    after = decode_cursor(cursor, 1)
    async with context.pool.connection() as connection:
        rows = await storage.page(
            connection, stream=stream, code=code, resolved=resolved,
            after=after[0] if after else None, limit=limit + 1,
        )  # fmt: skip
    return make_page(rows, limit, lambda one: (one.id,))


async def resolve(transaction: Transaction, letter_id: str, resolution: str) -> DeadLetter:
    """Note what became of a letter. Raises `NotFound`, and `InvalidState` where that was said
    before, otherwise.
    """
    found = await storage.resolve(
        transaction.connection, letter_id, at=transaction.at, resolution=resolution
    )
    if found is not None:
        detail = {"stream": found.stream, "position": found.position, "resolution": resolution}
        await transaction.audit("dead_letter.resolved", letter_id, detail)
        return found
    before = await storage.find(transaction.connection, letter_id)
    if before is None:
        raise NotFound(kind="dead letter", key=letter_id)
    if before.resolution != resolution:
        raise InvalidState(kind="dead letter", state="resolved", step="resolved otherwise")
    return before


def _digest(letter: NewLetter) -> str:
    content = f"{letter.bytes}\0{letter.content}".encode()
    return "\\x" + hashlib.blake2b(content, digest_size=16).hexdigest()
