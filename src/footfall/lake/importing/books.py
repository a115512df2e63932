"""What is kept of an import, so that it can be seen through by another process, whatever ended this one.

    <data>/imports/1f0e…/state.json         what was decided when it began, and what came of it
                         progress.ndjson    after each group of records: how far the file was read, and the record it ends with
                         refused.ndjson     rows that broke the rules: {"row":17,"errors":[…],"event":"…"}; personal data

The directory is named after the platform id and the content, and so is the import's own writer in the log: the k-th row that the
rules accept is its k-th record. `state.json` is durable before the first record. A line of progress is written before the group
it speaks of, and is durable before that group is; so of records that survived their line did, too, and nothing is judged by
guessing: who goes on takes the last line whose record is there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import LogLockedError, Violation
from footfall.lake.importing.sources import LINE_BYTES_MAX, Place
from footfall.log.disk import Disk, make_durable_directory, remove_if_there, write_all

IMPORTS_NAME: Final = "imports"
STATE_NAME: Final = "state.json"
PROGRESS_NAME: Final = "progress.ndjson"
REFUSED_NAME: Final = "refused.ndjson"


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the rows of a file. `rows` = `accepted` + `refused`; `accepted` = `landed` + `repeated` + `quarantined` +
    `erased`."""

    rows: int = 0
    accepted: int = 0
    refused: int = 0
    landed: int = 0
    repeated: int = 0
    quarantined: int = 0
    erased: int = 0


class ImportState(msgspec.Struct, frozen=True, kw_only=True):
    """`state.json`. Times are Unix milliseconds."""

    format: int = 1
    writer: str
    digest: str
    """of platform id, content, format, mapping and the count of --again"""
    platform: str
    file: str
    bytes_count: int
    started_at: int
    """the `received_at` of all its records, and the time by which `timestamp` is judged"""
    ahead_ms_max: int
    erased_before: int
    """events of imports to this platform that had been dropped by then, as those of erased persons"""
    last: int | None = None
    """the sequence of its last record; None until all are written"""
    tally: Tally = Tally()
    finished_at: int | None = None
    refused_file: str | None = None
    abandoned: bool = False
    """its records left the log before they landed: it cannot be gone on with"""

    @property
    def is_over(self) -> bool:
        return self.finished_at is not None or self.abandoned


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `progress.ndjson`: after `place` of the file, `accepted` records were written, the last of them is `sequence`."""

    place: Place = Place()
    rows: int = 0
    accepted: int = 0
    refused: int = 0
    sequence: int = 0


class _Refused(msgspec.Struct, frozen=True):
    row: int
    errors: Sequence[Violation]
    event: str


class _Row(msgspec.Struct):
    row: int


_encode: Final = msgspec.json.Encoder().encode
_decode_state: Final = msgspec.json.Decoder(ImportState).decode
_decode_mark: Final = msgspec.json.Decoder(Mark).decode
_decode_row: Final = msgspec.json.Decoder(_Row).decode


@contextmanager
def held(directory: Path, *, name: str) -> Iterator[None]:
    """Makes the directory of one import, and keeps other processes from it. Raises LogLockedError, OSError."""
    disk = Disk()
    make_durable_directory(disk, directory)
    try:
        lock = disk.lock_directory(directory)
    except BlockingIOError:
        raise LogLockedError(f"{name} is being imported by another process") from None
    try:
        yield
    finally:
        disk.unlock(lock)


def read_state(directory: Path) -> ImportState | None:
    """None where there is none. Raises msgspec.MsgspecError where it is damaged."""
    try:
        return _decode_state((directory / STATE_NAME).read_bytes())
    except FileNotFoundError:
        return None


def write_state(directory: Path, state: ImportState) -> None:
    """Durably; readers see the old one or the new one."""
    disk = Disk()
    unfinished = directory / f"{STATE_NAME}.new"
    remove_if_there(disk, unfinished)
    descriptor = disk.create(unfinished)
    try:
        write_all(disk, descriptor, _encode(state) + b"\n")
        disk.sync_file(descriptor)
    finally:
        disk.close(descriptor)
    disk.rename(unfinished, directory / STATE_NAME)
    disk.sync_directory(directory)


def states(data: Path) -> list[ImportState]:
    """Every import of a data directory there ever was, oldest first."""
    found = [read_state(directory) for directory in sorted((data / IMPORTS_NAME).glob("*/")) if directory.is_dir()]
    return sorted((state for state in found if state is not None), key=lambda state: state.started_at)


class Books:
    """Progress and refusals of one import, open for writing. The caller holds the directory."""

    def __init__(self, directory: Path, *, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()
        self._directory = directory
        self._marks = list(_marks_in(directory / PROGRESS_NAME))
        self._refused_rows = list(_rows_in(directory / REFUSED_NAME))
        self._progress = self._opened(PROGRESS_NAME)
        self._refused = self._opened(REFUSED_NAME)
        self._disk.sync_directory(directory)

    def close(self) -> None:
        self._disk.close(self._progress)
        self._disk.close(self._refused)

    def marks(self) -> list[Mark]:
        """Whole lines of progress, oldest first; before them always the beginning."""
        return [Mark(), *(mark for mark, _ in self._marks)]

    def go_on(self, mark: Mark) -> Mark:
        """Cuts off what was written after `mark`, or after the last one before it that all refusals are here for (a power cut may
        have taken some that were not durable yet). Returns that one: reading goes on there."""
        kept = [(known, end) for known, end in self._marks if known.rows <= mark.rows and self._has_refusals_of(known)]
        mark, end = kept[-1] if kept else (Mark(), 0)
        self._disk.truncate(self._progress, end)
        index = bisect_right(self._refused_rows, mark.place.number, key=lambda found: found[0])
        self._disk.truncate(self._refused, self._refused_rows[index - 1][1] if index else 0)
        return mark

    def note(self, mark: Mark) -> None:
        write_all(self._disk, self._progress, _encode(mark) + b"\n")

    def refuse(self, refusals: Sequence[tuple[int, Sequence[Violation], bytes]]) -> None:
        """Writes down rows: number, what is wrong, the text."""
        lines = [
            _encode(_Refused(row, errors, body.removesuffix(b"\n")[:LINE_BYTES_MAX].decode("utf-8", "replace"))) + b"\n"
            for row, errors, body in refusals
        ]
        write_all(self._disk, self._refused, b"".join(lines))

    def sync(self) -> None:
        self._disk.sync_data(self._refused)
        self._disk.sync_data(self._progress)

    def _has_refusals_of(self, mark: Mark) -> bool:
        return bisect_right(self._refused_rows, mark.place.number, key=lambda found: found[0]) == mark.refused

    def _opened(self, name: str) -> int:
        try:
            return self._disk.create(self._directory / name)
        except FileExistsError:
            return self._disk.open_append(self._directory / name)


def _marks_in(path: Path) -> Iterator[tuple[Mark, int]]:
    """Each with the place in the file where its line ends."""
    for line, end in _lines_in(path):
        try:
            yield _decode_mark(line), end
        except (msgspec.MsgspecError, UnicodeDecodeError):  # what a power cut left
            return


def _rows_in(path: Path) -> Iterator[tuple[int, int]]:
    for line, end in _lines_in(path):
        try:
            yield _decode_row(line).row, end
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return


def _lines_in(path: Path) -> Iterator[tuple[bytes, int]]:
    end = 0
    try:
        opened: Any = path.open("rb")
    except FileNotFoundError:
        return
    with opened:
        for line in opened:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line, end
