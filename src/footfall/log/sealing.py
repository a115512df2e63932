"""Closing off what is being written: only sealed segments can be rewritten (`rewriting`), and a writer seals the full ones only.

Who wants it sealed now puts an empty file `seal` into the writer's directory. The writer looks for it about once a second, takes
it away and seals (`SegmentWriter.seal_if_asked`). That it has done so is seen from its segments, not from the file: whoever asks
at the same time is served by the same seal, and asks again if the file went before its own records were covered. Directories of
writers that do not run are opened and closed, as the next start would do: that seals them.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, Unpack

from footfall.log.directory import LOCK_NAME, SEAL_REQUEST_NAME, list_segments, writers_of
from footfall.log.disk import Disk, remove_if_there
from footfall.log.format import is_writer_name
from footfall.log.inspection import OpenOptions, recover_leftover
from footfall.log.reader import SegmentReader
from footfall.log.segment import SegmentFile

_LOOK_PERIOD_S: Final = 0.02


def seal_all(tree: Path, *, timeout_s: float, **options: Unpack[OpenOptions]) -> list[str]:
    """When this returns, every record of `tree` that was durable when it was called is in a sealed segment, but for those of the
    writers it returns: they live and did not answer within `timeout_s`.

    `options` are those for opening the directories that nobody owns. Blocks; idempotent. Raises what `SegmentWriter.open` raises,
    LogCorruptError where the newest segment of a writer is damaged, OSError where a request cannot be left.
    """
    disk = options.get("disk") or Disk()
    _seal_deserted(disk, tree, options)
    writers = list(filter(is_writer_name, writers_of(disk, tree)))  # the root of a volume has a lost+found
    reader = SegmentReader(tree, disk=disk)
    waiting = {writer: reader.durable_of(writer) for writer in writers}
    deadline_s = time.monotonic() + timeout_s
    asked: set[str] = set()
    try:
        while True:
            waiting = {writer: upto for writer, upto in waiting.items() if not _is_sealed(disk, tree / writer, upto=upto)}
            if not waiting or time.monotonic() > deadline_s:
                return list(waiting)
            for writer in waiting:
                if disk.is_locked(tree / writer / LOCK_NAME):
                    _ask(disk, tree / writer)
                    asked.add(writer)
                else:
                    _seal_deserted(disk, tree, options)  # it has just died
            time.sleep(_LOOK_PERIOD_S)
    finally:
        for writer in asked:
            remove_if_there(disk, tree / writer / SEAL_REQUEST_NAME)


def _is_sealed(disk: Disk, directory: Path, *, upto: int) -> bool:
    """Whether all records up to `upto` are in sealed segments. A segment that another follows is."""
    segments = list_segments(disk, directory).segments
    if not segments or segments[-1].base > upto:
        return True
    try:
        file = SegmentFile(disk, directory, segments[-1])
    except FileNotFoundError:
        return False  # replaced since it was listed: look again
    try:
        seal = file.seal()
        return file.require_header().first > upto or (seal is not None and seal.last >= upto)
    finally:
        file.close()


def _seal_deserted(disk: Disk, tree: Path, options: OpenOptions) -> None:
    living = {writer for writer in writers_of(disk, tree) if disk.is_locked(tree / writer / LOCK_NAME)}
    recover_leftover(tree, keep=living, **options)


def _ask(disk: Disk, directory: Path) -> None:
    try:
        disk.close(disk.create(directory / SEAL_REQUEST_NAME))
    except FileExistsError:
        pass
