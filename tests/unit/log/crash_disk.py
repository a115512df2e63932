"""A file system in memory that can lose power, and is as mean about it as the standards allow.

Content: of what was never synced, each sector of 512 bytes independently persists, is lost (old bytes or zeros), or is garbage;
the file's size is anything between. Names: of the changes to a directory since its last sync, each independently persists or not.
The mapped watermark is whatever it was at some earlier moment, or garbage.
"""

from __future__ import annotations

import errno
import random
from pathlib import Path

from footfall.log.disk import Disk

_SECTOR = 512


class Death(BaseException):
    """The process ended here, between two calls; nothing of it runs on."""


class _File:
    def __init__(self) -> None:
        self.data = bytearray()
        self.synced = b""
        self.mapped_history: list[bytes] | None = None


class _Directory:
    def __init__(self) -> None:
        self.now: dict[str, _File | _Directory] = {}
        self.durable: dict[str, _File | _Directory] = {}
        self.pending: list[tuple[str, str, _File | _Directory | None]] = []

    def change(self, kind: str, name: str, node: _File | _Directory | None) -> None:
        self.pending.append((kind, name, node))
        _apply(self.now, kind, name, node)


def _apply(names: dict[str, _File | _Directory], kind: str, name: str, node: _File | _Directory | None) -> None:
    if kind == "add" and node is not None:
        names[name] = node
    elif kind == "remove":
        names.pop(name, None)
    elif node is not None:  # rename: `kind` is the old name
        for other in [key for key, value in names.items() if value is node]:
            del names[other]
        names[name] = node


class CrashDisk(Disk):
    """Implements every call of `Disk`. `lose_power` and `kill` give the disk as the next process finds it."""

    def __init__(self, *, free_bytes: int = 1 << 40) -> None:
        self.root = _Directory()
        self.free = free_bytes
        self._open: dict[int, tuple[_File, str]] = {}
        self._locks: dict[int, str] = {}
        self._next = 3
        self.calls_left = 1 << 60
        """Changing calls until the process dies."""

    # -- what the machine does ---------------------------------------------------------------------------------------

    def kill(self) -> CrashDisk:
        """The process is gone, the machine goes on: everything written is there, every lock is free."""
        survivor = CrashDisk(free_bytes=self.free)
        survivor.root = self.root
        return survivor

    def free_locks(self) -> None:
        """What `kill` does to locks, on a disk that others go on using."""
        self._locks.clear()

    def lose_power(self, seed: int) -> CrashDisk:
        chance = random.Random(seed)
        survivor = CrashDisk(free_bytes=self.free)
        survivor.root = self._persisted_directory(self.root, chance)
        return survivor

    def _persisted_directory(self, directory: _Directory, chance: random.Random) -> _Directory:
        names = dict(directory.durable)
        for kind, name, node in directory.pending:
            if chance.random() < 0.5:
                _apply(names, kind, name, node)
        copy = _Directory()
        for name, node in names.items():
            if isinstance(node, _Directory):
                copy.now[name] = self._persisted_directory(node, chance)
            else:
                copy.now[name] = self._persisted_file(node, chance)
        copy.durable = dict(copy.now)
        return copy

    def _persisted_file(self, file: _File, chance: random.Random) -> _File:
        copy = _File()
        if file.mapped_history is not None:
            choices = [*file.mapped_history, bytes(file.data)]
            copy.data = bytearray(chance.choice(choices) if chance.random() < 0.8 else chance.randbytes(len(file.data)))
        else:
            low, high = sorted((len(file.synced), len(file.data)))
            size = chance.randint(low, high) if chance.random() < 0.5 else high
            content = bytearray(file.synced[:size].ljust(size, b"\0"))
            mode = chance.random()
            for start in range(0, size, _SECTOR):
                end = min(start + _SECTOR, size)
                if bytes(content[start:end]) == bytes(file.data[start:end]):
                    continue
                # what was synced and not overwritten since stays; only new bytes are at stake
                kept = max(start, min(len(file.synced), end)) if file.data[: len(file.synced)] == file.synced else start
                fate = chance.random() if mode < 0.7 else 0.0
                if fate < 0.5:
                    content[kept:end] = file.data[kept:end].ljust(end - kept, b"\0")
                elif fate < 0.75:
                    content[kept:end] = chance.randbytes(end - kept)
            copy.data = content
        copy.synced = bytes(copy.data)
        return copy

    # -- what the log asks -------------------------------------------------------------------------------------------

    def make_directory(self, path: Path) -> bool:
        self._spend()
        parent = self._directory(path.parent)
        if path.name in parent.now:
            return False
        parent.change("add", path.name, _Directory())
        return True

    def is_directory(self, path: Path) -> bool:
        try:
            self._directory(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def names(self, directory: Path) -> list[str]:
        return list(self._directory(directory).now)

    def create(self, path: Path) -> int:
        self._spend()
        parent = self._directory(path.parent)
        if path.name in parent.now:
            raise FileExistsError(errno.EEXIST, "exists", str(path))
        file = _File()
        parent.change("add", path.name, file)
        return self._handle(file, path)

    def open_append(self, path: Path) -> int:
        return self._handle(self._file(path), path)

    def open_read(self, path: Path) -> int:
        return self._handle(self._file(path), path)

    def close(self, descriptor: int) -> None:
        self._locks.pop(descriptor, None)
        self._open.pop(descriptor, None)

    def size(self, descriptor: int) -> int:
        return len(self._open[descriptor][0].data)

    def read_at(self, descriptor: int, count: int, offset: int) -> bytes:
        return bytes(self._open[descriptor][0].data[offset : offset + count])

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        self._spend()
        part = bytes(data)[: self.free]
        if data and not part:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.free -= len(part)
        self._open[descriptor][0].data += part
        return len(part)

    def truncate(self, descriptor: int, size: int) -> None:
        self._spend()
        file = self._open[descriptor][0]
        self.free += len(file.data) - size
        del file.data[size:]

    def sync_data(self, descriptor: int) -> None:
        self._spend()
        self._remember_maps()
        file = self._open[descriptor][0]
        file.synced = bytes(file.data)

    def sync_file(self, descriptor: int) -> None:
        self.sync_data(descriptor)

    def sync_directory(self, path: Path) -> None:
        self._spend()
        directory = self._directory(path)
        directory.durable = dict(directory.now)
        directory.pending.clear()

    def rename(self, old: Path, new: Path) -> None:
        self._spend()
        directory = self._directory(old.parent)
        directory.change(old.name, new.name, self._file(old))

    def link(self, old: Path, new: Path) -> None:
        self._spend()
        self._directory(new.parent).change("add", new.name, self._file(old))

    def remove(self, path: Path) -> None:
        self._spend()
        self._file(path)
        self._directory(path.parent).change("remove", path.name, None)

    def map_shared(self, path: Path, size: int) -> bytearray:
        self._spend()
        parent = self._directory(path.parent)
        if path.name not in parent.now:
            parent.change("add", path.name, _File())
        file = self._file(path)
        file.data += bytes(max(0, size - len(file.data)))
        file.mapped_history = [bytes(file.data)]
        return file.data

    def lock(self, path: Path) -> int:
        if str(path) in self._locks.values():
            raise BlockingIOError(errno.EAGAIN, "locked")
        parent = self._directory(path.parent)
        if path.name not in parent.now:
            parent.change("add", path.name, _File())
        descriptor = self._handle(self._file(path), path)
        self._locks[descriptor] = str(path)
        return descriptor

    def lock_directory(self, path: Path) -> int:
        self._directory(path)
        if str(path) in self._locks.values():
            raise BlockingIOError(errno.EAGAIN, "locked")
        self._next += 1
        self._locks[self._next] = str(path)
        return self._next

    def unlock(self, descriptor: int) -> None:
        del self._locks[descriptor]

    def is_locked(self, path: Path) -> bool:
        return str(path) in self._locks.values()

    def free_bytes(self, path: Path) -> int:
        return self.free

    def file_system(self, path: Path) -> str:
        return "model"

    def _spend(self) -> None:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Death

    # -- inside ------------------------------------------------------------------------------------------------------

    def _directory(self, path: Path) -> _Directory:
        node: _File | _Directory = self.root
        for part in path.parts[1:]:
            if not isinstance(node, _Directory):
                raise NotADirectoryError(errno.ENOTDIR, "no directory", str(path))
            if part not in node.now:
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
            node = node.now[part]
        if not isinstance(node, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, "no directory", str(path))
        return node

    def _file(self, path: Path) -> _File:
        node = self._directory(path.parent).now.get(path.name)
        if not isinstance(node, _File):
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return node

    def _handle(self, file: _File, path: Path) -> int:
        self._next += 1
        self._open[self._next] = (file, str(path))
        return self._next

    def _remember_maps(self) -> None:
        pending: list[_Directory] = [self.root]
        while pending:
            for node in pending.pop().now.values():
                if isinstance(node, _Directory):
                    pending.append(node)
                elif node.mapped_history is not None:
                    node.mapped_history = [*node.mapped_history[-3:], bytes(node.data)]
