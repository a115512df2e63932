"""`footfall report`: what has landed, in figures. What is counted, and how: `lake.report`."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, explained, note_absence
from footfall.cli.export import require_platform
from footfall.cli.output import FAILED, USAGE, JsonOption, counted, fail, marked, print_json, print_table, results, say, table
from footfall.cli.settings import load

if TYPE_CHECKING:
    from footfall.lake.report import Figures, Report

_PERIODS_SHOWN: Final = 40
_BAR_CELLS: Final = 24
_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_PICTURES: Final = (".svg", ".png")
_PLOT_EXTRA: Final = "pip install 'footfall[plot]'"


class By(StrEnum):
    """How long a period is. Weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def report(
    platform: Annotated[str | None, typer.Option(metavar="ID", help="Only this platform id.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DATE", help="The first day, UTC.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DATE", help="The day it ends before.")] = None,
    by: Annotated[By, typer.Option(help="How long a period is.")] = By.DAY,
    json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also draw it, as .svg or .png.", dir_okay=False)] = None,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Count what has landed: events, users and revenue by time and type, and how many of those who looked bought.

    It names nobody. Days are those of the events (`timestamp`), in UTC.
    """
    first, end = _day(since, "--since"), _day(until, "--until")
    if first is not None and end is not None and first >= end:
        fail("--since must be earlier than --until, which is not in it any more", USAGE)
    if plot is not None:
        _require_drawable(plot)
    from footfall.lake.reading import open_lake
    from footfall.lake.report import Selection, report_on

    settings = load(file=config, data=data, environment=os.environ).lake
    note_absence(data)
    with explained(data), open_lake(data, settings=settings) as lake:
        if platform is not None:
            require_platform(lake, platform, data)
        made = report_on(lake, Selection(platform=platform, since=first, until=end, by=by.value))
    if json:
        print_json(_as_json(made))
    elif made.total.events:
        _print(made)
    if not made.total.events:
        where = f" of {marked(platform)}" if platform is not None else ""
        when = " in that time" if first or end else " yet; `footfall land` lands what waits in the log"
        say(f"no event{where} has landed{when}")
    if plot is not None:
        _draw(made, plot)


# -- what may be asked for


def _day(text: str | None, option: str) -> datetime.date | None:
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        fail(f"{option} takes a date, such as 2026-11-23", USAGE)


def _require_drawable(plot: Path) -> None:
    """Before anything is counted."""
    if plot.suffix.lower() not in _PICTURES:
        fail(f"--plot {plot}: the name must end in .svg or .png", USAGE)
    if not plot.absolute().parent.is_dir():
        fail(f"--plot {plot}: name a file in a directory that exists", USAGE)
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        fail(f"--plot needs Matplotlib, which does not come with Footfall: {_PLOT_EXTRA}", USAGE)


def _draw(made: Report, plot: Path) -> None:
    from footfall.lake.drawing import draw

    try:
        draw(made, plot)
    except OSError as error:
        fail(f"{plot} cannot be written ({error.strerror})", FAILED)
    say(f"drawn to [bold]{marked(str(plot))}[/]")


# -- for programs


def _as_json(made: Report) -> dict[str, Any]:
    selection, funnel = made.selection, made.funnel
    return {
        "platform": selection.platform,
        "since": selection.since,
        "until": selection.until,
        "by": selection.by,
        "total": _figures(made.total),
        "periods": [{"period": period.period, **_figures(period)} for period in made.periods],
        "types": [{"event_type": kind.event_type, **_figures(kind)} for kind in made.types],
        "cells": [{"period": cell.period, "event_type": cell.event_type, **_figures(cell)} for cell in made.cells],
        "funnel": {
            "viewed": funnel.viewed, "carted": funnel.carted, "purchased": funnel.purchased, "conversion": funnel.conversion,
        },
    }  # fmt: skip


def _figures(figures: Figures) -> dict[str, Any]:
    revenue = {currency: plain_amount(amount) for currency, amount in figures.revenue.items()}
    return {"events": figures.events, "users": figures.users, "revenue": revenue}


def plain_amount(amount: Decimal) -> str:
    """Every digit that counts, never with an exponent."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


# -- for people


def _print(made: Report) -> None:
    has_revenue = bool(made.total.revenue)
    _print_periods(made, has_revenue=has_revenue)
    results().print()
    _print_types(made, has_revenue=has_revenue)
    results().print()
    _print_funnel(made)


def _print_periods(made: Report, *, has_revenue: bool) -> None:
    rows = table(made.selection.by, "events", "users", *(["revenue"] if has_revenue else []), "", ids=4)
    for column in rows.columns[1:3]:
        column.justify = "right"
    shown = made.periods[-_PERIODS_SHOWN:]
    most = max(period.events for period in shown)
    for period in shown:
        money = [_money(period.revenue)] if has_revenue else []
        rows.add_row(
            str(period.period), f"{period.events:,}", f"{period.users:,}", *money, f"[cyan]{_bar(period.events, most)}[/]"
        )
    rows.add_section()
    money = [_money(made.total.revenue)] if has_revenue else []
    rows.add_row("[bold]all[/]", f"[bold]{made.total.events:,}[/]", f"[bold]{made.total.users:,}[/]", *money, "")
    print_table(rows)
    left_out = len(made.periods) - len(shown)
    if left_out:
        say(f"{counted(left_out, 'earlier ' + made.selection.by)} not shown, but in all sums; --by, --since or --json shows them")


def _print_types(made: Report, *, has_revenue: bool) -> None:
    rows = table("type", "events", "users", *(["revenue"] if has_revenue else []), "", ids=4)
    for column in rows.columns[1:3]:
        column.justify = "right"
    most = max(kind.events for kind in made.types)
    for kind in sorted(made.types, key=lambda kind: -kind.events):
        money = [_money(kind.revenue)] if has_revenue else []
        bar = f"[cyan]{_bar(kind.events, most)}[/]"
        rows.add_row(marked(kind.event_type), f"{kind.events:,}", f"{kind.users:,}", *money, bar)
    print_table(rows)


def _print_funnel(made: Report) -> None:
    funnel = made.funnel
    rows = table("users who", "", "of those before", "of all", "", ids=2)
    for column in rows.columns[1:4]:
        column.justify = "right"
    before = funnel.viewed
    for name, users in (
        ("saw an item", funnel.viewed),
        ("then put it into a cart", funnel.carted),
        ("then bought", funnel.purchased),
    ):
        bar = f"[green]{_bar(users, funnel.viewed)}[/]"
        rows.add_row(name, f"{users:,}", _share(users, before), _share(users, funnel.viewed), bar)
        before = users
    print_table(rows)


def _bar(number: int, most: int) -> str:
    """As long as its share of the longest, to an eighth of a cell; what is there at all is seen."""
    if not number or not most:
        return ""
    eighths = max(1, round(number * _BAR_CELLS * 8 / most))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _money(revenue: Mapping[str, Decimal]) -> str:
    return "  ".join(f"{_grouped(amount)} {marked(currency) or '(no currency)'}" for currency, amount in revenue.items())


def _grouped(amount: Decimal) -> str:
    """Exact, with thousands apart; two digits at least behind a point."""
    whole, point, fraction = plain_amount(amount).partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{abs(int(whole)):,}" + (f".{fraction:0<2}" if point else "")
