"""Invoices: totals, credits, states, digests."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from taximeter.domain.catalog.plan import (
    PerUnit,
)
from taximeter.domain.credit.wallet import Grant
from taximeter.domain.invoicing.digest import input_digest
from taximeter.domain.invoicing.invoice import (
    TRANSITIONS,
    Invoice,
    InvoiceStep,
    Status,
    finalize,
    format_number,
    next_status,
    payment_due_at,
)
from taximeter.domain.invoicing.lines import (
    minimum_line,
    numbered,
    usage_lines,
)
from taximeter.domain.invoicing.totals import (
    AppliedCredits,
    Totals,
    apply_credits,
    total,
    totals_of,
)
from taximeter.domain.subscription.subscription import Segment
from taximeter.kernel.errors import InvalidState
from taximeter.kernel.quantity import ONE, ZERO
from tests.unit.invoice_values import (
    APRIL,
    AT,
    NO_CREDITS,
    grant,
    least,
    lines_of,
    plan,
    rated,
    usage_price,
    utc,
)

# Totals and credits


def applied(
    amounts: Sequence[str], grants: Sequence[Grant], currency: str = "USD"
) -> tuple[dict[str, Decimal], Totals]:
    lines = lines_of(*amounts, asset=currency)
    found = apply_credits(lines, total(lines), grants, AT, currency=currency)
    parts = dict((*found.promotional, *found.paid))
    return parts, found.onto(total(lines))


def test_the_subtotal_is_the_sum_of_the_printed_lines() -> None:
    # 0.005 + 0.005 = 0.010, but each prints as 0.01
    totals = total(lines_of("0.005", "0.005"))
    assert totals.subtotal == totals.total == totals.amount_due == Decimal("0.02")
    assert total(lines_of("10"), discount=Decimal(3)).total == 7


def test_promotional_credit_is_a_discount_and_comes_before_paid_credit() -> None:
    grants = [grant("paid", "50", priority=1), grant("promo", "30", kind="promotional")]
    parts, totals = applied(["100"], grants)
    assert parts == {"promo": 30, "paid": 50}
    assert (totals.credits, totals.total) == (Decimal(30), Decimal(70))
    assert (totals.paid_credits, totals.amount_due) == (Decimal(50), Decimal(20))


def test_each_kind_is_applied_in_burn_order_and_never_beyond_the_total() -> None:
    grants = [
        grant("second", "80"),
        grant("first", "50", expires_at=utc("2026-06-01")),
        grant("bonus", "20", kind="promotional"),
        grant("unneeded", "20", priority=99),
    ]
    parts, totals = applied(["100"], grants)
    assert parts == {"bonus": 20, "first": 50, "second": 30}
    assert totals.amount_due == ZERO
    parts, totals = applied(["15"], grants)
    assert parts == {"bonus": 15}
    assert (totals.total, totals.paid_credits) == (ZERO, ZERO)


def test_only_usable_grants_in_the_currency_are_applied() -> None:
    grants = [
        grant("euro", "10", asset="EUR"),
        grant("credits", "10", asset="credits"),
        grant("expired", "10", expires_at=AT),
        grant("future", "10", effective_at=utc("2026-06-01")),
        structs.replace(grant("empty", "10"), remaining=ZERO),
    ]
    assert applied(["100"], grants)[0] == {}


@pytest.mark.parametrize(
    ("currency", "amounts", "parts", "due"),
    [
        ("USD", ["0.005"], {}, "10"),
        ("USD", ["0.005", "0.005"], {"g0": "0.005", "g1": "0.005"}, "9.99"),
        ("USD", ["1.239", "0.009"], {"g0": "1.239", "g1": "0.001"}, "8.76"),
        ("JPY", ["1.9"], {"g0": "1"}, "9"),
    ],
)
def test_credit_is_applied_in_whole_minor_units(
    currency: str, amounts: Sequence[str], parts: dict[str, str], due: str
) -> None:
    grants = [grant(f"g{n}", amount, asset=currency) for n, amount in enumerate(amounts)]
    found, totals = applied(["10"], grants, currency)
    assert found == {id: Decimal(part) for id, part in parts.items()}
    assert totals.amount_due == Decimal(due)


def test_a_grant_for_certain_meters_covers_only_their_lines() -> None:
    lines = (*lines_of("40", meter="a"), *lines_of("30", meter="b"), *lines_of("5", meter="a"))
    grants = [
        grant("a", "100", scope_meters=("a",), priority=1),
        grant("ab", "100", scope_meters=("a", "b"), priority=2),
        grant("none", "100", scope_meters=("z",), priority=2),
        grant("bonus", "10", kind="promotional", scope_meters=("a",)),
    ]
    found = apply_credits(lines, total(lines), grants, AT, currency="USD")
    # 10 of a's 45 are taken by the bonus, 35 by `a`; then only b's 30 are left
    assert found.promotional == (("bonus", Decimal(10)),)
    assert found.paid == (("a", Decimal(35)), ("ab", Decimal(30)))


def test_fees_and_negative_usage_leave_nothing_to_a_grant_for_a_meter() -> None:
    minimum = minimum_line(least("100"), ())
    assert minimum is not None
    lines = (minimum, *lines_of("-10"))
    scoped = grant("m", "100", scope_meters=("m",))
    assert apply_credits(lines, total(lines), [scoped], AT, currency="USD") == NO_CREDITS


def test_a_negative_invoice_goes_to_the_wallet() -> None:
    lines = lines_of("-70", "20")
    found = apply_credits(lines, total(lines), [grant("g", "100")], AT, currency="USD")
    assert found == AppliedCredits((), (), Decimal(50))
    totals = found.onto(total(lines))
    assert totals.total == totals.paid_credits == -50
    assert totals.amount_due == ZERO


@given(
    st.lists(st.decimals("-50", "200", places=3), max_size=4),
    st.lists(st.tuples(st.decimals("0", "90", places=4), st.booleans(), st.booleans()), max_size=4),
)
def test_credits_never_exceed_the_total_nor_a_grant(
    amounts: list[Decimal], sizes: list[tuple[Decimal, bool, bool]]
) -> None:
    lines = lines_of(*map(str, amounts))
    grants = [
        grant(
            *(f"g{n}", str(size)),
            kind="paid" if paid else "promotional",
            scope_meters=("m",) if scoped else None,
        )
        for n, (size, paid, scoped) in enumerate(sizes)
    ]
    found = apply_credits(lines, total(lines), grants, AT, currency="USD")
    totals = found.onto(total(lines))
    assert totals.amount_due >= ZERO
    assert totals.amount_due == totals.amount_due.quantize(Decimal("0.01"))
    remaining = {one.id: one.remaining for one in grants}
    assert all(ZERO < part <= remaining[id] for id, part in (*found.promotional, *found.paid))
    unscoped = sum((g.remaining for g in grants if g.scope_meters is None), ZERO)
    if totals.amount_due > ZERO:  # then the grants gave all they had, but for parts of a cent
        given = sum((part for _, part in (*found.promotional, *found.paid)), ZERO)
        assert given > unscoped - Decimal("0.02")


def test_totals_that_do_not_add_up_cannot_be_made() -> None:
    totals = total(lines_of("10"))
    for broken in ("subtotal", "tax", "total", "payments", "amount_due"):
        with pytest.raises(AssertionError):
            replace(totals, **{broken: Decimal(99)})
    with pytest.raises(AssertionError, match="not negative"):
        totals_of(Decimal(10), credits=Decimal(-1))


# The document and its states


def draft(*amounts: str, currency: str = "USD", **changes: Any) -> Invoice:
    lines = lines_of(*amounts, asset=currency)
    values: dict[str, Any] = {
        **{"id": "inv_1", "number": None, "customer": "acme", "subscription": "sub_1"},
        **{"status": "draft", "currency": currency, "period": APRIL, "lines": lines},
        **{"settled": (), "totals": total(lines), "created_at": AT, "finalized_at": None},
        **{"due_at": None, "input_digest": input_digest(lines)},
    }
    return Invoice(**{**values, **changes})


def finalized(invoice: Invoice, credits: AppliedCredits = NO_CREDITS) -> Invoice:
    due_at = payment_due_at(AT, net_terms_days=30, timezone="UTC")
    return finalize(invoice, number="INV-000001", at=AT, due_at=due_at, credits=credits)


def test_finalizing_numbers_and_dates_a_draft() -> None:
    it = finalized(draft("10.275"))
    assert (it.status, it.number, it.finalized_at) == ("open", "INV-000001", AT)
    assert it.due_at == utc("2026-05-31T01:00")
    assert it.totals.amount_due == Decimal("10.28")
    again = finalize(it, number="INV-000002", at=utc("2027-01-01"), due_at=AT, credits=NO_CREDITS)
    assert again is it


def test_what_credit_covers_is_paid_at_once() -> None:
    it = draft("10")
    credits = apply_credits(it.lines, it.totals, [grant("g", "25")], AT, currency="USD")
    it = finalized(it, credits)
    assert it.status == "paid"
    assert (it.totals.paid_credits, it.totals.amount_due) == (Decimal(10), ZERO)
    assert finalized(it) is it
    assert finalized(draft()).status == "paid"  # nothing to pay


def test_what_a_negative_invoice_owes_must_go_somewhere() -> None:
    with pytest.raises(AssertionError, match="goes to the wallet"):
        finalized(draft("-5"))
    assert finalized(draft("-5"), AppliedCredits((), (), Decimal(5))).status == "paid"


@pytest.mark.parametrize("status", ["void", "uncollectible"])
def test_what_was_given_up_is_not_finalized(status: Status) -> None:
    it = replace(finalized(draft("10")), status=status)
    with pytest.raises(InvalidState) as caught:
        finalized(it)
    assert str(caught.value) == f"This invoice is {status}: it cannot be finalized."


STATUSES: tuple[Status, ...] = ("draft", "open", "paid", "void", "uncollectible")
STEPS: tuple[InvoiceStep, ...] = ("finalized", "paid", "voided", "marked uncollectible")


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("step", STEPS)
def test_only_the_steps_of_the_table_exist(status: Status, step: InvoiceStep) -> None:
    if (status, step) in TRANSITIONS:
        assert next_status(status, step) == TRANSITIONS[status, step]
    else:
        with pytest.raises(InvalidState):
            next_status(status, step)


def test_what_is_paid_or_void_is_final_and_only_a_draft_is_finalized() -> None:
    assert {status for status, _ in TRANSITIONS} == {"draft", "open", "uncollectible"}
    assert [status for status, step in TRANSITIONS if step == "finalized"] == ["draft"]


@pytest.mark.parametrize(
    "changes",
    [
        {"totals": total(())},  # lines do not sum to it
        {"number": "INV-1"},
        {"finalized_at": AT},
        {"due_at": AT},
        {"status": "open"},
        {"currency": "EUR"},
        {"lines": tuple(replace(line, id="") for line in lines_of("10"))},
        {"settled": lines_of("10")},  # the same id twice
        {"status": "paid", "number": "INV-1", "finalized_at": AT, "due_at": AT},
    ],
)
def test_a_broken_invoice_cannot_be_made(changes: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        replace(draft("10"), **changes)  # type: ignore[arg-type]


def test_an_invoice_is_in_minor_units() -> None:
    it = draft("10")
    half = AppliedCredits((), (("g", Decimal("0.005")),), ZERO)
    with pytest.raises(AssertionError, match="minor units"):
        finalized(it, half)


def test_settled_lines_are_shown_and_not_counted() -> None:
    price = usage_price(asset="credits", settle="wallet")
    seg = Segment(price, plan(price), "month", APRIL, APRIL)
    (settled,) = usage_lines(seg, [rated("12.3456")])
    it = draft("10", settled=(replace(settled, id="settled_1"),))
    assert it.totals.total == 10


def test_lines_are_numbered_by_position_each_time_the_same() -> None:
    lines = lines_of("1", "2", "3")
    assert [line.id for line in lines] == ["line_1", "line_2", "line_3"]
    assert numbered(reversed(tuple(reversed(lines)))) == lines


@pytest.mark.parametrize(
    ("prefix", "counter", "number"),
    [("INV", 1, "INV-000001"), ("A", 999_999, "A-999999"), ("A", 1_000_000, "A-1000000")],
)
def test_numbers(prefix: str, counter: int, number: str) -> None:
    assert format_number(prefix, counter) == number


def test_numbers_count_from_one() -> None:
    with pytest.raises(AssertionError):
        format_number("INV", 0)


def test_the_due_date_follows_the_local_calendar() -> None:
    # 00:00 in New York before and after the clocks change on 8 March: 05:00Z, then 04:00Z
    at = utc("2026-03-01T05:00")
    due = payment_due_at(at, net_terms_days=30, timezone="America/New_York")
    assert due == utc("2026-03-31T04:00")
    assert payment_due_at(at, net_terms_days=0, timezone="America/New_York") == at


# Digests


def test_equal_inputs_have_equal_digests() -> None:
    one = input_digest(lines_of("1.50"), {"a": 1, "b": None}, AT, ["x", True])
    assert one == input_digest(lines_of("1.5"), {"b": None, "a": 1}, AT, ("x", True))
    assert len(one) == 64
    assert set(one) <= set("0123456789abcdef")
    assert input_digest() == input_digest()


def test_other_inputs_have_other_digests() -> None:
    values: list[object] = [
        *(None, "", "1", 1, True, Decimal(1), Decimal("1.1"), AT, AT.replace(tzinfo=None)),
        *((), ("1",), ("1", "1"), ["", ""], {"a": "1"}, {"b": "1"}, {}, lines_of("1")),
        *(lines_of("2"), plan(), plan(minimum="1"), PerUnit(ONE, ONE), APRIL),
    ]
    digests = [input_digest(value) for value in values]
    assert len(set(digests)) == len(digests)
    assert input_digest("a", "b") != input_digest("b", "a") != input_digest(("a", "b"))


@pytest.mark.parametrize("value", [{1: "a"}, {1, 2}, 1.5, PerUnit])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(AssertionError):
        input_digest(value)
