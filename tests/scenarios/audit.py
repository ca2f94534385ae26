"""A second, naive biller: it recomputes what all invoices of an instance must say together.

Shares no code with the product and reads only what the API shows: the raw events, the documents
of meters and plans, the phases of subscriptions. It folds event by event, rates unit by unit
(tests/naive_rater.py), counts in fractions and rounds each line once.

When usage arrived does not matter to it: usage lines and later adjustments of a segment must add
up to the price of all its events; fees to what each day of each phase costs; wallet entries to the
price of all that settles from a wallet.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fractions import Fraction
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from tests import naive_events
from tests.naive_expression import evaluate
from tests.naive_rater import model_amount, number, printed, usage_lines
from tests.scenarios.audit_discounts import Book, check_discounts
from tests.scenarios.naive_calendar import days, instant, period_around
from tests.scenarios.naive_deal import NO_TERMS, agreed, terms_after
from tests.scenarios.story import Json, Story

DIGITS = {"USD": 2, "EUR": 2, "JPY": 0, "BHD": 3}
FAR = instant("9000-01-01T00:00:00Z")
Span = tuple[datetime, datetime]
# Source and id of an event, and the meter that reads it.
EventOfMeter = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Phase:
    """A phase of a subscription, with its plan's document."""

    start: datetime
    end: datetime
    plan: Json
    quantities: Json
    proration: str

    def price(self, key: str) -> Json | None:
        return next((one for one in self.plan["prices"] if one["key"] == key), None)


@dataclass(frozen=True, slots=True)
class Contract:
    """A subscription as the API shows it."""

    id: str
    key: str | None
    anchor: datetime
    timezone: str
    cancelled: bool
    phases: tuple[Phase, ...]

    @property
    def end(self) -> datetime:
        return self.phases[-1].end

    def price_keys(self) -> list[str]:
        return list(dict.fromkeys(p["key"] for phase in self.phases for p in phase.plan["prices"]))


@dataclass(frozen=True, slots=True)
class Segment:
    """Over which the quantity of one price accumulates."""

    contract: str
    price: str
    span: Span


@dataclass(slots=True)
class Counted:
    """The events of one segment, by time, and the prices that are rated with its price."""

    prices: list[Json]
    events: list[naive_events.Event] = field(default_factory=list)


@dataclass(slots=True)
class Fold:
    """The events of one segment and one set of dimension values, folded one by one."""

    document: Json
    quantity: Fraction | None = None
    latest: tuple[Any, ...] = ()
    members: set[str] | None = None
    values: list[Fraction] = field(default_factory=list)

    def add(self, meter: Json, value: Any, order: tuple[Any, ...]) -> None:
        aggregation = meter["aggregation"]
        if aggregation == "unique":
            self.members = (self.members or set()) | {_text(value)}
            self.quantity = Fraction(len(self.members))
            return
        found = number(value)
        if aggregation == "percentile":
            self.values = sorted([*self.values, found])
            places = number(meter["percentile"]) * len(self.values)
            self.quantity = self.values[-(-places // 1) - 1]
            return
        before = self.quantity
        if before is None or (aggregation == "latest" and order > self.latest):
            self.quantity, self.latest = found, order
        elif aggregation in ("sum", "count"):
            self.quantity = before + found
        elif aggregation in ("max", "min"):
            self.quantity = max(before, found) if aggregation == "max" else min(before, found)


async def audit(story: Story) -> None:
    """Recompute every invoice of every customer and compare."""
    meters = await story.everything("/v1/meters")
    for customer in await story.everything("/v1/customers"):
        await _audit_customer(story, customer, meters)


async def _audit_customer(story: Story, customer: Json, meters: Sequence[Json]) -> None:
    key = customer["key"]
    contracts = [
        await _contract(story, one)
        for one in await story.everything("/v1/subscriptions", customer=key)
    ]
    events = await story.everything("/v1/events", customer=key, status="accepted")
    folds, counted = _fold(contracts, meters, events, await _attempts(story, key))
    expected = _rated(folds, counted, wallet=False)
    drawn = _rated(folds, counted, wallet=True)
    digits = DIGITS[customer["currency"]]
    for contract in contracts:
        invoices = await story.everything("/v1/invoices", customer=key, subscription=contract.id)
        upcoming = await _upcoming(story, key, contract.id)
        every = [*invoices, *([upcoming] if upcoming else [])]
        for invoice in every:
            check_arithmetic(invoice, digits)
        lines = [line for invoice in every for line in invoice["lines"]]
        until = instant(upcoming["period"]["to"]) if upcoming else contract.end
        _check_usage(contract, expected, lines, until, digits)
        _check_fees(contract, lines, until)
        _check_minimums(contract, every, drawn, digits)
        if len({phase.plan["period"] for phase in contract.phases}) == 1:
            await check_discounts(story, contract.id, _book(contract, every), digits)
    await _check_wallets(story, key, contracts, drawn)


def _book(contract: Contract, invoices: Sequence[Json]) -> Book:
    plans = tuple(phase.plan for phase in contract.phases)
    return Book(
        contract.anchor, contract.timezone, plans[0]["period"], contract.phases[0].start,
        contract.end, plans, tuple(invoices),
    )  # fmt: skip


async def _contract(story: Story, found: Json) -> Contract:
    phases: list[Phase] = []
    terms = NO_TERMS
    for phase in found["phases"]:
        path = f"/v1/plans/{phase['plan']}"
        plan = await story.ask("GET", path, params={"version": phase["version"]})
        terms = terms_after(terms, phase)
        end = FAR if phase["ends_at"] is None else instant(phase["ends_at"])
        phases.append(
            Phase(
                instant(phase["starts_at"]), end, agreed(plan, terms, phase["status"]),
                phase["quantities"], phase["proration"],
            )
        )  # fmt: skip
    return Contract(
        found["id"], found["key"], datetime.fromisoformat(found["anchor"]), found["timezone"],
        found["cancelled_at"] is not None, tuple(phases),
    )  # fmt: skip


async def _upcoming(story: Story, customer: str, subscription: str) -> Json | None:
    path = f"/v1/customers/{customer}/upcoming_invoice"
    answer = await story.client.get(path, params={"subscription": subscription})
    assert answer.status_code in (200, 404), answer.text
    return answer.json() if answer.status_code == 200 else None


def _fold(
    contracts: Sequence[Contract],
    meters: Sequence[Json],
    events: Sequence[Json],
    attempts: dict[EventOfMeter, tuple[Json, bool]],
) -> tuple[dict[Segment, dict[tuple[tuple[str, str], ...], Fold]], dict[Segment, Counted]]:
    folds: dict[Segment, dict[tuple[tuple[str, str], ...], Fold]] = defaultdict(dict)
    counted: dict[Segment, Counted] = {}
    for event in sorted(events, key=lambda one: (instant(one["time"]), one["source"], one["id"])):
        at = instant(event["time"])
        for meter in meters:
            if meter["event_type"] != event["type"] or not _passes(meter, event["data"]):
                continue
            count = meter["aggregation"] == "count"
            value = 1 if count else _metered(meter["value"], event["data"])
            adding = meter["aggregation"] in ("sum", "count")
            names = meter.get("dimensions", [])
            values = tuple((name, _text(event["data"].get(name))) for name in names)
            order = (at, instant(event["received_at"]), event["source"], event["id"])
            for contract, phase, price in _targets(contracts, meter["key"], event, at):
                segment = Segment(contract.id, price["key"], _segment(contract, phase, price, at))
                found = attempts.get((event["source"], event["id"], meter["key"]))
                part = Fraction(1) if found is None else _billed_part(price, *found)
                if part is not None:
                    prices = rated_together(phase.plan["prices"], price)
                    day = at.astimezone(ZoneInfo(contract.timezone)).date().isoformat()
                    counted.setdefault(segment, Counted(prices)).events.append(
                        naive_events.Event(
                            event["data"], number(value) if adding else Fraction(0), day, part
                        )
                    )
                    fold = folds[segment].setdefault(values, Fold(price))
                    fold.add(meter, number(value) * part if adding else value, order)
    return folds, counted


def rated_together(prices: Sequence[Json], price: Json) -> list[Json]:
    """The price, and those of its pool, those that share in its usage or in whose it shares, and
    so on, in the order written.
    """
    keys = {price["key"]}
    while True:
        pools = {one.get("pool") for one in prices if one["key"] in keys} - {None}
        more = {
            one["key"] for one in prices if one.get("pool") in pools or keys & _shared_by(one)
        } | {key for one in prices if one["key"] in keys for key in _shared_by(one)}
        if more <= keys:
            return [one for one in prices if one["key"] in keys]
        keys |= more


def _shared_by(price: Json) -> set[str]:
    included = price.get("included")
    return {included["of"]} if isinstance(included, dict) else set()


def by_event(price: Json) -> bool:
    """Whether the price is computed from single events, or with others."""
    if any(price.get(name) for name in ("multipliers", "pool", "maximum_per_day")):
        return True
    models = [price, *price.get("rates", [])]
    models += [price["otherwise"]] if isinstance(price.get("otherwise"), dict) else []
    special = ("percentage", "graduated_percentage", "cost_plus", "dynamic")
    return bool(_shared_by(price)) or any(
        model.get("model") in special
        or any(isinstance(value, dict) for value in model.get("match", {}).values())
        for model in models
    )


async def _attempts(story: Story, customer: str) -> dict[EventOfMeter, tuple[Json, bool]]:
    """The outcome of each event for each meter, and whether it is the first that the meter read."""
    found: dict[EventOfMeter, tuple[Json, bool]] = {}
    for one in await story.everything("/v1/outcomes", customer=customer):
        path = f"/v1/outcomes/{quote(one['id'], safe='')}"
        outcome = await story.ask("GET", path, params={"customer": customer})
        first: dict[str, int] = {}
        for event in outcome["events"]:
            least = min(first.get(event["meter"], event["attempt"]), event["attempt"])
            first[event["meter"]] = least
        for event in outcome["events"]:
            key = (event["source"], event["id"], event["meter"])
            found[key] = (outcome, event["attempt"] == first[event["meter"]])
    return found


def _billed_part(price: Json, outcome: Json, first: bool) -> Fraction | None:
    """How much of an event a price bills for its outcome; None where it never counted."""
    terms = price.get("outcome")
    if terms is None:
        return Fraction(1)
    if outcome["confirmed_at"] is None or not (first or terms.get("retries") == "each"):
        return None
    if outcome["human_review"] and terms.get("human_review") == "free":
        return Fraction(0)
    share = outcome["share"]
    for step in outcome["history"]:
        share = {"confirmed": "1", "partial": step["share"], "failed": "0", "reversed": "0"}.get(
            step["status"], share
        )
    assert share == outcome["share"], outcome
    return number(share)


def _metered(value: str, data: Json) -> Any:
    return data[value] if value in data else evaluate(value, data)


def _passes(meter: Json, data: Json) -> bool:
    for name, wanted in meter.get("filter", {}).items():
        text = _text(data.get(name))
        if isinstance(wanted, dict):
            if data.get(name) is not None and text in wanted["not"]:
                return False
        elif text not in wanted:
            return False
    return True


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _targets(
    contracts: Sequence[Contract], meter: str, event: Json, at: datetime
) -> Iterator[tuple[Contract, Phase, Json]]:
    for contract in contracts:
        if event["subscription"] not in (None, contract.id, contract.key):
            continue
        for phase in contract.phases:
            prices = [one for one in phase.plan["prices"] if one.get("meter") == meter]
            if phase.start <= at < phase.end and prices:
                yield from ((contract, phase, price) for price in prices)
                return


def _unit(phase: Phase, price: Json) -> str:
    return str(price.get("period") or phase.plan["period"])


def _segment(contract: Contract, phase: Phase, price: Json, at: datetime) -> Span:
    unit = _unit(phase, price)
    start, end = period_around(contract.anchor, contract.timezone, unit, at)

    together = rated_together(phase.plan["prices"], price)

    def same(other: Phase) -> bool:
        found = other.price(price["key"])
        return (
            found is not None
            and rated_together(other.plan["prices"], found) == together
            and _unit(other, found) == unit
        )

    index = contract.phases.index(phase)
    first = last = index
    while first > 0 and same(contract.phases[first - 1]):
        first -= 1
    while last + 1 < len(contract.phases) and same(contract.phases[last + 1]):
        last += 1
    return max(start, contract.phases[first].start), min(end, contract.phases[last].end)


def _rated(
    folds: dict[Segment, dict[tuple[tuple[str, str], ...], Fold]],
    counted: dict[Segment, Counted], *, wallet: bool,
) -> dict[Segment, list[Fraction]]:  # fmt: skip
    """The exact amount of each line of each segment."""
    amounts = {}
    for segment, by_values in folds.items():
        document = next(iter(by_values.values())).document
        if (document.get("settle") == "wallet") == wallet and not by_event(document):
            usage = [
                (dict(values), fold.quantity or Fraction(0)) for values, fold in by_values.items()
            ]
            amounts[segment] = usage_lines(document, usage)
    for segment, own in counted.items():
        for price in own.prices:
            mine = replace(segment, price=price["key"])
            pooled = price["key"] == segment.price or (
                price.get("pool") and price in _of_pool(own.prices, segment.price)
            )
            drawn = pooled if wallet else True
            if by_event(price) and (price.get("settle") == "wallet") == wallet and drawn:
                events = {
                    one["key"]: counted[at].events
                    if (at := replace(segment, price=one["key"])) in counted
                    else []
                    for one in own.prices
                }
                amounts[mine] = naive_events.price_lines(own.prices, price["key"], events)
    return amounts


def _of_pool(prices: Sequence[Json], key: str) -> list[Json]:
    pool = next(one.get("pool") for one in prices if one["key"] == key)
    return [one for one in prices if pool is not None and one.get("pool") == pool]


def check_arithmetic(invoice: Json, digits: int) -> None:
    """Lines, subtotal, total and what is due add up, and each line is rounded once."""
    where = f"invoice {invoice['number'] or invoice['id']} of {invoice['customer']}"
    for line in invoice["lines"]:
        if line["kind"] in ("fee", "usage"):
            assert line["amount"] == printed(number(line["exact"]), digits), (where, line)
        steps = sum((number(step["amount"]) for step in line["tiers"]), Fraction(0))
        assert steps == number(line["exact"]), (where, line)
    value = {name: number(invoice[name]) for name in (
        "subtotal", "discount", "credits", "tax", "total", "paid_credits", "amount_paid",
        "amount_due",
    )}  # fmt: skip
    lines = sum((number(line["amount"]) for line in invoice["lines"]), Fraction(0))
    assert value["subtotal"] == lines, where
    deductions = value["discount"] + value["credits"]
    assert value["total"] == value["subtotal"] - deductions + value["tax"], where
    due = value["total"] - value["paid_credits"] - value["amount_paid"]
    assert value["amount_due"] == due, where


def _spans(line: Json) -> Span:
    return instant(line["period"]["from"]), instant(line["period"]["to"])


def _check_usage(
    contract: Contract, expected: dict[Segment, list[Fraction]], lines: Sequence[Json],
    until: datetime, digits: int,
) -> None:  # fmt: skip
    billed: dict[Segment, Fraction] = defaultdict(Fraction)
    for line in lines:
        if line["kind"] in ("usage", "adjustment"):
            billed[Segment(contract.id, line["price"], _spans(line))] += number(line["amount"])
    mine = {
        segment: exact
        for segment, exact in expected.items()
        if segment.contract == contract.id and segment.span[1] <= until
    }
    for segment, exact in mine.items():
        want = sum((number(printed(one, digits)) for one in exact), Fraction(0))
        assert billed[segment] == want, f"{segment}: billed {billed[segment]}, used {want}"
    for segment in billed.keys() - mine.keys():
        prices = _prices_at(contract, segment)
        document = prices[segment.price]
        nothing: dict[str, list[naive_events.Event]] = {key: [] for key in prices}
        none = (
            naive_events.price_lines([*prices.values()], segment.price, nothing)
            if by_event(document)
            else usage_lines(document, [])
        )
        want = sum((number(printed(x, digits)) for x in none), Fraction(0))
        assert billed[segment] == want, f"{segment}: billed {billed[segment]} without usage"


def _prices_at(contract: Contract, segment: Segment) -> dict[str, Json]:
    """The price that is billed, and those that are rated with it, by key."""
    start = segment.span[0]
    phase = next(one for one in contract.phases if one.start <= start < one.end)
    price = phase.price(segment.price)
    assert price is not None, f"{segment} is billed by a price that did not apply"
    return {one["key"]: one for one in rated_together(phase.plan["prices"], price)}


def _check_fees(contract: Contract, lines: Sequence[Json], until: datetime) -> None:
    """The exact fees of each price add up to what each day of each phase costs."""
    for key in contract.price_keys():
        documents = [(phase, phase.price(key)) for phase in contract.phases]
        fees = [(phase, one) for phase, one in documents if one and one["type"] != "usage"]
        if not fees:
            continue
        assert len({_unit(phase, one) for phase, one in fees}) == 1, "one grid a fee"
        mine = [line for line in lines if line["kind"] == "fee" and line["price"] == key]
        billed = sum((number(line["exact"]) for line in mine), Fraction(0))
        cut = _owed(contract, fees, until, cut=True)
        whole = _owed(contract, fees, until, cut=False)
        wanted = [cut, whole] if contract.cancelled else [cut]
        assert any(abs(billed - one) < Fraction(1, 10**9) for one in wanted), (
            f"{contract.id} {key}: billed {float(billed)}, owed {[float(one) for one in wanted]}"
        )


def _owed(
    contract: Contract, fees: Sequence[tuple[Phase, Json]], until: datetime, *, cut: bool
) -> Fraction:
    """What is due by `until`; with `cut` the subscription's end cuts the fee of its period."""
    advance = fees[0][1].get("timing", "advance") == "advance"
    unit = _unit(*fees[0])
    owed = Fraction(0)
    at = contract.phases[0].start
    while at < contract.end and (at <= until if advance else True):
        start, end = period_around(contract.anchor, contract.timezone, unit, at)
        if not advance and min(end, contract.end) > until:
            break
        for phase, document in fees:
            begin, finish = phase.start, phase.end
            if (not cut) if finish == contract.end else (advance and finish > until):
                finish = FAR  # a change that is planned for later is credited then
            quantity = phase.quantities.get(document["key"])
            fee = _fee(document, quantity)
            owed += fee * _share(contract, (start, end), (begin, finish), phase, until, advance)
        at = end
    return owed


def _fee(document: Json, quantity: str | None) -> Fraction:
    percent = number((document.get("discount") or {}).get("percent", 0))
    if document["type"] == "flat":
        amount = number(document["amount"])
    else:
        assert quantity is not None
        amount = model_amount(document, number(quantity))
    return amount * (100 - percent) / 100


def _share(
    contract: Contract, period: Span, phase_span: Span, phase: Phase, until: datetime, advance: bool
) -> Fraction:
    """How much of the period the phase holds, by the cuts that it and the next ask for."""
    index = contract.phases.index(phase)
    following = contract.phases[index + 1] if index + 1 < len(contract.phases) else None

    def cut_at(at: datetime, proration: str) -> Fraction:
        if at <= period[0]:
            return Fraction(0)
        if at >= period[1]:
            return Fraction(1)
        if proration == "none":
            return Fraction(1)  # it waits for the period's end
        if proration == "by_second":
            return Fraction((at - period[0]).total_seconds()) / Fraction(
                (period[1] - period[0]).total_seconds()
            )
        whole = days(contract.timezone, period)
        return Fraction(days(contract.timezone, (period[0], at)), whole)

    first = index == 0
    begin = cut_at(phase_span[0], "by_day" if first else phase.proration)
    finish = cut_at(phase_span[1], following.proration if following else "by_day")
    if advance and phase_span[0] > until:
        return Fraction(0)
    return max(Fraction(0), finish - begin)


def _check_minimums(
    contract: Contract, invoices: Sequence[Json], drawn: dict[Segment, list[Fraction]],
    digits: int,
) -> None:  # fmt: skip
    """Fees and usage of a period, less discounts, what wallets gave for it, and its true-up are no
    less than its minimum, and no true-up is left that they do not need.
    """
    lines = [line for invoice in invoices for line in _less_discounts(invoice)]
    for invoice in invoices:
        start, end = _spans(invoice)
        phase = next((one for one in contract.phases if one.start <= start < one.end), None)
        least = _minimum(contract, (start, end))
        if start == end or phase is None or least is None:
            continue
        covered = trueup = Fraction(0)
        for line in lines:
            since, until = _spans(line)
            document = phase.price(line["price"]) if line["price"] else None
            if line["kind"] == "commitment":
                continue  # of a term, which counts minimums in its turn
            if line["kind"] == "minimum":
                trueup += line["left"] if (since, until) == (start, end) else 0
            elif line["kind"] == "fee" and document and document.get("timing") != "arrears":
                covered += line["left"] if start <= since < end else 0
            elif start < until <= end:
                covered += line["left"]
        for segment, exact in drawn.items():
            if segment.contract == contract.id and start < segment.span[1] <= end:
                price = _prices_at(contract, segment)[segment.price]
                in_money = price.get("asset") in (None, invoice["currency"])
                covered += sum(exact, Fraction(0)) if in_money else 0
        want = number(printed(max(Fraction(0), least - covered), digits))
        assert trueup == want, f"{contract.id} {start}: true-up {float(trueup)}, not {float(want)}"


def _less_discounts(invoice: Json) -> Iterator[Json]:
    """The lines of an invoice, each with what discounts left of it."""
    off: dict[str, Fraction] = defaultdict(Fraction)
    for discount in invoice["discounts"]:
        for share in discount["lines"]:
            off[share["line"]] += number(share["amount"])
    for line in invoice["lines"]:
        yield {**line, "left": number(line["amount"]) - off[line["id"]]}


def _minimum(contract: Contract, span: Span) -> Fraction | None:
    """What the minimums of the phases within a billing period come to, by days."""
    found = None
    for phase in contract.phases:
        start, end = max(span[0], phase.start), min(span[1], phase.end)
        if start < end and phase.plan.get("minimum") is not None:
            whole = period_around(contract.anchor, contract.timezone, phase.plan["period"], start)
            share = Fraction(days(contract.timezone, (start, end)), days(contract.timezone, whole))
            found = (found or 0) + number(phase.plan["minimum"]) * share
    return found


async def _check_wallets(
    story: Story, customer: str, contracts: Sequence[Contract],
    expected: dict[Segment, list[Fraction]],
) -> None:  # fmt: skip
    entries = await story.everything(f"/v1/customers/{customer}/wallet_entries")
    drawn: dict[str, Fraction] = defaultdict(Fraction)
    for entry in entries:
        if entry["kind"] == "draw":
            drawn[entry["ref"]] -= number(entry["amount"])
    for ref in [ref for ref in drawn if ref.startswith("hold_")]:
        hold = await story.ask("GET", f"/v1/holds/{ref}")
        captured = sum(number(one["amount"]) for one in hold["captured"])
        assert drawn.pop(ref) == captured, f"{ref}: drawn is not what was captured"
    used: dict[str, Fraction] = defaultdict(Fraction)
    for segment, exact in expected.items():
        used[f"{segment.contract}/{segment.price}"] += sum(exact, Fraction(0))
    for ref in sorted(drawn.keys() | used.keys()):
        assert drawn[ref] == used[ref], f"{ref}: drawn {drawn[ref]}, used {used[ref]}"
