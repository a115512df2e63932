"""Checkpoints of the table, and the end of what they make needless.

A checkpoint holds the state of the table at a version, so that opening reads it and the few entries after it. Old entries are
removed, for a reason of our own: delta-rs lists the whole log at every commit, 13 µs a name, so that 10,000 names made a commit
take 200 ms instead of 9. The last `VERSIONS_KEPT` versions stay, which is 25 minutes of a commit every three seconds, from a
checkpoint on: should the newest be damaged, an older one is there with every entry after it (`healing`).
"""

from __future__ import annotations

import re
from typing import Final

from footfall.errors import LakeError
from footfall.lake.table import EventsTable
from footfall.lake.volume import LOG_NAME, Volume

VERSIONS_BETWEEN: Final = 50
VERSIONS_KEPT: Final = 500
_VERSIONED: Final = re.compile(r"([0-9]{20})\.").match
_CHECKPOINT: Final = re.compile(r"([0-9]{20})\.checkpoint\.parquet").fullmatch


def write_checkpoint(volume: Volume, *, versions_kept: int = VERSIONS_KEPT) -> int:
    """Writes a checkpoint, durably, then removes what is older than `versions_kept` versions and needless; returns how many
    names. Through a handle of its own: any thread may, whatever else is done to the table. Raises LakeError, OSError."""
    table = EventsTable.open(volume)
    if table is None:
        raise LakeError(f"{volume.uri} is no table")
    table.checkpoint()
    names = volume.log_names()
    reached = table.version - versions_kept
    base = max((int(match[1]) for match in map(_CHECKPOINT, names) if match and int(match[1]) <= reached), default=0)
    needless = sorted(name for name in names if (match := _VERSIONED(name)) and int(match[1]) < base)
    # From the oldest on: what is left after a cut in the middle of it still begins somewhere and has no gap.
    return volume.remove(f"{LOG_NAME}/{name}" for name in needless)
