"""A writer's directory: which files are in it and which of them count.

    <tree>/<writer>/lock                                    held by the living writer
                    durable                                 the watermark (module `watermark`)
                    00000000000000000001-000000.log         base sequence, generation
                    00000000000000004711-000001.log
                    00000000000000004711-000002.log.new     being made; not there yet for anybody
                    damaged/                                second names of files that quarantine replaced
                    seal                                    somebody asks the writer to seal (module `sealing`)
           floor                                            where new writers begin (module `restoring`)

Of files with one base only the highest generation counts; the others are superseded, and removed when the writer next opens.
A name without `.new` appears by rename, after its content was synced: a listed segment always has its first line.

A sealed segment never changes, but it may be replaced by its next generation (`rewriting`, quarantine) or be taken away
(retention). Who does that, and an opening, which must meet a directory at rest, hold the directory itself as a lock meanwhile:
`changing`. A writer that goes on to its next segment needs none, and readers never do.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from footfall.errors import LogLockedError
from footfall.log.disk import Disk

LOCK_NAME: Final = "lock"
WATERMARK_NAME: Final = "durable"
QUARANTINE_NAME: Final = "damaged"
SEAL_REQUEST_NAME: Final = "seal"
FLOOR_NAME: Final = "floor"
CHANGE_S_MAX: Final = 10.0
"""To rewrite one segment of 32 MiB takes a tenth of a second; a volume on which it takes this long serves nobody."""
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


@contextmanager
def changing(disk: Disk, directory: Path, *, patience_s: float = CHANGE_S_MAX) -> Iterator[None]:
    """Holds off everybody else who replaces or removes segments of `directory`, for as long as the block lasts. Raises
    LogLockedError when somebody does it for longer than `patience_s`, FileNotFoundError where there is no such directory."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            held = disk.lock_directory(directory)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise LogLockedError(f"segments of {directory} are being rewritten or removed just now; try again") from None
        time.sleep(0.005)
    try:
        yield
    finally:
        disk.unlock(held)


def writers_of(disk: Disk, tree: Path) -> list[str]:
    """The writers of a tree, by name; none where the tree does not exist."""
    try:
        return sorted(name for name in disk.names(tree) if not name.startswith(".") and disk.is_directory(tree / name))
    except FileNotFoundError:
        return []
