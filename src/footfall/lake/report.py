"""What a shop wants to see at a glance: events, users and revenue by time and type, and how many of those who looked bought.

Users are distinct identifiers (`identifier` and its kind, on one platform): somebody who signs in between two events is two.
ID_LESS events count as events and as nobody. Revenue is that of PURCHASE events, exact, by currency, as the senders say it.

The funnel counts identifiers over the whole time of the report: those who saw an item (ITEM_PAGE_VIEW); of them those who then
put one into the cart (ADD_TO_CART, not before their first view); of them those who then bought (PURCHASE, not before that).
Numbers only: nothing here names a person, an item or a page.
"""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias, get_args

import duckdb
import msgspec

from footfall.errors import LakeError
from footfall.lake.engine import Connection
from footfall.lake.reading import Lake
from footfall.lake.scan import literal, select_events
from footfall.lake.table import DataFile

By = Literal["day", "week", "month"]
BYS: Final[tuple[str, ...]] = get_args(By)
_COLUMNS: Final = ("platform", "timestamp", "event_type", "identifier", "identifier_kind", "revenue")
_PERSON: Final = "CASE WHEN identifier IS NOT NULL THEN (platform, identifier_kind, identifier) END"
_Key: TypeAlias = "tuple[datetime.date | None, str | None]"
"""Period and type; None stands for all of them."""


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which events: since ≤ timestamp < until, whole days in UTC; None: no bound."""

    platform: str | None = None
    since: datetime.date | None = None
    until: datetime.date | None = None
    by: By = "day"


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of some events. `revenue` is currency → amount; `""` where a purchase named none."""

    events: int = 0
    users: int = 0
    revenue: dict[str, Decimal] = {}


class Cell(Figures, frozen=True, kw_only=True):
    """One type in one period, which begins on that day."""

    period: datetime.date
    event_type: str


class Period(Figures, frozen=True, kw_only=True):
    """One period, which begins on that day: its users are fewer than those of its types together."""

    period: datetime.date


class EventType(Figures, frozen=True, kw_only=True):
    """One type in all periods."""

    event_type: str


class Funnel(msgspec.Struct, frozen=True, kw_only=True):
    """How many saw an item, then put one into the cart, then bought."""

    viewed: int = 0
    carted: int = 0
    purchased: int = 0

    @property
    def conversion(self) -> float | None:
        """Of those who saw an item the share that bought; None where nobody did."""
        return self.purchased / self.viewed if self.viewed else None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything asked for. Periods without any event are left out; lists are in order of time, then of type."""

    # no member has a struct as its default: it would keep this module, and with it DuckDB, alive beyond the interpreter's end,
    # which DuckDB complains about at length
    selection: Selection
    total: Figures
    periods: tuple[Period, ...] = ()
    types: tuple[EventType, ...] = ()
    cells: tuple[Cell, ...] = ()
    funnel: Funnel


def report_on(lake: Lake, selection: Selection) -> Report:
    """Reads a few columns of the files that meet the time asked for. Blocks; raises LakeError."""
    files = [file for file in lake.data_files if _meets(file, selection)]
    if not files:
        return Report(selection=selection, total=Figures(), funnel=Funnel())
    connection = lake.duckdb(confined=True)
    try:
        connection.execute(
            "CREATE TEMP VIEW chosen AS SELECT * REPLACE (coalesce(event_type, '') AS event_type),"
            f" date_trunc('{selection.by}', timestamp)::DATE AS period FROM"
            f" ({select_events(files, locate=lake.locate, names=_COLUMNS)}) WHERE {_condition(selection)}"
        )
        return _report(connection, selection)
    except duckdb.Error as error:
        # DuckDB may quote what it stumbled over: of its text only what speaks of files and memory is passed on
        told = str(error).splitlines()[0] if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException)) else ""
        raise LakeError(f"the table could not be read ({type(error).__name__}) {told}".strip()) from error


def first_day_after(period: datetime.date, by: By) -> datetime.date:
    """The day on which the next period begins."""
    if by == "day":
        return period + datetime.timedelta(days=1)
    if by == "week":
        return period + datetime.timedelta(days=7)
    return (period.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)


def _report(connection: Connection, selection: Selection) -> Report:
    revenue = _revenue(connection)
    figures: dict[_Key, dict[str, Any]] = {}
    for period, event_type, events, users in connection.execute(
        f"SELECT period, event_type, count(*), count(DISTINCT {_PERSON}) FROM chosen"
        " GROUP BY GROUPING SETS ((period, event_type), (period), (event_type), ())"
    ).fetchall():
        key = (period, event_type)
        figures[key] = {"events": events, "users": users, "revenue": revenue.get(key, {})}
    periods = sorted(period for period, event_type in figures if period is not None and event_type is None)
    types = sorted(event_type for period, event_type in figures if period is None and event_type is not None)
    return Report(
        selection=selection,
        total=Figures(**figures.get((None, None), {})),
        periods=tuple(Period(period=period, **figures[period, None]) for period in periods),
        types=tuple(EventType(event_type=name, **figures[None, name]) for name in types),
        cells=tuple(
            Cell(period=period, event_type=name, **figures[period, name])
            for period in periods
            for name in types
            if (period, name) in figures
        ),
        funnel=_funnel(connection),
    )


def _revenue(connection: Connection) -> dict[_Key, dict[str, Decimal]]:
    found: dict[_Key, dict[str, Decimal]] = {}
    for period, event_type, currency, amount in connection.execute(
        "SELECT period, event_type, currency, sum(amount) FROM (SELECT period, event_type, coalesce(revenue.currency, '') AS"
        " currency, revenue.amount AS amount FROM chosen WHERE event_type = 'PURCHASE' AND revenue.amount IS NOT NULL)"
        " GROUP BY GROUPING SETS ((period, event_type, currency), (period, currency), (event_type, currency), (currency))"
        " ORDER BY currency"
    ).fetchall():
        found.setdefault((period, event_type), {})[currency] = amount
    return found


def _funnel(connection: Connection) -> Funnel:
    ((viewed, carted, purchased),) = connection.execute(
        f"WITH steps AS (SELECT {_PERSON} AS person, event_type, timestamp FROM chosen WHERE identifier IS NOT NULL"
        " AND event_type IN ('ITEM_PAGE_VIEW', 'ADD_TO_CART', 'PURCHASE')),"
        " viewed AS (SELECT person, min(timestamp) AS first FROM steps WHERE event_type = 'ITEM_PAGE_VIEW' GROUP BY person),"
        " carted AS (SELECT person, min(timestamp) AS first FROM steps JOIN viewed USING (person)"
        " WHERE event_type = 'ADD_TO_CART' AND timestamp >= viewed.first GROUP BY person)"
        " SELECT (SELECT count(*) FROM viewed), (SELECT count(*) FROM carted), (SELECT count(DISTINCT person) FROM steps"
        " JOIN carted USING (person) WHERE event_type = 'PURCHASE' AND timestamp >= carted.first)"
    ).fetchall()
    return Funnel(viewed=viewed, carted=carted, purchased=purchased)


def _condition(selection: Selection) -> str:
    conditions = ["true"]
    if selection.platform is not None:
        conditions.append(f"platform = {literal(selection.platform)}")
    if selection.since is not None:
        conditions.append(f"timestamp >= make_timestamptz({_begin_ms(selection.since) * 1000})")
    if selection.until is not None:
        conditions.append(f"timestamp < make_timestamptz({_begin_ms(selection.until) * 1000})")
    return " AND ".join(conditions)


def _meets(file: DataFile, selection: Selection) -> bool:
    return (
        selection.platform in (None, file.platform)
        and (selection.since is None or file.last_ms >= _begin_ms(selection.since))
        and (selection.until is None or file.first_ms < _begin_ms(selection.until))
    )


def _begin_ms(day: datetime.date) -> int:
    return (day - _EPOCH).days * 86_400_000


_EPOCH: Final = datetime.date(1970, 1, 1)
