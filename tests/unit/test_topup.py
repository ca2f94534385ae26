"""When a wallet is topped up, and by how much."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.domain.credit.topup import AutoTopup, Due, History, Quiet, decide_topup
from taximeter.kernel.quantity import ZERO
from taximeter.kernel.times import Period

NOON = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = Period(datetime(2026, 1, 10, tzinfo=UTC), datetime(2026, 1, 11, tzinfo=UTC))
MONTH = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
AUTO = AutoTopup(
    "acme", "USD", Decimal(20), Decimal(100), Decimal(150), Decimal(400), None, "gateway"
)


def history(day: str, month: str, failures: int = 0, minutes: int | None = None) -> History:
    """What was asked for; the last failure was so many minutes ago."""
    failed_at = None if minutes is None else NOON - timedelta(minutes=minutes)
    return History(DAY, MONTH, Decimal(day), Decimal(month), failures, failed_at)


@pytest.mark.parametrize(
    ("available", "before", "decision"),
    [
        ("20", history("0", "0"), None),  # at the threshold is not below it
        ("19.99", history("0", "0"), Due(Decimal("80.01"))),
        ("-30", history("0", "0"), Due(Decimal(130))),
        ("-80", history("0", "0"), Due(Decimal(150))),  # 180 are missing, a day allows 150
        ("0", history("100", "100"), Due(Decimal(50))),  # 150 - 100
        ("0", history("150", "150"), Quiet(DAY.end)),
        ("0", history("149.999", "149.999"), Quiet(DAY.end)),  # less than a cent is left
        ("0", history("0", "370"), Due(Decimal(30))),  # 400 - 370
        ("0", history("0", "400"), Quiet(MONTH.end)),
        ("0", history("150", "400"), Quiet(DAY.end)),
        ("19.987", history("0", "0"), Due(Decimal("80.02"))),  # 80.013, in whole cents
        ("0", history("0", "0", 1, 59), Quiet(NOON + timedelta(minutes=1))),
        ("0", history("0", "0", 1, 60), Due(Decimal(100))),
        ("0", history("0", "0", 3, 300), Quiet(DAY.end)),
        ("50", history("0", "0", 3, 300), None),
    ],
)
def test_the_decision(available: str, before: History, decision: Due | Quiet | None) -> None:
    assert decide_topup(AUTO, Decimal(available), before, NOON, 2) == decision


def test_a_month_without_a_maximum_allows_what_its_days_do() -> None:
    auto = replace(AUTO, max_per_month=None)
    decision = decide_topup(auto, ZERO, history("0", "9000"), NOON, 2)
    assert decision == Due(Decimal(100))


cents = st.integers(-100_000, 100_000).map(lambda number: Decimal(number) / 1000)


@given(available=cents, day=cents.map(abs), further=cents.map(abs))
def test_no_top_up_passes_a_maximum_or_stays_below_the_target_without_need(
    available: Decimal, day: Decimal, further: Decimal
) -> None:
    before = History(DAY, MONTH, day, day + further, 0, None)
    decision = decide_topup(AUTO, available, before, NOON, 2)
    if not isinstance(decision, Due):
        return
    assert ZERO < decision.amount <= AUTO.max_per_day - day
    assert AUTO.max_per_month is not None
    assert decision.amount <= AUTO.max_per_month - day - further
    missing = AUTO.target - available
    assert decision.amount < missing + Decimal("0.01")
