"""Routes of budgets."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field

from taximeter.domain.entitlement.budget import Budget, BudgetEnforcement, BudgetWindow
from taximeter.http.customers import CustomerPath
from taximeter.http.fields import LIMIT, Body, Cursor, DecimalText, Key, Limit, Name, instant
from taximeter.http.grants import Asset
from taximeter.http.server import Limiter, Reader, ok, page_json
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import budgets
from taximeter.services.budgets import BudgetState

router = APIRouter(prefix="/v1", tags=["Budgets"])
ALERTS_MAX = 10
ALERTS_DEFAULT = [Decimal("0.5"), Decimal("0.8"), Decimal(1)]

BudgetPath = Annotated[Key, Path(description="The budget's name")]


def _not_negative(value: Decimal) -> Decimal:
    if value < ZERO:
        raise ValueError("send an amount of zero or more")
    return value


def _positive(value: Decimal) -> Decimal:
    if value <= ZERO:
        raise ValueError('send a share of the limit above zero, such as "0.8"')
    return value


def _whole(path: str) -> str:
    if path.endswith("/"):
        raise ValueError("leave out the / at the end: a path covers what lies below it")
    return path


ScopePath = Annotated[
    Name,
    AfterValidator(_whole),
    Field(description="Covers events of this path and of those below it; left out: all"),
]


class BudgetBody(Body):
    """A limit on what is charged in each window. `alerts` are shares of the limit. A hold that
    needs more than `approve_above` has to be approved, whatever the enforcement.
    """

    path: ScopePath | None = None
    asset: Asset
    limit: Annotated[DecimalText, AfterValidator(_not_negative)]
    window: BudgetWindow
    enforcement: BudgetEnforcement = "hard"
    alerts: Annotated[
        list[Annotated[DecimalText, AfterValidator(_positive)]], Field(max_length=ALERTS_MAX)
    ] = Field(default=ALERTS_DEFAULT)
    approve_above: Annotated[DecimalText, AfterValidator(_not_negative)] | None = None


def budget_json(state: BudgetState) -> dict[str, object]:
    """A budget as answered."""
    budget, period = state.budget, state.period
    above = budget.approve_above
    return {
        "name": budget.name,
        "customer": budget.customer,
        "path": budget.path,
        "asset": budget.asset,
        "limit": format_decimal(budget.limit),
        "window": budget.window,
        "enforcement": budget.enforcement,
        "alerts": [format_decimal(share) for share in budget.alerts],
        "approve_above": None if above is None else format_decimal(above),
        "set_by": budget.set_by,
        "spent": format_decimal(state.spent),
        "held": format_decimal(state.held),
        "remaining": format_decimal(state.remaining),
        "period": {"from": instant(period.start), "to": instant(period.end)} if period else None,
        "resets_at": instant(period.end) if period else None,
    }


@router.put(
    "/customers/{key}/budgets/{name}", status_code=201, responses={200: {"description": "Replaced"}}
)
async def put_budget(
    key: CustomerPath, name: BudgetPath, body: BudgetBody, call: Limiter
) -> Response:
    """Set or replace a budget. It counts what is charged from now on; a change of the limit keeps
    the count, a change of asset, path or window begins anew. A key of the customer may not replace
    what the seller set.
    """
    call.see(key)
    budget = Budget(
        key, name, body.path, body.asset, body.limit, body.window, body.enforcement,
        tuple(sorted(set(body.alerts))), call.setter, approve_above=body.approve_above,
    )  # fmt: skip
    return await call.write(
        lambda transaction: budgets.put_budget(transaction, budget),
        lambda result: budget_json(result[0]),
        lambda result: 201 if result[1] else 200,
    )


@router.delete("/customers/{key}/budgets/{name}")
async def delete_budget(key: CustomerPath, name: BudgetPath, call: Limiter) -> Response:
    """Delete a budget and what it has counted; the answer is the budget as it was."""
    call.see(key)
    return await call.write(
        lambda transaction: budgets.delete_budget(transaction, key, name, call.setter), budget_json
    )


@router.get("/customers/{key}/budgets/{name}")
async def get_budget(key: CustomerPath, name: BudgetPath, call: Reader) -> Response:
    """One budget, with what was spent in its current window and what open holds reserve."""
    call.see(key)
    return ok(budget_json(await budgets.get_budget(call.context, key, name)))


@router.get("/customers/{key}/budgets")
async def list_budgets(
    key: CustomerPath, call: Reader, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """The customer's budgets by name."""
    call.see(key)
    page = await budgets.list_budgets(call.context, key, limit=limit, cursor=cursor)
    return ok(page_json(page, budget_json))
