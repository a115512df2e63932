"""What waits in one tray, in the order in which it was tracked, and how far it has been dealt with.

    logs of the worths ──read──▶ buffers, one per worth ──merged by n──▶ take ──▶ settle ──▶ cursors in the tally
           ▲ append ──────feed──────────▲

While the sender keeps up, a record goes from `append` straight into its buffer and is never read back; when it falls behind, the
buffers stop growing and the logs are read from there on. Either way each record comes once.

Events end out of order, cursors move in order: what ended beyond a cursor is remembered until the gap closes. The counts of the
tally move with the cursors. A number that names no record any more (damage, a segment given up) ends as shed.

The sender's thread calls everything here but `append`, which has one caller at a time, under the lock `appending`.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from operator import ge
from pathlib import Path
from typing import Final, Protocol

from footfall.client.outbox.records import DECODE_ERRORS, Entry, decode_waiting
from footfall.client.outbox.tray import NEVER_MS, Tray
from footfall.client.outbox.worths import NAMES, PURCHASE
from footfall.delivery.api import Parcel
from footfall.errors import LogCorruptError, LogError
from footfall.log.api import Record
from footfall.log.directory import QUARANTINE_NAME, list_segments
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader
from footfall.log.retention import remove_sealed

DELIVERED: Final = 0
REFUSED: Final = 1
SHED: Final = 2
_READ_RECORDS: Final = 64
"""Read at once: short turns, so that a thread that tracks need not wait long for the interpreter."""
_FED_BYTES_MAX: Final = 8 << 20
"""What a tray's buffers may hold; beyond it records are left to the disk."""
_ENTRY_BYTES: Final = 250
"""What an entry takes beside its body, about."""
_PATIENCE_S: Final = 0.1
_DAMAGE: Final = ("damage", "events on the disk cannot be read any more and are given up")
_REMOVED: Final = ("full", "events of a process that died had been given up for want of room")
_TOO_OLD: Final = ("age", "events have waited longer than age_s_max and are given up")


class Lock(Protocol):
    """What a `threading.RLock` offers."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...


class Letter(Parcel, frozen=True, kw_only=True, eq=False):
    """A parcel and where it came from."""

    queue: Queue
    worth: int
    sequence: int
    n: int
    at: int

    def __repr__(self) -> str:
        return f"Letter({NAMES[self.worth]}/{self.sequence})"


class Queue:
    """One tray's waiting events."""

    def __init__(
        self,
        tray: Tray,
        *,
        disk: Disk,
        appending: Lock,
        is_fed: bool,
        counted: Callable[[int, int], None],
        shed: Callable[[str, str, int], None],
        found: Callable[[int], None],
    ) -> None:
        """`appending` is the lock of whoever appends. `is_fed`: by `append`, in this process. `counted` is told of each outcome
        and how many, `shed` why events were given up: a reason, words, how many; `found` is told of records that a recovery
        brought up."""
        self.tray = tray
        self._disk = disk
        self._reader = SegmentReader(tray.directory, disk=disk)
        self._counted = counted
        self._appending = appending
        self._shed = shed
        self._found = found
        self._cursors = tray.tallies.tally.cursors
        self._taken = list(self._cursors)  # handed out or ended up to here
        self._read = list(self._cursors)  # in a buffer up to here
        self._buffers: list[deque[Entry]] = [deque() for _ in NAMES]
        self._ended: list[dict[int, int]] = [{} for _ in NAMES]  # sequence beyond the cursor → outcome
        self._is_fed = is_fed
        self._fed_bytes = 0  # by whoever appends …
        self._taken_bytes = 0  # … and of these, by the sender
        self._trimmed = list(self._cursors)

    def append(self, worth: int, line: bytes, entry: tuple[int, int, int, bytes]) -> None:
        """Writes a record (`entry`: n, at, lane, body) and lets it wait here. Raises as `Tray.append`."""
        n, at, lane, body = entry
        tray = self.tray
        sequence = tray.append(worth, line)
        if self._is_fed:
            self._buffers[worth].append(Entry(n, sequence, at, lane, body))
            self._read[worth] = sequence
            self._fed_bytes += len(body) + _ENTRY_BYTES
            if self._fed_bytes - self._taken_bytes > _FED_BYTES_MAX:
                self._is_fed = False
        tray.last_n = n

    @property
    def has_unread(self) -> bool:
        """Whether `take` would find anything."""
        return any(self._buffers) or self._read != self.tray.lasts

    @property
    def is_done(self) -> bool:
        """Whether every record has ended."""
        return all(map(ge, self._cursors, self.tray.lasts))

    def waiting(self) -> int:
        """How many records have not ended, when nothing is appended meanwhile."""
        ended = sum(map(len, self._ended))
        return sum(max(0, last - cursor) for last, cursor in zip(self.tray.lasts, self._cursors, strict=True)) - ended

    def take(self, *, letters_max: int, upto_n: int, too_old_ms: int) -> list[Letter]:
        """The next letters, in the order of n, none above `upto_n` (what was appended when the caller began). Events from before
        `too_old_ms` are shed, purchases never. OSError: no more can be read now."""
        letters: list[Letter] = []
        buffers = self._buffers
        while len(letters) < letters_max:
            try:
                worth = self._next_worth()
            except (OSError, LogError):
                if letters:
                    break  # these are out of the buffers; the next call meets the trouble again
                raise
            if worth < 0 or buffers[worth][0].n > upto_n:
                break
            n, sequence, at, lane, body = buffers[worth].popleft()
            self._taken[worth] = sequence
            if self._is_fed:
                self._taken_bytes += len(body) + _ENTRY_BYTES
            if at < too_old_ms and worth != PURCHASE:
                self._end(worth, (sequence,), SHED)
                self._shed(*_TOO_OLD, 1)
                continue
            letters.append(Letter(body=body, lane=lane, queue=self, worth=worth, sequence=sequence, n=n, at=at))
        return letters

    def settle(self, letters: Iterable[Letter], outcome: int) -> None:
        """These have ended so."""
        by_worth: dict[int, list[int]] = {}
        for letter in letters:
            by_worth.setdefault(letter.worth, []).append(letter.sequence)
        for worth, sequences in by_worth.items():
            self._end(worth, sequences, outcome)
        self.tray.tallies.store()

    def rewind(self) -> None:
        """Forgets what was handed out and has not ended: it will be handed out again. Only while nobody appends."""
        self._is_fed = False
        for worth, cursor in enumerate(self._cursors):
            self._buffers[worth].clear()
            self._taken[worth] = self._read[worth] = cursor

    def feed_again(self) -> None:
        """Records go straight into the buffers from now on, if nothing else is left to read. Only while nobody appends."""
        if not self._is_fed and self._read == self.tray.lasts:
            self._is_fed = True
            self._taken_bytes = self._fed_bytes  # what is left in the buffers is a reading or less

    def show(self) -> None:
        """Lets everybody see what was appended, as `Tray.show`. Only while nobody appends."""
        for worth in range(len(NAMES)):
            self._show(worth)

    def stop_feeding(self) -> None:
        """What is not in a buffer yet is read from the log, also when `append` was interrupted at any line. Only while nobody
        appends."""
        self._is_fed = False
        for worth, buffer in enumerate(self._buffers):
            if buffer:
                self._read[worth] = max(self._read[worth], buffer[-1].sequence)

    def recover(self) -> None:
        """Another attempt at what a full volume prevented. OSError and LogError: not now either."""
        before = sum(self.tray.lasts)
        try:
            self.tray.recover()
        finally:
            self._found(sum(self.tray.lasts) - before)

    def trim(self) -> None:
        """Removes the segments whose events have all ended. OSError: another time."""
        for worth, cursor in enumerate(self._cursors):
            if cursor > self._trimmed[worth]:
                self._trimmed[worth] = cursor
                remove_sealed(self._worth(worth), sealed_before_ms=NEVER_MS, passed=cursor, disk=self._disk)

    def shed_oldest(self, worth: int) -> int:
        """Gives up the oldest whole segment of `worth` that holds no letter, and what waits before it; returns how many events
        that cost, 0 where there is none. OSError: the segment stays, its events are given up."""
        try:
            names = list_segments(self._disk, self._worth(worth)).segments
        except FileNotFoundError:
            return 0
        for name, following in pairwise(names):
            last = following.base - 1
            if last > self._taken[worth] and (name.base > self._taken[worth] or not self._is_out(worth)):
                count = self._shed_upto(worth, last)
                self._shed("full", "the outbox holds as much as bytes_max allows; the oldest events of the least worth go", count)
                return count
        return 0

    def shed_older(self, too_old_ms: int) -> None:
        """Gives up what was written before `too_old_ms` and never handed out, whole segments of all but purchases."""
        for worth in range(PURCHASE):
            try:
                names = list_segments(self._disk, self._worth(worth)).segments
            except FileNotFoundError:
                continue
            for name, following in pairwise(names):
                written_ms = (self._worth(worth) / name.file).stat().st_mtime * 1000
                if written_ms < too_old_ms and following.base - 1 > self._taken[worth]:
                    self._shed(*_TOO_OLD, self._shed_upto(worth, following.base - 1))

    def close(self) -> None:
        self._reader.close()

    def _show(self, worth: int) -> None:
        if self.tray.needs_recovery:
            self.recover()
        else:
            self.tray.show(worth)

    def _is_out(self, worth: int) -> bool:
        """Whether letters of this worth are handed out and have not ended: the one after the cursor then is."""
        return self._cursors[worth] < self._taken[worth]

    def _shed_upto(self, worth: int, last: int) -> int:
        """Segments under letters stay: after a restart these are read from there once more."""
        after, is_out = self._taken[worth], self._is_out(worth)
        lost = range(max(self._taken[worth], self._cursors[worth]) + 1, last + 1)
        fresh = [sequence for sequence in lost if sequence not in self._ended[worth]]
        buffer = self._buffers[worth]
        while buffer and buffer[0].sequence <= last:
            entry = buffer.popleft()
            if self._is_fed:
                self._taken_bytes += len(entry.body) + _ENTRY_BYTES
        self._taken[worth] = last
        self._read[worth] = max(self._read[worth], last)
        self._end(worth, fresh, SHED)
        self.tray.tallies.store()
        remove_sealed(self._worth(worth), sealed_before_ms=NEVER_MS, passed=self._cursors[worth], disk=self._disk)
        if is_out:
            self._remove_between(worth, after, last)
        return len(fresh)

    def _remove_between(self, worth: int, after: int, last: int) -> None:
        """Removes the segments of the records after `after` up to `last`, never the newest."""
        listing = list_segments(self._disk, self._worth(worth))
        for name in (*listing.superseded, *listing.segments[:-1]):  # one must not outlive its successor: it would count again
            if after < name.base <= last:
                with suppress(FileNotFoundError):
                    self._disk.remove(self._worth(worth) / name.file)
        self._disk.sync_directory(self._worth(worth))

    def _was_given_up(self, worth: int, first: int, following: int) -> bool:
        """Whether a gap that a recovery noted is what `_remove_between` left: whole segments, no copy of them kept."""
        bases = {name.base for name in list_segments(self._disk, self._worth(worth)).segments}
        is_whole = first in bases and following in bases
        return worth != PURCHASE and is_whole and not self._disk.is_directory(self.tray.directory / QUARANTINE_NAME)

    def _next_worth(self) -> int:
        """The worth whose next record is the oldest; -1 where nothing waits."""
        best, best_n = -1, 0
        for worth, buffer in enumerate(self._buffers):
            while not buffer and not self._is_fed and self._read[worth] < self.tray.lasts[worth]:
                self._refill(worth)
            if buffer and (best < 0 or buffer[0].n < best_n):
                best, best_n = worth, buffer[0].n
        return best

    def _refill(self, worth: int) -> None:
        after, upto = self._read[worth], self.tray.lasts[worth]
        if not self._appending.acquire(timeout=_PATIENCE_S):
            raise TimeoutError("the disk hangs")
        try:
            self._show(worth)
        finally:
            self._appending.release()
        try:
            records = self._reader.read_writer(NAMES[worth], after=after, records_max=_READ_RECORDS)
        except LogCorruptError:
            self._lose(worth, after, self._end_of_segment(worth, after + 1, upto))
            return
        self._keep(worth, records)
        if records:
            return
        if not self.tray.is_whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # there is more, and no room to bring it up
        self._lose(worth, after, upto)

    def _keep(self, worth: int, records: Sequence[Record]) -> None:
        after = self._read[worth]
        buffer, ended, to = self._buffers[worth], self._ended[worth], self.tray.label.to
        for _, sequence, body in records:
            if sequence > after + 1:
                self._lose(worth, after, sequence - 1, _REMOVED if self._was_given_up(worth, after + 1, sequence) else _DAMAGE)
            after = self._read[worth] = sequence
            if sequence in ended:
                continue
            try:
                found = decode_waiting(body)
            except DECODE_ERRORS:
                found = None
            if found is None or found.to != to:
                self._lose(worth, sequence - 1, sequence)
            else:
                buffer.append(Entry(found.n, sequence, found.at, found.lane, bytes(found.event)))

    def _lose(self, worth: int, after: int, upto: int, why: tuple[str, str] = _DAMAGE) -> None:
        """Numbers that name no event any more."""
        ended = self._ended[worth]
        gone = [sequence for sequence in range(after + 1, upto + 1) if sequence not in ended]
        self._read[worth] = max(self._read[worth], upto)
        if gone:
            self._end(worth, gone, SHED)
            self._shed(*why, len(gone))

    def _end_of_segment(self, worth: int, sequence: int, upto: int) -> int:
        """The last number that damage in the segment of `sequence` may have taken."""
        bases = [name.base for name in list_segments(self._disk, self._worth(worth)).segments]
        return min((base - 1 for base in bases if base > sequence), default=upto)

    def _end(self, worth: int, sequences: Iterable[int], outcome: int) -> None:
        tally = self.tray.tallies.tally
        cursor, ended = self._cursors[worth], self._ended[worth]
        count = 0
        for sequence in sequences:
            ended[sequence] = outcome
            count += 1
        while (reached := ended.pop(cursor + 1, None)) is not None:
            cursor += 1
            if reached == DELIVERED:
                tally.delivered += 1
            elif reached == REFUSED:
                tally.refused += 1
            else:
                tally.shed += 1
        self._cursors[worth] = cursor
        self._counted(outcome, count)

    def _worth(self, worth: int) -> Path:
        return self.tray.directory / NAMES[worth]
