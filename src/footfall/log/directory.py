"""A writer's directory: which files are in it and which of them count.

    <tree>/<writer>/lock                                    held by the living writer
                    durable                                 the watermark (module `watermark`)
                    00000000000000000001-000000.log         base sequence, generation
                    00000000000000004711-000001.log
                    00000000000000004711-000002.log.new     being made; not there yet for anybody
                    damaged/                                second names of files that quarantine replaced

Of files with one base only the highest generation counts; the others are superseded, and removed when the writer next opens.
A name without `.new` appears by rename, after its content was synced: a listed segment always has its first line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from footfall.log.disk import Disk

LOCK_NAME: Final = "lock"
WATERMARK_NAME: Final = "durable"
QUARANTINE_NAME: Final = "damaged"
_SEGMENT_NAME: Final = re.compile(r"([0-9]{20})-([0-9]{6,9})\.log").fullmatch


class SegmentName(msgspec.Struct, frozen=True, order=True):
    """Sorts by base, then generation: in the order of the records."""

    base: int
    generation: int

    @property
    def file(self) -> str:
        return f"{self.base:020d}-{self.generation:06d}.log"

    @property
    def unfinished(self) -> str:
        return f"{self.file}.new"


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """`segments` count, in order; `superseded` and `unfinished` only take room."""

    segments: tuple[SegmentName, ...]
    superseded: tuple[SegmentName, ...]
    unfinished: tuple[str, ...]


def list_segments(disk: Disk, directory: Path) -> Listing:
    """What `directory` holds now. Raises FileNotFoundError where there is no such directory."""
    names = disk.names(directory)
    found = sorted(SegmentName(int(match[1]), int(match[2])) for match in map(_SEGMENT_NAME, names) if match)
    newest = {name.base: name for name in found}
    return Listing(
        segments=tuple(newest.values()),
        superseded=tuple(name for name in found if newest[name.base] is not name),
        unfinished=tuple(name for name in names if name.endswith(".log.new")),
    )


def writers_of(disk: Disk, tree: Path) -> list[str]:
    """The writers of a tree, by name; none where the tree does not exist."""
    try:
        return sorted(name for name in disk.names(tree) if not name.startswith(".") and disk.is_directory(tree / name))
    except FileNotFoundError:
        return []
