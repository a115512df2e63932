"""`footfall backup` and `footfall restore`: the data directory as a copy that opens, and back.

A backup is a data directory with one file more, `backup.json`, which lists every file with its size and SHA-256 and is written
last, under a name that is not the backup's: whatever dies on the way leaves nothing that could be mistaken for a whole one. It is
taken beside a running server. The log knows how it is copied while it grows (`log.copying`), the table how one version of it is
(`lake.copying`), SQLite how a database is; the log goes first, so that every platform id in it is in the registry that follows. A
table elsewhere (`lake.table`) is not in a backup. After a restore the log goes on far above where the
backup ends (`log.restoring`): its readers may know more of it than the backup does.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Final

import msgspec
import typer

from footfall import __version__
from footfall.cli.data import DEFAULT_DATA, REGISTRY_NAME, TREES, DataOption, explained, owned, tree
from footfall.cli.output import REFUSED, USAGE, JsonOption, counted, fail, marked, print_json, progress_bar, say
from footfall.clock import SystemClock
from footfall.errors import LogCorruptError, RegistryError
from footfall.log.copying import CopiedFile, copy_file, copy_tree
from footfall.log.disk import Disk, make_durable_directory
from footfall.log.restoring import leave_gap
from footfall.log.verify import TreeReport, verify

MANIFEST_NAME: Final = "backup.json"
_FORMAT: Final = 1
_LOG_NAME: Final = "log"
_UNFINISHED: Final = ".unfinished"
_LAKE_NAME: Final = "lake"
_SCRATCH: Final = {"lake-staging", "lake-upkeep", "lake-refused", "lake.lock", "run", "lock"}
_NOT_COPIED: Final = frozenset({_LOG_NAME, _LAKE_NAME, MANIFEST_NAME, "lost+found", *_SCRATCH})
"""Of the data directory: log and lake are copied with care of their own, the rest is a running server's scratch."""

_Told = Callable[[int], None]


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`backup.json`. `events` counts records by tree, `positions` is the last of each writer: what the backup reaches up to."""

    format: int
    version: str
    created_at: int
    events: dict[str, int]
    positions: dict[str, int]
    files: tuple[CopiedFile, ...]

    @property
    def bytes_count(self) -> int:
        return sum(file.bytes_count for file in self.files)


_BackupDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="The backup.", file_okay=False, show_default=False)]


def backup(directory: _BackupDirectory, data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """Copy the data directory to DIR, beside a running server too.

    Every event answered 200 before the backup began is in it. DIR must not exist, or be empty; it appears when it is whole, its
    log checked. Exit 1 where DIR is taken, 3 where the log is damaged: then nothing is left of the copy.
    """
    clock = SystemClock()
    began_s = clock.monotonic_s()
    if not (data / _LOG_NAME).is_dir() and not (data / REGISTRY_NAME).is_file():
        fail(f"there is nothing to back up in {data}; --data or FOOTFALL_DATA names the data directory", USAGE)
    _require_free_target(directory, data)
    created_at = clock.now_ms()
    with _stage_beside(directory) as stage:
        with _progress("copying", bytes_total=_size(data), quiet=json) as told:
            files = _copy_all(data, stage, told)
        reports = {mode: verify(tree(stage, mode)) for mode in TREES}
        _require_sound(reports, stage, data)
        manifest = Manifest(
            format=_FORMAT,
            version=__version__,
            created_at=created_at,
            events={mode: sum(writer.records for writer in report.writers) for mode, report in reports.items()},
            positions={f"{mode}/{writer.writer}": writer.last for mode, report in reports.items() for writer in report.writers},
            files=tuple(files),
        )
        _write(stage / MANIFEST_NAME, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        _sync_directories(stage)
        stage.rename(directory.resolve())
        Disk().sync_directory(directory.resolve().parent)
    _tell("backed up", manifest, directory, seconds=clock.monotonic_s() - began_s, json=json)


def restore(directory: _BackupDirectory, data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """Make the data directory from the backup DIR, every byte checked.

    The data directory must not exist, or be empty. Exit 1 where it is neither, or the backup is not whole; 3 where a server runs
    on it. Start the server afterwards: its events get positions far above those of the backup, so that none is given twice.
    """
    clock = SystemClock()
    began_s = clock.monotonic_s()
    manifest = _read_manifest(directory)
    with explained(data), _empty_and_unowned(data) as exists, _stage_inside(data) if exists else _stage_beside(data) as stage:
        with _progress("restoring", bytes_total=manifest.bytes_count, quiet=json) as told:
            for file in manifest.files:
                _restore_file(directory, stage, file, told)
        for mode in TREES:
            leave_gap(tree(stage, mode))
        _ask_again(stage)
        _sync_directories(stage)
        _move_into_place(stage, data, exists=exists)
    _tell("restored", manifest, data, seconds=clock.monotonic_s() - began_s, json=json)


def _ask_again(stage: Path) -> None:
    """Whoever was erased is erased again: the files of the backup may be older than what its registry says is done."""
    if not (stage / REGISTRY_NAME).is_file():
        return
    from footfall.registry.store import Registry

    with Registry.at(stage / REGISTRY_NAME) as registry:
        if registry.erasures(pending=False):
            registry.reopen_erasures()


# -- taking a backup


def _require_free_target(directory: Path, data: Path) -> None:
    if directory.resolve().is_relative_to(data.resolve()):
        fail(f"{directory} is inside the data directory: a backup belongs on another volume", USAGE)
    if os.path.lexists(directory):
        if not directory.is_dir() or any(directory.iterdir()):
            fail(f"{directory} exists and is not empty; name a directory that does not exist yet", REFUSED)
        if directory.is_mount():
            fail(f"{directory} is the root of a volume; name a directory inside it", REFUSED)
    elif not directory.absolute().parent.is_dir():
        fail(f"there is no directory {directory.absolute().parent} to put the backup into", USAGE)


def _copy_all(data: Path, stage: Path, told: _Told) -> list[CopiedFile]:
    disk = Disk()
    disk.make_directory(stage / _LOG_NAME)
    files = []
    for mode in TREES:
        copied = copy_tree(tree(data, mode), tree(stage, mode), on_bytes=told)
        files += [msgspec.structs.replace(file, path=f"{_LOG_NAME}/{mode}/{file.path}") for file in copied]
    files += _copy_lake(data, stage, told)
    for path in sorted(_other_files(data)):
        relative = path.relative_to(data)
        (stage / relative).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            copied_file = copy_file(path, stage / relative, on_bytes=told)
        except FileNotFoundError:
            continue  # removed since it was listed
        files.append(msgspec.structs.replace(copied_file, path=relative.as_posix()))
    if (data / REGISTRY_NAME).is_file():
        files.append(_copy_registry(data / REGISTRY_NAME, stage / REGISTRY_NAME))
        told(files[-1].bytes_count)
    return files


def _copy_lake(data: Path, stage: Path, told: _Told) -> list[CopiedFile]:
    """The table, where it lies in the data directory. After the log: what came too late for the log's copy the table may have
    already, and what retention takes from the log meanwhile the table has."""
    place = PurePosixPath(_LAKE_NAME) / "events"
    if not (data / place).is_dir():
        return []
    from footfall.lake.copying import copy_table  # delta-rs, for those who have a table

    for directory in (stage / _LAKE_NAME, stage / place):
        directory.mkdir(mode=0o700)
    copied = copy_table(data / place, stage / place, on_bytes=told)
    return [msgspec.structs.replace(file, path=f"{place}/{file.path}") for file in copied]


def _other_files(data: Path) -> Iterator[Path]:
    """Settings, go-live marks, and whatever else an operator keeps there."""
    for entry in data.iterdir():
        if entry.name in _NOT_COPIED or entry.name.startswith(REGISTRY_NAME) or entry.name.endswith(_UNFINISHED):
            continue
        found = entry.rglob("*") if entry.is_dir() else (entry,)
        yield from (path for path in found if path.is_file())


def _copy_registry(source: Path, target: Path) -> CopiedFile:
    """By SQLite's own online backup: a plain copy could catch a transaction halfway."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            (verdict,) = new.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.Error as error:
        raise RegistryError(f"the registry cannot be copied: {error}") from None
    if verdict != "ok":
        raise RegistryError(f"the registry {source} is damaged: {verdict}")
    scratch = target.with_name(target.name + _UNFINISHED)
    copied = copy_file(target, scratch)  # reads it for the sum, and syncs what it read
    scratch.replace(target)
    return msgspec.structs.replace(copied, path=target.name)


def _require_sound(reports: dict[str, TreeReport], stage: Path, data: Path) -> None:
    """A copy of damage is no backup, and one that is taken in silence would replace the good ones."""
    for mode, report in reports.items():
        for writer in report.writers:
            for place in writer.damages:
                where = tree(data, mode) / place.file
                raise LogCorruptError(
                    f"{where}, byte {place.offset}: {place.reason}; the log is damaged, so this makes no backup. Keep the older"
                    " backups, copy the data directory as it is, then see `footfall log verify`"
                )


def _size(data: Path) -> int:
    """About how much there is to copy."""
    size = 0
    for path in data.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return size


# -- bringing it back


def _read_manifest(directory: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((directory / MANIFEST_NAME).read_bytes(), type=Manifest)
    except (FileNotFoundError, NotADirectoryError):
        fail(f"{directory} is no whole backup: it has no {MANIFEST_NAME}", REFUSED)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        fail(f"{directory / MANIFEST_NAME} is damaged: restore another backup", REFUSED)
    if manifest.format != _FORMAT:
        fail(f"{directory} was made by Footfall {manifest.version}, in a form this version does not know", REFUSED)
    for file in manifest.files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            fail(f"{directory / MANIFEST_NAME} names a file outside the backup: it was tampered with", REFUSED)
    return manifest


@contextmanager
def _empty_and_unowned(data: Path) -> Iterator[bool]:
    """Whether `data` exists. If so it is held as a server holds it, so that none starts on it meanwhile."""
    if not data.exists():
        yield False
        return
    with owned(data, otherwise=f"{data} is owned by a running server; stop it first, or restore elsewhere"):
        _clear_leftovers(data)
        if any(entry.name != "lost+found" for entry in data.iterdir()):
            fail(f"{data} is not empty; move it away first (mv {data} {data}.old), or name another with --data", REFUSED)
        yield True


def _clear_leftovers(data: Path) -> None:
    """What an earlier restore into this directory left when it was killed."""
    for entry in data.glob(f".restore*{_UNFINISHED}"):
        shutil.rmtree(entry)


def _restore_file(directory: Path, stage: Path, file: CopiedFile, told: _Told) -> None:
    target = stage / file.path
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        copied = copy_file(directory / file.path, target, on_bytes=told)
    except FileNotFoundError:
        fail(f"the backup is not whole: {directory / file.path} is missing; restore another one", REFUSED)
    if (copied.bytes_count, copied.sha256) != (file.bytes_count, file.sha256):
        fail(f"the backup is damaged: {directory / file.path} is not what was written; restore another one", REFUSED)


def _move_into_place(stage: Path, data: Path, *, exists: bool) -> None:
    disk = Disk()
    if not exists:
        stage.rename(data)
        make_durable_directory(disk, data.absolute())
        return
    # The root of a volume cannot be replaced, its entries can. The log comes last: without it nothing looks restored.
    for entry in sorted(stage.iterdir(), key=lambda entry: entry.name == _LOG_NAME):
        entry.rename(data / entry.name)
    disk.sync_directory(data)


# -- both


@contextmanager
def _stage_beside(target: Path) -> Iterator[Path]:
    """A directory on the volume of `target`, gone at the end unless it was renamed."""
    parent = target.resolve().parent
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _stage(parent, prefix=f".{target.name}.") as stage:
        yield stage


@contextmanager
def _stage_inside(data: Path) -> Iterator[Path]:
    with _stage(data, prefix=".restore.") as stage:
        yield stage


@contextmanager
def _stage(parent: Path, *, prefix: str) -> Iterator[Path]:
    stage = Path(tempfile.mkdtemp(prefix=prefix, suffix=_UNFINISHED, dir=parent))
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - the mode belongs to the making of the file
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_directories(stage: Path) -> None:
    """Every name in the copy reaches stable storage; the files are synced as they are written."""
    disk = Disk()
    for directory in (*(path for path in stage.rglob("*") if path.is_dir()), stage):
        disk.sync_directory(directory)


@contextmanager
def _progress(label: str, *, bytes_total: int, quiet: bool) -> Iterator[_Told]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with progress_bar(*columns, quiet=quiet) as progress:
        task = progress.add_task(label, total=bytes_total)
        yield lambda count: progress.advance(task, count)


def _tell(done: str, manifest: Manifest, place: Path, *, seconds: float, json: bool) -> None:
    if json:
        summary: dict[str, Any] = {
            "files": len(manifest.files),
            "bytes": manifest.bytes_count,
            "events": sum(manifest.events.values()),
            "positions": manifest.positions,
            "seconds": round(seconds, 3),
        }
        print_json(summary)
        return
    events = " and ".join(f"{counted(count, f'{mode} event')}" for mode, count in manifest.events.items())
    say(
        f"{done} to [bold]{marked(str(place))}[/]: {events}, {counted(len(manifest.files), 'file')},"
        f" {manifest.bytes_count / 1e6:,.1f} MB in {seconds:.1f} s"
    )
