"""History into the lake: files of events through the same rules as the API, into the log, and from there into the table.

    file ──▶ slice ──▶ rules ──▶ records ──▶ log/live/import-<digest>/ ──▶ lander ──▶ table
                         └──▶ refused.ndjson

An import can be ended at any moment, by Ctrl-C, kill -9 or a power cut, and the same command sees it through: each file has a
writer of its own in the log, named after what is in the file, and the k-th row that the rules accept is its k-th record; so what
the log has need not be written again, and rows without an id are not doubled (`importing_books`). A file that was imported to
its end is not imported again unless asked to, and then through another writer: a finished one never writes again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import InvalidEventError, LakeError, Violation
from footfall.events.intake import read_batch
from footfall.events.violations import refusal
from footfall.lake.engine import connected
from footfall.lake.importing_books import (
    IMPORTS_NAME,
    REFUSED_NAME,
    Books,
    ImportState,
    Mark,
    Tally,
    held,
    read_state,
    write_state,
)
from footfall.lake.importing_csv import CsvSource
from footfall.lake.importing_landing import STALL_S, Landing
from footfall.lake.importing_parquet import ParquetSource
from footfall.lake.importing_sources import FORMATS, LinesSource, Slice, Source, SourceError, format_of
from footfall.lake.opening import open_table
from footfall.lake.quarantine import Quarantine
from footfall.lake.running import Parts
from footfall.lake.scan import literal, select_events
from footfall.lake.table import EventsTable, count_name
from footfall.log.disk import Disk, remove_if_there
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter

SOURCE: Final = "import"
EVENT_BYTES_MAX: Final = 256 * 1024
"""As for an event of a batch that comes over HTTP."""
_SYNC_RECORDS: Final = 20_000
"""Between two syncs: a few milliseconds for every 100."""
_GROUP_BYTES: Final = 16 << 20
"""Of records in one group of the log; a slice may come to more, where paths of unknown members are long."""
_DIGEST_CHARS: Final = 12
_HASH_BYTES: Final = 1 << 20
_encode_lines: Final = msgspec.json.Encoder().encode_lines


class Importing(msgspec.Struct, frozen=True, kw_only=True):
    """What an import works with."""

    lander: Parts
    log_options: Mapping[str, Any]
    """how the writer in the log is opened, as `SegmentWriter.open` takes it"""
    ahead_ms_max: int
    """how far a timestamp may be ahead, in milliseconds"""
    stall_s: float = STALL_S
    """how long nothing may land before that is an error"""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How an import gets on. `bytes_read` is of the file, about; `landed` counts its records that are in the table or dropped."""

    stage: str
    """`reading` or `landing`"""
    bytes_read: int
    rows: int
    accepted: int
    landed: int


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one file. `finished_before` is when it had been imported already (Unix milliseconds), None for now."""

    file: str
    tally: Tally
    refused_file: str | None
    finished_before: int | None = None


class _Record(msgspec.Struct, frozen=True, gc=False):
    """A line of the log, as the server writes it; gc=False, since it lives for one slice."""

    platform: str
    mode: str
    received_at: int
    source: str
    event: object


Tell = Callable[[Progress], None]


def open_source(path: Path, *, name: str, format: str | None = None, mapping: str | None = None) -> Source:  # noqa: A002
    """The file as a source, looked at. `format` None: as its name tells. Raises SourceError, OSError."""
    kind = format or format_of(name)
    if kind not in FORMATS:
        raise SourceError(f"{name}: its name does not tell what it is; say --format {'|'.join(FORMATS)}")
    if path.is_dir():
        raise SourceError(f"{name} is a directory; name the files in it")
    if kind == "ndjson":
        if mapping is not None:
            raise SourceError(f"{name}: a mapping is for columns, and lines of JSON have none")
        return LinesSource(path, name=name)
    return (ParquetSource if kind == "parquet" else CsvSource)(path, name=name, mapping=mapping)


def import_source(
    source: Source,
    *,
    platform: str,
    importing: Importing,
    again: bool = False,
    refused_file: Path | None = None,
    tell: Tell = lambda _: None,
) -> Imported:
    """Imports one file into the table, and returns when all of it is there.

    `platform` is a live platform id of the registry. `refused_file` is where refusals go in the end, instead of the import's own
    directory. Raises SourceError for the file's faults, LogError, LakeError and OSError; calling again goes on then.
    """
    content = _content_digest(source)
    for count in range(1 << 16):
        digest = hashlib.sha256(f"{platform}\n{count}\n{content}".encode()).hexdigest()
        directory = importing.lander.data / IMPORTS_NAME / digest[:_DIGEST_CHARS]
        with held(directory, name=source.name):
            state = _known_state(directory, digest)
            if state is not None and state.is_over and again:
                continue
            if state is not None and state.is_over:
                return _imported_before(state, source)
            run = _Run(source, directory, importing, refused_file=refused_file, tell=tell)
            return run.see_through(state or run.begin(platform, digest))
    raise SourceError(f"{source.name} was imported too often")


def _known_state(directory: Path, digest: str) -> ImportState | None:
    try:
        state = read_state(directory)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise LakeError(f"{directory} is damaged: its state cannot be read") from None
    if state is not None and state.digest != digest:
        raise LakeError(f"{directory} belongs to the import of another file, by a chance of one in 2^48")
    return state


def _imported_before(state: ImportState, source: Source) -> Imported:
    if state.abandoned:
        raise _abandoned(source)
    return Imported(
        file=source.name, tally=state.tally, refused_file=state.refused_file, finished_before=state.finished_at
    )  # fmt: skip


def _abandoned(source: Source) -> LakeError:
    return LakeError(
        f"{source.name}: an earlier import of it ended midway, and its records have left the log since; --again imports the whole"
        " file (rows with an id count once, rows without one that had landed come twice)"
    )


def _content_digest(source: Source) -> str:
    """Of what decides which events there are: the file's bytes and how they are read."""
    content = hashlib.sha256(f"{source.form}\n".encode())
    with source.path.open("rb", buffering=0) as opened:
        opened.seek(0)
        while block := opened.read(_HASH_BYTES):
            content.update(block)
    return content.hexdigest()


class _Run:
    """One file, from wherever it is to the end. The caller holds the import's directory."""

    def __init__(self, source: Source, directory: Path, importing: Importing, *, refused_file: Path | None, tell: Tell) -> None:
        self._source = source
        self._directory = directory
        self._importing = importing
        self._parts = importing.lander
        self._refused_file = refused_file
        self._tell = tell
        self._tree = importing.lander.data / "log" / "live"

    def begin(self, platform: str, digest: str) -> ImportState:
        status = self._source.path.stat()
        state = ImportState(
            writer=f"import-{digest[:_DIGEST_CHARS]}", digest=digest, platform=platform, file=self._source.name,
            bytes_count=status.st_size, started_at=self._parts.clock.now_ms(), ahead_ms_max=self._importing.ahead_ms_max,
            gone_before=_gone(self._table(), platform),
        )  # fmt: skip
        write_state(self._directory, state)
        return state

    def see_through(self, state: ImportState) -> Imported:
        landing = Landing(self._parts, writer=state.writer)
        try:
            if state.last is None:
                landing.start()
                state = self._written(state, landing)
            else:
                landing.start()
                landing.end(state.last)
            if state.tally.accepted:
                landing.wait(lambda: self._told("landing", state, landing), stall_s=self._importing.stall_s)
        except BaseException as error:
            landing.stop(at_once=isinstance(error, KeyboardInterrupt))
            raise
        landing.stop()
        return self._finished(state)

    # -- into the log

    def _written(self, state: ImportState, landing: Landing) -> ImportState:
        """Writes what the log does not have yet; the state says so in the end, durably."""
        before = self._source.path.stat()
        with SegmentWriter.open(self._tree, writer=state.writer, **self._importing.log_options) as writer:
            if self._position(state) > writer.last:
                write_state(self._directory, msgspec.structs.replace(state, abandoned=True))
                raise _abandoned(self._source)
            with _opened_books(self._directory) as books:
                mark = _Writing(self, state, writer, books, landing).run()
            last = writer.sync()
        after = self._source.path.stat()
        if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
            raise SourceError(f"{self._source.name} was changed while it was imported; part of it is imported now")
        tally = Tally(rows=mark.rows, accepted=mark.accepted, refused=mark.refused)
        state = msgspec.structs.replace(state, last=last, tally=tally)
        write_state(self._directory, state)
        landing.end(last)
        return state

    def slices(self, state: ImportState, mark: Mark, landing: Landing) -> Iterator[tuple[Slice, list[Any]]]:
        """What is left of the file, judged."""
        for found in self._source.slices(mark.place):
            judged = read_batch(
                found.bodies, now_ms=state.started_at, bytes_max=EVENT_BYTES_MAX, ahead_ms_max=state.ahead_ms_max
            )
            for index, fault in found.faults.items():
                judged[index] = InvalidEventError("the row is no event", (Violation("", fault, "malformed_row"),))
            yield found, judged

    def tell(self, mark: Mark, landing: Landing) -> None:
        self._tell(
            Progress(
                stage="reading", bytes_read=self._source.bytes_read, rows=mark.rows, accepted=mark.accepted,
                landed=max(0, mark.accepted - max(0, mark.sequence - landing.position)),
            )
        )  # fmt: skip
