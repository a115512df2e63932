"""Taking old segments away. By age and by what readers have passed; never the newest, never one that is not sealed.

Needs no lock: a writer touches only its newest segment, and the newest is left alone here, so the sequence goes on even when
every record is gone. A removal that a power cut takes back is harmless: the segment is removed again.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from footfall.log.directory import list_segments
from footfall.log.disk import Disk
from footfall.log.segment import SegmentFile


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a round of retention took away."""

    segments: int
    bytes_count: int


def remove_sealed(directory: Path, *, sealed_before_ms: int, passed: int | None = None, disk: Disk | None = None) -> Removed:
    """Removes segments of one writer's directory sealed before `sealed_before_ms` (wall clock) whose last sequence is at most
    `passed` (None: whoever reads or not), from the oldest on, up to the first that must stay. Raises OSError."""
    disk = disk or Disk()
    listing = list_segments(disk, directory)
    removable: list[tuple[str, int]] = []
    for name in listing.segments[:-1]:
        file = SegmentFile(disk, directory, name)
        try:
            seal, size = file.seal(), file.size()
        finally:
            file.close()
        if seal is None or seal.sealed_at_ms >= sealed_before_ms or (passed is not None and seal.last > passed):
            break
        removable.append((name.file, size))
    if removable:
        # A superseded file must not outlive its successor: it would count again.
        for superseded in listing.superseded:
            _remove(disk, directory / superseded.file)
        disk.sync_directory(directory)
        for file_name, _ in removable:
            _remove(disk, directory / file_name)
        disk.sync_directory(directory)
    return Removed(segments=len(removable), bytes_count=sum(size for _, size in removable))


def _remove(disk: Disk, path: Path) -> None:
    try:
        disk.remove(path)
    except FileNotFoundError:
        pass  # another process cleans up as well
