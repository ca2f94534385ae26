"""Holds: placed, captured, extended and released, a group of requests in one transaction.

Owns the order of that transaction: terms, then the customers' accounts, then what happened to
earlier holds (captures charge before anything new is judged), then the new ones in order of
arrival, each judged with what those before it reserve. The decision is domain/credit/hold.py's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import structs
from psycopg.errors import SerializationFailure

from taximeter.domain.credit.hold import Ask, Counters, Hold, Placed, Refused, Standing, decide
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.errors import IdempotencyConflict, Invalid, NotFound, TaximeterError
from taximeter.kernel.quantity import ZERO
from taximeter.services import approvals
from taximeter.services.command import Answer
from taximeter.services.context import Connection, Context
from taximeter.services.enforce import enforce
from taximeter.services.estimates import estimate
from taximeter.services.hold_account import Accounts, Locking, send_locks
from taximeter.services.hold_requests import (
    Allowed,
    Enforce,
    HoldAnswer,
    HoldRequest,
    NewHold,
    Place,
    Resolve,
)
from taximeter.services.hold_resolve import resolve
from taximeter.services.hold_standing import Reading, send_reading, standings
from taximeter.services.once import fresh_of
from taximeter.services.terms import Held
from taximeter.storage import holds as storage
from taximeter.storage import idempotency
from taximeter.storage.idempotency import StoredAnswer
from taximeter.storage.topups import mark_low

HoldResult = Answer | TaximeterError


def weight_of(request: HoldRequest) -> int:
    """What a request weighs in the committer's queue: its holds, and what it names beside them."""
    if isinstance(request, Place):
        holds = request.holds
        if len(holds) == 1:
            return 1 + len(holds[0].alternatives)
        return max(1, sum(1 + len(hold.alternatives) for hold in holds))
    return max(1, len(request.events.events)) if isinstance(request, Enforce) else 1


def key_of(request: HoldRequest) -> str:
    """Whose queue a request waits in: its customer's; of several customers, the first one's."""
    return next(iter(request.customers), "")


async def commit_holds(
    context: Context, connection: Connection, requests: Sequence[HoldRequest]
) -> list[HoldResult]:
    """The body of one transaction: one answer (or error) for each request, in order. A request
    whose idempotency key was used before (in this group, too) gets the first answer.
    """
    keys = [request.idempotency for request in requests if request.idempotency is not None]
    if not keys:
        return await _commit(context, connection, requests)
    stored = await idempotency.find_answers(connection, keys)
    fresh, firsts = fresh_of([request.idempotency for request in requests], stored)
    found = await _commit(context, connection, [requests[number] for number in fresh])
    results = dict(zip(fresh, found, strict=True))
    at = context.clock.now()
    for name, number in firsts.items():
        key, result = requests[number].idempotency, results[number]
        if isinstance(result, Answer) and key is not None:
            status, body = result.status, result.body
            if not await idempotency.store_answer(connection, key, status, body, at):
                raise SerializationFailure("the idempotency key was used meanwhile")
            stored[name] = StoredAnswer(key.request_digest, status, body)
    for number, request in enumerate(requests):
        if number not in results:
            key = request.idempotency
            assert key is not None, "without a key it was fresh"
            if key[:2] in stored:
                results[number] = _again(key, stored[key[:2]])
            else:
                first = firsts[key[:2]]
                same = requests[first].idempotency == key
                results[number] = results[first] if same else IdempotencyConflict(key=key.key)
    return [results[number] for number in range(len(requests))]


def _again(key: idempotency.Key, first: StoredAnswer) -> HoldResult:
    if first.request_digest != key.request_digest:
        return IdempotencyConflict(key=key.key)
    return Answer(first.status, first.body, replay=True)


async def _commit(
    context: Context, connection: Connection, requests: Sequence[HoldRequest]
) -> list[HoldResult]:
    at = context.clock.now()
    customers = {customer for request in requests for customer in request.customers}
    asking = await context.terms.send_hold(connection, customers)
    # Where all is known and all are to be placed, one round trip reads what decides.
    early = None
    group = None if asking.guess is None else _group_of(asking.guess, requests)
    if group is not None and group.is_placing:
        locking = await send_locks(connection, group.terms.keys(), at)
        asks = _asks(group.places)
        early = locking, await send_reading(connection, group.terms, asks, at)
    held, as_guessed = await context.terms.held(connection, asking)
    if group is None or not as_guessed:
        group, early = _group_of(held, requests), None
    work = _Work(context, connection, held, group, at)
    if early is None:
        await work.price_estimates()
    if group.is_anything:
        await work.do(early)
    return [group.results[number] for number in range(len(requests))]


@dataclass(slots=True)
class _Group:
    """The requests of one transaction apart by what they ask, each with its place among them; and
    the results that are known. `terms` are those of the customers that exist.
    """

    terms: dict[str, CustomerTerms]
    results: dict[int, HoldResult] = field(default_factory=dict)
    places: list[tuple[int, Place]] = field(default_factory=list)
    enforced: list[tuple[int, Enforce]] = field(default_factory=list)
    steps: list[tuple[int, Resolve]] = field(default_factory=list)

    @property
    def is_anything(self) -> bool:
        """Whether there is something to be done."""
        return bool(self.places or self.enforced or self.steps)

    @property
    def is_placing(self) -> bool:
        """Whether all there is to be done is to place holds of known amounts."""
        return (
            bool(self.places)
            and not (self.enforced or self.steps)
            and not any(new.estimate is not None for _, place in self.places for new in place.holds)
        )


def _group_of(held: Held, requests: Sequence[HoldRequest]) -> _Group:
    group = _Group(
        {
            customer: cached.terms
            for customer, cached in held.customers.items()
            if cached.terms is not None
        }
    )
    for number, request in enumerate(requests):
        if isinstance(request, Enforce):
            group.enforced.append((number, request))
            continue
        unknown = _unknown(request, group.terms)
        if unknown is not None:
            group.results[number] = NotFound(kind="customer", key=unknown)
        elif isinstance(request, Place):
            group.places.append((number, request))
        else:
            group.steps.append((number, request))
    return group


def _unknown(request: Place | Resolve, terms: Mapping[str, CustomerTerms]) -> str | None:
    """The first of the request's customers that does not exist."""
    for customer in request.customers:
        if customer not in terms:
            return customer
    return None


_Early = tuple[Locking, Reading]


@dataclass(frozen=True, slots=True)
class _Work:
    """What one transaction does."""

    context: Context
    connection: Connection
    held: Held
    group: _Group
    at: datetime

    async def price_estimates(self) -> None:
        """Give the holds the needs that their estimates come to."""
        priced = []
        for number, place in self.group.places:
            found = await _priced(self.connection, self.held, place, self.at)
            if isinstance(found, Place):
                priced.append((number, found))
            else:
                self.group.results[number] = found
        self.group.places[:] = priced

    async def do(self, early: _Early | None) -> None:
        """Lock, resolve, enforce, place, write; `early` is what was asked for before."""
        connection, group, terms = self.connection, self.group, self.group.terms
        asks = _asks(group.places)
        reading = None
        if early is None:
            locking = await send_locks(connection, terms.keys(), self.at)
        else:
            locking, reading = early
        accounts, complete = await locking.done(connection)
        if group.steps:
            group.results |= await resolve(self.context, connection, terms, accounts, group.steps)
        for number, one in group.enforced:
            group.results[number] = await enforce(
                self.context, connection, self.held, accounts, one
            )
        found: Mapping[str, Standing] = {}
        if group.places:
            if reading is None or not complete:
                reading = await send_reading(connection, terms, asks, self.at)
            found = await standings(connection, terms, asks, accounts, reading)
            group.results |= await _place(self.context, connection, accounts, found, group.places)
        await accounts.write(connection)
        await _mark_low(connection, terms, found, self.at)


async def _mark_low(
    connection: Connection,
    terms: Mapping[str, CustomerTerms],
    found: Mapping[str, Standing],
    at: datetime,
) -> None:
    """Have wallets looked at that are topped up, and low with what is reserved of them now."""
    topped_up = {
        (customer, asset): sum((one.remaining for one in purse.grants), -purse.debt)
        for customer, standing in found.items()
        if terms[customer].auto_topups
        for asset, purse in standing.purses.items()
        if terms[customer].is_topped_up(asset)
    }
    if topped_up:
        await mark_low(connection, topped_up, at)


async def _priced(
    connection: Connection, held: Held, place: Place, at: datetime
) -> Place | Invalid:
    """The holds with what their estimates say they need."""
    if all(new.estimate is None for new in place.holds):
        return place
    holds = []
    for index, new in enumerate(place.holds):
        if new.estimate is None:
            holds.append(new)
            continue
        asks = []
        at_hold = f"holds[{index}]." if len(place.holds) > 1 else ""
        for number, event in enumerate((new.estimate, *new.alternatives)):
            where = at_hold + (f"alternatives[{number - 1}]" if number else "estimate")
            found = await estimate(connection, held, event, at, where)
            if isinstance(found, Invalid):
                return found
            asks.append(structs.replace(new.ask, needs=found.needs, margin=found.margin))
        holds.append(structs.replace(new, ask=asks[0], instead=tuple(asks[1:])))
    return structs.replace(place, holds=holds)


def _asks(places: Sequence[tuple[int, Place]]) -> dict[str, list[Ask]]:
    asks: dict[str, list[Ask]] = {}
    for _, place in places:
        for new in place.holds:
            asks.setdefault(new.customer, []).append(new.ask)
            if new.instead:
                asks[new.customer] += new.instead
    return asks


async def _place(
    context: Context,
    connection: Connection,
    accounts: Accounts,
    found: Mapping[str, Standing],
    places: Sequence[tuple[int, Place]],
) -> dict[int, HoldResult]:
    placed: list[Allowed] = []
    judged: list[list[HoldAnswer]] = []
    for _, place in places:
        answers = [_judge(context, accounts, found[new.customer], new) for new in place.holds]
        judged.append(answers)
        allowed = [answer for answer in answers if isinstance(answer, Allowed)]
        if place.together and len(allowed) < len(answers):
            for one in allowed:
                accounts.free(one.hold.customer, one.hold.counters)
                accounts.free(one.hold.customer, one.counted)
                approvals.take(found[one.hold.customer], one.approvals, -1)
        else:
            placed += allowed
    if placed:
        await storage.insert(connection, [one.hold for one in placed])
        await approvals.write_uses(connection, placed)
    await _ask_for_approvals(context, connection, judged, accounts.at)
    return {
        number: place.render(_none(answers) if place.together else answers)
        for (number, place), answers in zip(places, judged, strict=True)
    }


async def _ask_for_approvals(
    context: Context, connection: Connection, judged: list[list[HoldAnswer]], at: datetime
) -> None:
    """Have the refusals for want of an approval name the one that is asked for."""
    refused = [
        one for answers in judged for one in answers if isinstance(one, Refused) and one.unapproved
    ]
    if not refused:
        return
    named = iter(await approvals.ask_for(context, connection, refused, at))
    for answers in judged:
        answers[:] = [
            next(named) if isinstance(one, Refused) and one.unapproved else one for one in answers
        ]


def _none(answers: Sequence[HoldAnswer]) -> list[HoldAnswer]:
    """The answers of holds that go together: where one was refused none is placed, and those that
    would have fitted name what the first refused one met.
    """
    found = next(((i, one) for i, one in enumerate(answers) if isinstance(one, Refused)), None)
    if found is None:
        return list(answers)
    index, first = found
    why = replace(first, limit={**first.limit, "refused_hold": index})
    return [one if isinstance(one, Refused) else why for one in answers]


def _instead(
    standing: Standing, counters: Counters, new: NewHold
) -> tuple[int, Ask, Placed] | None:
    """The first alternative that can be held, with its number; None where there is none."""
    for number, ask in enumerate(new.instead):
        decision = decide(standing, counters, ask)
        if isinstance(decision, Placed):
            return number, ask, decision
    return None


def _judge(context: Context, accounts: Accounts, standing: Standing, new: NewHold) -> HoldAnswer:
    counters = accounts.counters[new.customer]
    ask: Ask = new.ask
    alternative: int | None = None
    decision = decide(standing, counters, ask)
    if isinstance(decision, Refused):
        fits = _instead(standing, counters, new)
        if fits is None:
            return decision
        alternative, ask, decision = fits
    amounts: dict[str, Decimal] = {}
    for need in ask.needs:
        amounts[need.asset] = amounts.get(need.asset, ZERO) + need.amount
    at = accounts.now_of(new.customer)
    until = at + timedelta(seconds=new.ttl_s)
    accounts.reserve(new.customer, decision.added, until)
    hold = Hold(
        customer=new.customer, id=context.ids("hold", at), state="open", amounts=amounts,
        path=new.ask.path, feature=new.ask.feature, quantity=new.ask.quantity, placed_at=at,
        expires_at=until, counters=decision.added,
    )  # fmt: skip
    approvals.take(standing, decision.approvals)
    if decision.counted:
        accounts.count(new.customer, decision.counted)
    return Allowed(
        hold, decision.available, decision.warnings, decision.approvals, decision.counted,
        alternative,
    )  # fmt: skip
