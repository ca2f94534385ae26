"""The figures that change while a page is open: their names, and what they read now.

Owns the names, by which the template places a figure and the stream renews it, so that both always
say the same. Figures are text for a person. `shape` changes where a page has other rows than
before and must be fetched again.
"""

import hashlib
from collections.abc import Iterable

from taximeter.domain.catalog.currency import is_currency
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.invoicing.lines import Line
from taximeter.services.balance import WalletBalance
from taximeter.services.context import Context
from taximeter.services.overview import CustomerOverview, Today
from taximeter.web import text

Figures = dict[str, str]
SHAPE = "shape"
UTC = "UTC"


def clock_figures(context: Context) -> Figures:
    """What time it is for the instance."""
    return {"clock": f"{text.instant(context.clock.now(), UTC)} UTC"}


def home_figures(today: Today, rows: Iterable[CustomerOverview]) -> Figures:
    """The figures of the first page."""
    found = today_figures("today", today)
    for row in rows:
        found |= customer_figures(row)
    return with_shape(found)


def today_figures(name: str, today: Today) -> Figures:
    """Events and money since midnight. Of several assets the first currency is the one that runs;
    the others stand beside it.
    """
    found = {f"{name}/events": f"{today.events:,}"}
    currencies = [one for one in today.money if is_currency(one.asset)]
    first = max(currencies, key=lambda one: one.amount, default=None)
    main, more = ("0", "") if first is None else text.running(first.amount, first.asset)
    found[f"{name}/money"], found[f"{name}/money/more"] = main, more
    every = [text.money(one.amount, one.asset) for one in today.money if one.amount]
    found[f"{name}/money/all"] = ", ".join(every)
    rest = [one for one in today.money if one is not first and one.amount]
    found[f"{name}/money/rest"] = ", ".join(text.money(one.amount, one.asset) for one in rest)
    return found


def customer_figures(row: CustomerOverview) -> Figures:
    """Where a customer stands, named by the customer's key."""
    spend = row.spend
    key, currency = spend.customer.key, spend.customer.currency
    found = today_figures(f"{key}/today", row.today)
    found[f"{key}/spend"] = text.money(spend.total, currency)
    found[f"{key}/forecast"] = text.money(spend.forecast, currency)
    for part in spend.parts:
        for one in part.spend.prices:
            name = f"{key}/price/{part.subscription.id}/{one.price}"
            found[f"{name}/quantity"] = text.quantity(one.quantity)
            found[f"{name}/amount"] = text.money(one.amount, one.asset)
            found[f"{name}/forecast"] = text.about(one.forecast, one.asset)
    for wallet in used_wallets(row):
        found |= _wallet_figures(key, wallet)
    for state in spend.caps:
        name, asset = f"{key}/budget/{state.budget.name}", state.budget.asset
        found[f"{name}/spent"] = text.exact_money(state.spent, asset)
        found[f"{name}/held"] = text.exact_money(state.held, asset)
        found[f"{name}/remaining"] = text.exact_money(state.remaining, asset)
    for suspension in row.suspensions:
        found[f"{key}/suspended/{suspension.path or ''}"] = suspension.reason
    return found


def used_wallets(row: CustomerOverview) -> tuple[WalletBalance, ...]:
    """The wallets that have something to show: a balance, a debt, or a grant."""
    return tuple(wallet for wallet in row.wallets if wallet.posted or wallet.grants)


def _wallet_figures(key: str, wallet: WalletBalance) -> Figures:
    found = {f"{key}/wallet/{wallet.asset}": text.exact_money(wallet.available, wallet.asset)}
    for one in wallet.grants:
        found[f"{key}/grant/{one.grant.id}"] = text.exact_money(one.remaining, wallet.asset)
    return found


def invoice_figures(invoice: Invoice) -> Figures:
    """The lines and sums of an invoice that still grows."""
    found: Figures = {}
    for line in (*invoice.lines, *invoice.settled):
        name = line_name(line)
        found[f"{name}/quantity"] = text.quantity(line.quantity)
        found[f"{name}/amount"] = text.money(line.amount, line.asset)
    found["upcoming/discount"] = text.money(-invoice.totals.discount, invoice.currency)
    for name in ("subtotal", "credits", "total", "paid_credits", "amount_due"):
        found[f"upcoming/{name}"] = text.money(getattr(invoice.totals, name), invoice.currency)
    return found


def line_name(line: Line) -> str:
    """The name of a line's figures: what it bills, for its number may change."""
    rate = "" if line.rate is None else "/".join(f"{name}={value}" for name, value in line.rate)
    return f"line/{line.kind}/{line.price}/{rate}/{line.period.start.isoformat()}"


def with_shape(figures: Figures) -> Figures:
    """The figures with the digest of their names."""
    names = "\n".join(sorted(figures))
    return {**figures, SHAPE: hashlib.sha256(names.encode()).hexdigest()[:16]}
