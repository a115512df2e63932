"""From a source into the log: rows judged by the rules, those accepted written as records, those refused written down.

Where the log has a part of it already, reading goes on at the last mark of the books whose record is there; rows between that
mark and the log's end are judged once more, with the clock of the first start, and passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import InvalidEventError, Violation
from footfall.events.intake import Prepared, read_batch
from footfall.lake.importing.books import Books, ImportState, Mark
from footfall.lake.importing.sources import Slice, Source
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter

SOURCE: Final = "import"
EVENT_BYTES_MAX: Final = 256 * 1024
"""As for an event of a batch that comes over HTTP."""
_SYNC_RECORDS: Final = 20_000
"""Written between two syncs: in 0.1 s."""
_GROUP_BYTES_MAX: Final = 32 << 20
"""Of records in one group of the log: a slice is 1 MiB as sent, and long paths of unknown members make it more."""
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class _Record(msgspec.Struct, frozen=True, gc=False):
    """A line of the log, as the server writes it; gc=False, since it lives for one slice."""

    platform: str
    mode: str
    received_at: int
    source: str
    event: object


class Writing:
    """One source on its way into its own writer of the log. The caller owns all three."""

    def __init__(
        self,
        source: Source,
        state: ImportState,
        *,
        writer: SegmentWriter,
        books: Books,
        on_durable: Callable[[int], None],
        on_mark: Callable[[Mark], None],
    ) -> None:
        """`on_durable` is told sequences that may land, `on_mark` how far it is."""
        self._source = source
        self._state = state
        self._writer = writer
        self._books = books
        self._on_durable = on_durable
        self._on_mark = on_mark
        self._unsynced = 0

    def run(self, tree: Path, *, position: int) -> Mark:
        """Writes what is missing; returns the mark of the end, when all is durable. `tree` is where the writer is, `position`
        the last sequence of it that the table has. Raises SourceError, LogError, OSError."""
        known = self._last_known(tree, position)
        mark = self._books.go_on(known[0])
        left = known[1] - mark.accepted  # accepted rows after the mark that the log has
        for found in self._source.slices(mark.place):
            records, refusals = self._judged(found)
            mark = Mark(
                place=found.after,
                rows=mark.rows + len(found.bodies),
                accepted=mark.accepted + len(records),
                refused=mark.refused + len(refusals),
                sequence=self._writer.last + max(0, len(records) - left),
            )
            self._books.refuse(refusals)
            passed, left = min(left, len(records)), max(0, left - len(records))
            if not left:
                self._books.note(mark)
                self._write(records[passed:])
            self._on_mark(mark)
        self._sync()
        return mark

    def _last_known(self, tree: Path, position: int) -> tuple[Mark, int]:
        """The last mark whose record is in the log or in the table, and how many rows of the file are in either."""
        name = self._state.writer
        reader = SegmentReader(tree)
        try:
            for mark in reversed(self._books.marks()):
                if mark.sequence <= self._writer.last and (
                    not mark.accepted or mark.sequence <= position or _is_there(reader, name, mark.sequence)
                ):
                    break
            # The table may know more of this writer than the log: one that was brought back from a backup.
            landed = max(0, position - mark.sequence) if mark.sequence else 0
            return mark, mark.accepted + max(landed, reader.count_after({name: mark.sequence}).get(name, 0))
        finally:
            reader.close()

    def _judged(self, found: Slice) -> tuple[list[_Record], list[tuple[int, Sequence[Violation], bytes]]]:
        state = self._state
        judged: list[Prepared | InvalidEventError] = read_batch(
            found.bodies, now_ms=state.started_at, bytes_max=EVENT_BYTES_MAX, ahead_ms_max=state.ahead_ms_max
        )
        records: list[_Record] = []
        refusals: list[tuple[int, Sequence[Violation], bytes]] = []
        for index, row in enumerate(judged):
            if isinstance(row, InvalidEventError):
                fault = found.faults.get(index)
                errors = row.violations if fault is None else (Violation("", fault, "malformed_row"),)
                refusals.append((found.numbers[index], errors, found.bodies[index]))
            else:
                records.append(_Record(state.platform, "live", state.started_at, SOURCE, row[0]))
        return records, refusals

    def _write(self, records: Sequence[Any]) -> None:
        if not records:
            return
        payload = _encode_lines(records)
        if len(payload) > _GROUP_BYTES_MAX and len(records) > 1:
            middle = len(records) // 2
            self._write(records[:middle])
            self._write(records[middle:])
            return
        self._writer.write_lines(payload, count=len(records))
        self._unsynced += len(records)
        if self._unsynced >= _SYNC_RECORDS:
            self._sync()

    def _sync(self) -> None:
        self._books.sync()  # first: of every record that is durable the mark before it is
        self._on_durable(self._writer.sync())
        self._unsynced = 0


def _is_there(reader: SegmentReader, writer: str, sequence: int) -> bool:
    found = reader.read_writer(writer, after=sequence - 1, records_max=1)
    return bool(found) and found[0].sequence == sequence
