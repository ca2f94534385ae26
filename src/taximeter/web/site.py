"""What the pages are given, and how they are rendered: the template environment and its filters.

Owns the headers that every page has. Scripts and styles come from our own address alone, and no
other site may frame a page or send a form to us.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from taximeter import __version__
from taximeter.services.context import Context
from taximeter.services.keys import Callers
from taximeter.web import text
from taximeter.web.assets import Assets
from taximeter.web.figures import clock_figures
from taximeter.web.live import Live
from taximeter.web.sessions import Sessions

SECURITY_POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
PAGE_HEADERS = {
    "content-security-policy": SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def customer_url(key: str) -> str:
    """Where a customer's page is."""
    return f"/customers/{quote(key, safe='')}"


def invoice_url(invoice_id: str) -> str:
    """Where an invoice's page is."""
    return f"/invoices/{quote(invoice_id, safe='')}"


def line_url(invoice_id: str, line_id: str) -> str:
    """Where a line of an invoice is explained."""
    return f"{invoice_url(invoice_id)}/lines/{quote(line_id, safe='')}"


@dataclass(frozen=True)
class Site:
    """What the composition root gives to the pages."""

    context: Context
    callers: Callers
    sessions: Sessions
    assets: Assets
    live: Live

    @cached_property
    def templates(self) -> Environment:
        """The templates; every value is escaped."""
        found = Environment(
            loader=PackageLoader("taximeter.web"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        found.globals.update(
            asset=self.assets.url, version=__version__, customer_url=customer_url,
            invoice_url=invoice_url, line_url=line_url,
        )  # fmt: skip
        for name in ("quantity", "unit_price", "money", "exact_money", "day", "instant", "period"):
            found.filters[name] = getattr(text, name)
        return found

    def page(
        self, template: str, values: Mapping[str, Any], *, status: int = 200, signed_in: bool = True
    ) -> HTMLResponse:
        """A rendered page."""
        figures = {**clock_figures(self.context), **values.get("figures", {})}
        content = self.templates.get_template(template).render(
            {
                "live": None,
                "signed_in": signed_in,
                "sandbox": self.context.test_clock is not None,
                **values,
                "figures": figures,
            }
        )
        return HTMLResponse(content, status, PAGE_HEADERS)
