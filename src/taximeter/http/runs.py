"""The routes of agents' runs."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from taximeter.domain.metering.trace import TRACE_CHARS_MAX
from taximeter.http.customers import CustomerPath
from taximeter.http.fields import LIMIT, Body, Cursor, Instant, Limit, instant
from taximeter.http.server import Reader, ok, page_json
from taximeter.kernel.quantity import format_decimal
from taximeter.services import runs
from taximeter.services.runs import Figures, Run, RunRow, RunStep

router = APIRouter(prefix="/v1", tags=["Runs"])

TracePath = Annotated[str, Path(min_length=1, max_length=TRACE_CHARS_MAX)]


class RunParameters(Body):
    """Which runs are listed."""

    start: Annotated[
        Instant | None, Field(alias="from", description="A day before `to` if left out")
    ] = None
    end: Annotated[Instant | None, Field(alias="to", description="Now if left out")] = None
    limit: Limit = LIMIT
    cursor: Cursor = None


def _figures_json(figures: Figures) -> dict[str, object]:
    def amounts(found: dict[str, object]) -> list[dict[str, object]]:
        return [{"asset": asset, "amount": amount} for asset, amount in sorted(found.items())]

    return {
        "usage": [
            {"meter": meter.key, "unit": meter.unit, "value": format_decimal(value)}
            for meter, value in figures.usage
        ],
        "price": amounts({key: format_decimal(value) for key, value in figures.price.items()}),
        "cost": amounts({key: format_decimal(value) for key, value in figures.cost.items()}),
    }


def _step_json(step: RunStep) -> dict[str, object]:
    return {
        "id": step.node.id,
        "parent_id": step.node.parent,
        "step": step.name or None,
        "depth": step.node.depth,
        "events": [
            {"id": event.id, "source": event.source, "type": event.type,
             "time": instant(event.time), "path": event.path}
            for event in step.events
        ],
        **_figures_json(step.figures),
        "total": {"events": step.total.events, **_figures_json(step.total)},
    }  # fmt: skip


def _run_json(run: Run) -> dict[str, object]:
    return {
        "trace_id": run.trace,
        "run": run.name or None,
        "customer": run.customer,
        "from": instant(run.start),
        "to": instant(run.end),
        "events": run.figures.events,
        "complete": run.complete,
        **_figures_json(run.figures),
        "steps": [_step_json(step) for step in run.steps],
    }


def _row_json(row: RunRow) -> dict[str, object]:
    return {
        "trace_id": row.trace,
        "run": row.name,
        "from": instant(row.start),
        "to": instant(row.last),
        "events": row.events,
    }


@router.get("/customers/{key}/runs")
async def list_runs(
    key: CustomerPath, call: Reader, asked: Annotated[RunParameters, Query()]
) -> Response:
    """The customer's runs with events in a span of up to 31 days, those that began last first.

    A run is what the events of one `trace_id` say: an attribute beside `data`, or that of a W3C
    `traceparent`. `from`, `to` and `events` are of its events within the span.
    """
    call.see(key)
    page = await runs.list_runs(
        call.context, key, start=asked.start, end=asked.end, limit=asked.limit,
        cursor=asked.cursor,
    )  # fmt: skip
    return ok(page_json(page, _row_json))


@router.get("/customers/{key}/runs/{trace_id}")
async def get_run(key: CustomerPath, trace_id: TracePath, call: Reader) -> Response:
    """A run: the tree of its steps, each followed by those below it.

    `usage` is what each meter measured, `price` what it costs by now and `cost` the sum of
    `data.cost`; `total` of a step includes all steps below it. Under a linear price each unit has
    its own price; under any other an event is priced at the average of its rate in its billing
    period so far, so the shares of all events add up to the bill. Meters that do not add up have
    usage but no price here. A run of over 5,000 events shows the first (`complete` is false).
    """
    call.see(key)
    return ok(_run_json(await runs.get_run(call.context, key, trace_id)))
