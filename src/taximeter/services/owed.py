"""What a customer owes by invoice: what is invoiced and not paid, and what is not invoiced yet.

Owns the figure that a credit limit is held against. Computed from running totals as invoices are,
so it takes as long as an upcoming invoice does.
"""

from datetime import datetime

from taximeter.domain.credit.hold import InvoiceRoom
from taximeter.domain.subscription.customer import CustomerTerms
from taximeter.kernel.quantity import ZERO, parse_decimal
from taximeter.services.billing import late_now
from taximeter.services.context import Connection
from taximeter.services.statement import state
from taximeter.storage import invoices, subscriptions


async def invoice_room(
    connection: Connection, terms: CustomerTerms, at: datetime
) -> InvoiceRoom | None:
    """The customer's credit limit and what is owed at the instant `at`; None: there is no limit.
    What is not invoiced yet are the lines of what began by then, not rounded.
    """
    text = terms.customer.document.get("credit_limit")
    limit = parse_decimal(text) if isinstance(text, str) else None
    if limit is None:
        return None
    owed = await invoices.unpaid(connection, terms.customer.key)
    following = await subscriptions.next_boundaries(connection, terms.customer.key)
    for subscription in terms.subscriptions:
        boundaries = [row.boundary for row in await invoices.drafts_of(connection, subscription)]
        if subscription.id in following:
            boundaries.append(following[subscription.id])
        for boundary in boundaries:
            late = await late_now(connection, subscription, boundary)
            statement = await state(connection, subscription, boundary, late, at)
            owed += sum((line.exact for line in statement.lines if line.period.start <= at), ZERO)
    return InvoiceRoom(terms.customer.currency, limit, max(owed, ZERO))


def has_credit_limit(terms: CustomerTerms) -> bool:
    """Whether what the customer owes is limited."""
    return terms.customer.document.get("credit_limit") is not None
