"""Landing: what the log holds becomes rows of the table, each event once, whatever dies when.

A batch goes through these steps; their names are what `at` is told before each, so that a test can kill the process there:

    read      records after the checkpoints, which are in the table itself
    stage     as lines for DuckDB, with their positions
    parse     to typed columns; what cannot be parsed is found by halving
    compare   drops what belongs to the erased, and repeats: within the batch, then against the rows of the table whose minutes
              the batch meets. The winner is the one with the least (received_at, writer, sequence); a row of the table that
              loses is left out of its file, which is written anew
    write     one sorted Parquet file a partition, into staging
    place     moved into the table's directory, durable, but nobody's yet
    keep      what could not be parsed goes to quarantine, durably
    commit    files, checkpoints and counts, all or nothing
    done

Dying anywhere before the commit leaves files nobody knows, which upkeep removes; dying after it leaves nothing to do. A batch of
more than 400 partitions takes several commits, and only the last moves the checkpoints: until then its rows are found again by
their positions (`footfall/partial/<writer>` says up to where that may be so).
"""

from __future__ import annotations

import datetime
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import uuid4

import duckdb
import msgspec

from footfall.clock import Clock
from footfall.errors import LakeError
from footfall.lake import erased
from footfall.lake.belonging import refuse
from footfall.lake.columns import Run, read_staged
from footfall.lake.engine import connect
from footfall.lake.erased import Erasure
from footfall.lake.files import Content, DataWriter
from footfall.lake.occupied import MINUTE_MS, ranges_of
from footfall.lake.quarantine import Poison, Quarantine, envelope_of
from footfall.lake.scan import literal, select_events
from footfall.lake.settings import LakeSettings
from footfall.lake.staging import Batch, Line, lines_of, merged, read_batch, require_reached, runs_of, staged_pieces, write_pieces
from footfall.lake.table import DataFile, EventsTable, count_name, partial_name, position_name
from footfall.log.reader import SegmentReader

logger = logging.getLogger("footfall.lander")

STAGING_NAME: Final = "lake-staging"
PARTITIONS_MAX: Final = 400
"""Of one commit: 1,000 in one cost 0.25 s, 10,000 1.6 s and 520 MB."""


class _RowMissingError(Exception):
    """A line made no row, and nothing was raised: DuckDB passes over blank ones."""


_POISONOUS: Final = (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.OutOfRangeException, _RowMissingError)
_PARTITIONS: Final = (
    "SELECT platform, event_date, count(*), epoch_ms(max(timestamp)) - epoch_ms(min(timestamp))"
    " FROM batch GROUP BY ALL ORDER BY ALL"
)
_SPREAD_MS: Final = 600_000
_HALVINGS_MAX: Final = 12
_SINGLE_FILES_MAX: Final = 8
"""Beyond, one COPY that makes all files takes a quarter of what one a file takes (4.2 against 17.5 ms, 527 of them)."""
_ORDER: Final = "received_at, writer, sequence"
"""Of two events with one key the first in this order wins."""

Counts: TypeAlias = "Counter[tuple[str, str, str]]"
"""(platform, source, term) → events"""


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """What one batch came to. `read` = `landed` + `repeated` + `quarantined` + `erased`, but for rows of an interrupted batch,
    which landed before they were read again; a row that lost against a later one counts as repeated, and as landed again."""

    read: int = 0
    landed: int = 0
    repeated: int = 0
    quarantined: int = 0
    erased: int = 0
    more: bool = False
    """whether the log held more than the batch took"""


class Persons(NamedTuple):
    """Who was erased, and the key their hashes were made with."""

    erasures: Sequence[Erasure]
    pepper: bytes


class _Losers(NamedTuple):
    """Rows of the table that lost to rows of a batch."""

    positions: dict[str, list[tuple[str, int]]]
    """path, as DuckDB names it → (writer, sequence)"""
    counts: Counts


class _Partition(NamedTuple):
    platform: str
    event_date: datetime.date
    rows: int
    spread_ms: int


class Lander:
    """Lands the live tree of one data directory into its table. The caller owns the lake (`ownership`); not thread-safe."""

    def __init__(
        self,
        data: Path,
        table: EventsTable,
        settings: LakeSettings,
        *,
        clock: Clock,
        persons: Callable[[], Persons | None] = lambda: None,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._data = data
        self._table = table
        self._settings = settings
        self._halvings = 0  # how much smaller batches are made, after one that was too large for memory
        self._clock = clock
        self._persons = persons
        self._at = at
        self._reader = SegmentReader(data / "log" / "live")
        self._quarantine = Quarantine(data)
        self._staging = data / STAGING_NAME
        _make_fresh(self._staging)
        self._connection = connect(
            temporary=self._staging / "spill", memory_bytes_max=settings.memory_bytes_max, threads=settings.threads,
            filesystem=table.volume.filesystem,
        )  # fmt: skip
        self._files = DataWriter(self._connection, table.volume, self._staging)

    def close(self) -> None:
        self._connection.close()
        self._reader.close()
        shutil.rmtree(self._staging, ignore_errors=True)

    def land(self) -> Landed:
        """One batch; `read` 0: nothing waits. Raises LakeConflictError where another process landed meanwhile (calling again
        is safe), LakeError, LogError and OSError for what went wrong; the table then is as before, or has the whole batch."""
        self._table.refresh()
        self._at("read")
        positions = self.positions()
        self._require_whole_log(positions)
        batch = read_batch(
            self._reader,
            positions,
            records_max=max(1, self._settings.batch_events_max >> self._halvings),
            bytes_max=self._settings.batch_bytes_max >> self._halvings,
        )
        if not batch.records:
            return Landed()
        try:
            landed = self._land(batch, positions)
        except duckdb.Error as error:
            if isinstance(error, duckdb.OutOfMemoryException):
                self._halvings = min(self._halvings + 1, _HALVINGS_MAX)
            raise LakeError(_told(error)) from error
        self._halvings = max(0, self._halvings - 1)
        return landed

    def positions(self) -> dict[str, int]:
        """Writer → the last sequence that the table has, as this lander last saw it."""
        return {writer: self._table.position(writer) for writer in self._reader.writers()}

    def _require_whole_log(self, positions: Mapping[str, int]) -> None:
        try:
            require_reached(self._reader, positions)
        except LakeError as error:
            refuse(self._data, error.message)
            raise

    def _land(self, batch: Batch, positions: Mapping[str, int]) -> Landed:
        counts: Counts = Counter()
        poisons = self._parse(batch, counts)
        self._at("compare")
        known = self._drop_landed(positions)  # first: a row in the table is not erased here, and must not be counted as if
        self._drop_erased(counts)
        self._drop_repeats_within(counts)
        losers = self._drop_repeats_of_table(counts, known)
        totals: Counter[str] = Counter()
        for (_, _, term), count in (counts + losers.counts).items():
            totals[term] += count
        landed = self._commit(batch, counts, losers, poisons)
        for table in ("batch", "met"):  # what spilled of them goes with them
            self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        self._at("done")
        return Landed(**totals, landed=landed, more=batch.more)

    # -- parse

    def _parse(self, batch: Batch, counts: Counts) -> list[Poison]:
        """Makes the table `batch`; returns the records that are not in it."""
        self._at("stage")
        staged = self._staged(staged_pieces(batch))
        self._at("parse")
        poisons: list[Poison] = []
        try:
            self._read("CREATE OR REPLACE TEMP TABLE batch AS", staged, runs_of(batch))
        except _POISONOUS:
            self._read("CREATE OR REPLACE TEMP TABLE batch AS", self._staged(()), [])
            self._insert(lines_of(batch), poisons)
        for platform, source, count in self._rows("SELECT platform, source, count(*) FROM batch GROUP BY ALL"):
            counts[platform, source, "read"] += count
        for poison in poisons:
            platform, source = envelope_of(poison.record)
            counts[platform, source, "read"] += 1
            counts[platform, source, "quarantined"] += 1
        return poisons

    def _insert(self, lines: list[Line], poisons: list[Poison]) -> None:
        """Half by half, down to the one line that cannot be read."""
        try:
            self._read("INSERT INTO batch", self._staged(line.staged for line in lines), merged(line.run for line in lines))
        except _POISONOUS as error:
            if len(lines) == 1:
                poisons.append(lines[0].poisoned(str(error).splitlines()[0], now_ms=self._clock.now_ms()))
                return
            middle = len(lines) // 2
            self._insert(lines[:middle], poisons)
            self._insert(lines[middle:], poisons)

    def _staged(self, pieces: Iterable[bytes]) -> Path:
        path = self._staging / f"{uuid4().hex}.ndjson"
        write_pieces(path, pieces)
        return path

    def _read(self, statement: str, staged: Path, runs: Sequence[Run]) -> None:
        """Consumes `staged`. All of it or nothing: positions are told by the number of the line, so each must make a row."""
        today = datetime.datetime.fromtimestamp(self._clock.now_ms() / 1000, tz=datetime.UTC).date()
        self._connection.execute("BEGIN")
        try:
            ((rows,),) = self._rows(f"{statement} {read_staged(staged, runs, today=today)}")
            if rows != sum(run.records for run in runs):
                raise _RowMissingError("a blank line is no record")  # noqa: TRY301 - caught here only to undo what was read
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        finally:
            staged.unlink()
        self._connection.execute("COMMIT")

    # -- compare

    def _drop_erased(self, counts: Counts) -> None:
        gone = "is_erased"
        persons = self._persons()
        if persons is not None and persons.erasures:
            erased.prepare(self._connection, persons.erasures, pepper=persons.pepper)
            gone += f" OR {erased.condition({erasure.kind for erasure in persons.erasures}, row='batch')}"
        self._count_deleted(f"DELETE FROM batch WHERE {gone} RETURNING platform, source", counts, "erased")

    def _drop_landed(self, positions: Mapping[str, int]) -> set[tuple[str, int]]:
        """Drops rows that a batch which was interrupted between two commits has landed already; returns their positions."""
        dropped: set[tuple[str, int]] = set()
        for writer, position in positions.items():
            upto = self._table.transaction(partial_name(writer)) or 0
            if upto > position:
                landed = select_events(
                    self._table.files().values(), locate=self._table.volume.locate, names=("writer", "sequence")
                )
                dropped.update(
                    self._rows(
                        f"DELETE FROM batch USING (SELECT sequence FROM ({landed}) WHERE writer = {literal(writer)}"
                        f" AND sequence > {position}) AS there WHERE batch.writer = {literal(writer)}"
                        " AND batch.sequence = there.sequence RETURNING batch.writer, batch.sequence"
                    )
                )
        return dropped

    def _drop_repeats_within(self, counts: Counts) -> None:
        self._count_deleted(
            "DELETE FROM batch WHERE rowid IN (SELECT number FROM (SELECT rowid AS number, row_number() OVER"
            f" (PARTITION BY platform, id, event_type, timestamp ORDER BY {_ORDER}) AS place FROM batch SEMI JOIN"
            " (SELECT platform, id, event_type, timestamp FROM batch WHERE id IS NOT NULL GROUP BY ALL HAVING count(*) > 1)"
            " USING (platform, id, event_type, timestamp)) WHERE place > 1) RETURNING platform, source",
            counts, "repeated",
        )  # fmt: skip

    def _drop_repeats_of_table(self, counts: Counts, known: Collection[tuple[str, int]]) -> _Losers:
        """Drops what the table has with an earlier receipt; returns what loses in the table. `known` are rows of this batch that
        were there before it: where one loses, nobody will read its record again."""
        losers = _Losers({}, Counter())
        met = self._meeting()
        if met is None:
            return losers
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE met AS {met}")
        if self._rows("SELECT 1 FROM met LIMIT 1"):
            self._count_deleted(
                "DELETE FROM batch USING met WHERE batch.writer = met.writer AND batch.sequence = met.sequence"
                " AND NOT met.is_first RETURNING batch.platform, batch.source",
                counts, "repeated",
            )  # fmt: skip
        for path, writer, sequence, platform, source in self._rows(
            "SELECT path, there_writer, there_sequence, platform, there_source FROM met WHERE is_first"
        ):
            losers.positions.setdefault(path, []).append((writer, sequence))
            if (
                sequence <= self._table.position(writer) or (writer, sequence) in known
            ):  # else its record is read again, and counted then
                losers.counts[platform, source, "repeated"] += 1
        return losers

    def _meeting(self) -> str | None:
        """The query for pairs of a row of the batch and one of the table with the same key; None where no file can hold any."""
        minutes: dict[str, list[int]] = {}
        for platform, minute in self._rows(
            f"SELECT DISTINCT platform, epoch_ms(timestamp) // {MINUTE_MS} FROM batch WHERE id IS NOT NULL"
        ):
            minutes.setdefault(platform, []).append(minute)
        ranges = {platform: ranges_of(found) for platform, found in minutes.items()}
        files = [file for file in self._table.files().values() if _meets(file, ranges.get(file.platform, ()))]
        if not files:
            return None
        within = " OR ".join(
            f"(platform = {literal(platform)} AND timestamp >= make_timestamptz({begin * 1000})"
            f" AND timestamp < make_timestamptz({end * 1000}))"
            for platform, found in ranges.items()
            for begin, end in found
        )
        names = ("platform", "id", "event_type", "timestamp", "received_at", "writer", "sequence", "source")
        there = select_events(files, locate=self._table.volume.locate, names=names, with_path=True)
        return (
            "SELECT batch.writer, batch.sequence, batch.platform, there.path, there.writer AS there_writer,"
            " there.sequence AS there_sequence, there.source AS there_source,"
            " (batch.received_at, batch.writer, batch.sequence) < (there.received_at, there.writer, there.sequence) AS is_first"
            f" FROM (SELECT * FROM ({there}) WHERE {within}) AS there JOIN batch USING (platform, id, event_type, timestamp)"
        )

    # -- write and commit

    def _commit(self, batch: Batch, counts: Counts, losers: _Losers, poisons: list[Poison]) -> int:
        """Everything of the batch, in as many commits as its partitions need; returns the rows added.

        What loses in the table goes with the first of them, and is counted there: were it to go with the last, a death in between
        would leave it beside the row it lost to, and nobody would ever compare the two again."""
        partitions = [_Partition(*row) for row in self._rows(_PARTITIONS)]
        landed = sum(partition.rows for partition in partitions)
        lost, rewritten = self._without(losers)
        while len(partitions) > PARTITIONS_MAX:
            upto = {
                partial_name(writer): last
                for writer, last in batch.last.items()
                if last > (self._table.transaction(partial_name(writer)) or 0)
            }
            added = self._written(partitions[:PARTITIONS_MAX])
            self._at("partial")
            self._table.commit(add=[*rewritten, *added], remove=lost, transactions=upto | self._totals(losers.counts))
            partitions = partitions[PARTITIONS_MAX:]
            lost, rewritten, losers = [], [], _Losers({}, Counter())
        added = self._written(partitions)
        if poisons:
            self._at("keep")
            self._quarantine.keep(poisons, now_ms=self._clock.now_ms())
            logger.warning(
                "%d record(s) could not become rows and are in quarantine; `footfall ledger` counts them", len(poisons)
            )
        self._at("commit")
        moved = {position_name(writer): last for writer, last in batch.last.items()}
        self._table.commit(add=[*rewritten, *added], remove=lost, transactions=moved | self._totals(counts + losers.counts))
        return landed

    def _without(self, losers: _Losers) -> tuple[list[DataFile], list[DataFile]]:
        """The files that hold losers, and what is to stand in their place."""
        locate = self._table.volume.locate
        lost = [file for file in self._table.files().values() if locate(file.path) in losers.positions]
        if len(lost) != len(losers.positions):
            raise LakeError("rows that lose are in no file of the table: DuckDB and the table name a file differently")
        return lost, [new for file in lost for new in self._files.without(file, losers.positions[locate(file.path)])]

    def _written(self, partitions: list[_Partition]) -> list[DataFile]:
        self._at("write")
        landed_at = f"make_timestamptz({self._clock.now_ms() * 1000}) AS landed_at"
        if len(partitions) > _SINGLE_FILES_MAX:
            dates = " OR ".join(map(_is_in, partitions))
            written = self._files.write_partitions(f"SELECT *, {landed_at} FROM batch WHERE {dates}")
        else:
            written = self._files.write(
                Content(
                    platform=partition.platform,
                    event_date=partition.event_date.isoformat(),
                    query=f"SELECT *, {landed_at} FROM batch WHERE {_is_in(partition)}",
                    is_spread=partition.spread_ms > _SPREAD_MS,
                )
                for partition in partitions
            )
        self._at("place")
        return self._files.place(written)

    def _totals(self, counts: Counts) -> dict[str, int]:
        totals = {}
        for (platform, source, term), count in counts.items():
            if count:
                name = count_name(platform, source, term)
                totals[name] = (self._table.transaction(name) or 0) + count
        return totals

    def _count_deleted(self, statement: str, counts: Counts, term: str) -> None:
        for platform, source in self._rows(statement):
            counts[platform, source, term] += 1

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query).fetchall()


def _is_in(partition: _Partition) -> str:
    return f"platform = {literal(partition.platform)} AND event_date = DATE '{partition.event_date.isoformat()}'"


def _meets(file: DataFile, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(file.first_ms < end and file.last_ms >= begin for begin, end in ranges)


def _told(error: duckdb.Error) -> str:
    """Of the volume and of memory DuckDB says what is wrong; its other messages may quote an event."""
    if isinstance(error, (duckdb.IOException, duckdb.OutOfMemoryException)):
        return f"DuckDB: {str(error).splitlines()[0]}"
    return f"DuckDB failed ({type(error).__name__})"


def _make_fresh(directory: Path) -> None:
    """Nothing of what a predecessor staged is of use to anybody, and it holds personal data."""
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise LakeError(f"{directory} cannot be emptied: {error.strerror}") from error
    directory.mkdir(mode=0o700, parents=True)
