"""One process's directory in an outbox: what it tracked, how far that got, and the lock that says who answers for it.

    <root>/                                     0700, shared by all processes of a shop
        k8f3m2q1x-4711-9fa3c1/                  time made (base 36 ms), process, random: sorts by age
            lock                                held by the process that made it, or by the one that took it up
            label                               {"to":…,"pid":…,"made_at":…}
            tally                               module `tally`
            page-view/ browsing/ cart/ purchase/    a log each, as events of that worth come
            refused/                            what the receiver would not take
            handled                             how many of those were sent again or dropped (module `inspection`)
        .new-…  .gone-…                         being made, being removed: nobody's

A tray appears by rename when its lock is taken already, and goes by rename before the lock is given back, so whoever gets the
lock of a tray that is still there is its only owner.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Final, Self

import msgspec

from footfall.client.outbox.records import DECODE_ERRORS, decode_waiting, encode
from footfall.client.outbox.tally import TallyFile
from footfall.client.outbox.worths import NAMES, free_bytes_min, look_bytes
from footfall.clock import Clock
from footfall.errors import LogError
from footfall.log.directory import LOCK_NAME, WATERMARK_NAME, list_segments
from footfall.log.disk import Disk, UnsyncedDisk, make_durable_directory, write_all
from footfall.log.reader import SegmentReader
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from footfall.log.watermark import read_watermark

REFUSED_NAME: Final = "refused"
HANDLED_NAME: Final = "handled"
_LABEL_NAME: Final = "label"
NEVER_MS: Final = 1 << 62
"""A time of sealing that every segment was sealed before."""
_NEW: Final = ".new-"
_GONE: Final = ".gone-"
_LEFTOVER_MS_MIN: Final = 3_600_000
"""A directory that was begun so long ago, and not finished, has no maker any more."""
_SEGMENT_AGE_S_MAX: Final = 3600.0
"""Delivered events leave the disk with their segment, which must not depend on how busy the shop is."""
_is_tray = re.compile(r"[0-9a-z]{9}-[0-9]{1,10}-[0-9a-f]{6}").fullmatch
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """Whose tray it is and where its events go. Times in milliseconds since 1970."""

    to: str
    pid: int = 0
    made_at: int = 0


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """How much a tray may hold, and what follows from it."""

    bytes_max: int

    @property
    def segment_bytes(self) -> int:
        """Small enough that giving one up gives up little, large enough that they are few."""
        return min(4 << 20, max(64 << 10, self.bytes_max >> 6))


class Tray:
    """A tray that this process owns: made by it, or claimed. `append` has one caller at a time; the rest is the sender's."""

    def __init__(self, directory: Path, *, lock: int, label: Label, room: Room, disk: Disk, clock: Clock) -> None:
        """Use `make` or `claim`."""
        self.directory = directory
        self.label = label
        self.lasts = [0] * len(NAMES)
        """The last sequence in the log of each worth."""
        self.last_n = 0
        """The running number of the last record written."""
        self.is_whole = True
        """Whether all that was written can be read; False for a claimed tray that a full volume kept from being recovered."""
        self._room = room
        self._disk = disk
        self._clock = clock
        self._lock = lock
        self._writers: list[SegmentWriter | None] = [None] * len(NAMES)
        self._refused: SegmentWriter | None = None
        self._syncs = not isinstance(disk, UnsyncedDisk)
        self.tallies = TallyFile(disk, directory)

    @classmethod
    def make(cls, root: Path, *, to: str, room: Room, disk: Disk, clock: Clock) -> Self:
        """A new, empty tray. OSError and LogError: none could be made, and nothing that counts is left."""
        make_durable_directory(disk, root)
        label = Label(to=to, pid=os.getpid(), made_at=clock.now_ms())
        name = f"{_base36(label.made_at)}-{label.pid}-{os.urandom(3).hex()}"
        unfinished, directory = root / f"{_NEW}{name}", root / name
        disk.make_directory(unfinished)
        lock = -1
        try:
            lock = disk.lock(unfinished / LOCK_NAME)
            _write(disk, unfinished / _LABEL_NAME, encode(label))
            disk.sync_directory(unfinished)
            disk.rename(unfinished, directory)
            disk.sync_directory(root)
            return cls(directory, lock=lock, label=label, room=room, disk=disk, clock=clock)
        except BaseException:
            if lock >= 0:
                disk.close(lock)
            shutil.rmtree(unfinished, ignore_errors=True)
            raise

    @classmethod
    def claim(cls, directory: Path, *, to: str, room: Room, disk: Disk, clock: Clock) -> Self | None:
        """The tray of a process that died, made readable to its last record; None where it is not ours to take: its process
        lives, another was quicker, or its events go elsewhere. OSError and LogError: it cannot be had now."""
        label = label_of(disk, directory)
        if label is None or label.to != to:
            return None
        try:
            lock = disk.lock(directory / LOCK_NAME)
        except (BlockingIOError, FileNotFoundError, NotADirectoryError, PermissionError):
            return None
        try:
            if not disk.is_directory(directory) or os.fstat(lock).st_nlink == 0:
                disk.close(lock)
                return None  # its owner has just finished with it
            tray = cls(directory, lock=lock, label=label, room=room, disk=disk, clock=clock)
        except BaseException:
            disk.close(lock)
            raise
        try:
            tray.recover()
        except BaseException:
            tray.abandon()
            raise
        return tray

    def recover(self) -> None:
        """Brings up what was written and never shown, sets damage aside. May be repeated. OSError and LogError: not now."""
        self.is_whole = True
        for worth, name in enumerate(NAMES):
            if self._disk.is_directory(self.directory / name):
                with self._open(name, free_bytes_min=0, passed=self.tallies.tally.cursors[worth]) as writer:
                    known = (
                        writer.last if writer.is_recovered else read_watermark(self._disk, self.directory / name / WATERMARK_NAME)
                    )
                    self.lasts[worth] = max(known or 0, self.lasts[worth])
                    self.is_whole = self.is_whole and writer.is_recovered

    def append(self, worth: int, line: bytes) -> int:
        """Writes one record and makes it as durable as the disk does; returns its sequence. LogError or OSError: it is not kept,
        ValueError: it is no record."""
        writer = self._writers[worth]
        if writer is None:
            least = free_bytes_min(worth, bytes_max=self._room.bytes_max)
            writer = self._writers[worth] = self._open(NAMES[worth], free_bytes_min=least)
        sequence = writer.write_lines(line, count=1)
        if self._syncs:
            writer.sync()
        else:
            writer.take_as_durable()
        self.lasts[worth] = sequence
        return sequence

    def show(self, worth: int) -> None:
        """Lets readers of the log see what was appended: without a sync that costs too much to be done for each record, and a
        recovery finds it anyway. Only while nobody appends. OSError and LogError: it cannot be read now."""
        writer = self._writers[worth]
        if writer is not None:
            writer.sync()

    @property
    def needs_recovery(self) -> bool:
        """Whether something was written that only `recover` can bring up: nothing is appended any more."""
        return not self.is_whole and not any(self._writers)

    def set_aside(self, line: bytes) -> None:
        """Keeps a refused event. Raises as `append` does."""
        if self._refused is None:
            self._refused = self._open(REFUSED_NAME, free_bytes_min=0)
        self._refused.write_lines(line, count=1)
        self._refused.sync()

    def bytes_of(self, worth: int) -> int:
        """What the log of one worth takes on the disk."""
        return self._bytes_in(NAMES[worth])

    def _bytes_in(self, name: str) -> int:
        directory = self.directory / name
        try:
            return sum((directory / segment.file).stat().st_size for segment in list_segments(self._disk, directory).segments)
        except FileNotFoundError:
            return 0

    def trim_refused(self) -> bool:
        """Removes refused events that were handled, and the oldest segment of them where they take more than a quarter of the
        room; whether it came to that. OSError: another time."""
        directory = self.directory / REFUSED_NAME
        if self._refused is None:
            return False
        remove_sealed(directory, sealed_before_ms=NEVER_MS, passed=handled_of(self._disk, self.directory), disk=self._disk)
        others = list_segments(self._disk, directory).segments[1:]
        is_full = bool(others) and self._bytes_in(REFUSED_NAME) > self._room.bytes_max >> 2
        if is_full:
            remove_sealed(directory, sealed_before_ms=NEVER_MS, passed=others[0].base - 1, disk=self._disk)
        return is_full

    def finish_writing(self) -> None:
        """Seals the logs of the worths: nothing more is appended."""
        for worth, writer in enumerate(self._writers):
            if writer is not None:
                self._writers[worth] = None
                self.is_whole = _close(writer) and self.is_whole

    def close(self) -> None:
        """Everything stays, for whoever claims it next."""
        self.finish_writing()
        if self._refused is not None:
            _close(self._refused)
            self._refused = None
        self.tallies.store()
        self.tallies.drop()
        self._unlock()

    def remove(self) -> None:
        """The end of a tray: nothing waits in it, nothing refused is kept. OSError: it stays, closed."""
        gone = self.directory.with_name(f"{_GONE}{self.directory.name}")
        try:
            self.finish_writing()
            self._disk.rename(self.directory, gone)
            self.tallies.drop()
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            self.close()

    def abandon(self) -> None:
        """Gives back every descriptor without a word to the disk: for a forked child, whose parent goes on."""
        for writer in (*self._writers, self._refused):
            if writer is not None:
                writer.abandon()
        self._writers = [None] * len(NAMES)
        self._refused = None
        self.tallies.drop()
        self._unlock()

    def _open(self, name: str, *, free_bytes_min: int, passed: int = 0) -> SegmentWriter:
        return SegmentWriter.open(
            self.directory, writer=name, segment_bytes=self._room.segment_bytes, segment_age_s_max=_SEGMENT_AGE_S_MAX,
            free_bytes_min=free_bytes_min, look_bytes=look_bytes(self._room.bytes_max), accept_tmpfs=True,
            quarantine_corrupt=True, passed={name: passed}, clock=self._clock, disk=self._disk,
        )  # fmt: skip

    def _unlock(self) -> None:
        if self._lock >= 0:
            lock, self._lock = self._lock, -1
            self._disk.close(lock)


def trays_in(disk: Disk, root: Path) -> list[Path]:
    """The trays of an outbox, oldest first; none where there is no such directory. OSError: it cannot be read."""
    try:
        return [root / name for name in sorted(disk.names(root)) if _is_tray(name)]
    except FileNotFoundError:
        return []


def label_of(disk: Disk, directory: Path) -> Label | None:
    """What the label says, or else the oldest record (a power cut may take a label); None where nothing can be told."""
    try:
        descriptor = disk.open_read(directory / _LABEL_NAME)
        try:
            return msgspec.json.decode(disk.read_at(descriptor, 65536, 0), type=Label)
        finally:
            disk.close(descriptor)
    except (OSError, *DECODE_ERRORS):
        pass
    reader = SegmentReader(directory, disk=disk)
    try:
        for name in NAMES:
            for record in reader.read_writer(name, after=0, records_max=1):
                return Label(to=decode_waiting(record.body).to)
    except (OSError, LogError, *DECODE_ERRORS):
        pass
    finally:
        reader.close()
    return None


def handled_of(disk: Disk, directory: Path) -> int:
    """Up to which number the refused events of a tray were sent again or dropped."""
    try:
        descriptor = disk.open_read(directory / HANDLED_NAME)
    except FileNotFoundError:
        return 0
    try:
        text = disk.read_at(descriptor, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    finally:
        disk.close(descriptor)


def holds_refused(disk: Disk, directory: Path) -> bool:
    """Whether a tray keeps refused events that nobody has handled. OSError and LogError: there is no telling."""
    if not disk.is_directory(directory / REFUSED_NAME):
        return False
    reader = SegmentReader(directory, disk=disk)
    try:
        return bool(reader.read_writer(REFUSED_NAME, after=handled_of(disk, directory), records_max=1))
    finally:
        reader.close()


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Puts `data` where `path` is, or leaves what was there."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        disk.remove(unfinished)
    except FileNotFoundError:
        pass
    _write(disk, unfinished, data)
    disk.rename(unfinished, path)
    disk.sync_directory(path.parent)


def clear_leftovers(disk: Disk, root: Path, *, now_ms: int) -> None:
    """Removes what processes left that died while they made or removed a tray. OSError as the directory has it."""
    for name in disk.names(root):
        if name.startswith(_GONE) and not disk.is_locked(root / name / LOCK_NAME):
            shutil.rmtree(root / name, ignore_errors=True)
        elif name.startswith(_NEW) and _is_tray(name.removeprefix(_NEW)):
            begun_ms = int(name.removeprefix(_NEW).partition("-")[0], 36)
            if now_ms - begun_ms > _LEFTOVER_MS_MIN and not disk.is_locked(root / name / LOCK_NAME):
                shutil.rmtree(root / name, ignore_errors=True)


def _close(writer: SegmentWriter) -> bool:
    """Whether everything in the log can be read now; otherwise the next to open it finds the rest."""
    try:
        writer.close()
    except LogError:
        pass
    return writer.shown == writer.last


def _write(disk: Disk, path: Path, data: bytes) -> None:
    descriptor = disk.create(path)
    try:
        write_all(disk, descriptor, data)
        disk.sync_file(descriptor)
    finally:
        disk.close(descriptor)


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    return text.rjust(9, "0")
