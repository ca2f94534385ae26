"""The pages: each reads by a service or two and renders one template."""

import asyncio
from collections.abc import Iterable
from decimal import Decimal

from starlette.requests import Request
from starlette.responses import Response

from taximeter.domain.catalog.plan import UsagePrice
from taximeter.domain.invoicing.invoice import Invoice
from taximeter.domain.subscription.customer import Customer
from taximeter.domain.subscription.subscription import Subscription
from taximeter.kernel.errors import NotFound
from taximeter.kernel.quantity import ZERO, divide
from taximeter.kernel.times import Duration
from taximeter.services.customers import get_customer
from taximeter.services.ingest import REASONS
from taximeter.services.invoices import (
    explain_line,
    get_invoice,
    list_invoices,
    upcoming_invoice,
)
from taximeter.services.meters import get_meter, meter_of
from taximeter.services.overview import (
    CustomerOverview,
    get_overview,
    list_overview,
    read_today,
)
from taximeter.services.quarantine import read_quarantine
from taximeter.services.usage import get_usage
from taximeter.services.usage_query import UsageQuery
from taximeter.web.charts import UsageChart, usage_chart
from taximeter.web.figures import (
    Figures,
    customer_figures,
    home_figures,
    invoice_figures,
    line_name,
    used_wallets,
    with_shape,
)
from taximeter.web.site import Site, customer_url

CUSTOMERS_PER_PAGE = 25
INVOICES_ON_HOME = 5
QUARANTINED_ON_HOME = 1_000
INVOICES_PER_PAGE = 12
EVENTS_PER_PAGE = 25
CHARTS_MAX = 8
CHART_ROWS_MAX = 5_000
CHART_DAYS = Duration(months=0, days=-35, seconds=0)
HUNDRED = Decimal(100)


async def read_home(site: Site, cursor: str | None) -> Figures:
    """The figures of the first page as they are now."""
    page = await list_overview(site.context, limit=CUSTOMERS_PER_PAGE, cursor=cursor)
    return home_figures(await read_today(site.context), page.rows)


async def home(site: Site, request: Request) -> Response:
    """GET /: today's money, and every customer."""
    cursor = request.query_params.get("cursor")
    page = await list_overview(site.context, limit=CUSTOMERS_PER_PAGE, cursor=cursor)
    today = await read_today(site.context)
    recent = await list_invoices(
        site.context, customer=None, status=None, subscription=None, limit=INVOICES_ON_HOME,
        cursor=None,
    )  # fmt: skip
    names = {row.spend.customer.key: name_of(row.spend.customer) for row in page.rows}
    for invoice in recent.rows:
        if invoice.customer not in names:
            customer = await get_customer(site.context, invoice.customer)
            names[customer.key] = name_of(customer)
    values = {
        "page": page,
        "cursor": cursor,
        "today": today,
        "recent": recent.rows,
        "quarantine": await read_quarantine(site.context, None, events_max=QUARANTINED_ON_HOME),
        "reasons": REASONS,
        "names": names,
        "wallets": {row.spend.customer.key: used_wallets(row) for row in page.rows},
        "plans": {row.spend.customer.key: plans_of(row) for row in page.rows},
        "figures": home_figures(today, page.rows),
        "live": {"page": "home", **({"cursor": cursor} if cursor else {})},
    }
    return site.page("home.html", values)


def name_of(customer: Customer) -> str:
    """What a customer is called: its name, else its key."""
    name = customer.document.get("name")
    return name if isinstance(name, str) and name else customer.key


def plans_of(row: CustomerOverview) -> str:
    """The plans that a customer is on."""
    names = (
        phase.plan.name
        for part in row.spend.parts
        if (phase := part.subscription.phase_at(row.spend.at)) is not None
    )
    return ", ".join(dict.fromkeys(names))


async def read_customer(site: Site, key: str) -> Figures:
    """The figures of a customer's page as they are now."""
    overview = await get_overview(site.context, await get_customer(site.context, key))
    return _figures_of(overview, await _upcoming(site, overview))


def _figures_of(overview: CustomerOverview, upcoming: Invoice | None) -> Figures:
    figures = customer_figures(overview)
    if upcoming is not None:
        figures |= invoice_figures(upcoming)
    return with_shape(figures)


async def _upcoming(site: Site, overview: CustomerOverview) -> Invoice | None:
    try:
        return await upcoming_invoice(site.context, overview.spend.customer.key)
    except NotFound:
        return None


async def customer(site: Site, request: Request) -> Response:
    """GET /customers/{key}: usage, spend, balance and invoices of one customer."""
    found = await get_customer(site.context, request.path_params["key"])
    overview = await get_overview(site.context, found)
    upcoming = await _upcoming(site, overview)
    invoices = await list_invoices(
        site.context, customer=found.key, status=None, subscription=None, limit=INVOICES_PER_PAGE,
        cursor=request.query_params.get("cursor"),
    )  # fmt: skip
    charts = await _charts(site, overview)
    values = {
        "customer": found,
        "name": name_of(found),
        "overview": overview,
        "wallets": used_wallets(overview),
        "plans": plans_of(overview),
        "upcoming": upcoming,
        "line_name": line_name,
        "invoices": invoices,
        "charts": charts,
        "bundle": await site.assets.bundle_url() if charts else None,
        "share": _share,
        "figures": _figures_of(overview, upcoming),
        "live": {"customer": found.key},
        "address": customer_url(found.key),
    }
    return site.page("customer.html", values)


def _share(part: Decimal, whole: Decimal) -> str:
    """How many percent, for the length of a bar."""
    return f"{divide(max(part, ZERO) * HUNDRED, whole):.1f}" if whole else "0"


async def _charts(site: Site, overview: CustomerOverview) -> list[UsageChart]:
    """A chart for each meter that the customer's prices read."""
    customer = overview.spend.customer
    end = site.context.clock.now()
    start = CHART_DAYS.after(end, customer.timezone)
    charts = []
    for key in _meters_of(part.subscription for part in overview.spend.parts)[:CHARTS_MAX]:
        meter = meter_of(await get_meter(site.context, key))
        query = UsageQuery(
            meter=key, customer=customer.key, start=start, end=None, window="day",
            group_by=meter.dimensions[:1], timezone=customer.timezone, fill_zero=True,
        )  # fmt: skip
        page = await get_usage(site.context, query, limit=CHART_ROWS_MAX, cursor=None)
        chart = await asyncio.to_thread(usage_chart, meter, page.rows, customer.timezone)
        if chart is not None:
            charts.append(chart)
    return charts


def _meters_of(subscriptions: Iterable[Subscription]) -> list[str]:
    """The meters of all usage prices, in the order written."""
    return list(
        dict.fromkeys(
            price.meter
            for subscription in subscriptions
            for price in subscription.phases[-1].plan.prices
            if isinstance(price, UsagePrice)
        )
    )


async def invoice(site: Site, request: Request) -> Response:
    """GET /invoices/{id}: the document."""
    found = await get_invoice(site.context, request.path_params["id"], None)
    customer = await get_customer(site.context, found.customer)
    values = {
        "invoice": found,
        "customer": customer,
        "name": name_of(customer),
        "residue": sum((line.residue for line in found.lines), ZERO),
    }
    return site.page("invoice.html", values)


async def line(site: Site, request: Request) -> Response:
    """GET /invoices/{id}/lines/{line}: what a line is made of, down to its events."""
    cursor = request.query_params.get("cursor")
    found = await explain_line(
        site.context, request.path_params["id"], request.path_params["line"], customer=None,
        limit=EVENTS_PER_PAGE, cursor=cursor,
    )  # fmt: skip
    customer = await get_customer(site.context, found.invoice.customer)
    values = {
        "found": found,
        "line": found.line,
        "invoice": found.invoice,
        "settled": found.line in found.invoice.settled,
        "customer": customer,
        "name": name_of(customer),
        "cursor": cursor,
    }
    return site.page("line.html", values)
