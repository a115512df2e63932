"""`footfall query`: a question in SQL about the events that have landed.

    table   for people: the first hundred rows, wide values cut, times in UTC
    json    one array of objects, a row a line. Decimals are strings without trailing zeros, times 2026-11-23T18:00:00.000Z (also
            those without a zone: here all is UTC), NaN and the infinities null
    csv     as `lake.export` writes it: formulas neutralised in texts, nested values as JSON text

JSON and CSV are streamed, so an answer may be larger than memory.
"""

from __future__ import annotations

import csv
import datetime
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, note_absence
from footfall.cli.output import (
    USAGE,
    complain,
    counted,
    marked,
    plain,
    print_bytes,
    print_line,
    print_table,
    results,
    say,
    table,
)
from footfall.cli.settings import load

if TYPE_CHECKING:
    from footfall.lake.asking import Answer

_ROWS_SHOWN: Final = 100
_CELL_CHARACTERS: Final = 60
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


class Form(StrEnum):
    """How the answer looks."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT about the view `events`.", show_default=False)],
    form: Annotated[Form, typer.Option("--format", help="For people, or for programs.")] = Form.TABLE,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Ask the table `events` in DuckDB's SQL. It can only be read: one statement, no other file.

    Its columns: docs/events-table.md, or `footfall query "DESCRIBE events"`. Exit 2 where the SQL is wrong.
    """
    from footfall.lake.asking import QueryError, answered
    from footfall.lake.reading import open_lake

    settings = load(file=config, data=data, environment=os.environ).lake
    note_absence(data)
    try:
        with answered(partial(open_lake, data, settings=settings), sql) as answer:
            _PRINTERS[form](answer)
    except QueryError as error:
        complain(error.message)
        for line in error.details:
            say(f"  {marked(line)}")
        raise typer.Exit(USAGE) from None


# -- for programs


def _print_json(answer: Answer) -> None:
    names = _distinct([column.name for column in answer.columns])
    encode = msgspec.json.Encoder(enc_hook=str).encode_lines
    head = b"["
    for batch in answer.batches():
        rows = [dict(zip(names, map(_json_value, row), strict=True)) for row in batch]
        # a line break inside a text is escaped, so those between the rows are the only ones
        sys.stdout.buffer.write(head + encode(rows)[:-1].replace(b"\n", b",\n"))
        head = b",\n"
    print_bytes(b"]" if head != b"[" else b"[]")


def _distinct(names: Sequence[str]) -> list[str]:
    """Members of one object: the second `a` becomes `a_1`."""
    given: dict[str, None] = {}
    for name in names:
        number, free = 0, name
        while free in given:
            number += 1
            free = f"{name}_{number}"
        given[free] = None
    return list(given)


def _json_value(value: Any) -> Any:
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if kind is Decimal:
        return _decimal(value)
    if kind is datetime.datetime:
        return _moment(value)
    if kind is dict:
        return {name if isinstance(name, str) else str(name): _json_value(inner) for name, inner in value.items()}
    if kind is list or kind is tuple:
        return [_json_value(inner) for inner in value]
    return value


def _decimal(value: Decimal) -> str:
    """Never with an exponent, which `str` would give 0.000000000."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _moment(value: datetime.datetime) -> str:
    """Everything is UTC here, so a time without a zone is, too."""
    return f"{value.isoformat(timespec='milliseconds')[:23]}Z"


def _print_csv(answer: Answer) -> None:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([_harmless(column.name) for column in answer.columns])
    for batch in _with_an_empty_last(answer):
        writer.writerows([_csv_cell(value) for value in row] for row in batch)
        sys.stdout.write(lines.getvalue())
        lines.seek(0)
        lines.truncate()


def _with_an_empty_last(answer: Answer) -> Iterator[list[tuple[Any, ...]]]:
    yield from answer.batches()
    yield []


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _harmless(value)
    return _text(value)


def _harmless(text: str) -> str:
    """An apostrophe keeps a spreadsheet from running it. Numbers are no texts, and stay as they are."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _text(value: Any) -> str:
    """One value that is not null, outside JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (dict, list, tuple)):
        return msgspec.json.encode(_json_value(value), enc_hook=str).decode()
    shown = msgspec.json.encode(_json_value(value), enc_hook=str)
    return msgspec.json.decode(shown, type=str)


# -- for people


def _print_table(answer: Answer) -> None:
    names = [column.name for column in answer.columns]
    rows = list(islice((row for batch in answer.batches() for row in batch), _ROWS_SHOWN + 1))
    _print_grid(names, rows[:_ROWS_SHOWN])
    if len(rows) > _ROWS_SHOWN:
        total = answer.count()
        more = f"{total - _ROWS_SHOWN:,} more" if total is not None else "more"
        say(f"… and {more}; --format csv or json gives them all")
    else:
        say(counted(len(rows), "row"))


def _print_grid(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """As a table; where that is wider than the terminal, row by row."""
    from rich.text import Text

    if names == ["explain_key", "explain_value"]:
        for row in rows:
            print_line(str(row[1]))
        return
    shown = [[_for_people(value) for value in row] for row in rows]
    widths = [max(len(name), *(len(row[index]) for row in shown), 0) for index, name in enumerate(names)]
    if sum(widths) + 2 * len(widths) > results().width and shown:
        _print_row_by_row(names, shown)
        return
    grid = table(*map(marked, names), ids=len(names))
    for cells in shown:
        grid.add_row(*map(Text, cells))
    print_table(grid)


def _print_row_by_row(names: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    width = max(map(len, names))
    for number, row in enumerate(rows, 1):
        results().print(f"[dim]─ {number}[/]")
        for name, value in zip(names, row, strict=True):
            results().print(Text.assemble((plain(name).ljust(width), "bold"), "  ", value), soft_wrap=True)


def _for_people(value: Any) -> str:
    if value is None:
        return "–"
    text = _moment(value)[:-1].replace("T", " ") if isinstance(value, datetime.datetime) else _text(value)
    text = plain(text)
    return text if len(text) <= _CELL_CHARACTERS else f"{text[: _CELL_CHARACTERS - 1]}…"


_PRINTERS: Final[dict[Form, Callable[[Answer], None]]] = {
    Form.TABLE: _print_table,
    Form.JSON: _print_json,
    Form.CSV: _print_csv,
}
