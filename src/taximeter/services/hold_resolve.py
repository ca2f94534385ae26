"""What becomes of holds: captured (charged), released, extended.

Owns the states and the charge. Exactly one final step wins; the same again gets its answer again,
another is told the state it found. Work that happened is always charged: from what the hold
reserved first, then from what is there, then as debt; also after the hold has expired.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple

from msgspec import structs

from taximeter.domain.credit.burn import burn_order
from taximeter.domain.credit.hold import Hold, less
from taximeter.domain.metering.event import Event
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import FieldError, Invalid, InvalidState, NotFound, TaximeterError
from taximeter.kernel.paths import lies_within
from taximeter.kernel.quantity import ZERO
from taximeter.services.command import Answer
from taximeter.services.context import Connection, Context
from taximeter.services.hold_account import Accounts
from taximeter.services.hold_requests import Capture, Extend, Release, Resolve, Resolved
from taximeter.services.ingest import IngestAnswer, IngestRequest, take_events
from taximeter.services.settle import Captures, Charge, settle_charges
from taximeter.services.spending import limited_among
from taximeter.storage import holds as storage
from taximeter.storage import wallets
from taximeter.storage.wallets import WalletKey

Result = Answer | TaximeterError
Steps = Sequence[tuple[int, Resolve]]

_TOO_LATE = {Release: "released", Extend: "extended", Capture: "captured"}


async def resolve(
    context: Context,
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    accounts: Accounts,
    steps: Steps,
) -> dict[int, Result]:
    """Do these steps, in order; an answer (or error) for each. The accounts are locked."""
    keys = {(step.customer, step.hold) for _, step in steps}
    holds = await storage.found(await storage.send_find(connection, keys))
    work = _Work(context, connection, terms, accounts, holds)
    for wave in _waves(steps):
        await work.do(wave)
    await work.write()
    return work.results


def _waves(steps: Steps) -> list[Steps]:
    """The steps in rounds of which each has a hold once and, of each customer, one capture by
    events at most: so what a round charges a customer for events is what that capture cost.
    """
    waves: list[list[tuple[int, Resolve]]] = []
    next_of: dict[str, int] = {}
    for number, step in steps:
        first = next_of.get(step.hold, 0)
        by_events = isinstance(step, Capture) and step.events is not None
        if by_events:
            first = max(first, next_of.get(f"/{step.customer}", 0))
            next_of[f"/{step.customer}"] = first + 1
        next_of[step.hold] = first + 1
        while len(waves) <= first:
            waves.append([])
        waves[first].append((number, step))
    return [*waves]


class _Capture(NamedTuple):
    """A capture to be done; `late`: the hold has expired."""

    number: int
    step: Capture
    hold: Hold
    late: bool


class _Work:
    """The steps of one transaction: the holds as they are by now, and the results."""

    def __init__(
        self,
        context: Context,
        connection: Connection,
        terms: Mapping[str, CustomerTerms],
        accounts: Accounts,
        holds: dict[str, Hold],
    ) -> None:
        self._context = context
        self._connection = connection
        self._terms = terms
        self._accounts = accounts
        self._holds = holds
        self._changed: set[str] = set()
        self._order: dict[str, int] = {}
        self.results: dict[int, Result] = {}

    async def do(self, steps: Steps) -> None:
        """Do steps of different holds."""
        captures = []
        for number, step in steps:
            hold = self._holds.get(step.hold)
            early = _early_answer(self._accounts, hold, step)
            if early is not None or hold is None:
                self.results[number] = early or NotFound(kind="hold", key=step.hold)
            elif isinstance(step, Capture):
                unfit = _unfit(hold, step)
                if unfit is not None:
                    self.results[number] = unfit
                else:
                    captures.append(_Capture(number, step, hold, self._expired(hold)))
            elif isinstance(step, Extend):
                until = self._accounts.at + timedelta(seconds=step.ttl_s)
                after = structs.replace(hold, expires_at=max(hold.expires_at, until))
                self._put(after)
                self.results[number] = step.render(Resolved(after))
            else:
                self._accounts.free(hold.customer, hold.counters)
                hold = structs.replace(
                    hold, state="released", resolved_at=self._accounts.at, counters={}
                )
                self._finish(number, step, Resolved(hold))
        if captures:
            await self._capture(captures)

    def _expired(self, hold: Hold) -> bool:
        return self._accounts.has_expired(hold.customer, hold.expires_at)

    async def _capture(self, captures: Sequence[_Capture]) -> None:
        """Charge these captures. Of each customer one at most is by events."""
        by_events = [one for one in captures if one.step.events is not None]
        by_amount = [one for one in captures if one.step.events is None]
        await self._note_order(captures)
        if by_events:
            await self._capture_events(by_events)
        charges = [
            Charge(one.hold.customer, asset, amount, "", one.hold.id, one.hold.path)
            for one in by_amount
            for asset, amount in _amounts(one).items()
            if amount != ZERO
        ]
        if charges:
            await settle_charges(
                self._context, self._connection, charges,
                limited_among(self._terms[one.hold.customer] for one in by_amount),
                self._captures_of(by_amount),
            )  # fmt: skip
        for one in by_amount:
            self._captured(one, _amounts(one))

    async def _note_order(self, captures: Sequence[_Capture]) -> None:
        """Note in which order the grants burn of which a part frees some."""
        several: set[tuple[str, str]] = set()
        for one in captures:
            if one.step.keep_open and not one.late:
                own = {name[2:] for name in one.hold.counters if name.startswith("g:")}
                if len(own) > 1:
                    several |= {(one.hold.customer, grant_id) for grant_id in own}
        if several:
            grants = await wallets.grants_by_id(self._connection, several)
            order = burn_order(grants.values())
            self._order = {f"g:{grant.id}": index for index, grant in enumerate(order)}

    async def _capture_events(self, captures: Sequence[_Capture]) -> None:
        requests = [
            _within(one.hold, one.step.events) for one in captures if one.step.events is not None
        ]
        answers, charges = await take_events(
            self._context, self._connection, requests, self._captures_of(captures)
        )
        charged: dict[str, dict[str, Decimal]] = {}
        for charge in charges:
            own = charged.setdefault(charge.customer, {})
            own[charge.asset] = own.get(charge.asset, ZERO) + charge.amount
        for one, answer in zip(captures, answers, strict=True):
            if answer.refused:
                self.results[one.number] = _refusal(answer)
            else:
                self._captured(one, charged.get(one.hold.customer, {}), answer)

    def _captures_of(self, captures: Sequence[_Capture]) -> Captures:
        """What these holds reserve of grants, by wallet: an expired one reserves nothing."""
        reserved: dict[WalletKey, dict[str, Decimal]] = {}
        for one in captures:
            for asset in one.hold.amounts if not one.late else ():
                own = reserved.setdefault((one.hold.customer, asset), {})
                for name, amount in one.hold.counters.items():
                    if name.startswith("g:"):
                        own[name[2:]] = own.get(name[2:], ZERO) + amount
        return Captures({one.hold.customer for one in captures}, reserved)

    def _captured(
        self, one: _Capture, charged: Mapping[str, Decimal], ingested: IngestAnswer | None = None
    ) -> None:
        hold = one.hold
        total = dict(hold.captured or {})
        for asset, amount in charged.items():
            total[asset] = total.get(asset, ZERO) + amount
        if one.step.keep_open and not one.late:
            freed = _part_of(hold, self._terms[hold.customer], charged, self._order)
            self._accounts.free(hold.customer, freed)
            hold = structs.replace(hold, captured=total, counters=less(hold.counters, freed))
            self._put(hold)
            self.results[one.number] = one.step.render(Resolved(hold, charged, ingested))
            return
        if not one.late:
            self._accounts.free(hold.customer, hold.counters)
        hold = structs.replace(
            hold, state="captured", resolved_at=self._accounts.at, late=one.late, captured=total,
            counters={},
        )  # fmt: skip
        self._finish(one.number, one.step, Resolved(hold, charged, ingested))

    def _finish(self, number: int, step: Resolve, resolved: Resolved) -> None:
        answer = step.render(resolved)
        self.results[number] = answer
        stored = b"%d " % answer.status + answer.body
        self._put(structs.replace(resolved.hold, resolution=step.digest, answer=stored))

    def _put(self, hold: Hold) -> None:
        self._holds[hold.id] = hold
        self._changed.add(hold.id)

    async def write(self) -> None:
        """Write the holds that changed."""
        if self._changed:
            await storage.change(
                self._connection, [self._holds[hold_id] for hold_id in self._changed]
            )


def _early_answer(accounts: Accounts, hold: Hold | None, step: Resolve) -> Result | None:
    """What a step is answered that changes nothing; None: it is to be done."""
    if hold is None or not lies_within(hold.path, step.within):
        return NotFound(kind="hold", key=step.hold)
    if hold.state != "open":
        if hold.resolution == step.digest and hold.answer is not None:
            status, _, body = hold.answer.partition(b" ")
            return Answer(int(status), body, replay=True)
        return InvalidState(kind="hold", state=hold.state, step=_TOO_LATE[type(step)])
    expired = accounts.has_expired(hold.customer, hold.expires_at)
    if expired and not isinstance(step, Capture):
        return InvalidState(kind="hold", state="expired", step=_TOO_LATE[type(step)])
    return None


def _within(hold: Hold, request: IngestRequest) -> IngestRequest:
    """The events of a hold's work; one that names no path is the hold's, as a default."""
    events = [
        structs.replace(event, path=hold.path)
        if type(event) is Event and event.path is None
        else event
        for event in request.events
    ]
    return structs.replace(request, events=events)


def _amounts(one: _Capture) -> dict[str, Decimal]:
    """What a capture by amount charges, by asset."""
    if one.step.amounts is not None:
        return dict(one.step.amounts)
    assert one.step.amount is not None, "a capture is by an amount, amounts or events"
    (asset,) = one.hold.amounts
    return {asset: one.step.amount}


def _unfit(hold: Hold, step: Capture) -> Invalid | None:
    """Why a capture does not fit its hold."""
    if step.amount is not None and len(hold.amounts) != 1:
        detail = "The hold is not of one asset: send amounts, each with its asset."
        return Invalid([FieldError("amount", "needs_amounts", detail)])
    if step.keep_open and len(hold.amounts) != 1:
        detail = "Only a hold of one asset is captured in parts. Place one for each asset."
        return Invalid([FieldError("keep_open", "not_supported", detail)])
    return None


def _part_of(
    hold: Hold, terms: CustomerTerms, charged: Mapping[str, Decimal], order: Mapping[str, int]
) -> dict[str, Decimal]:
    """What a hold of one asset no longer reserves once so much was charged: money, no slot; of its
    grants in burn `order`, as they were drawn, or a grant could be voided that still backs it.
    """
    (asset,) = hold.amounts
    amount = max(charged.get(asset, ZERO), ZERO)
    budgets = {f"b:{budget.name}" for budget in terms.budgets if budget.asset == asset}
    part: dict[str, Decimal] = {}
    rest = amount
    for name in sorted(hold.counters, key=lambda name: (name[0], order.get(name, 0))):
        reserved = hold.counters[name]
        if name in budgets:
            part[name] = min(reserved, amount)
        elif name.startswith(("g:", "i:", "w:")):
            part[name] = min(reserved, rest)
            rest -= part[name]
    return {name: taken for name, taken in part.items() if taken != ZERO}


def _refusal(answer: IngestAnswer) -> Invalid:
    return Invalid(
        [
            FieldError(f"events[{one.index}]", one.error.code, one.error.detail)
            for one in answer.others
            if one.error is not None
        ]
    )
