"""History into the lake: files of events through the same rules as the API, into the log, and from there into the table.

    file ──▶ slice ──▶ rules ──▶ records ──▶ log/live/import-<digest>/ ──▶ lander ──▶ table
                         └──▶ refused.ndjson

An import can be ended at any moment, by Ctrl-C, kill -9 or a power cut, and the same command sees it through: each file has a
writer of its own in the log, named after what is in the file, and the k-th row that the rules accept is its k-th record; so what
the log has need not be written again, and rows without an id are not doubled (`books`). A file that was imported to
its end is not imported again unless asked to, and then through another writer: a finished one never writes again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import LakeError
from footfall.lake.engine import connected
from footfall.lake.importing.books import (
    IMPORTS_NAME,
    PROGRESS_NAME,
    REFUSED_NAME,
    Books,
    ImportState,
    Mark,
    Tally,
    held,
    read_state,
    write_state,
)
from footfall.lake.importing.csv_source import CsvSource
from footfall.lake.importing.landing import STALL_S, Landing
from footfall.lake.importing.parquet_source import ParquetSource
from footfall.lake.importing.sources import FORMATS, LinesSource, Source, SourceError, format_of
from footfall.lake.importing.writing import SOURCE, Writing
from footfall.lake.opening import open_table
from footfall.lake.quarantine import Quarantine
from footfall.lake.running import Parts
from footfall.lake.scan import literal, select_events
from footfall.lake.staging import require_reached
from footfall.lake.table import EventsTable, count_name
from footfall.log.disk import Disk, remove_if_there
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter

_DIGEST_CHARS: Final = 12
_HASH_BYTES: Final = 1 << 20


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
    """How an import gets on: `bytes_read` of the file, about; `landed` of its records are in the table, or were dropped."""

    is_read: bool
    """whether all is in the log by now"""
    bytes_read: int
    rows: int
    accepted: int
    landed: int


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one file. `finished_before` is when it had been imported already (Unix milliseconds); None: only now."""

    file: str
    tally: Tally
    refused_file: str | None
    finished_before: int | None = None


def open_source(path: Path, *, name: str, format: str | None = None, mapping: str | None = None) -> Source:  # noqa: A002
    """The file as a source, looked at. `format` None: as its name tells. Raises SourceError, OSError."""
    kind = format or format_of(name)
    if kind not in FORMATS:
        raise SourceError(f"{name}: its name does not tell what it is; say --format {'|'.join(FORMATS)}")
    if path.is_dir():
        raise SourceError(f"{name} is a directory; name the files in it")
    if kind == "parquet":
        return ParquetSource(path, name=name, mapping=mapping)
    if kind == "csv":
        return CsvSource(path, name=name, mapping=mapping)
    if mapping is not None:
        raise SourceError(f"{name}: a mapping is for columns, and lines of JSON have none")
    return LinesSource(path, name=name)


def import_source(
    source: Source,
    *,
    platform: str,
    importing: Importing,
    again: bool = False,
    refused_file: Path | None = None,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Imported:
    """Imports one file into the table, and returns when all of it is there.

    `platform` is a live platform id of the registry. `refused_file` is where refusals go in the end, instead of the import's own
    directory. Raises SourceError for the file's faults, LogError, LakeError and OSError; calling again goes on then.
    """
    content = _content_digest(source)
    count = 0
    while True:
        digest = hashlib.sha256(f"{platform}\n{count}\n{content}".encode()).hexdigest()
        directory = importing.lander.data / IMPORTS_NAME / digest[:_DIGEST_CHARS]
        with held(directory, name=source.name):
            state = _known_state(directory, digest)
            if state is None or not state.is_over:
                run = _Run(source, directory, importing, tell=tell)
                return run.see_through(state or run.begin(platform, digest), refused_file=refused_file)
            if not again:
                return _imported_before(state, source)
        count += 1


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
        " file (rows with an id count once, rows without one that had landed count twice)"
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

    def __init__(self, source: Source, directory: Path, importing: Importing, *, tell: Callable[[Progress], None]) -> None:
        self._source = source
        self._directory = directory
        self._importing = importing
        self._parts = importing.lander
        self._tell = tell

    def begin(self, platform: str, digest: str) -> ImportState:
        state = ImportState(
            writer=f"import-{digest[:_DIGEST_CHARS]}",
            digest=digest,
            platform=platform,
            file=self._source.name,
            bytes_count=self._source.path.stat().st_size,
            started_at=self._parts.clock.now_ms(),
            ahead_ms_max=self._importing.ahead_ms_max,
            erased_before=_erased(self._table(), platform),
        )
        write_state(self._directory, state)
        return state

    def see_through(self, state: ImportState, *, refused_file: Path | None) -> Imported:
        landing = Landing(self._parts, writer=state.writer)
        landing.start()
        try:
            if state.last is None:
                state = self._written(state, landing)
            assert state.last is not None  # noqa: S101 - told to the type checker
            if state.tally.accepted:
                landing.end(state.last)
                landing.wait(lambda: self._tell_landing(state, landing), stall_s=self._importing.stall_s)
        except BaseException as error:
            landing.stop(at_once=isinstance(error, KeyboardInterrupt))
            raise
        landing.stop()
        return self._finished(state, refused_file)

    def _written(self, state: ImportState, landing: Landing) -> ImportState:
        """Writes what the log does not have yet; the state says so in the end, durably."""
        tree = self._parts.data / "log" / "live"
        table = self._table()
        position = table.position(state.writer) if table is not None else 0
        if position and not _has_records_upto(tree, state.writer, position):
            write_state(self._directory, msgspec.structs.replace(state, abandoned=True))
            raise _abandoned(self._source)
        looked = self._source.path.stat()
        with SegmentWriter.open(tree, writer=state.writer, **self._importing.log_options) as writer:
            with closing(Books(self._directory)) as books:
                writing = Writing(
                    self._source, state, writer=writer, books=books,
                    on_durable=landing.durable, on_mark=lambda mark: self._tell_reading(mark, landing),
                )  # fmt: skip
                mark = writing.run(tree, position=position)
            last = writer.last
        now = self._source.path.stat()
        if (looked.st_mtime_ns, looked.st_size) != (now.st_mtime_ns, now.st_size):
            raise SourceError(f"{self._source.name} was changed while it was imported: a part of it is imported now")
        tally = Tally(rows=mark.rows, accepted=mark.accepted, refused=mark.refused)
        state = msgspec.structs.replace(state, last=last, tally=tally)
        write_state(self._directory, state)
        return state

    # -- the end

    def _finished(self, state: ImportState, refused_file: Path | None) -> Imported:
        refused = self._keep_refused(state, refused_file)
        state = msgspec.structs.replace(
            state, tally=self._landed(state), finished_at=self._parts.clock.now_ms(), refused_file=refused
        )
        write_state(self._directory, state)
        remove_if_there(Disk(), self._directory / PROGRESS_NAME)
        return Imported(file=self._source.name, tally=state.tally, refused_file=refused)

    def _landed(self, state: ImportState) -> Tally:
        """What became of the accepted. Those in the table and in quarantine are counted; erased are those that the lander
        dropped since the import began, which another import at the same time would add to; what is left were repeats."""
        table = self._table()
        tally = state.tally
        if table is None or not tally.accepted:
            return tally
        landed = _rows_of(table, state)
        poisons = Quarantine(self._parts.data).poisons()
        quarantined = sum(1 for poison in poisons if poison.writer == state.writer)
        left = max(0, tally.accepted - landed - quarantined)
        erased = min(left, _erased(table, state.platform) - state.erased_before)
        return msgspec.structs.replace(
            tally, landed=landed, quarantined=quarantined, erased=erased, repeated=left - erased
        )  # fmt: skip

    def _keep_refused(self, state: ImportState, wanted: Path | None) -> str | None:
        own = self._directory / REFUSED_NAME
        if not state.tally.refused:
            remove_if_there(Disk(), own)
            return None
        if wanted is None:
            return str(own)
        shutil.copyfile(own, wanted)
        remove_if_there(Disk(), own)  # personal data: in one place, not in two
        return str(wanted)

    # -- telling

    def _tell_reading(self, mark: Mark, landing: Landing) -> None:
        landed = mark.accepted - (mark.sequence - landing.position)
        self._tell(
            Progress(
                is_read=False, bytes_read=self._source.bytes_read, rows=mark.rows, accepted=mark.accepted, landed=max(0, landed)
            )
        )  # fmt: skip

    def _tell_landing(self, state: ImportState, landing: Landing) -> None:
        landed = state.tally.accepted - ((state.last or 0) - landing.position)
        self._tell(
            Progress(
                is_read=True, bytes_read=state.bytes_count, rows=state.tally.rows, accepted=state.tally.accepted,
                landed=max(0, landed),
            )
        )  # fmt: skip

    def _table(self) -> EventsTable | None:
        return open_table(self._parts.data, self._parts.settings)


def _has_records_upto(tree: Path, writer: str, position: int) -> bool:
    """Whether the writer of an import goes on above what the table has of it. Looked at before it is opened: one that began anew
    would stop the lander, who must not take new records for landed ones."""
    try:
        require_reached(SegmentReader(tree), {writer: position})
    except LakeError:
        return False
    return True


def _rows_of(table: EventsTable, state: ImportState) -> int:
    """Rows of this import's writer. Other writers' row groups are passed over by their statistics."""
    files = [file for file in table.files().values() if file.platform == state.platform]
    rows = select_events(files, locate=table.volume.locate, names=("writer",))
    with connected(temporary=None, threads=1, filesystem=table.volume.filesystem) as connection:
        query = f"SELECT count(*) FROM ({rows}) WHERE writer = {literal(state.writer)}"
        return int(connection.execute(query).fetchall()[0][0])


def _erased(table: EventsTable | None, platform: str) -> int:
    """Events of imports to this platform that the lander dropped so far, or retention took, as the table counts them."""
    if table is None:
        return 0
    return sum(table.transaction(count_name(platform, SOURCE, term)) or 0 for term in ("erased", "expired"))
