"""Where the table's files lie: a directory of this machine, or an object store.

delta-rs commits; the data files are put in place here, before the commit that names them, so that each is known to be whole and
durable by then. On a local path delta-rs itself never calls fsync (a power cut leaves a log of empty files), so this module does:
content, then name, then directory of each data file before the commit; the same of the log entry after it. An object store's put
is durable when it returns.

    <table>/platform=SHOP/event_date=2026-11-23/1-0198….parquet
            _delta_log/00000000000000000042.json
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from footfall.errors import LakeError, SettingsError

LOG_NAME: Final = "_delta_log"
_CONFUSING: Final = re.compile(r"[*?\[]|(?:^|/)(?:platform|event_date)=").search
_SINGLE_SYNCS_MAX: Final = 8
"""Beyond, one syncfs of the whole volume costs less than one fsync a file (1.4 ms against 1.6 ms for each set of a commit)."""


class Volume(Protocol):
    """Where files lie that are named by paths relative to the table. May block; raises OSError or LakeError."""

    uri: str
    """as delta-rs takes it"""
    filesystem: Any
    """what DuckDB must register to read it; None for local files"""

    def place(self, files: Mapping[str, Path]) -> None:
        """Moves staged files (path in the table → where it is now) in place; durable when it returns. Staged files are gone."""
        ...

    def settle(self, version: int) -> None:
        """Makes the log entry of that version, and what else lies in the log, durable."""
        ...

    def locate(self, path: str) -> str:
        """As DuckDB takes it."""
        ...

    def remove(self, paths: Iterable[str]) -> int:
        """Removes files that may be gone already; returns how many were there. Durable when it returns."""
        ...

    def listed(self) -> Sequence[tuple[str, int]]:
        """Every data file that lies there, needed or not: path and bytes."""
        ...

    def log_names(self) -> Sequence[str]:
        """What lies in the table's log: names, in no order."""
        ...


def volume_at(table: str) -> Volume:
    """The volume a setting names: a directory, or a URL of an object store."""
    if _CONFUSING(table if "://" in table else str(Path(table).absolute())):
        raise SettingsError(
            f"the table cannot lie at {table}: DuckDB takes platform=…/ and event_date=…/ for columns, and * ? [ for patterns"
        )
    if "://" not in table:
        return LocalVolume(Path(table).absolute())
    if not table.startswith("s3://"):
        raise SettingsError(f"lake.table: {table.split('://')[0]}:// is not spoken; a directory or s3://bucket/path is")
    return ObjectVolume(table.rstrip("/"))


class LocalVolume:
    """A directory. Moves are renames where the staging is on the same volume, and copies where not."""

    filesystem: Any = None

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = str(root)
        self._directories: set[Path] = set()  # known to be there, with durable names

    def place(self, files: Mapping[str, Path]) -> None:
        if len(files) > _SINGLE_SYNCS_MAX and self._sync_volume():
            pass
        else:
            for staged in files.values():
                _sync(staged)
        touched = set()
        for path, staged in files.items():
            target = self.root / path
            self._make(target.parent)
            try:
                _move(staged, target)
            except FileNotFoundError:  # upkeep, in its thread, has just removed the partition, which was empty
                self._directories -= {target.parent, target.parent.parent}
                self._make(target.parent)
                _move(staged, target)
            touched.add(target.parent)
        for directory in touched:
            _sync(directory)

    def settle(self, version: int) -> None:
        log = self.root / LOG_NAME
        for name in (f"{version:020d}.json", "_last_checkpoint"):
            if (log / name).exists():
                _sync(log / name)
        for checkpoint in log.glob(f"{version:020d}.checkpoint*.parquet"):
            _sync(checkpoint)
        _sync(log)

    def locate(self, path: str) -> str:
        return str(self.root / path)

    def remove(self, paths: Iterable[str]) -> int:
        count, touched = 0, set()
        for path in paths:
            target = self.root / path
            try:
                target.unlink()
            except FileNotFoundError:
                continue
            count += 1
            touched.add(target.parent)
        for directory in touched:
            _sync(directory)
            if not any(directory.iterdir()):
                self._directories -= {directory, directory.parent}
                _remove_empty(directory)
        return count

    def listed(self) -> Sequence[tuple[str, int]]:
        found = []
        for file in self.root.glob("platform=*/event_date=*/*.parquet"):
            try:
                found.append((file.relative_to(self.root).as_posix(), file.stat().st_size))
            except FileNotFoundError:  # removed since
                continue
        return found

    def log_names(self) -> Sequence[str]:
        return os.listdir(self.root / LOG_NAME)  # noqa: PTH208 - names are wanted

    def make(self) -> None:
        """The directory itself, with a durable name."""
        self._make(self.root)

    def _make(self, directory: Path) -> None:
        if directory in self._directories:
            return
        if not directory.is_dir():
            self._make(directory.parent)
            directory.mkdir(mode=0o700, exist_ok=True)
            _sync(directory.parent)
        self._directories.add(directory)

    def _sync_volume(self) -> bool:
        """One syncfs, where the system has it."""
        if sys.platform != "linux":
            return False
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), self.uri)
        finally:
            os.close(descriptor)
        return True


class ObjectVolume:
    """A prefix of a bucket. Address and credentials come from the usual AWS_… variables, which all three libraries read."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        try:
            import obstore
            from obstore.fsspec import FsspecStore
            from obstore.store import from_url
        except ImportError as error:
            raise LakeError(
                f"object stores need more packages: pip install 'footfall[server]' ({error.name} is missing)"
            ) from None
        self._obstore = obstore
        self._store = from_url(uri)
        made: Any = FsspecStore  # its types do not know of the cache, which would give us one made for another address
        self.filesystem: Any = made("s3", skip_instance_cache=True)

    def place(self, files: Mapping[str, Path]) -> None:
        for path, staged in files.items():
            with self._told(f"writing {path}"), staged.open("rb") as opened:
                self._obstore.put(self._store, path, opened)
            staged.unlink()

    def settle(self, version: int) -> None:
        """A put was durable when it returned."""

    def locate(self, path: str) -> str:
        return f"{self.uri}/{path}"

    def remove(self, paths: Iterable[str]) -> int:
        gone = list(paths)
        with self._told("removing files"):
            if gone:
                self._obstore.delete(self._store, gone)
        return len(gone)

    def listed(self) -> Sequence[tuple[str, int]]:
        with self._told("listing files"):
            found = [entry for batch in self._obstore.list(self._store) for entry in batch]
        return [(entry["path"], entry["size"]) for entry in found if entry["path"].startswith("platform=")]

    def log_names(self) -> Sequence[str]:
        with self._told("listing the log"):
            return [entry["path"].rpartition("/")[2] for batch in self._obstore.list(self._store, LOG_NAME) for entry in batch]

    def _told(self, doing: str) -> _Told:
        return _Told(f"{self.uri}: {doing}")


class _Told:
    """Turns what an object store raises into one line of ours."""

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and isinstance(error, Exception):
            raise LakeError(f"{self._doing} failed ({type(error).__name__})") from error


def _move(staged: Path, target: Path) -> None:
    """A rename or, where the table lies on another volume than the staging, a durable copy that appears whole."""
    try:
        os.replace(staged, target)  # noqa: PTH105
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f".{target.name}")
        shutil.copyfile(staged, copy)
        _sync(copy)
        os.replace(copy, target)  # noqa: PTH105
        staged.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_empty(directory: Path) -> None:
    """A partition without files, and its platform's directory when that was the last."""
    try:
        directory.rmdir()
        directory.parent.rmdir()
    except OSError:  # somebody was quicker, or there is more in it
        pass
