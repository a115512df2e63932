"""A report as a picture, SVG or PNG: events by time and type, revenue by currency, and the funnel.

Matplotlib is an extra, imported when it is needed. Nothing of its global state is used, so that a program that plots for itself
is not disturbed.
"""

from __future__ import annotations

import datetime
import os
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import uuid4

from footfall.lake.report import Report, first_day_after

Axes: TypeAlias = Any
"""Matplotlib's own types are half there, and it may not be there at all."""

_COLOURS: Final = {
    "ITEM_PAGE_VIEW": "#4e79a7", "PAGE_VIEW": "#a0cbe8", "HOME": "#bab0ac", "LAND": "#d7b5a6", "SEARCH": "#f1ce63",
    "ADD_TO_WISHLIST": "#d4a6c8", "ADD_TO_CART": "#f28e2b", "PURCHASE": "#59a14f",
}  # fmt: skip
"""One colour a type, whatever else is in the picture; told apart by people who do not see red and green alike."""
_OTHER: Final = "#86bcb6"
_INK: Final = "#333333"
_CURRENCIES_MAX: Final = 4
_DAYS_BY_DAY: Final = 200
"""Up to here the ticks say days, beyond months: their labels must not meet."""
_ONE_DAY: Final = datetime.timedelta(days=1)
_DPI: Final = 144


def draw(report: Report, path: Path) -> None:
    """Writes the picture; its suffix, `.svg` or `.png`, says how. A file that is there is replaced by a whole one. Raises
    OSError, and ImportError without Matplotlib."""
    currencies = sorted(report.total.revenue, key=lambda currency: -report.total.revenue[currency])[:_CURRENCIES_MAX]
    panels = 2 + len(currencies)
    with _matplotlib().rc_context({"font.size": 9, "svg.hashsalt": "footfall", "text.color": _INK, "axes.edgecolor": "#aaaaaa",
                                "axes.labelcolor": _INK, "xtick.color": _INK, "ytick.color": _INK}):  # fmt: skip
        heights = [3.0, *([1.6] * len(currencies)), 1.5]
        figure = _matplotlib("figure").Figure(figsize=(10, sum(heights) + 0.9 * panels), layout="constrained", facecolor="white")
        figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)  # inches
        figure.suptitle(_title(report), fontsize=12)
        axes = figure.subplots(panels, 1, squeeze=False, height_ratios=heights)[:, 0]
        _draw_events(axes[0], report)
        for axis, currency in zip(axes[1:-1], currencies, strict=True):
            _draw_revenue(axis, report, currency)
        _draw_funnel(axes[-1], report)
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_axisbelow(True)
        staged = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            figure.savefig(staged, format=path.suffix[1:].lower(), dpi=_DPI, metadata=_metadata(path))
            os.replace(staged, path)  # noqa: PTH105
        finally:
            staged.unlink(missing_ok=True)


def _matplotlib(part: str = "") -> Any:
    return import_module(f"matplotlib.{part}" if part else "matplotlib")


def _title(report: Report) -> str:
    selection = report.selection
    times = [f"since {selection.since}" if selection.since else "", f"before {selection.until}" if selection.until else ""]
    return ", ".join(part for part in ["Events", selection.platform or "all platforms", f"by {selection.by}", *times] if part)


def _draw_events(axis: Axes, report: Report) -> None:
    """Stacked bars: the height is the period's events, the colours are the types."""
    places, widths = _places(report)
    below = [0] * len(places)
    for kind in sorted(report.types, key=lambda kind: -kind.events):
        counts = {cell.period: cell.events for cell in report.cells if cell.event_type == kind.event_type}
        heights = [counts.get(period.period, 0) for period in report.periods]
        axis.bar(
            places, heights, widths, bottom=below, align="edge", color=_COLOURS.get(kind.event_type, _OTHER),
            label=f"{kind.event_type} ({kind.events:,})", edgecolor="white", linewidth=0.4,
        )  # fmt: skip
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axis.set_ylabel("events")
    axis.yaxis.set_major_formatter(_thousands)
    _dress(axis, report)
    if report.types:
        axis.legend(loc="upper left", bbox_to_anchor=(1.005, 1), frameon=False, reverse=True)


def _draw_revenue(axis: Axes, report: Report, currency: str) -> None:
    places, widths = _places(report)
    amounts = [float(period.revenue.get(currency, Decimal(0))) for period in report.periods]
    axis.bar(places, amounts, widths, align="edge", color=_COLOURS["PURCHASE"], edgecolor="white", linewidth=0.4)
    axis.set_ylabel(f"revenue, {currency or 'no currency'}")
    axis.yaxis.set_major_formatter(_thousands)
    _dress(axis, report)


def _draw_funnel(axis: Axes, report: Report) -> None:
    funnel = report.funnel
    steps = [("saw an item", funnel.viewed), ("then put one into the cart", funnel.carted), ("then bought", funnel.purchased)]
    names, users = zip(*steps, strict=True)
    colours = [_COLOURS[name] for name in ("ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE")]
    bars = axis.barh(names, users, color=colours, height=0.7)
    shares = [f"{count:,}" + (f"  ({count / funnel.viewed:.1%})" if funnel.viewed else "") for count in users]
    axis.bar_label(bars, shares, padding=4)
    axis.invert_yaxis()
    axis.set_xlim(0, max(1, *users) * 1.15)
    axis.set_xlabel("users (distinct identifiers)")
    axis.xaxis.set_major_formatter(_thousands)


def _places(report: Report) -> tuple[list[float], list[float]]:
    """Left edges and widths of the periods, in Matplotlib's days."""
    to_number = _matplotlib("dates").date2num
    begins = [float(to_number(period.period)) for period in report.periods]
    ends = [float(to_number(first_day_after(period.period, report.selection.by))) for period in report.periods]
    return begins, [end - begin for begin, end in zip(begins, ends, strict=True)]


def _dress(axis: Axes, report: Report) -> None:
    axis.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    if not report.periods:
        axis.text(0.5, 0.5, "no events", transform=axis.transAxes, ha="center")
        axis.set_xticks([])
        return
    begins, widths = _places(report)
    dates = _matplotlib("dates")
    axis.xaxis_date()
    axis.xaxis.set_major_locator(dates.AutoDateLocator(minticks=2, maxticks=12, tz=datetime.UTC))
    axis.xaxis.set_major_formatter(dates.DateFormatter("%d %b" if sum(widths) < _DAYS_BY_DAY else "%b %Y", tz=datetime.UTC))
    axis.set_xlim(begins[0], begins[-1] + widths[-1])
    axis.set_xlabel(f"{report.selection.by} (UTC), {_span(report)}")


def _span(report: Report) -> str:
    first, last = report.periods[0].period, report.periods[-1].period
    return str(first) if first == last else f"{first} to {first_day_after(last, report.selection.by) - _ONE_DAY}"


def _thousands(value: float, _: float) -> str:
    return f"{value:,.10g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _metadata(path: Path) -> dict[str, Any]:
    """The same report makes the same file, on any day."""
    return {"Date": None} if path.suffix.lower() == ".svg" else {}
