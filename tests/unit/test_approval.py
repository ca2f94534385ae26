"""Approvals as values: what state one is in, and which work it lets pass."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from taximeter.domain.entitlement.approval import Approval, Unapproved
from taximeter.domain.entitlement.budget import Budget

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TEAM = Budget(
    "acme", "team", "team", "USD", Decimal(500), "month", "hard", (), approve_above=Decimal(20)
)
WISH = Unapproved(TEAM, "team/a/x", "search", Decimal(30))
ASKED = Approval(
    "acme", "appr_1", "team", "team/a", "USD", Decimal(25), None, Decimal(20), "seller",
    asked_at=NOW, expires_at=NOW + timedelta(days=7),
)  # fmt: skip
APPROVED = replace(
    ASKED, decision="approved", allowed=Decimal(30), uses=2, used=1, decided_at=NOW,
    decided_as="seller",
)  # fmt: skip


@pytest.mark.parametrize(
    ("approval", "days", "state"),
    [
        (ASKED, 6, "pending"),
        (ASKED, 7, "expired"),
        (APPROVED, 6, "approved"),
        (APPROVED, 7, "expired"),
        (replace(APPROVED, used=2), 7, "used"),
        (replace(APPROVED, decision="declined"), 6, "declined"),
        (replace(APPROVED, decision="declined", used=2), 8, "declined"),
    ],
)
def test_the_state_at_an_instant(approval: Approval, days: int, state: str) -> None:
    assert approval.state_at(NOW + timedelta(days=days)) == state


@pytest.mark.parametrize(
    ("approval", "wish", "passes"),
    [
        ({}, {}, True),  # 30 of at most 30, below its path, by the last use
        ({}, {"amount": Decimal("30.01")}, False),
        ({"used": 2}, {}, False),
        ({"expires_at": NOW}, {}, False),
        ({"decision": "declined"}, {}, False),
        ({}, {"path": "team"}, False),
        ({}, {"path": None}, False),
        ({"path": None}, {"path": None}, True),
        ({"feature": "search"}, {}, True),
        ({"feature": "other"}, {}, False),
        ({}, {"feature": None}, True),
        ({}, {"budget": replace(TEAM, name="other")}, False),
        ({}, {"budget": replace(TEAM, asset="credits")}, False),
        ({}, {"budget": replace(TEAM, customer="other")}, False),
        # What the customer's own admins approved passes their own thresholds alone.
        ({"decided_as": "customer"}, {}, False),
        ({"decided_as": "customer"}, {"budget": replace(TEAM, set_by="customer")}, True),
        ({}, {"budget": replace(TEAM, set_by="customer")}, True),
    ],
)
def test_what_it_lets_pass(approval: dict[str, Any], wish: dict[str, Any], passes: bool) -> None:
    assert replace(APPROVED, **approval).lets_pass(WISH._replace(**wish), NOW) is passes
    assert not ASKED.lets_pass(WISH._replace(**wish), NOW)
