"""Routes of meters."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from taximeter.domain.catalog.meter_schema import METER_SCHEMA
from taximeter.http.document import Document, document_body
from taximeter.http.fields import LIMIT, Cursor, Key, Limit, instant
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.services import meters
from taximeter.services.meters import MeterVersion

router = APIRouter(prefix="/v1", tags=["Meters"])
MeterPath = Annotated[Key, Path(description="The meter's key")]


def meter_json(meter: MeterVersion) -> dict[str, object]:
    """A meter as answered: its document, with its version."""
    return {
        "key": meter.key,
        "version": meter.version,
        **{name: value for name, value in meter.document.items() if name != "key"},
        "created_at": instant(meter.created_at),
    }


@router.put(
    "/meters/{key}", status_code=201, responses={200: {"description": "Changed, or as it was"}},
    openapi_extra=document_body(METER_SCHEMA),
)  # fmt: skip
async def put_meter(key: MeterPath, call: Admin, document: Document) -> Response:
    """Create a meter, or change it by a new version. Events that waited for it are released."""
    return await call.write(
        lambda transaction: meters.put_meter(transaction, key, document),
        lambda result: meter_json(result.meter),
        lambda result: 201 if result.outcome == "created" else 200,
    )


@router.get("/meters/{key}")
async def get_meter(key: MeterPath, call: Reader) -> Response:
    """One meter, in its newest version."""
    return ok(meter_json(await meters.get_meter(call.context, key)))


@router.get("/meters")
async def list_meters(call: Reader, limit: Limit = LIMIT, cursor: Cursor = None) -> Response:
    """Meters by key, each in its newest version."""
    page = await meters.list_meters(call.context, limit=limit, cursor=cursor)
    return ok(page_json(page, meter_json))
