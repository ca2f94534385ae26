"""The second biller's discounts: which lines of each invoice they take, and how much.

Shares no code with the product. It reads the documents of plans and coupons, finds for each line
when it was billed first among the invoices themselves, and counts in fractions.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from tests.naive_rater import number, printed
from tests.scenarios.naive_calendar import bound, instant, period_around
from tests.scenarios.story import Json, Story

FAR = instant("9000-01-01T00:00:00Z")
Moment = tuple[datetime, bool]


@dataclass(frozen=True, slots=True)
class Book:
    """What a contract's invoices say, and by which calendar."""

    anchor: datetime
    timezone: str
    unit: str
    start: datetime
    end: datetime
    plans: tuple[Json, ...]
    invoices: tuple[Json, ...]

    def period(self, at: datetime) -> tuple[datetime, datetime]:
        """The billing period around an instant, as the contract cuts it."""
        start, end = period_around(self.anchor, self.timezone, self.unit, at)
        return max(start, self.start), min(end, self.end)

    def bills_at_start(self) -> bool:
        """Whether something was due when the contract began."""
        return any(one["period"]["from"] == one["period"]["to"] for one in self.invoices)

    def first_due(self, at: datetime) -> datetime:
        """The first billing instant from `at` on."""
        if at == self.start and self.bills_at_start():
            return at
        start, end = self.period(at)
        return at if start == at != self.start else end

    def timing(self, line: Json) -> str:
        """Whether a fee is billed before or after its period."""
        for plan in self.plans:
            if (plan["key"], plan["version"]) == (line["plan"], line["version"]):
                for price in plan["prices"]:  # on trial or paused the plan has fewer
                    if price["key"] == line["price"]:
                        return str(price.get("timing", "advance"))
        raise AssertionError(f"{line} is of a plan that never applied")

    def moment(self, invoice: Json, line: Json) -> Moment:
        """When the line, or the one that it corrects, was billed first: a due date ahead, or the
        start of a period.
        """
        since, until = instant(line["period"]["from"]), instant(line["period"]["to"])
        if line["kind"] == "adjustment":
            return period_before(self, until)[0], False
        if is_credit(line):
            fees = [
                (instant(one["period"]["from"]), of, one)
                for of in self.invoices
                for one in of["lines"]
                if one["kind"] == "fee" and not is_credit(one) and one["price"] == line["price"]
                and instant(one["period"]["from"]) < since <= instant(one["period"]["to"])
            ]  # fmt: skip
            _, of, fee = max(fees, key=lambda found: found[0])
            return self.moment(of, fee)
        closing = instant(invoice["period"]["to"])
        if line["kind"] == "fee" and self.timing(line) == "advance" and since == closing:
            return closing, True
        return instant(invoice["period"]["from"]), False


def is_credit(line: Json) -> bool:
    """Whether a line gives back a fee for unused time."""
    return line["kind"] == "fee" and "unused time" in str(line["description"])


def period_before(book: Book, end: datetime) -> tuple[datetime, datetime]:
    """The billing period that `end` lies in or ends."""
    start, finish = book.period(end)
    if end not in (start, book.end):
        return start, finish
    step = 0
    while bound(book.anchor, book.timezone, book.unit, step) >= end:
        step -= 1
    while bound(book.anchor, book.timezone, book.unit, step + 1) < end:
        step += 1
    return max(bound(book.anchor, book.timezone, book.unit, step), book.start), end


def lasts(book: Book, discount: Json, moment: Moment) -> bool:
    """Whether a discount lasts at the moment at which a line is judged."""
    at, ahead = moment
    begun = instant(discount["from"])
    opens = instant(discount["starts_at"]) if discount["starts_at"] else begun
    first = max(begun, opens)
    since = book.first_due(first) if ahead else book.period(first)[0]
    if not ahead and discount["starts_at"] and since < opens:
        since = book.first_due(first)
    if at < since or (discount["ends_at"] and at >= instant(discount["ends_at"])):
        return False
    if discount["until"]:
        ended = instant(discount["until"])
        if at >= (ended if ahead else book.period(ended)[0]):
            return False
    if discount["months"] is None:
        return True
    local = since.astimezone(ZoneInfo(book.timezone)).replace(tzinfo=None)
    return at < bound(local, book.timezone, "month", discount["months"])


def takes(discount: Json, line: Json) -> bool:
    """Whether a discount takes lines of this price and plan."""
    if line["kind"] not in ("fee", "usage", "overage", "adjustment"):
        return False
    if discount["source"] == "plan":
        return (line["plan"], line["version"]) in discount["versions"]
    if discount["plans"] is not None and line["plan"] not in discount["plans"]:
        return False
    return discount["prices"] is None or line["price"] in discount["prices"]


def plan_discounts(book: Book) -> list[Json]:
    """The plans' own discounts, each once."""
    found: list[Json] = []
    for plan in book.plans:
        terms = plan.get("discount")
        if terms is None:
            continue
        percent, amount = terms.get("percent"), terms.get("amount")
        same = [
            one
            for one in found
            if one["key"] == plan["key"]
            and (one["percent"], one["amount"], one["months"])
            == (percent, amount, terms.get("months"))
        ]
        if same:
            same[0]["versions"].append((plan["key"], plan["version"]))
            continue
        found.append(
            {
                "source": "plan", "key": plan["key"], "percent": percent, "amount": amount,
                "months": terms.get("months"), "starts_at": None, "ends_at": None,
                "from": book.start.isoformat(), "until": None,
                "versions": [(plan["key"], plan["version"])],
            }
        )  # fmt: skip
    return found


async def check_discounts(story: Story, subscription: str, book: Book, digits: int) -> None:
    """Every invoice's discounts are those that the documents ask for, in their order."""
    path = f"/v1/subscriptions/{subscription}/discounts"
    given = [{**one, "key": one["coupon"]} for one in (await story.ask("GET", path))["data"]]
    own = [one for one in given if one["source"] == "subscription"]
    coupons = [one for one in given if one["source"] == "coupon"]
    discounts = [*plan_discounts(book), *own, *coupons]
    for invoice in book.invoices:
        _check_invoice(book, invoice, discounts, digits)


def _check_invoice(book: Book, invoice: Json, discounts: Sequence[Json], digits: int) -> None:
    where = f"invoice {invoice['number'] or invoice['id']} of {invoice['customer']}"
    left = {line["id"]: number(line["amount"]) for line in invoice["lines"]}
    applied = list(invoice["discounts"])
    for discount in discounts:
        named = [line for line in invoice["lines"] if takes(discount, line)]
        moments = {line["id"]: book.moment(invoice, line) for line in named}
        taken = [line for line in named if lasts(book, discount, moments[line["id"]])]
        base = sum((left[line["id"]] for line in taken), Fraction(0))
        if discount["percent"] is not None:
            off = number(printed(base * number(discount["percent"]) / 100, digits))
        else:
            off = _amount_off(book, discount, named, moments, base, digits)
        if off == 0:
            continue
        assert applied, f"{where}: {discount['source']} {discount['key']} takes {float(off)}"
        found = applied.pop(0)
        wanted = (discount["source"], discount["key"], base, off)
        shown = (
            found["source"], found["key"], number(found["base"]), number(found["amount"]),
        )  # fmt: skip
        assert shown == wanted, f"{where}: {shown}, not {wanted}"
        _check_shares(found, [line["id"] for line in taken], left, digits)
    assert not applied, f"{where}: {applied} are not asked for"


def _amount_off(
    book: Book, discount: Json, named: Sequence[Json], moments: dict[str, Moment],
    base: Fraction, digits: int,
) -> Fraction:  # fmt: skip
    new = [moments[one["id"]] for one in named if one["kind"] != "adjustment"
           and not is_credit(one)]  # fmt: skip
    if not new or not lasts(book, discount, max(new)):
        return Fraction(0)
    return min(number(printed(number(discount["amount"]), digits)), max(base, Fraction(0)))


def _check_shares(
    found: Json, taken: Sequence[str], left: dict[str, Fraction], digits: int
) -> None:
    """Each line carries its part to within a minor unit, and the parts add up."""
    base, amount = number(found["base"]), number(found["amount"])
    shares: dict[str, Fraction] = defaultdict(Fraction)
    for share in found["lines"]:
        shares[share["line"]] += number(share["amount"])
    assert sorted(shares) == sorted(taken)
    assert sum(shares.values(), Fraction(0)) == amount
    for line in taken:
        assert abs(shares[line] - left[line] * amount / base) <= Fraction(1, 10**digits)
        left[line] -= shares[line]
