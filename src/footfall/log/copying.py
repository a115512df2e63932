"""A copy of a tree that opens, taken while its writers write.

What it promises: every record that was durable when `copy_tree` began is in the copy, and the copy opens without complaint. How:

- the watermark is read before the segments are listed, so what it calls durable is in the bytes copied after it;
- a sealed segment never changes. The newest may grow while it is read, and end in half a group: to the copy that is the torn tail
  of a power cut, above the watermark, and dropped by the opening;
- where segments are superseded, sealed or removed under our eyes the directory is listed again, and what was last when it was
  copied is copied anew, until one look finds nothing missing.

Locks, unfinished and superseded files are not copied; what quarantine set aside is, and the floor of the tree. Bytes are copied,
never linked: a second name for the same blocks would rot with them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from footfall.errors import LogCorruptError
from footfall.log.directory import FLOOR_NAME, QUARANTINE_NAME, WATERMARK_NAME, SegmentName, list_segments, writers_of
from footfall.log.disk import Disk, write_all
from footfall.log.format import is_writer_name
from footfall.log.recovery import require_sound, survey
from footfall.log.watermark import decode_watermark

_CHUNK_BYTES: Final = 1 << 20
_LOOKS_MAX: Final = 20
"""Each look that fails has met a rotation or a recovery between two calls; both take a writer longer than a look takes us. An
erasure may replace every segment there is, one after the other, each once: there are as many looks more as there are segments."""


class CopiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a copy: its path relative to the copy, and what was written."""

    path: str
    bytes_count: int
    sha256: str


def copy_tree(
    source: Path, target: Path, *, on_bytes: Callable[[int], None] = lambda _: None, disk: Disk | None = None
) -> list[CopiedFile]:
    """Copies the log tree `source` to `target`, which must not exist, everything synced; returns the files.

    `on_bytes` hears how many bytes were read. Raises LogCorruptError where the tree is damaged (more is found by `verify` on the
    copy), OSError where a volume fails; `target` is then of no use. No tree makes an empty copy.
    """
    disk = disk or Disk()
    disk.make_directory(target)
    copied: list[CopiedFile] = []
    try:
        copied.append(copy_file(source / FLOOR_NAME, target / FLOOR_NAME, on_bytes=on_bytes, disk=disk))
    except FileNotFoundError:
        pass  # only a tree that was restored has one
    for writer in filter(is_writer_name, writers_of(disk, source)):  # the root of a volume has a lost+found
        files = _Writer(disk, source / writer, target / writer, on_bytes).copy()
        copied += [CopiedFile(path=f"{writer}/{file.path}", bytes_count=file.bytes_count, sha256=file.sha256) for file in files]
    disk.sync_directory(target)
    return copied


def copy_file(
    source: Path, target: Path, *, on_bytes: Callable[[int], None] = lambda _: None, disk: Disk | None = None
) -> CopiedFile:
    """Copies one file, as long as it is when its end is reached, and syncs it (not its name). `target` must not exist; its path
    in the answer is its name. Raises OSError."""
    disk = disk or Disk()
    digest = hashlib.sha256()
    reading = disk.open_read(source)
    try:
        writing = disk.create(target)
        try:
            offset = 0
            while chunk := disk.read_at(reading, _CHUNK_BYTES, offset):
                digest.update(chunk)
                write_all(disk, writing, chunk)
                offset += len(chunk)
                on_bytes(len(chunk))
            disk.sync_file(writing)
        finally:
            disk.close(writing)
    finally:
        disk.close(reading)
    return CopiedFile(path=target.name, bytes_count=offset, sha256=digest.hexdigest())


class _Writer:
    """The copying of one writer's directory, over as many looks as it takes."""

    def __init__(self, disk: Disk, source: Path, target: Path, on_bytes: Callable[[int], None]) -> None:
        self._disk = disk
        self._source = source
        self._target = target
        self._on_bytes = on_bytes
        self._segments: dict[SegmentName, CopiedFile] = {}

    def copy(self) -> list[CopiedFile]:
        disk, target = self._disk, self._target
        disk.make_directory(target)
        others = [file for file in (self._watermark(),) if file is not None]
        self._copy_segments()
        others += self._quarantine()
        disk.sync_directory(target)
        return [*others, *self._segments.values()]

    def _watermark(self) -> CopiedFile | None:
        """The mark as it is before anything else is looked at. One that says nothing is left out: lines tell what is durable."""
        try:
            data = self._read_small(self._source / WATERMARK_NAME)
        except FileNotFoundError:
            return None
        if decode_watermark(data) is None:
            return None
        descriptor = self._disk.create(self._target / WATERMARK_NAME)
        try:
            write_all(self._disk, descriptor, data)
            self._disk.sync_file(descriptor)
        finally:
            self._disk.close(descriptor)
        return CopiedFile(path=WATERMARK_NAME, bytes_count=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _read_small(self, path: Path) -> bytes:
        descriptor = self._disk.open_read(path)
        try:
            return self._disk.read_at(descriptor, _CHUNK_BYTES, 0)
        finally:
            self._disk.close(descriptor)

    def _copy_segments(self) -> None:
        for _ in range(_LOOKS_MAX + len(list_segments(self._disk, self._source).segments)):
            if not self._look():
                continue
            found = survey(self._disk, self._target)
            if not found.problems:
                return
            # Either the tree is damaged, or its writer cut a torn group off, after a full disk, while we read it: look again.
            for name in [problem.name for problem in found.problems if problem.name is not None]:
                self._drop(name)
        require_sound(self._source, survey(self._disk, self._source))
        raise LogCorruptError(f"{self._source} never stood still for long enough to be copied; try again")

    def _look(self) -> bool:
        """One pass over the directory. False when something was gone before it could be copied."""
        names = list_segments(self._disk, self._source).segments
        for stale in set(self._segments) - set(names):
            self._drop(stale)
        for name in names:
            if name in self._segments:
                continue
            try:
                self._segments[name] = copy_file(
                    self._source / name.file, self._target / name.file, on_bytes=self._on_bytes, disk=self._disk
                )
            except FileNotFoundError:
                if names[-1] in self._segments:
                    self._drop(names[-1])
                return False
        # A listing may have missed a file that was replaced while it was made; were it the oldest, nothing else would show it.
        bases = {name.base for name in self._segments}
        listed = list_segments(self._disk, self._source).segments
        return all(name.base in bases or (bool(names) and name > names[-1]) for name in listed)

    def _drop(self, name: SegmentName) -> None:
        if self._segments.pop(name, None) is not None:
            self._disk.remove(self._target / name.file)

    def _quarantine(self) -> list[CopiedFile]:
        source, target = self._source / QUARANTINE_NAME, self._target / QUARANTINE_NAME
        if not self._disk.is_directory(source):
            return []
        self._disk.make_directory(target)
        files = [
            copy_file(source / name, target / name, on_bytes=self._on_bytes, disk=self._disk)
            for name in sorted(self._disk.names(source))
        ]
        self._disk.sync_directory(target)
        return [
            CopiedFile(path=f"{QUARANTINE_NAME}/{file.path}", bytes_count=file.bytes_count, sha256=file.sha256) for file in files
        ]
