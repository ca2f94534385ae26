"""Routes for those who run an instance: health, readiness, metrics."""

from fastapi import APIRouter, Request, Response

from taximeter.http.metrics import CONTENT_TYPE
from taximeter.http.server import Server, needs, ok
from taximeter.services.health import check_ready

router = APIRouter(tags=["Operation"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process is up."""
    return ok({"status": "ok"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The database can be reached and is migrated; 503 where not."""
    server: Server = request.app.state.server
    await check_ready(server.context)
    return ok({"status": "ready"})


@router.get(
    "/metrics", response_class=Response,
    responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}},
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Figures for Prometheus. Needs the scope `read` unless the instance shows them openly."""
    server: Server = request.app.state.server
    if not server.open_metrics:
        await needs("read")(request)
    return Response(server.metrics.render(), media_type=CONTENT_TYPE)
