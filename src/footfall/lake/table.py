"""The Delta table `events`: its files, its checkpoints, its commits. The one door to delta-rs.

A commit adds and removes whole files and moves app transactions, all or nothing. What delta-rs leaves to its callers is done
here: it accepts an app transaction that is not higher than the last (delta-rs 2580, 3821), so `commit` looks first, on the very
handle it then commits through, and a handle that somebody overtook is refused (`LakeConflictError`); it never syncs a local file,
so `volume` does; and it would write statistics of every column, so each file's are given: rows, and the least and greatest time.

App transactions, all of them numbers that only grow:

    footfall/log/<writer>                         the last landed sequence of that writer: the lander's checkpoint
    footfall/count/<platform>/<source>/<term>     the ledger's running counts (`ledger`)
    footfall/partial/<writer>                     up to where rows may have landed before the checkpoint moved (`landing`)
    footfall/owner/<installation>                 whose log these events come from; with it `footfall/owned` (`belonging`)
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self
from uuid import uuid4

import msgspec
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from footfall.errors import LakeConflictError, LakeError
from footfall.lake import schema
from footfall.lake.volume import LocalVolume, Volume

_CONFIGURATION: Final = {
    "delta.dataSkippingStatsColumns": "timestamp",  # statistics of other columns would carry identifiers into the log
    "delta.enableExpiredLogCleanup": "false",  # upkeep takes old entries away, after it has made a checkpoint durable
}
_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class DataFile(msgspec.Struct, frozen=True, kw_only=True):
    """One Parquet file of the table. `first_ms` and `last_ms` are the least and greatest timestamp of its rows."""

    path: str
    bytes_count: int
    rows: int
    platform: str
    event_date: str
    """ISO"""
    first_ms: int
    last_ms: int

    @property
    def version(self) -> int:
        """The version of the schema that wrote it; other writers' files are as old as can be."""
        head = self.path.rpartition("/")[2].partition("-")[0]
        return int(head) if head.isdigit() else 1


def new_path(platform: str, event_date: str) -> str:
    """A path for a data file nobody has used yet."""
    return f"platform={platform}/event_date={event_date}/{schema.VERSION}-{uuid4().hex}.parquet"


class EventsTable:
    """The table as one process sees and changes it. Committing is for the process that owns the lake (`ownership`)."""

    @classmethod
    def open(cls, volume: Volume, *, create: bool = False) -> Self | None:
        """The table, or None where there is none yet and `create` is false. Raises LakeError."""
        try:
            return cls(volume, DeltaTable(volume.uri))
        except TableNotFoundError:
            if not create:
                return None
        except DeltaError as error:
            raise _foreign(volume, "cannot be opened", error) from error
        except OSError as error:
            raise _foreign(volume, "cannot be reached", error) from error
        if isinstance(volume, LocalVolume):
            volume.make()
        try:
            handle = DeltaTable.create(
                volume.uri, Schema.from_json(json.dumps(schema.delta_schema())), name="events",
                description="what shoppers did, each event once",
                partition_by=list(schema.PARTITION_COLUMNS), configuration=dict(_CONFIGURATION),
            )  # fmt: skip
        except (DeltaError, OSError) as error:
            raise _foreign(volume, "cannot be made", error) from error
        volume.settle(0)
        return cls(volume, handle)

    def __init__(self, volume: Volume, handle: DeltaTable) -> None:
        """Use `open`."""
        self.volume = volume
        self._handle = handle
        self._known_version = -1
        self._files: dict[str, DataFile] = {}
        self._transactions: dict[str, int | None] = {}
        self._schema = handle.schema()

    @property
    def version(self) -> int:
        return self._handle.version()

    def refresh(self) -> None:
        """Takes in what was committed since, by anybody."""
        try:
            self._handle.update_incremental()
        except (DeltaError, OSError) as error:
            raise _foreign(self.volume, "cannot be read", error) from error

    def renew(self) -> None:
        """As `refresh`, through a fresh handle. One that is kept remembers each commit since it was opened, and takes longer with
        each: 177 ms of a core a commit after 2,000, where a fresh one beside a checkpoint took 17."""
        try:
            self._handle = DeltaTable(self.volume.uri)
        except (DeltaError, OSError) as error:
            raise _foreign(self.volume, "cannot be read", error) from error

    def files(self) -> Mapping[str, DataFile]:
        """Path → file, as of the last `refresh` or commit."""
        if self._known_version != self.version:
            self._files = {file.path: file for file in _files_of(self._handle)}
            self._transactions = {}
            self._known_version = self.version
        return self._files

    def transaction(self, name: str) -> int | None:
        """The number of an app transaction; None where there was none yet. A millisecond at its first asking."""
        self.files()
        if name not in self._transactions:
            self._transactions[name] = self._handle.transaction_version(name)
        return self._transactions[name]

    def position(self, writer: str) -> int:
        """The last landed sequence of that writer; 0 for none."""
        return self.transaction(position_name(writer)) or 0

    def commit(
        self,
        *,
        add: Sequence[DataFile] = (),
        remove: Iterable[DataFile] = (),
        transactions: Mapping[str, int],
        changes: bool = True,
    ) -> None:
        """One atomic change, durable when it returns. `changes` false: the same rows in other files (compaction).

        The files of `add` are in place already. Raises LakeConflictError where another process
        committed since the last `refresh`, or a transaction would not grow; LakeError for the rest, when it may have been done
        or not: open the table anew and look.
        """
        removed = list(remove)
        for name, number in transactions.items():
            before = self.transaction(name)
            if before is not None and number <= before:
                raise LakeConflictError(f"{name} is at {before} already and cannot move to {number}: another process landed")
        now_ms = time.time_ns() // 1_000_000
        actions = [_removal(file, now_ms, changes) for file in removed] + [_addition(file, now_ms, changes) for file in add]
        properties = CommitProperties(
            app_transactions=[Transaction(name, number) for name, number in transactions.items()],
            custom_metadata={"footfall_actions": len(actions) + len(transactions)},  # how `healing` knows a whole entry
            max_commit_retries=0,
        )
        known = dict(self.files())
        try:
            self._handle.create_write_transaction(
                actions, "append", self._schema, list(schema.PARTITION_COLUMNS),
                commit_properties=properties, post_commithook_properties=_NO_HOOKS,
            )  # fmt: skip
        except CommitFailedError as error:
            raise LakeConflictError(f"{self.volume.uri}: another process committed to this table") from error
        except (DeltaError, OSError) as error:
            raise _foreign(self.volume, "could not be committed to", error) from error
        expected = self.version + 1
        self.refresh()
        self.volume.settle(expected)
        self._note(known, add, removed, transactions, expected)

    def checkpoint(self) -> None:
        """Writes the state of the table beside its log, durably, so that opening it need not read the log."""
        try:
            self._handle.create_checkpoint()
        except (DeltaError, OSError) as error:
            raise _foreign(self.volume, "could not write a checkpoint", error) from error
        self.volume.settle(self.version)

    def _note(
        self,
        known: dict[str, DataFile],
        add: Sequence[DataFile],
        removed: list[DataFile],
        moved: Mapping[str, int],
        expected: int,
    ) -> None:
        """Saves reading the whole list of files again after each commit of ours."""
        if self.version != expected:
            return  # somebody else's commit came right after: the next look reads it all
        for file in removed:
            known.pop(file.path, None)
        known |= {file.path: file for file in add}
        self._files = known
        self._transactions |= moved
        self._known_version = expected


def position_name(writer: str) -> str:
    """The app transaction that is a writer's checkpoint."""
    return f"footfall/log/{writer}"


OWNED_NAME: Final = "footfall/owned"
"""The app transaction of a table that some data directory has taken for its own."""


def owner_name(installation: str) -> str:
    """The app transaction that names the data directory whose log these events come from (`belonging`)."""
    return f"footfall/owner/{installation}"


def partial_name(writer: str) -> str:
    """The app transaction that says up to where rows of an interrupted batch may be in the table already."""
    return f"footfall/partial/{writer}"


def count_name(platform: str, source: str, term: str) -> str:
    """The app transaction of one of the ledger's running counts."""
    return f"footfall/count/{platform}/{source}/{term}"


def _files_of(handle: DeltaTable) -> list[DataFile]:
    actions: Any = handle.get_add_actions(flatten=True)
    names = set(actions.schema.names)

    def column(name: str, default: Any) -> list[Any]:
        return actions.column(name).to_pylist() if name in names else [default] * actions.num_rows

    rows = zip(
        column("path", ""), column("size_bytes", 0), column("num_records", 0), column("partition.platform", ""),
        column("partition.event_date", None), column("min.timestamp", None), column("max.timestamp", None), strict=True,
    )  # fmt: skip
    return [
        DataFile(
            path=path, bytes_count=size, rows=count or 0, platform=platform, event_date=str(event_date),
            first_ms=_milliseconds(first, 0), last_ms=_milliseconds(last, 1 << 62),
        )
        for path, size, count, platform, event_date, first, last in rows
    ]  # fmt: skip


def _milliseconds(moment: Any, missing: int) -> int:
    return missing if moment is None else round(moment.timestamp() * 1000)


def _addition(file: DataFile, now_ms: int, changes: bool) -> AddAction:
    statistics = {
        "numRecords": file.rows,
        "minValues": {"timestamp": _iso(file.first_ms)},
        "maxValues": {"timestamp": _iso(file.last_ms)},
        "nullCount": {"timestamp": 0},
    }
    return AddAction(file.path, file.bytes_count, _partition(file), now_ms, changes, json.dumps(statistics))


def _removal(file: DataFile, now_ms: int, changes: bool) -> RemoveAction:
    return RemoveAction(file.path, changes, now_ms, file.bytes_count, _partition(file))


def _partition(file: DataFile) -> dict[str, str | None]:
    return {"platform": file.platform, "event_date": file.event_date}


def _iso(moment_ms: int) -> str:
    seconds, milliseconds = divmod(moment_ms, 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _foreign(volume: Volume, what: str, error: Exception) -> LakeError:
    """delta-rs quotes paths and predicates, never rows."""
    return LakeError(f"the table {volume.uri} {what}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
