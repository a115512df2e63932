"""Taking old segments away. By age and by what readers have passed; never the newest, never one that is not sealed.

A living writer is not in the way: it touches only its newest segment, and the newest is left alone here, so the sequence goes on
even when every record is gone. A removal that a power cut takes back is harmless: the segment is removed again. Where somebody
else replaces segments at this moment, nothing is removed: the next round comes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from footfall.errors import LogLockedError
from footfall.log.directory import Listing, changing, list_segments
from footfall.log.disk import Disk, remove_if_there
from footfall.log.segment import SegmentFile


class Removed(msgspec.Struct, frozen=True, kw_only=True):
    """What a round of retention took away, and where the oldest segment that stays begins (0: there is none)."""

    segments: int
    bytes_count: int
    base_kept: int


def remove_sealed(directory: Path, *, sealed_before_ms: int, passed: int | None = None, disk: Disk | None = None) -> Removed:
    """Removes segments of one writer's directory sealed before `sealed_before_ms` (wall clock) whose last sequence is at most
    `passed` (None: whoever reads or not), from the oldest on, up to the first that must stay. Raises OSError."""
    disk = disk or Disk()
    listing = list_segments(disk, directory)
    taken: list[int] = []
    if _removable(disk, directory, listing, sealed_before_ms=sealed_before_ms, passed=passed):
        try:
            with changing(disk, directory, patience_s=0.0):
                listing = list_segments(disk, directory)
                taken = _removable(disk, directory, listing, sealed_before_ms=sealed_before_ms, passed=passed)
                if taken:
                    _remove(disk, directory, listing, count=len(taken))
        except LogLockedError:
            pass
    base_kept = listing.segments[len(taken)].base if listing.segments else 0
    return Removed(segments=len(taken), bytes_count=sum(taken), base_kept=base_kept)


def _removable(disk: Disk, directory: Path, listing: Listing, *, sealed_before_ms: int, passed: int | None) -> list[int]:
    """The sizes of the oldest segments, as many as may go."""
    sizes: list[int] = []
    for name in listing.segments[:-1]:
        try:
            file = SegmentFile(disk, directory, name)
        except FileNotFoundError:  # taken away or replaced since it was listed
            break
        try:
            seal, size = file.seal(), file.size()
        finally:
            file.close()
        if seal is None or seal.sealed_at_ms >= sealed_before_ms or (passed is not None and seal.last > passed):
            break
        sizes.append(size)
    return sizes


def _remove(disk: Disk, directory: Path, listing: Listing, *, count: int) -> None:
    # A superseded file must not outlive its successor: it would count again.
    for superseded in listing.superseded:
        remove_if_there(disk, directory / superseded.file)
    disk.sync_directory(directory)
    for name in listing.segments[:count]:
        remove_if_there(disk, directory / name.file)
    disk.sync_directory(directory)
