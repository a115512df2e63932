"""The durable log in local files: the writer.

One process owns one directory (`directory` draws it) by a lock held for life, and appends groups of records (`format` draws
them) to one segment at a time. The promises, and where they are kept:

- a sequence that `sync` confirmed, or that a reader ever showed, never names another record: `recovery` continues above both;
- `write` puts every byte or none: after a short write the segment is cut back, durably, before anything else is written;
- `sync` publishes the watermark only after fdatasync returned, and a segment's name was durable before its first record;
- after a failed sync, or any error of a write that is not "full", nothing more is written through this handle, ever;
- the newest segment is never removed, by anybody.

A full volume is an ordinary state: everything that needs room may fail with `LogFullError` and is tried again by the next write,
recovery included, so that a server starts on a full volume, serves its readers and takes events again once there is room.
"""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import uuid4

from footfall.clock import Clock, SystemClock
from footfall.errors import LogClosedError, LogError, LogFullError, LogLockedError
from footfall.log.api import require_lines
from footfall.log.directory import LOCK_NAME, SEAL_REQUEST_NAME, WATERMARK_NAME, changing, list_segments
from footfall.log.disk import Disk, make_durable_directory
from footfall.log.format import RECORD_BYTES_MAX, require_writer_name
from footfall.log.recovery import Succession, discard, next_name, prepare, require_sound, survey
from footfall.log.segment import OpenSegment
from footfall.log.watermark import Watermark

SEGMENT_BYTES: Final = 32 << 20
_SPACE_CHECK_S: Final = 0.2
_SPACE_CHECK_BYTES: Final = 4 << 20
"""Free space is asked for after this much time or data, whichever comes first: between two looks we cannot eat a segment. Who
leaves less than a segment free says less."""
_LOCK_PATIENCE_S: Final = 0.25
"""A look at the lock by a reader holds it for microseconds, and a predecessor that is just ending for milliseconds."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class SegmentWriter:
    """The one writer of `<tree>/<writer>/`. Blocks for as long as the volume takes; one caller at a time."""

    @classmethod
    def open(
        cls,
        tree: Path | str,
        *,
        writer: str = "w0",
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s_max: float = math.inf,
        free_bytes_min: int | None = None,
        look_bytes: int = _SPACE_CHECK_BYTES,
        accept_tmpfs: bool = False,
        quarantine_corrupt: bool = False,
        passed: Mapping[str, int] | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> Self:
        """Takes the directory, makes it where it is missing, recovers what a predecessor left.

        A segment is closed at `segment_bytes`, or by the first write after `segment_age_s_max`, since retention takes whole ones
        only. `free_bytes_min` is what a write leaves free on the volume (default: two segments), `look_bytes` after how many
        bytes at most it is looked whether it does. `passed` (writer → sequence)
        says what no reader needs any more: recovery does not copy it. Raises LogLockedError, LogCorruptError (not with
        `quarantine_corrupt`), LogFullError when there is not even room for the directory, LogError for the rest.
        """
        require_writer_name(writer)
        disk, clock, directory = disk or Disk(), clock or SystemClock(), Path(tree).absolute() / writer
        try:
            make_durable_directory(disk, directory)
            _require_disk(disk, directory, accept_tmpfs=accept_tmpfs)
            lock = _lock(disk, directory)
        except OSError as error:
            raise _cannot_open(directory, error) from error
        plan = Succession(
            disk=disk, directory=directory, writer=writer, new_id=new_id or (lambda: uuid4().hex), now_ms=clock.now_ms,
            passed=(passed or {}).get(writer, 0),
        )  # fmt: skip
        opened = cls(
            plan, lock=lock, clock=clock, segment_bytes=segment_bytes, segment_age_s_max=segment_age_s_max,
            quarantine_corrupt=quarantine_corrupt, look_bytes=look_bytes,
            free_bytes_min=2 * segment_bytes if free_bytes_min is None else free_bytes_min,
        )  # fmt: skip
        try:
            opened._begin()
        except OSError as error:
            opened._release()
            raise _cannot_open(directory, error) from error
        except BaseException:
            opened._release()
            raise
        return opened

    def __init__(
        self,
        plan: Succession,
        *,
        lock: int,
        clock: Clock,
        segment_bytes: int,
        segment_age_s_max: float,
        free_bytes_min: int,
        look_bytes: int,
        quarantine_corrupt: bool,
    ) -> None:
        """Use `open`."""
        self._plan = plan
        self._disk = plan.disk
        self._lock = lock
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segment_age_s_max = segment_age_s_max
        self._segment_since_s = clock.monotonic_s()
        self._free_bytes_min = free_bytes_min
        self._look_bytes = look_bytes
        self._quarantine_corrupt = quarantine_corrupt
        self._segment: OpenSegment | None = None
        self._mark: Watermark | None = None
        self._recovered = False
        self._last = 0
        self._durable = 0
        self._published = 0  # what readers know of it
        self._finished = ""  # why nothing more can be written
        self._closed = False
        self._lacking = ""  # why there was no room when last looked at
        self._look_at_s = 0.0
        self._unlooked_bytes = 0
        self._sealed_before: Path | None = None
        self.quarantined = 0
        """Damaged files and gaps that opening set aside."""

    @property
    def last(self) -> int:
        """The last sequence written, durable or not."""
        return self._last

    @property
    def durable(self) -> int:
        """The last sequence on stable storage."""
        return self._durable

    @property
    def shown(self) -> int:
        """The last sequence that readers have been told of."""
        return self._published

    @property
    def is_recovered(self) -> bool:
        """Whether all that a predecessor left can be read; False only while the volume is too full for the recovery."""
        return self._recovered

    def abandon(self) -> None:
        """Gives back the descriptors without a word to the disk: for a forked child, whose parent goes on writing."""
        self._finish("it belongs to another process")
        self._release()

    def write(self, bodies: Sequence[bytes]) -> int:
        self._require_usable()
        if not bodies:
            return self._last
        return self.write_lines(b"\n".join(bodies) + b"\n", count=len(bodies))

    def write_lines(self, payload: bytes, *, count: int) -> int:
        self._require_usable()
        is_one_line = payload and payload.find(b"\n") == len(payload) - 1 <= RECORD_BYTES_MAX  # as an outbox writes them
        if count != 1 or not is_one_line:
            require_lines(payload, count=count)
        if not count:
            return self._last
        try:
            self._require_room(len(payload))
            self._segment_for(len(payload)).append(payload, count=count, durable_upto=self._durable)
        except LogFullError:
            raise
        except OSError as error:
            raise self._refusal(error) from error
        except BaseException as error:  # interrupted between bytes and books: what the file ends with is no longer known
            self._finish(str(error) or type(error).__name__)
            raise
        self._last += count
        return self._last

    def sync(self) -> int:
        self._require_usable()
        if self._segment is not None and self._durable < self._last:
            try:
                self._segment.sync()
            except BaseException as error:
                self._finish(str(error))
                raise
            self._publish(self._last)
        elif self._published < self._durable:
            self._publish(self._durable)
        return self._durable

    def seal_if_asked(self) -> bool:
        """As `LogWriter.seal_if_asked`; `sealing` asks. The next write begins a new segment."""
        self._require_usable()
        segment = self._segment
        try:
            self._disk.remove(self._plan.directory / SEAL_REQUEST_NAME)
        except OSError:  # nobody asked, or it cannot be taken off: whoever asked sees that nothing is sealed, and for how long
            return False
        if segment is None or segment.is_empty:
            return False
        self.sync()
        try:
            self._seal(segment)
        except OSError as error:
            raise self._refusal(error) from error
        except BaseException as error:
            self._finish(str(error) or type(error).__name__)
            raise
        self._segment = None
        return True

    def take_as_durable(self) -> None:
        """Over a disk that never waits for the storage: counts what was written as durable, so that the lines to come say so, and
        leaves telling the readers to the next `sync`."""
        self._durable = self._last

    def close(self) -> None:
        """Syncs, seals, releases: the next opening copies nothing. After a failure it only releases."""
        if self._closed:
            return
        try:
            if not self._finished and self._segment is not None:
                self.sync()
                self._seal(self._segment)
        except OSError as error:
            # Records are durable; without its seal this segment is copied by the next opening, no more.
            self._refusal(error)
        finally:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._finished or ("closed" if self._closed else "open")
        return f"SegmentWriter({str(self._plan.directory)!r}, last={self._last}, durable={self._durable}, {state})"

    def _begin(self) -> None:
        self._mark = Watermark(self._disk, self._plan.directory / WATERMARK_NAME)
        try:
            self._recover()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # As full as it is, what was durable can be read; writing waits for room.
            self._lacking = str(error)

    def _recover(self) -> None:
        with changing(self._disk, self._plan.directory):
            found = survey(self._disk, self._plan.directory)
            if not self._quarantine_corrupt:
                require_sound(self._plan.directory, found)
            self._last, self._durable = found.last, found.durable
            assert self._mark is not None  # noqa: S101 - told to the type checker
            self._mark.restart(found.durable)
            self._segment = prepare(self._plan, found)
        self.quarantined += len(found.problems)
        self._recovered = True
        self._publish(found.last)

    def _segment_for(self, payload_bytes: int) -> OpenSegment:
        """The segment that takes the next group: the current one, a successor, or a new one."""
        if not self._recovered:
            self._recover()
        segment = self._segment
        if segment is not None and segment.groups and self._is_finished(segment, payload_bytes):
            self.sync()
            self._seal(segment)
            self._segment = segment = None
        if segment is None:
            self._segment = segment = self._create()
            self._segment_since_s = self._clock.monotonic_s()
        return segment

    def _is_finished(self, segment: OpenSegment, payload_bytes: int) -> bool:
        if segment.offset + payload_bytes > self._segment_bytes:
            return True
        return self._clock.monotonic_s() - self._segment_since_s > self._segment_age_s_max

    def _create(self) -> OpenSegment:
        base = self._last + 1
        name = next_name(list_segments(self._disk, self._plan.directory), base=base)
        segment = self._plan.create(name, first=base)
        try:
            segment.publish()
        except (OSError, LogClosedError):
            segment.close()
            discard(self._disk, self._plan.directory / name.unfinished)
            raise
        return segment

    def _seal(self, segment: OpenSegment) -> None:
        segment.append_seal(sealed_at_ms=self._clock.now_ms())
        segment.sync()
        segment.close()
        self._forget_sealed(self._plan.directory / segment.name.file)

    def _forget_sealed(self, path: Path) -> None:
        """Gives back the memory of the segment before the one just sealed: a log is read soon after it was written, or seldom. So
        it fills the same pages again and again, instead of all the memory there is (batches on a virtual machine: 189,000 →
        228,000 events/s, system time 1.2 → 0.5 µs an event, same run). A courtesy: what fails of it is nobody's trouble."""
        before, self._sealed_before = self._sealed_before, path
        if before is None:
            return
        try:
            descriptor = self._disk.open_read(before)
        except OSError:  # retention took it
            return
        try:
            self._disk.forget(descriptor)
        except OSError:
            pass
        finally:
            self._disk.close(descriptor)

    def _publish(self, sequence: int) -> None:
        self._durable = self._published = sequence
        if self._mark is not None:
            self._mark.publish(sequence)

    def _require_usable(self) -> None:
        if self._finished:
            raise LogClosedError(f"this log stopped earlier and takes nothing more: {self._finished}")
        if self._closed:
            raise LogClosedError("this log was closed")

    def _require_room(self, payload_bytes: int) -> None:
        now_s = self._clock.monotonic_s()
        self._unlooked_bytes += payload_bytes
        if now_s >= self._look_at_s or (self._unlooked_bytes >= self._look_bytes and not self._lacking):
            self._look_at_s, self._unlooked_bytes = now_s + _SPACE_CHECK_S, payload_bytes
            free_bytes = self._disk.free_bytes(self._plan.directory)
            lacking = free_bytes - payload_bytes < self._free_bytes_min
            self._lacking = (
                f"{free_bytes >> 20} MiB are free on the volume of {self._plan.directory}, {self._free_bytes_min >> 20} MiB are"
                " kept free: make room, this log goes on by itself"
                if lacking
                else ""
            )
        if self._lacking:
            raise LogFullError(self._lacking)

    def _refusal(self, error: OSError) -> LogError:
        """What a failed call means for the caller, after the segment was mended, or else for good."""
        if error.errno in _FULL:
            try:
                if self._segment is not None:
                    self._segment.cut_back()
                return LogFullError(f"no room for another group in {self._plan.directory}; nothing of it was stored")
            except (OSError, LogClosedError) as unmended:
                error = unmended if isinstance(unmended, OSError) else error
        self._finish(f"{self._plan.directory}: {error.strerror}")
        return LogClosedError(f"writing to {self._plan.directory} failed ({error.strerror}); this process must end")

    def _finish(self, reason: str) -> None:
        self._finished = self._finished or reason

    def _release(self) -> None:
        self._closed = True
        if self._segment is not None:
            self._segment.close()
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            self._disk.close(lock)


def _require_disk(disk: Disk, directory: Path, *, accept_tmpfs: bool) -> None:
    if accept_tmpfs:
        return
    kind = disk.file_system(directory)
    if kind in {"tmpfs", "ramfs"}:
        raise LogError(f"{directory} is on {kind}, which forgets all at a power cut: allow that by durability.accept_tmpfs")


def _lock(disk: Disk, directory: Path) -> int:
    deadline_s = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            return disk.lock(directory / LOCK_NAME)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise LogLockedError(
                    f"{directory} is owned by another running process (a second server or importer on the same data?); "
                    "stop that one first, or use another data directory"
                ) from None
        time.sleep(0.01)


def _cannot_open(directory: Path, error: OSError) -> LogError:
    if error.errno in _FULL:
        return LogFullError(f"no room on the volume to open {directory}: {error.strerror}")
    return LogError(f"cannot open {directory}: {error.strerror}")
