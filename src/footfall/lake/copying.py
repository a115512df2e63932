"""A copy of a local table, taken while its lander lands: one version of it, whole.

A version is the log up to its entry and the data files it names. Neither ever changes; files may only go, when compaction or an
erasure has replaced them and their time is over. Then the copy is begun again from the version there is by then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from footfall.errors import LakeError
from footfall.lake.table import EventsTable
from footfall.lake.volume import LOG_NAME, LocalVolume
from footfall.log.copying import CopiedFile, copy_file
from footfall.log.disk import Disk

_LOOKS_MAX: Final = 5
_ENTRY: Final = re.compile(r"([0-9]{20})\.(?:json|checkpoint(?:\.[0-9.]+)?\.parquet)")
_LAST_CHECKPOINT: Final = "_last_checkpoint"


def copy_table(source: Path, target: Path, *, on_bytes: Callable[[int], None] = lambda _: None) -> list[CopiedFile]:
    """Copies the newest version of the table in `source` to `target`, synced but for the directories' names; paths in the answer
    are relative to `target`. No table: nothing. Files of an earlier look that the last does not need stay, and are listed: they
    belong to nobody. Raises LakeError, OSError."""
    copied: dict[str, CopiedFile] = {}
    trouble: LakeError | None = None
    for _ in range(_LOOKS_MAX):
        try:
            table = EventsTable.open(LocalVolume(source))
        except LakeError as error:  # an entry may have been cleaned up under it
            trouble = error
            continue
        if table is None:
            return []
        try:
            for path in [*table.files(), *_entries(source, table.version)]:
                if path not in copied:
                    copied[path] = _copied(source, target, path, on_bytes)
        except FileNotFoundError:
            continue
        return list(copied.values())
    raise LakeError(f"{source} never stood still for long enough to be copied; try again") from trouble


def _entries(source: Path, version: int) -> list[str]:
    """The log up to that version, with its checkpoints."""
    log = source / LOG_NAME
    found = [name for name in Disk().names(log) if (match := _ENTRY.fullmatch(name)) and int(match[1]) <= version]
    try:
        last = json.loads((log / _LAST_CHECKPOINT).read_bytes())["version"]
        found += [_LAST_CHECKPOINT] if last <= version else []
    except (OSError, ValueError, KeyError):
        pass  # a table opens without it, only slower
    return [f"{LOG_NAME}/{name}" for name in found]


def _copied(source: Path, target: Path, path: str, on_bytes: Callable[[int], None]) -> CopiedFile:
    destination = target / path
    for directory in reversed(PurePosixPath(path).parents):
        (target / directory).mkdir(mode=0o700, exist_ok=True)
    destination.unlink(missing_ok=True)  # of a look that failed midway
    return msgspec.structs.replace(copy_file(source / path, destination, on_bytes=on_bytes), path=path)
