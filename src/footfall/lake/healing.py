"""Healing: after a power cut the end of the table's log may be damaged. It is put aside, and what it told of lands again.

delta-rs never waits for the storage (reliability notes, F1), and the sync after each commit (`volume`) cannot be older than the
commit: what a cut leaves behind the last synced entry may be empty, short, or name files that are not there. A log that ends so
cannot be opened by anybody. Events are not lost with it, for they leave their own log only after the sync. So whoever owns the
lake heals it before opening it:

    <table>/_delta_log/00000000000000000041.json      whole; the table now ends here
    <table>/_broken/20261123T175810Z-5f0c…/           00000000000000000042.json, a checkpoint of it, _last_checkpoint

An entry is whole when each of its lines is JSON, its actions are as many as its commitInfo says (`footfall_actions`, see
`table.commit`; other writers' entries do not say), and the files it adds, unless a later one removed them, lie there with their
size and a Parquet end. The first that is not, and all after it, are put aside, never deleted. What is whole is synced, because
the process that wrote it may have died before it could.

Damage deeper than that is not healed: were the table taken back to before what events' own log still holds, events would be lost
in silence. That is an error, and nothing is moved.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

import duckdb
import msgspec

from footfall.errors import LakeError
from footfall.lake.engine import connected
from footfall.lake.scan import literal
from footfall.lake.table import position_name
from footfall.lake.volume import LOG_NAME, LocalVolume, Volume
from footfall.log.copying import copy_file
from footfall.log.directory import list_segments, writers_of
from footfall.log.disk import Disk, make_durable_directory

logger = logging.getLogger("footfall.lander")

BROKEN_NAME: Final = "_broken"
_LAST_CHECKPOINT: Final = "_last_checkpoint"
_VERSIONED: Final = re.compile(r"([0-9]{20})\.").match
_ENTRY: Final = re.compile(r"([0-9]{20})\.json").fullmatch
_CHECKPOINT: Final = re.compile(r"([0-9]{20})\.checkpoint\.parquet").fullmatch
_LEFTOVER: Final = re.compile(r"_commit_.+\.tmp|.+#[0-9]+").fullmatch
"""Names under which delta-rs makes an entry or a checkpoint before it links it in."""
_PARQUET_END: Final = b"PAR1"
_decode: Final = msgspec.json.Decoder().decode


class Healed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `version` is where the table ends now; -1: there is none (yet)."""

    version: int = -1
    entries: int = 0
    """log entries put aside"""
    checkpoints: int = 0
    """checkpoints put aside"""
    broken: Path | None = None
    """where they lie now"""


class _State(msgspec.Struct):
    """The table at a version, as far as healing needs it."""

    version: int
    files: dict[str, int]
    """path → bytes"""
    positions: dict[str, int]
    """app transaction → its number"""


class _Entry(msgspec.Struct, frozen=True):
    added: dict[str, int]
    removed: list[str]
    moved: dict[str, int]


def heal(volume: Volume, *, log: Path | None = None) -> Healed:
    """Makes the table end at its last whole version. For the owner of the lake, before the table is opened. `log` is the tree
    whose events land here. Object stores have nothing to heal. Raises LakeError where healing would lose something, OSError."""
    if not isinstance(volume, LocalVolume) or not (volume.root / LOG_NAME).is_dir():
        return Healed()
    directory = volume.root / LOG_NAME
    names = sorted(os.listdir(directory))  # noqa: PTH208 - names are wanted
    for name in filter(_LEFTOVER, names):
        (directory / name).unlink()
    versions = {int(match[1]): match[0] for match in map(_ENTRY, names) if match}
    checkpoints = {int(match[1]): match[0] for match in map(_CHECKPOINT, names) if match}
    state, spoilt = _last_checkpoint(directory, checkpoints)
    broken_at = _replay(volume.root, state, versions)
    moved = [name for name in names if (match := _VERSIONED(name)) and int(match[1]) >= broken_at]
    moved += [name for name in spoilt if name not in moved]
    if versions and state.version < 0 and min(versions) > 0:
        raise _damaged(volume.root, "it has no whole checkpoint, and its log does not begin at 0")
    _require_files(volume.root, state)
    if any(_ENTRY(name) for name in moved):
        _require_log_holds(volume.root, state, log)
    if _LAST_CHECKPOINT in names and not _points_at(directory, set(checkpoints.values()) - set(moved)):
        moved.append(_LAST_CHECKPOINT)
    _sync_all(directory, [name for version, name in versions.items() if version < broken_at])
    if not moved:
        return Healed(version=state.version)
    broken = _put_aside(volume.root, moved)
    healed = Healed(
        version=state.version,
        entries=sum(1 for name in moved if _ENTRY(name)),
        checkpoints=sum(1 for name in moved if _CHECKPOINT(name)),
        broken=broken,
    )
    logger.warning(
        "the table's log was damaged, as by a power cut: %d entries and %d checkpoint(s) were put aside in %s; the table goes on"
        " from version %d, and what they told of lands again",
        healed.entries, healed.checkpoints, broken, healed.version,
    )  # fmt: skip
    return healed


# -- looking


def _last_checkpoint(directory: Path, checkpoints: Mapping[int, str]) -> tuple[_State, list[str]]:
    """The state that the newest whole checkpoint holds, the empty one where there is none; and the names of damaged ones."""
    spoilt: list[str] = []
    for version in sorted(checkpoints, reverse=True):
        state = _read_checkpoint(directory / checkpoints[version], version)
        if state is not None:
            return state, spoilt
        spoilt.append(checkpoints[version])
    return _State(-1, {}, {}), spoilt


def _read_checkpoint(path: Path, version: int) -> _State | None:
    """None where it is damaged. Every column is read to its end: a page of zeros in the middle shows nowhere else."""
    rows = f"read_parquet({literal(str(path))})"
    try:
        with connected(temporary=None, threads=1) as connection:
            connection.execute(f"SELECT bit_xor(hash(line)) FROM {rows} AS line").fetchall()
            files = connection.execute(f"SELECT add.path, add.size FROM {rows} WHERE add.path IS NOT NULL").fetchall()
            moved = connection.execute(f"SELECT txn.appId, txn.version FROM {rows} WHERE txn.appId IS NOT NULL").fetchall()
    except duckdb.Error:
        return None
    return _State(version, {unquote(file): size for file, size in files}, dict(moved))


def _replay(root: Path, state: _State, versions: Mapping[int, str]) -> int:
    """Brings `state` up to the last whole entry; returns the first version that is not whole, or not there."""
    entries: list[_Entry] = []
    while (version := state.version + 1 + len(entries)) in versions:
        entry = _read_entry(root / LOG_NAME / versions[version], is_first=version == 0)
        if entry is None:
            break
        entries.append(entry)
    while (lacking := _first_lacking(root, state, entries)) is not None:
        # What was removed at or after that entry is there again, so the files are looked at once more.
        del entries[lacking:]
    for entry in entries:
        _apply(state, entry)
    return state.version + 1


def _read_entry(path: Path, *, is_first: bool) -> _Entry | None:
    """None where the entry is not whole."""
    added: dict[str, int] = {}
    removed: list[str] = []
    moved: dict[str, int] = {}
    told: int | None = None
    names: set[str] = set()
    try:
        for line in path.read_bytes().splitlines():
            name, action = _only(_decode(line))
            names.add(name)
            if name == "commitInfo":
                told = action.get("footfall_actions")
            elif name == "add":
                added[unquote(action["path"])] = action["size"]
            elif name == "remove":
                removed.append(unquote(action["path"]))
            elif name == "txn":
                moved[action["appId"]] = action["version"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError, KeyError, TypeError, AttributeError):
        return None
    count = len(added) + len(removed) + len(moved)
    is_whole = (told is None or told == count) and (not is_first or {"protocol", "metaData"} <= names) and bool(names)
    return _Entry(added, removed, moved) if is_whole else None


def _only(line: Any) -> tuple[str, Any]:
    """The one member of a line of the log."""
    ((name, action),) = line.items()
    return name, action


def _first_lacking(root: Path, state: _State, entries: list[_Entry]) -> int | None:
    """The index of the first entry that adds a file which is wanted to the end and is not whole; None: there is none."""
    wanted: dict[str, tuple[int, int]] = {}
    for index, entry in enumerate(entries):
        for path in entry.removed:
            wanted.pop(path, None)
        wanted |= {path: (index, size) for path, size in entry.added.items()}
    return min((index for path, (index, size) in wanted.items() if not _is_whole(root / path, size)), default=None)


def _apply(state: _State, entry: _Entry) -> None:
    for path in entry.removed:
        state.files.pop(path, None)
    state.files |= entry.added
    state.positions |= entry.moved
    state.version += 1


def _is_whole(path: Path, size: int) -> bool:
    try:
        with path.open("rb") as opened:
            if opened.seek(0, os.SEEK_END) != size or size < len(_PARQUET_END):
                return False
            opened.seek(-len(_PARQUET_END), os.SEEK_END)
            return opened.read() == _PARQUET_END
    except FileNotFoundError:
        return False


def _points_at(directory: Path, checkpoints: Iterable[str]) -> bool:
    """Whether `_last_checkpoint` can be read and names one of these."""
    try:
        version = _decode((directory / _LAST_CHECKPOINT).read_bytes())["version"]
        return f"{version:020d}.checkpoint.parquet" in checkpoints
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError, TypeError):
        return False


# -- what healing must not lose


def _require_files(root: Path, state: _State) -> None:
    missing = [path for path, size in state.files.items() if not _has_size(root / path, size)]
    if missing:
        raise _damaged(root, f"{len(missing)} data file(s) are missing or of another size, such as {missing[0]}")


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except FileNotFoundError:
        return False


def _require_log_holds(root: Path, state: _State, log: Path | None) -> None:
    for writer, base in _bases(log):
        position = state.positions.get(position_name(writer), 0)
        if base > position + 1:
            raise _damaged(
                root,
                f"it is whole up to version {state.version}, which has the events of {writer} up to {position},"
                f" but the log holds them from {base} on only",
            )


def _damaged(root: Path, what: str) -> LakeError:
    return LakeError(f"the table {root} is damaged beyond its end: {what}; bring it back from a backup. Nothing was changed")


def _bases(log: Path | None) -> Iterator[tuple[str, int]]:
    """Each writer of the tree, and the sequence its oldest segment begins with."""
    disk = Disk()
    if log is None:
        return
    for writer in writers_of(disk, log):
        segments = list_segments(disk, log / writer).segments
        if segments:
            yield writer, segments[0].base


# -- moving


def _put_aside(root: Path, names: list[str]) -> Path:
    """Durably, the newest first: whatever is left after a cut in the middle of it is still whole entries and a damaged end."""
    disk = Disk()
    broken = root / BROKEN_NAME / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid4().hex[:8]}"
    make_durable_directory(disk, broken)
    for name in sorted(names, key=lambda name: (name == _LAST_CHECKPOINT, name), reverse=True):
        disk.rename(root / LOG_NAME / name, broken / name)
        disk.sync_directory(broken)
        disk.sync_directory(root / LOG_NAME)
    return broken


def _sync_all(directory: Path, names: Iterable[str]) -> None:
    """What is whole is made durable. The newest entry is written anew for that: its sync may be what failed, and a second one of
    the same file would report success with nothing written (reliability F9). All others were synced before the next was begun."""
    disk = Disk()
    ordered = sorted(names)
    newest = max((name for name in ordered if _ENTRY(name)), default=None)
    if newest is not None:
        fresh = directory / f".{newest}.new"
        fresh.unlink(missing_ok=True)
        copy_file(directory / newest, fresh, disk=disk)
        disk.rename(fresh, directory / newest)
    for name in ordered:
        if name == newest:
            continue
        descriptor = disk.open_read(directory / name)
        try:
            disk.sync_file(descriptor)
        finally:
            disk.close(descriptor)
    disk.sync_directory(directory)
