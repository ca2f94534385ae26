"""Routes of grants, and of the balances and movements of a customer's wallets."""

import re
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field, WithJsonSchema

from taximeter.domain.credit.wallet import Grant
from taximeter.http.fields import (
    KEY_PATTERN,
    LIMIT,
    Body,
    Cursor,
    CustomerKey,
    DecimalText,
    Instant,
    Key,
    Limit,
    Name,
    Text,
    instant,
)
from taximeter.http.server import Admin, Reader, ok, page_json
from taximeter.kernel.money import Money
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.services import balance, consumption, grants, outlook
from taximeter.services.balance import GrantBalance, WalletBalance
from taximeter.services.consumption import Consumption, Taken
from taximeter.services.grants import Entry, StoredGrant, Voided
from taximeter.services.outlook import Enough, Outlook

router = APIRouter(prefix="/v1", tags=["Credits"])
PRIORITY_DEFAULT = 50
PRIORITY_MAX = 1000
METERS_MAX = 100

_is_asset = re.compile(KEY_PATTERN[:-1] + r"\Z").match


def _asset(value: str) -> str:
    if not _is_asset(value):
        raise ValueError("send a currency such as USD or the key of a credit unit, such as "
                         "credits")  # fmt: skip
    return value


def positive(value: Decimal) -> Decimal:
    """An amount above zero."""
    if value <= ZERO:
        raise ValueError("send an amount above zero")
    return value


def not_negative(value: Decimal) -> Decimal:
    """An amount of zero or more."""
    if value < ZERO:
        raise ValueError("send an amount of zero or more")
    return value


Asset = Annotated[
    str,
    AfterValidator(_asset),
    WithJsonSchema({"type": "string", "pattern": KEY_PATTERN, "examples": ["USD"]}),
]
CustomerPath = Annotated[CustomerKey, Path(description="The customer's key")]
GrantPath = Annotated[Name, Path(description="The grant's id")]


class CostBasisBody(Body):
    """What was paid for the whole grant."""

    amount: Annotated[DecimalText, AfterValidator(not_negative)]
    asset: Asset


class ScopeBody(Body):
    """What the grant may be used for: usage of the `meters` (else of any), by events whose path is
    `path` or lies below it (else any).
    """

    meters: Annotated[list[Key], Field(min_length=1, max_length=METERS_MAX)] | None = None
    path: Annotated[Text, Field(min_length=1)] | None = None


class GrantBody(Body):
    """Credit given to a customer. A low priority burns first."""

    customer: CustomerKey
    asset: Asset
    amount: Annotated[DecimalText, AfterValidator(positive)]
    kind: Literal["paid", "promotional"]
    cost_basis: CostBasisBody | None = None
    priority: Annotated[int, Field(ge=0, le=PRIORITY_MAX, strict=True)] = PRIORITY_DEFAULT
    effective_at: Instant | None = None
    expires_at: Instant | None = None
    scope: ScopeBody | None = None

    def new_grant(self) -> grants.NewGrant:
        """The grant that is asked for."""
        scope = self.scope or ScopeBody()
        cost = self.cost_basis
        return grants.NewGrant(
            customer=self.customer, asset=self.asset, amount=self.amount, kind=self.kind,
            cost_basis=Money(cost.amount, cost.asset) if cost else None, priority=self.priority,
            effective_at=self.effective_at, expires_at=self.expires_at,
            scope_meters=tuple(dict.fromkeys(scope.meters)) if scope.meters is not None else None,
            scope_path=scope.path,
        )  # fmt: skip


def _scope(grant: Grant) -> dict[str, object] | None:
    scope: dict[str, object] = {}
    if grant.scope_meters is not None:
        scope["meters"] = list(grant.scope_meters)
    if grant.scope_path is not None:
        scope["path"] = grant.scope_path
    return scope or None


def _source(grant: Grant) -> dict[str, object]:
    """Where a grant that a plan made comes from."""
    if grant.subscription is None:
        return {}
    return {"source": "plan", "subscription": grant.subscription, "credit": grant.credit}


def _money_json(money: Money | None) -> dict[str, object] | None:
    if money is None:
        return None
    return {"amount": format_decimal(money.amount), "asset": money.asset}


def grant_json(stored: StoredGrant) -> dict[str, object]:
    """A grant as answered."""
    grant = stored.grant
    return {
        "id": grant.id,
        "customer": grant.customer,
        "asset": grant.asset,
        "amount": format_decimal(grant.amount),
        "remaining": format_decimal(grant.remaining),
        "kind": grant.kind,
        "cost_basis": _money_json(stored.cost_basis),
        "priority": grant.priority,
        "effective_at": instant(grant.effective_at),
        "expires_at": instant(grant.expires_at),
        "scope": _scope(grant),
        **_source(grant),
        "created_at": instant(grant.created_at),
        "voided_at": instant(stored.voided_at),
    }


def _voided_json(voided: Voided) -> dict[str, object]:
    return {
        **grant_json(voided.stored),
        "taken_back": format_decimal(voided.taken_back),
        "held": format_decimal(voided.held),
    }


def _consumption_json(found: Consumption) -> dict[str, object]:
    removed, grant = found.removals, found.stored.grant
    return {
        "grant": grant.id,
        "customer": grant.customer,
        "asset": grant.asset,
        "kind": grant.kind,
        "totals": {
            "granted": format_decimal(grant.amount),
            "used": format_decimal(found.used),
            "voided": format_decimal(removed.voided),
            "transferred": format_decimal(removed.transferred),
            "rolled_over": format_decimal(removed.rolled_over),
            "expired": format_decimal(found.expired),
            "remaining": format_decimal(found.remaining),
        },
        "cost_basis": _money_json(found.stored.cost_basis),
        "cost_used": _money_json(found.cost_used),
        "cost_left": _money_json(consumption.cost_left(found)),
        "data": [_taken_json(taken) for taken in found.taken],
        "next_cursor": found.next_cursor,
    }


def _taken_json(taken: Taken) -> dict[str, object]:
    entry = taken.entry
    subscription, slash, price = entry.ref.partition("/")
    return {
        "entry": entry.id,
        "at": instant(entry.at),
        "kind": entry.kind,
        "amount": format_decimal(taken.amount),
        "cost": _money_json(taken.cost),
        "ref": entry.ref,
        "subscription": subscription if slash else None,
        "price": price or None,
    }


def _wallet_json(wallet: WalletBalance) -> dict[str, object]:
    return {
        "asset": wallet.asset,
        "posted": format_decimal(wallet.posted),
        "held": format_decimal(wallet.held),
        "available": format_decimal(wallet.available),
        "by_kind": {kind: format_decimal(amount) for kind, amount in wallet.by_kind.items()},
        "grants": [_grant_balance_json(one) for one in wallet.grants],
    }


def _outlook_json(one: Outlook) -> dict[str, object]:
    return {
        **_wallet_json(one.wallet),
        "drawn_per_day": format_decimal(one.drawn_per_day),
        "runs_out_at": instant(one.runs_out_at),
        "enough_for": [_enough_json(each) for each in one.enough_for],
    }


def _enough_json(one: Enough) -> dict[str, object]:
    dimensions = {"dimensions": dict(one.match)} if one.match else {}
    return {
        "price": one.price, "meter": one.meter, **dimensions,
        "quantity": format_decimal(one.quantity),
    }  # fmt: skip


def _grant_balance_json(one: GrantBalance) -> dict[str, object]:
    grant = one.grant
    return {
        "id": grant.id,
        "kind": grant.kind,
        "amount": format_decimal(grant.amount),
        "remaining": format_decimal(one.remaining),
        "held": format_decimal(one.held),
        "priority": grant.priority,
        "effective_at": instant(grant.effective_at),
        "expires_at": instant(grant.expires_at),
        "scope": _scope(grant),
        **_source(grant),
        "usable": one.usable,
    }


def _entry_json(entry: Entry) -> dict[str, object]:
    return {
        "id": entry.id,
        "at": instant(entry.at),
        "asset": entry.asset,
        "kind": entry.kind,
        "amount": format_decimal(entry.amount),
        "grant": entry.grant_id,
        "ref": entry.ref,
    }


@router.post("/grants", status_code=201)
async def create_grant(body: GrantBody, call: Admin) -> Response:
    """Give a customer credit. Where it is in force now, it repays a negative balance first."""
    call.see(body.customer)
    new = body.new_grant()
    return await call.write(
        lambda transaction: grants.create_grant(transaction, new), grant_json, 201
    )


@router.post("/grants/{id}/void")
async def void_grant(id: GrantPath, call: Admin) -> Response:
    """Take back what is left of a grant, but for what open holds need of it: void it again when
    they are resolved. What was used of it stays used.
    """
    return await call.write(
        lambda transaction: grants.void_grant(transaction, id, call.caller.customer), _voided_json
    )


@router.get("/grants/{id}/consumption")
async def get_consumption(
    id: GrantPath,
    call: Reader,
    since: Annotated[Instant | None, Query(alias="from")] = None,
    until: Annotated[Instant | None, Query(alias="to")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """What was taken out of a grant, oldest first, each with its share of what the grant cost; and
    what became of the whole of it.
    """
    found = await consumption.get_consumption(
        call.context, id, call.caller.customer, since=since, until=until, limit=limit,
        cursor=cursor,
    )  # fmt: skip
    return ok(_consumption_json(found))


@router.get("/grants/{id}")
async def get_grant(id: GrantPath, call: Reader) -> Response:
    """One grant."""
    return ok(grant_json(await grants.get_grant(call.context, id, call.caller.customer)))


@router.get("/grants")
async def list_grants(
    call: Reader, customer: CustomerKey | None = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Response:
    """Grants by customer and age, voided and used ones too."""
    if customer is not None:
        call.see(customer)
    page = await grants.list_grants(
        call.context, customer=customer or call.caller.customer, limit=limit, cursor=cursor
    )
    return ok(page_json(page, grant_json))


@router.get("/customers/{key}/balance")
async def get_balance(key: CustomerPath, call: Reader, at: Instant | None = None) -> Response:
    """What the customer's wallets hold, now or as of `at`. Grants are in the order in which they
    burn; those not yet in force are listed, but not counted.
    """
    call.see(key)
    if at is None:
        found = await outlook.get_outlook(call.context, key)
        return ok({"wallets": [_outlook_json(one) for one in found]})
    wallets = await balance.get_balance(call.context, key, at)
    return ok({"wallets": [_wallet_json(wallet) for wallet in wallets]})


@router.get("/customers/{key}/draw_preview")
async def preview_draw(
    key: CustomerPath,
    call: Reader,
    asset: Asset,
    amount: Annotated[DecimalText, AfterValidator(positive), Query(description="What it costs")],
    meter: Annotated[Key | None, Query(description="Of which meter; left out: of none")] = None,
    path: Annotated[Text | None, Query(min_length=1, description="Where it is used")] = None,
) -> Response:
    """Which grants usage that costs `amount` would draw from now, in that order, and how much of
    each, beside what open holds reserve. What is `uncovered` is not available: usage takes it from
    what is held, and then as debt. Nothing is reserved or changed.
    """
    call.see(key)
    found = await balance.preview_draw(call.context, (key, asset), amount, meter=meter, path=path)
    return ok(
        {
            "customer": key,
            "asset": asset,
            "amount": format_decimal(amount),
            "surplus": format_decimal(found.surplus),
            "grants": [
                {
                    "id": part.grant.id,
                    "kind": part.grant.kind,
                    "priority": part.grant.priority,
                    "expires_at": instant(part.grant.expires_at),
                    **_source(part.grant),
                    "amount": format_decimal(part.amount),
                    "left": format_decimal(part.grant.remaining - part.amount),
                }
                for part in found.parts
            ],
            "uncovered": format_decimal(found.uncovered),
        }
    )


@router.get("/customers/{key}/wallet_entries")
async def list_wallet_entries(
    key: CustomerPath,
    call: Reader,
    asset: Asset | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Response:
    """Each movement of the customer's credit, newest first. An entry that names a grant moves what
    is left of it; one that names none moves the debt. Their sum is the posted balance, but for
    grants that have expired or are yet to come.
    """
    call.see(key)
    page = await balance.list_entries(call.context, key, asset=asset, limit=limit, cursor=cursor)
    return ok(page_json(page, _entry_json))
