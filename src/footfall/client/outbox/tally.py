"""How far a process's events got: a small mapped file beside its logs, the truth after any death of the process.

    0    magic, b"FFTALLY1"                                         8 bytes
    8    turn, 4 cursors, delivered, refused, shed, mistaken,
         turned away (u64 each), CRC32 of these, zero (u32 each)     first slot, 88 bytes
    96   the same                                                    second slot
    184

Stores alternate between the slots; of those that pass their sum the one with the higher turn counts. A cursor is the last
sequence of a worth's log up to which every event has ended, and the three counts move with the cursors only, so that

    sum(cursors) = delivered + refused + shed        whatever died, wherever
    tracked      = sum(last sequences) + mistaken + turned away

`mistaken` are calls that were no event, `turned away` events that could not be written. Both are stored a moment later, by the
sender, so that no request waits for it. The file is never synced: after a power cut events may go out twice, with one `id`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec

from footfall.client.outbox.worths import NAMES
from footfall.log.disk import Disk, Mapped

NAME: Final = "tally"
_MAGIC: Final = b"FFTALLY1"
_SLOT: Final = struct.Struct("<10QII")
_SUMMED: Final = struct.Struct("<10Q")
_OFFSETS: Final = (8, 96)
_BYTES: Final = 184


class Tally(msgspec.Struct, kw_only=True):
    """The counts of one process's directory."""

    cursors: list[int] = msgspec.field(default_factory=lambda: [0] * len(NAMES))
    delivered: int = 0
    refused: int = 0
    shed: int = 0
    mistaken: int = 0
    turned_away: int = 0

    @property
    def settled(self) -> int:
        return self.delivered + self.refused + self.shed


class TallyFile:
    """A tally and the file it is stored in. One thread at a time."""

    def __init__(self, disk: Disk, directory: Path) -> None:
        """Raises OSError. Garbage, as a power cut may leave it, is taken for zeros."""
        self._mapped: Mapped | None = disk.map_shared(directory / NAME, _BYTES)
        self._turn, self.tally = _decode(bytes(self._mapped[0:_BYTES]))
        self._stored = b""
        self._mapped[0:8] = _MAGIC

    def store(self) -> None:
        """A copy into mapped memory: no system call. Nothing after `drop`."""
        tally = self.tally
        counts = (*tally.cursors, tally.delivered, tally.refused, tally.shed, tally.mistaken, tally.turned_away)
        summed = _SUMMED.pack(self._turn + 1, *counts)
        if self._mapped is None or summed[8:] == self._stored:
            return
        self._turn += 1
        self._stored = summed[8:]
        start = _OFFSETS[self._turn & 1]
        self._mapped[start : start + _SLOT.size] = _SLOT.pack(self._turn, *counts, crc32(summed), 0)

    def drop(self) -> None:
        """Lets the mapping go as it is."""
        self._mapped = None


def read_tally(disk: Disk, directory: Path) -> Tally:
    """The tally in `directory`, without a lock and while it changes; zeros where there is none."""
    try:
        descriptor = disk.open_read(directory / NAME)
    except FileNotFoundError:
        return Tally()
    try:
        return _decode(disk.read_at(descriptor, _BYTES, 0))[1]
    finally:
        disk.close(descriptor)


def _decode(data: bytes) -> tuple[int, Tally]:
    best: tuple[int, ...] = ()
    for start in _OFFSETS:
        if len(data) == _BYTES and data[:8] == _MAGIC:
            *counts, check, _ = _SLOT.unpack_from(data, start)
            if check == crc32(_SUMMED.pack(*counts)) and tuple(counts) > best:
                best = tuple(counts)
    if not best:
        return 0, Tally()
    turn, *rest = best
    worths = len(NAMES)
    delivered, refused, shed, mistaken, turned_away = rest[worths:]
    return turn, Tally(
        cursors=rest[:worths], delivered=delivered, refused=refused, shed=shed, mistaken=mistaken, turned_away=turned_away
    )
