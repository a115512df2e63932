"""The floor of a tree: the sequence above which its new writers begin. None, which is 0, unless the tree came from a backup.

A tree that was brought back knows nothing of what its writers wrote after the copy was taken, nor of writers that came later. But
others do: a table of events remembers up to where it has read each of them, and would take the same numbers, issued a second
time, for records it has already. So whoever brings a tree back lifts its floor (`restoring`).

    <tree>/floor       footfall-floor 1099511627783 check=1f2e3d4c⏎        `check` is the CRC32 of the line up to " check="
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from zlib import crc32

from footfall.errors import LogCorruptError
from footfall.log.directory import FLOOR_NAME
from footfall.log.disk import Disk, remove_if_there, write_all

_LINE: Final = re.compile(rb"(footfall-floor ([0-9]{1,19})) check=([0-9a-f]{8})\n").fullmatch
_BYTES_MAX: Final = 64


def read_floor(disk: Disk, tree: Path) -> int:
    """The floor of `tree`, 0 where it has none. Raises LogCorruptError where it cannot be told: to guess could be to lose."""
    try:
        descriptor = disk.open_read(tree / FLOOR_NAME)
    except FileNotFoundError:
        return 0
    try:
        match = _LINE(disk.read_at(descriptor, _BYTES_MAX, 0))
    finally:
        disk.close(descriptor)
    if match is None or crc32(match[1]) != int(match[3], 16):
        raise LogCorruptError(f"{tree / FLOOR_NAME} is damaged: bring this file back from the backup that was restored here")
    return int(match[2])


def lift_floor(disk: Disk, tree: Path, floor: int) -> None:
    """Sets the floor of `tree`, which exists, durably; readers see the old one or the new one. Raises OSError."""
    line = b"footfall-floor %d" % floor
    unfinished = tree / f"{FLOOR_NAME}.new"
    remove_if_there(disk, unfinished)
    descriptor = disk.create(unfinished)
    try:
        write_all(disk, descriptor, b"%b check=%08x\n" % (line, crc32(line)))
        disk.sync_file(descriptor)
    finally:
        disk.close(descriptor)
    disk.rename(unfinished, tree / FLOOR_NAME)
    disk.sync_directory(tree)
