"""Erasing people from the table: files that hold rows of theirs are written anew without them, and the old ones removed.

    learn     the identifiers of some files, each once, hashed by DuckDB; those that were asked for are remembered in memory
    look      which of the files hold rows of theirs from before the request
    a bundle of them, without a pause, so that nothing lands in between:
      count   the rows that go, by platform and source for the ledger, by person for the receipt
      write   each file without them, durably in place
      commit  new for old, and the ledger's count, all or nothing
      remove  the old files, durably

Files that landing or compaction adds meanwhile are looked at in their turn, until none is left that was not. Then the same look
goes to the files of the table's directory that do not belong to it: those that were replaced earlier and are kept for readers,
and those of a process that died. One that holds rows of the erased is removed, as is one that nobody can read.

Never by a predicate: delta-rs would write it, with the identifier, into the table's log.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb

from footfall.errors import LakeError
from footfall.lake import erased
from footfall.lake.engine import connect
from footfall.lake.erasing.people import People
from footfall.lake.erasing.receipts import Account
from footfall.lake.files import Content, DataWriter
from footfall.lake.scan import literal, select_events
from footfall.lake.table import DataFile, EventsTable, count_name, partial_name

_LOOK_ROWS: Final = 500_000
_LOOK_FILES: Final = 256
"""A small file costs 0.15 ms, half a million rows a second where nearly each has an identifier of its own."""
_BUNDLE_BYTES: Final = 32 << 20
_BUNDLE_FILES: Final = 64
_MEMORY_BYTES_MAX: Final = 160 << 20
_NAMES: Final = ("platform", "timestamp", "user_id", "custom_id", "device")


class _Leaving(NamedTuple):
    """Rows that are to go: so many of one file and source, under these erasures. `is_counted` is false for those that an
    interrupted batch landed ahead of its checkpoint: they are counted as erased when the batch is read again."""

    path: str
    platform: str
    source: str
    is_counted: bool
    erasures: tuple[str, ...]
    rows: int


class RowEraser:
    """Erases from one table, which its caller owns. `staging` is a directory of its own, emptied here; `writers` are those of the
    log; `give_up` ends a compaction that is at work and takes back what it made; `at` is told the
    name of each step before it is taken. To be closed. All methods raise LakeError and OSError."""

    def __init__(
        self,
        table: EventsTable,
        people: People,
        *,
        pepper: bytes,
        staging: Path,
        memory_bytes_max: int,
        writers: Callable[[], Sequence[str]],
        into: Account,
        give_up: Callable[[], None] = lambda: None,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._table = table
        self._people = people
        self._writers = writers
        self._into = into
        self._give_up = give_up
        self._at = at
        self._staging = staging
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(mode=0o700, parents=True)
        self._connection = connect(
            temporary=staging / "spill", memory_bytes_max=min(memory_bytes_max, _MEMORY_BYTES_MAX), threads=1,
            filesystem=table.volume.filesystem,
        )  # fmt: skip
        self._files = DataWriter(self._connection, table.volume, staging)
        self._kinds = sorted({erasure.kind for erasure in people.erasures})
        self._ids = {(erasure.platform, erasure.kind, erasure.mac.hex()): erasure.id for erasure in people.erasures}
        self._looked_at: set[str] = set()
        erased.prepare(self._connection, people.erasures, pepper=pepper)

    def close(self) -> None:
        self._connection.close()
        shutil.rmtree(self._staging, ignore_errors=True)

    def erase(self) -> Generator[float]:
        """In bounded pieces. At its end no file of the table, as it is then, holds rows of the erased."""
        self._table.refresh()
        while unseen := self._unseen():
            portion = self._portion(unseen)
            for bundle in _bundles(self._holding(portion)):
                self._erase_from(bundle)
                yield 0.0
            self._looked_at.update(file.path for file in portion)
            if len(portion) < len(unseen):  # else it is done, unless something landed: a pause now might bring that on and on
                yield 0.0

    def remove_old(self) -> Generator[float]:
        """Removes what holds rows of the erased and does not belong to the table. In bounded pieces."""
        left = self._old()
        while portion := self._portion(left):
            left = left[len(portion) :]
            doomed = [file.path for file in self._old_holding(portion)]
            if doomed:
                self._at("sweep")
                self._table.volume.remove(doomed)
            yield 0.0

    # -- which files

    def _unseen(self) -> list[DataFile]:
        platforms = self._people.platforms
        files = self._table.files().values()
        return [file for file in files if file.platform in platforms and file.path not in self._looked_at]

    def _old(self) -> list[DataFile]:
        """What lies there and is not the table's. Nobody places files meanwhile but compaction, and what it merges now holds no
        rows of the erased."""
        known = self._table.files()
        found = (_found(path, size) for path, size in self._table.volume.listed() if path not in known)
        return [file for file in found if file.platform in self._people.platforms]

    def _portion(self, files: Sequence[DataFile]) -> list[DataFile]:
        taken: list[DataFile] = []
        rows = 0
        for file in files[:_LOOK_FILES]:
            rows += file.rows
            if taken and rows > _LOOK_ROWS:
                break
            taken.append(file)
        return taken

    def _old_holding(self, files: Sequence[DataFile]) -> list[DataFile]:
        """One by one where not all of them can be read."""
        try:
            return self._holding(files)
        except LakeError:
            if len(files) > 1:
                return [found for file in files for found in self._old_holding([file])]
            return [] if self._is_gone(files[0]) else list(files)

    def _is_gone(self, file: DataFile) -> bool:
        return file.path not in {path for path, _ in self._table.volume.listed()}

    # -- learn and look

    def _holding(self, files: Sequence[DataFile]) -> list[DataFile]:
        """Those with rows that are to go."""
        self._at("learn")
        rows = self._rows(files)
        with _translated():
            self._connection.execute(
                "CREATE OR REPLACE TEMP TABLE sought"
                " (platform VARCHAR, kind VARCHAR, identifier VARCHAR, mac VARCHAR, before_ms BIGINT)"
            )
            for kind in self._kinds:
                self._connection.execute(
                    f"INSERT INTO sought SELECT seen.platform, '{kind}', identifier, mac, before_ms FROM (SELECT DISTINCT"
                    f" platform, {erased.KINDS[kind]} AS identifier FROM ({rows}) WHERE identifier IS NOT NULL) AS seen"
                    f" JOIN erasures ON erasures.platform = seen.platform AND erasures.kind = '{kind}'"
                    f" AND erasures.mac = mac_of(seen.platform, '{kind}', identifier)"
                )
            if not self._fetched("SELECT 1 FROM sought LIMIT 1"):
                return []
            paths = {path for (path,) in self._fetched(f"SELECT DISTINCT path FROM ({rows}) AS row WHERE {self._goes()}")}
        return [file for file in files if self._table.volume.locate(file.path) in paths]

    def _rows(self, files: Sequence[DataFile], *more: str) -> str:
        return select_events(files, locate=self._table.volume.locate, names=(*_NAMES, *more), with_path=True)

    def _goes(self) -> str:
        """The condition for a row, called `row`, that is to go. Only after `_holding` learnt the identifiers of its file."""
        return " OR ".join(
            f"({place} IS NOT NULL AND EXISTS (SELECT 1 FROM sought WHERE sought.kind = '{kind}'"
            f" AND sought.platform = row.platform AND sought.identifier = {place}"
            f" AND epoch_ms(row.timestamp) < sought.before_ms))"
            for kind, place in ((kind, f"row.{erased.KINDS[kind]}") for kind in self._kinds)
        )

    # -- a bundle

    def _erase_from(self, bundle: Sequence[DataFile]) -> None:
        there = self._table.files()
        files = [file for file in bundle if file.path in there]  # what took the place of the others is looked at by itself
        if not files:
            return
        self._give_up()  # what is being merged of these files would hold their rows, and lie there after them
        self._at("count")
        leaving = self._leaving(files)
        self._at("write")
        add = self._rewritten(files, leaving)
        self._at("commit")
        self._table.commit(add=add, remove=files, transactions=self._totals(leaving))
        self._looked_at.update(file.path for file in add)
        self._note(leaving)
        self._at("remove")
        self._table.volume.remove([file.path for file in files])

    def _leaving(self, files: Sequence[DataFile]) -> list[_Leaving]:
        macs = [
            f"(SELECT any_value(mac) FROM sought WHERE sought.kind = '{kind}' AND sought.platform = row.platform"
            f" AND sought.identifier = row.{erased.KINDS[kind]} AND epoch_ms(row.timestamp) < sought.before_ms)"
            for kind in self._kinds
        ]
        query = (
            f"SELECT path, platform, coalesce(source, ''), {self._is_counted()}, [{', '.join(macs)}], count(*)"
            f" FROM ({self._rows(files, 'source', 'writer', 'sequence')}) AS row WHERE {self._goes()} GROUP BY ALL"
        )
        with _translated():
            return [
                _Leaving(path, platform, source, is_counted, self._erasures(platform, found), rows)
                for path, platform, source, is_counted, found, rows in self._fetched(query)
            ]

    def _erasures(self, platform: str, macs: Sequence[str | None]) -> tuple[str, ...]:
        return tuple(
            self._ids[platform, kind, mac] for kind, mac in zip(self._kinds, macs, strict=True) if mac is not None
        )  # fmt: skip

    def _is_counted(self) -> str:
        positions = ((writer, self._table.position(writer)) for writer in self._writers())
        ahead = [
            f"(row.writer = {literal(writer)} AND row.sequence > {position})"
            for writer, position in positions
            if (self._table.transaction(partial_name(writer)) or 0) > position
        ]
        return f"NOT ({' OR '.join(ahead)})" if ahead else "true"

    def _rewritten(self, files: Sequence[DataFile], leaving: Sequence[_Leaving]) -> list[DataFile]:
        gone: Counter[str] = Counter()
        for each in leaving:
            gone[each.path] += each.rows
        locate = self._table.volume.locate
        contents = [
            # as sorted as it was: one thread keeps the order
            Content(file.platform, file.event_date, self._rest_of(file), is_spread=False)
            for file in files
            if gone[locate(file.path)] < file.rows
        ]
        with _translated():
            written = self._files.write(contents)
        before, after = sum(file.rows for file in files), sum(staged.file.rows for staged in written)
        if before - gone.total() != after:
            raise LakeError(f"leaving {gone.total()} of {before} rows out of {len(files)} files made {after}")
        self._at("place")
        return self._files.place(written)

    def _rest_of(self, file: DataFile) -> str:
        return f"SELECT * FROM ({select_events([file], locate=self._table.volume.locate)}) AS row WHERE NOT ({self._goes()})"

    def _totals(self, leaving: Sequence[_Leaving]) -> Mapping[str, int]:
        counts: Counter[str] = Counter()
        for each in leaving:
            counts[count_name(each.platform, each.source, "erased")] += each.rows * each.is_counted
        return {name: (self._table.transaction(name) or 0) + count for name, count in counts.items() if count}

    def _note(self, leaving: Sequence[_Leaving]) -> None:
        for each in leaving:
            self._into.lake.entries.update(dict.fromkeys(each.erasures, each.rows))
        self._into.lake.files.update(
            erasure for _, erasure in {(each.path, erasure) for each in leaving for erasure in each.erasures}
        )

    def _fetched(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


def _bundles(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """What is written anew with one commit."""
    bundle: list[DataFile] = []
    size = 0
    for file in files:
        if bundle and (size + file.bytes_count > _BUNDLE_BYTES or len(bundle) >= _BUNDLE_FILES):
            yield bundle
            bundle, size = [], 0
        bundle.append(file)
        size += file.bytes_count
    if bundle:
        yield bundle


def _found(path: str, bytes_count: int) -> DataFile:
    """A file as its path tells of it."""
    parts = dict(part.partition("=")[::2] for part in path.split("/")[:-1])
    return DataFile(
        path=path, bytes_count=bytes_count, rows=bytes_count // 64, platform=parts.get("platform", ""),
        event_date=parts.get("event_date", ""), first_ms=0, last_ms=0,
    )  # fmt: skip


@contextmanager
def _translated() -> Iterator[None]:
    """Of the volume and of memory DuckDB says what is wrong; its other messages may quote an event."""
    try:
        yield
    except duckdb.Error as error:
        told = isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException))
        what = str(error).splitlines()[0] if told else f"failed ({type(error).__name__})"
        raise LakeError(f"DuckDB: {what}") from error
