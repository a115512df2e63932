"""CSV as a source: a header line, then rows; every cell is text, an empty one is absent.

Numbers stay the text they are, so nothing is rounded; a `timestamp` is milliseconds, or an ISO time with its zone. A row with
more or fewer cells than the header is refused alone. The separator (comma, semicolon, tab) is the one that the header uses most.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import msgspec

from footfall.events.scalars import iso_milliseconds
from footfall.lake.importing.paths import Column, Constant, choices_of, tree_of
from footfall.lake.importing.paths import Path as Member
from footfall.lake.importing.sources import LINE_BYTES_MAX, Place, Slice, SourceError, is_own

_SLICE_ROWS: Final = 2000
_SEPARATORS: Final = ",;\t|"


class CsvSource:
    """One CSV file in UTF-8, with or without a byte order mark."""

    def __init__(self, path: Path, *, name: str, mapping: str | None = None) -> None:
        """Raises SourceError, OSError."""
        self.name = name
        self.path = path
        self.form = f"csv\n{mapping or ''}"
        self._opened: BinaryIO | None = None
        with self._text() as text:
            self._header = self._read_header(text)
        if mapping is None and is_own(self._header):
            raise SourceError(f"{name} is an export of the table; those come back as Parquet or NDJSON, not as CSV")
        choices = choices_of(self._header, mapping, name=name)
        tree_of(choices, name=name)  # for its complaints
        places = {column: index for index, column in enumerate(self._header)}
        self._cells = [(member, places[choice.name]) for member, choice in choices.items() if isinstance(choice, Column)]
        self._constants = [(member, choice.value) for member, choice in choices.items() if isinstance(choice, Constant)]

    @property
    def bytes_read(self) -> int:
        return self._opened.tell() if self._opened is not None and not self._opened.closed else 0

    def slices(self, place: Place) -> Iterator[Slice]:
        with self._text() as text:
            self._read_header(text)
            rows = self._rows(csv.reader(text, delimiter=self._separator, strict=True))
            number = sum(1 for _ in islice(rows, place.number))
            while taken := list(islice(rows, _SLICE_ROWS)):
                yield self._slice(taken, number)
                number += len(taken)

    def _slice(self, rows: list[list[str]], before: int) -> Slice:
        bodies: list[bytes] = []
        faults: dict[int, str] = {}
        for index, row in enumerate(rows):
            try:
                bodies.append(self._event(row))
            except _RowError as error:
                bodies.append(repr(row).encode("ascii", "backslashreplace"))
                faults[index] = str(error)
        after = before + len(rows)
        return Slice(bodies, range(before + 1, after + 1), Place(after), faults)

    def _rows(self, rows: Any) -> Iterator[list[str]]:
        try:
            for row in rows:
                if row:  # an empty line
                    yield row
        except csv.Error as error:
            raise SourceError(f"{self.name} is no CSV at line {rows.line_num + 1}: {error}") from None

    def _text(self) -> TextIO:
        # undecodable bytes become halves of surrogate pairs, which no JSON takes: their row is refused, not the file
        text = self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._opened = getattr(text, "buffer")  # noqa: B009 - TextIO's type does not tell of it
        text.seek(0)
        return text

    def _read_header(self, text: TextIO) -> list[str]:
        line = text.readline(LINE_BYTES_MAX)
        if not line.strip():
            raise SourceError(f"{self.name} is empty: the first line of a CSV file names its columns")
        self._separator = max(_SEPARATORS, key=line.count)
        header = [cell.strip() for cell in next(csv.reader([line], delimiter=self._separator))]
        twice = sorted({cell for cell in header if header.count(cell) > 1})
        if not all(header):
            raise SourceError(f"{self.name} has a column without a name: the first line must name every one")
        if twice:
            raise SourceError(f"{self.name} has two columns of one name: {', '.join(twice)}")
        return header

    def _event(self, row: list[str]) -> bytes:
        if len(row) != len(self._header):
            raise _RowError(f"the row has {len(row)} cells, the header {len(self._header)}; is a separator or a quote missing?")
        event: dict[Any, Any] = {}
        for member, place in self._cells:
            cell = row[place]
            if cell:
                _put(event, member, _moment(cell) if member == ("timestamp",) else cell)
        for member, value in self._constants:
            if len(member) == 1 or _holds(event, member[:-1]):
                _put(event, member, value)
        try:
            return msgspec.json.encode(_lists(event))
        except UnicodeEncodeError:
            raise _RowError("the row is not UTF-8; write the file anew in that encoding") from None


class _RowError(Exception):
    """A row that is no event, and why."""


def _moment(cell: str) -> str | int:
    milliseconds = iso_milliseconds(cell)
    return cell if milliseconds is None else milliseconds


def _put(event: dict[Any, Any], member: Member, value: object) -> None:
    for part in member[:-1]:
        event = event.setdefault(part, {})
    event[member[-1]] = value


def _holds(event: dict[Any, Any], member: Member) -> bool:
    """Whether the row has anything there: a currency alone makes no price."""
    for part in member:
        if part not in event:
            return False
        event = event[part]
    return True


def _lists(value: Any) -> Any:
    """Places become positions, without the gaps that empty cells left."""
    if not isinstance(value, dict):
        return value
    if value and all(isinstance(part, int) for part in value):
        return [_lists(value[part]) for part in sorted(value)]
    return {part: _lists(below) for part, below in value.items()}
