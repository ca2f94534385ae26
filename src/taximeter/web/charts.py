"""Charts of usage: one bar a day, split by a dimension. Each has the same figures as a table.

Owns the Vega-Lite specification and its data. Figures stay texts up to the browser, which needs
them only as heights; what is printed was written here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from taximeter.domain.catalog.meter import Meter
from taximeter.kernel.quantity import ZERO, format_decimal
from taximeter.kernel.times import to_local
from taximeter.services.usage_query import UsageRow
from taximeter.web import text

HEIGHT_PX = 150
SERIES_MAX = 6
COLORS = ("#f2b705", "#4f6d8f", "#3f9c8a", "#d9704a", "#8d79b8", "#9a958a")
EMPTY = "none"
ALL = "all"


@dataclass(frozen=True, slots=True)
class TableRow:
    """One day: its date, one text a series, and the sum."""

    day: str
    cells: tuple[str, ...]
    total: str


@dataclass(frozen=True, slots=True)
class UsageChart:
    """A chart and its table. `series` are the values that the bars are split by."""

    meter: str
    title: str
    unit: str
    total: str
    series: tuple[tuple[str, str], ...]
    rows: tuple[TableRow, ...]
    spec: dict[str, Any]


def usage_chart(meter: Meter, rows: Sequence[UsageRow], timezone: str) -> UsageChart | None:
    """The chart of a meter's days; None where nothing was used."""
    if not any(row.value for row in rows):
        return None
    names = sorted({row.group[0] if row.group else ALL for row in rows})
    split = len(names) <= SERIES_MAX and meter.aggregation in ("count", "sum")
    series = names if split else [ALL]
    days: dict[datetime, dict[str, Any]] = {}
    for row in rows:
        name = (row.group[0] if row.group else ALL) if split else ALL
        values = days.setdefault(row.window.start, dict.fromkeys(series, ZERO))
        values[name] += row.value
    title, unit = meter.name or meter.key, meter.unit
    points, table = [], []
    total = ZERO
    for start, values in sorted(days.items()):
        label = text.day(start, timezone)
        date = to_local(start, timezone).date().isoformat()
        for name, value in values.items():
            points.append(
                {"day": date, "value": format_decimal(value), "series": name or EMPTY,
                 "Day": label, "Used": _with_unit(text.quantity(value), unit)}
            )  # fmt: skip
        of_day = sum(values.values(), ZERO)
        total += of_day
        cells = tuple(text.quantity(values[name]) for name in series)
        table.append(TableRow(label, cells, text.quantity(of_day)))
    shown = tuple((name or EMPTY, COLORS[n % len(COLORS)]) for n, name in enumerate(series))
    spec = {**_spec(), "data": _data(points)}
    scale = {"domain": [name for name, _ in shown], "range": [color for _, color in shown]}
    spec["encoding"] = {
        **spec["encoding"],
        "color": {**spec["encoding"]["color"], "scale": scale},
    }
    return UsageChart(meter.key, title, unit, text.quantity(total), shown, tuple(table), spec)


def _with_unit(number: str, unit: str) -> str:
    return f"{number} {unit}" if unit else number


def _data(points: Iterable[dict[str, str]]) -> dict[str, Any]:
    return {
        "values": list(points),
        "format": {"type": "json", "parse": {"value": "number", "day": "utc:'%Y-%m-%d'"}},
    }


@lru_cache(maxsize=1)
def _spec() -> dict[str, Any]:
    """The specification without data. Days are a UTC scale of local dates: the browser's own zone
    moves nothing.
    """
    import altair as alt  # noqa: PLC0415 - a second and 50 MB, for those who look at charts

    bars = alt.Chart(alt.InlineData(values=[])).mark_bar(binSpacing=2)
    chart = bars.encode(
        x=alt.X(
            "day:T",
            timeUnit=alt.TimeUnitParams(unit="yearmonthdate", utc=True),
            title=None,
            axis=alt.Axis(
                format="%-d %b",
                grid=False,
                labelOverlap=True,
                tickCount=8,
                ticks=False,
                labelPadding=6,
                domain=False,
            ),
        ),
        y=alt.Y(
            "value:Q",
            title=None,
            stack="zero",
            axis=alt.Axis(
                format="~s", tickCount=3, ticks=False, domain=False, labelPadding=8, minExtent=44
            ),
        ),
        color=alt.Color("series:N", legend=None),
        order=alt.Order("series:N", sort="descending"),
        tooltip=[alt.Tooltip("Day:N"), alt.Tooltip("series:N", title="Of"), alt.Tooltip("Used:N")],
    ).properties(width="container", height=HEIGHT_PX, background="transparent", padding=0)
    chart = chart.configure(
        font="inherit", view=alt.ViewConfig(stroke=None), axis=alt.AxisConfig(labelFontSize=11)
    )  # fmt: skip
    found: dict[str, Any] = chart.to_dict(validate=False)
    found.pop("datasets", None)
    return found
