"""Routes of dead letters: what consumers of streams could not deliver."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, StringConstraints

from taximeter.http.fields import LIMIT, Body, Cursor, Limit, Name, Text, instant
from taximeter.http.server import Admin, Call, Ingester, Reader, ok, page_json
from taximeter.kernel.errors import NotFound
from taximeter.services import dead_letters
from taximeter.services.dead_letters import DeadLetter, NewLetter

router = APIRouter(prefix="/v1", tags=["Streams"])
LETTERS_MAX = 100
CONTENT_CHARS_MAX = 90_000  # 64 KiB in base64
LetterPath = Annotated[Name, Path(description="The letter's id")]
WithoutNul = r"^[^\x00]*$"


class LetterBody(Body):
    """A part of a message that was not taken. `content`, where it is long, may be its beginning;
    `bytes` is how long it was.
    """

    stream: Name
    position: Name
    item: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = 0
    event_id: Annotated[str, StringConstraints(max_length=256, pattern=WithoutNul)] | None = None
    path: Annotated[str, StringConstraints(max_length=500, pattern=WithoutNul)] = ""
    code: Name
    detail: Annotated[str, StringConstraints(max_length=1000, pattern=WithoutNul)] = ""
    bytes: Annotated[int, Field(ge=0, lt=2**53, strict=True)]
    encoding: Literal["text", "base64"] = "text"
    content: Annotated[str, StringConstraints(max_length=CONTENT_CHARS_MAX, pattern=WithoutNul)]

    def new_letter(self) -> NewLetter:
        """The letter that is meant."""
        return NewLetter(
            self.stream, self.position, self.item, self.event_id, self.path, self.code,
            self.detail, self.bytes, self.encoding, self.content,
        )  # fmt: skip


class LettersBody(Body):
    """Letters of one or several messages."""

    letters: Annotated[list[LetterBody], Field(min_length=1, max_length=LETTERS_MAX)]


class ResolveBody(Body):
    """What became of it, in a few words."""

    resolution: Annotated[Text, Field(min_length=1)]


def letter_json(letter: DeadLetter) -> dict[str, object]:
    """A letter as answered."""
    return {
        "id": letter.id,
        "received_at": instant(letter.received_at),
        "stream": letter.stream,
        "position": letter.position,
        "item": letter.item,
        "event_id": letter.event_id,
        "error": {"path": letter.path, "code": letter.code, "detail": letter.detail},
        "bytes": letter.bytes,
        "encoding": letter.encoding,
        "content": letter.content,
        "resolved_at": instant(letter.resolved_at),
        "resolution": letter.resolution,
    }


def _of_everybody(call: Call) -> None:
    """Letters are nobody's, for what cannot be read names no customer: a key of one has none."""
    if call.caller.customer is not None:
        raise NotFound(kind="address", key=call.request.url.path)


@router.post("/dead_letters")
async def keep_letters(body: LettersBody, call: Ingester) -> Response:
    """Keep what a consumer could not deliver. The same content from the same place is kept once,
    however often it is sent.
    """
    _of_everybody(call)
    letters = [one.new_letter() for one in body.letters]
    return await call.write(
        lambda transaction: dead_letters.keep(transaction, letters),
        lambda kept: {"kept": kept, "known": len(letters) - kept},
    )


@router.get("/dead_letters")
async def list_letters(
    call: Reader,
    stream: Annotated[Name | None, Query(description="Such as `kafka:usage/0`")] = None,
    code: Annotated[Name | None, Query(description="Why it was not taken")] = None,
    status: Literal["open", "resolved"] | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Dead letters, the oldest first."""
    _of_everybody(call)
    page = await dead_letters.list_letters(
        call.context, stream=stream, code=code,
        resolved=None if status is None else status == "resolved", limit=limit, cursor=cursor,
    )  # fmt: skip
    return ok(page_json(page, letter_json))


@router.post("/dead_letters/{id}/resolve")
async def resolve_letter(id: LetterPath, body: ResolveBody, call: Admin) -> Response:
    """Note what became of a letter: that its event was mended and sent, or why it need not be."""
    return await call.write(
        lambda transaction: dead_letters.resolve(transaction, id, body.resolution), letter_json
    )
