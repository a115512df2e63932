"""A durable log as a source: its records in order, and a cursor that says up to where everything is settled.

    reader ─▶ take ─▶ parcels, on their way ─▶ delivered, refused ─▶ cursor: writer → the last record before the oldest unsettled

Lanes overtake each other, so records are settled out of order. The cursor of a writer stands before its oldest record that is
still open: after a crash everything from there goes again, which the receiver counts once, and nothing is left out. What is held
in memory is what the engine holds, however far the newest settled record is ahead of the oldest open one.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from footfall.clock import Clock, SystemClock
from footfall.delivery.api import Parcel, Refusal
from footfall.errors import LogCorruptError
from footfall.log.api import LogReader, Record

STORE_S: Final = 1.0
"""How far a stored cursor may be behind: a second's events go twice after a crash, for one fsync a second."""
_READS_MAX: Final = 16

_decode: Final = msgspec.json.Decoder(dict[str, int]).decode


class Cursor(Protocol):
    """Where a backlog stands: writer → the last sequence up to which everything is settled."""

    def load(self) -> Mapping[str, int]:
        """Empty when nothing was stored yet. LogCorruptError where what was stored cannot be read."""
        ...

    def store(self, positions: Mapping[str, int]) -> None:
        """On stable storage when it returns; after a crash `load` gives this or what was stored before."""
        ...


class MemoryCursor:
    """Until the process ends: for tests, ours and our users'."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}

    def load(self) -> Mapping[str, int]:
        return dict(self._positions)

    def store(self, positions: Mapping[str, int]) -> None:
        self._positions = dict(positions)


class FileCursor:
    """A small JSON file, `{"w0":123}`, replaced as a whole."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def load(self) -> Mapping[str, int]:
        try:
            return _decode(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise LogCorruptError(f"{self._path} is no cursor; remove it to send everything again, which counts once") from None

    def store(self, positions: Mapping[str, int]) -> None:
        draft = self._path.with_name(f"{self._path.name}.new")
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(dict(positions), order="sorted"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)  # the name, too
        finally:
            os.close(directory)


class Backlog:
    """Implements Source. `parcel_of` returns None for a record that is not to be sent, which settles it; a parcel it returns is a
    new one each time. `refused` is told what was set aside, before the cursor passes it."""

    def __init__(
        self,
        reader: LogReader,
        *,
        cursor: Cursor,
        parcel_of: Callable[[Record], Parcel | None],
        refused: Callable[[Record, Refusal], None],
        clock: Clock | None = None,
        store_s: float = STORE_S,
    ) -> None:
        self._reader = reader
        self._cursor = cursor
        self._parcel_of = parcel_of
        self._on_refused = refused
        self._clock = clock or SystemClock()
        self._store_s = store_s
        self._read: dict[str, int] = dict(cursor.load())
        self._open: dict[str, OrderedDict[int, None]] = {}
        """Writer → the sequences that are not settled, as read."""
        self._records: dict[Parcel, Record] = {}
        self._stored: Mapping[str, int] = dict(self._read)
        self._stored_s = self._clock.monotonic_s()

    @property
    def positions(self) -> Mapping[str, int]:
        """Writer → up to where everything is settled."""
        return {
            writer: next(iter(unsettled)) - 1 if (unsettled := self._open.get(writer)) else read
            for writer, read in self._read.items()
        }

    def take(self, *, parcels_max: int) -> Sequence[Parcel]:
        """Reads on past records that are not to be sent, a bounded way at a time. Raises what the reader raises."""
        parcels: list[Parcel] = []
        for _ in range(_READS_MAX):
            records = self._reader.read(self._read, records_max=parcels_max)
            for record in records:
                self._read[record.writer] = record.sequence
                parcel = self._parcel_of(record)
                if parcel is not None:
                    self._open.setdefault(record.writer, OrderedDict())[record.sequence] = None
                    self._records[parcel] = record
                    parcels.append(parcel)
            if parcels or not records:
                break
        self._store_now_and_then()
        return parcels

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            self._settle(parcel)
        self._store_now_and_then()

    def refused(self, parcel: Parcel, refusal: Refusal) -> None:
        self._on_refused(self._records[parcel], refusal)
        self._settle(parcel)
        self._store_now_and_then()

    def save(self) -> None:
        """Stores the cursor as it stands; at the end of work, for it is stored once a second only."""
        positions = self.positions
        if positions != self._stored:
            self._cursor.store(positions)
            self._stored = positions
        self._stored_s = self._clock.monotonic_s()

    def _settle(self, parcel: Parcel) -> None:
        record = self._records.pop(parcel)
        del self._open[record.writer][record.sequence]

    def _store_now_and_then(self) -> None:
        if self._clock.monotonic_s() - self._stored_s >= self._store_s:
            self.save()
