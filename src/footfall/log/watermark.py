"""The durable watermark: the last sequence a writer knows to be on stable storage, told to every other process for nothing.

A file of 48 bytes, mapped by the writer, read by readers; stored only after fdatasync returned, so that whatever of it survives
a power cut is a lower bound of the truth. It is never synced itself: it lives in the page cache, through the death of its writer.

    0  magic, b"FFDURAB1"                       8 bytes
    8  sequence, CRC32 of it, zero (u64 u32 u32)   first slot
    24 the same                                    second slot
    40 zero                                     8 bytes

Stores alternate between the slots and a reader takes the higher one that passes its CRC32: a writer killed between two stores,
or a reader that looks in between, finds the slot before.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

from footfall.log.disk import Disk

_MAGIC: Final = b"FFDURAB1"
_BYTES: Final = 48
_SLOT: Final = struct.Struct("<QII")
_SEQUENCE: Final = struct.Struct("<Q")
_OFFSETS: Final = (8, 24)


class Watermark:
    """The writer's end. Publishing is one store into mapped memory: no system call."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._mapped = disk.map_shared(path, _BYTES)
        self._turn = 0

    def restart(self, sequence: int) -> None:
        """Writes both slots anew, whatever was there: recovery found out what is durable."""
        self.publish(sequence)
        self.publish(sequence)
        self._mapped[0:8] = _MAGIC

    def publish(self, sequence: int) -> None:
        """Only after fdatasync returned."""
        start = _OFFSETS[self._turn]
        self._turn ^= 1
        self._mapped[start : start + _SLOT.size] = _SLOT.pack(sequence, crc32(_SEQUENCE.pack(sequence)), 0)


def read_watermark(disk: Disk, path: Path) -> int | None:
    """The watermark in `path`, or None where there is none to trust (no file, or garbage after a power cut)."""
    try:
        descriptor = disk.open_read(path)
    except FileNotFoundError:
        return None
    try:
        return decode_watermark(disk.read_at(descriptor, _BYTES, 0))
    finally:
        disk.close(descriptor)


def decode_watermark(data: bytes) -> int | None:
    """The higher of the undamaged slots."""
    if len(data) < _BYTES or data[:8] != _MAGIC:
        return None
    slots = [_SLOT.unpack_from(data, start) for start in _OFFSETS]
    return max((sequence for sequence, check, _ in slots if check == crc32(_SEQUENCE.pack(sequence))), default=None)
