"""What an invoice takes from, or gives to, the customer's wallet when it is finalized."""

from collections.abc import Sequence
from decimal import Decimal

from taximeter.domain.credit.wallet import Grant, apply_grant
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.totals import AppliedCredits
from taximeter.kernel.quantity import ZERO
from taximeter.services.balance_alerts import look_at_balance
from taximeter.services.command import Transaction
from taximeter.storage import wallets as storage
from taximeter.storage.topups import look_again
from taximeter.storage.wallets import Entry

PRIORITY_OF_CREDIT_BALANCE = 50


async def apply_to_wallet(
    transaction: Transaction,
    invoice: Invoice,
    credits: AppliedCredits,
    grants: Sequence[Grant],
    debt: Decimal,
) -> None:
    """Take the invoice's credits from its grants; give a negative invoice's amount as a paid
    grant. The wallet's row must be locked, and `debt` be what it owes.
    """
    left = {grant.id: grant.remaining for grant in grants}
    entries = []
    remaining = []
    for grant_id, part in (*credits.promotional, *credits.paid):
        left[grant_id] -= part
        remaining.append((invoice.customer, grant_id, left[grant_id]))
        entries.append(_entry(transaction, invoice, grant_id, "invoice", -part))
    await storage.set_remaining(transaction.connection, remaining)
    if credits.to_wallet > ZERO:
        entries += await _give(transaction, invoice, credits.to_wallet, debt)
    await storage.insert_entries(transaction.connection, entries)
    if entries:
        key = (invoice.customer, invoice.currency)
        await look_at_balance(transaction, key)
        await look_again(transaction.connection, key, transaction.at)


async def _give(
    transaction: Transaction, invoice: Invoice, amount: Decimal, debt: Decimal
) -> list[Entry]:
    left, debt_after = apply_grant(debt, amount)
    grant = Grant(
        id=transaction.new_id("grant"), customer=invoice.customer, asset=invoice.currency,
        amount=amount, remaining=left, kind="paid", priority=PRIORITY_OF_CREDIT_BALANCE,
        effective_at=transaction.at, expires_at=None, scope_meters=None,
        created_at=transaction.at,
    )  # fmt: skip
    await storage.insert_grant(transaction.connection, grant)
    entries = [_entry(transaction, invoice, grant.id, "grant", amount)]
    if debt_after != debt:
        await storage.set_debts(
            transaction.connection, [(invoice.customer, invoice.currency, debt_after)]
        )
        entries.append(_entry(transaction, invoice, grant.id, "repay", left - amount))
        entries.append(_entry(transaction, invoice, None, "repay", debt - debt_after))
    return entries


def _entry(
    transaction: Transaction, invoice: Invoice, grant: str | None, kind: str, amount: Decimal
) -> Entry:
    return Entry(
        invoice.customer, transaction.new_id("went"), invoice.currency, grant, kind, amount,
        transaction.at, invoice.id,
    )  # fmt: skip
