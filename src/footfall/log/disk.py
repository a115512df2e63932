"""The file system, as the log uses it: the one place in `log/` that calls the operating system.

Everything above takes a `Disk`, so that a test can hand in one that fails its n-th call, fills up, or forgets what was never
synced. The methods are the system calls and nothing more: no retry, no translation of errors (all raise OSError), no state.
POSIX is the home of it; Windows is served as far as a client's outbox needs it (no directory fsync there, none is possible).
"""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Final, Protocol

_LOCAL_FILE_SYSTEMS: Final = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs"})
_LONG_S: Final = 0.02
"""Longer than the scheduler lets a thread wait for its core, which 2 ms were not."""
_AVOID_S: Final = 1.0
_BINARY = getattr(os, "O_BINARY", 0)
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | _BINARY
_APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0) | _BINARY


class Mapped(Protocol):
    """Bytes shared with every process that maps or reads the same file."""

    def __getitem__(self, index: slice, /) -> bytes: ...
    def __setitem__(self, index: slice, value: bytes, /) -> None: ...


class Disk:
    """The real one."""

    def make_directory(self, path: Path) -> bool:
        """Makes one directory (0700), whose parent exists. False where it was there already."""
        try:
            os.mkdir(path, 0o700)  # noqa: PTH102 - the plain call is what a seam should show
        except FileExistsError:
            return False
        return True

    def is_directory(self, path: Path) -> bool:
        return path.is_dir()

    def names(self, directory: Path) -> list[str]:
        return os.listdir(directory)  # noqa: PTH208 - names are wanted, not paths: this is on the reader's way

    def create(self, path: Path) -> int:
        """Opens a file that must not exist yet (0600), for appending."""
        return os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)

    def open_append(self, path: Path) -> int:
        return os.open(path, _APPEND)

    def open_read(self, path: Path) -> int:
        return os.open(path, _READ)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def read_at(self, descriptor: int, count: int, offset: int) -> bytes:
        """Up to `count` bytes; fewer only at the end of the file."""
        if sys.platform == "win32":
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, count)
        return os.pread(descriptor, count, offset)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        """May write less than asked: a full volume does (reliability F12)."""
        return os.write(descriptor, data)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync_data(self, descriptor: int) -> None:
        """Content and the size needed to read it back reach stable storage."""
        if sys.platform == "linux":
            os.fdatasync(descriptor)
        else:
            self.sync_file(descriptor)

    def sync_file(self, descriptor: int) -> None:
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync on macOS stops at the drive's cache
        else:
            os.fsync(descriptor)

    def forget(self, descriptor: int) -> None:
        """Lets the kernel take back what it keeps in memory of a file that is synced; nothing of the file changes."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def sync_directory(self, path: Path) -> None:
        """Names made, changed or removed in `path` reach stable storage."""
        if sys.platform == "win32":
            return
        descriptor = os.open(path, _READ | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        """Replaces `new` where it exists."""
        os.replace(old, new)  # noqa: PTH105

    def link(self, old: Path, new: Path) -> None:
        """A second name for the same bytes: no room is needed for it."""
        os.link(old, new)

    def remove(self, path: Path) -> None:
        os.unlink(path)  # noqa: PTH108

    def map_shared(self, path: Path, size: int) -> Mapped:
        """Maps a file of `size` bytes for reading and writing, made (0600, zeros) or lengthened where needed.

        The zeros are written, not left as a hole: storing into a hole on a full volume would kill the process with SIGBUS.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
        try:
            missing = size - os.fstat(descriptor).st_size
            if missing > 0:
                os.lseek(descriptor, 0, os.SEEK_END)
                if os.write(descriptor, bytes(missing)) != missing:
                    raise OSError(28, "No space left on device", str(path))
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> int:
        """Takes the file as an exclusive lock, held until the descriptor is closed. BlockingIOError: another has it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            self._lock(descriptor, shared=False)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def is_locked(self, path: Path) -> bool:
        """Whether somebody holds `path` as a lock. Asking takes the lock for some microseconds, shared."""
        try:
            descriptor = self.open_read(path)
        except FileNotFoundError:
            return False
        try:
            self._lock(descriptor, shared=True)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def lock_directory(self, path: Path) -> int:
        """Takes the directory itself as an exclusive lock, until `unlock`: no file is made for it. BlockingIOError: another has
        it. -1 where directories cannot be locked (Windows, some network volumes): then nobody is held off."""
        if sys.platform == "win32":
            return -1
        descriptor = os.open(path, _READ | os.O_DIRECTORY)
        try:
            self._lock(descriptor, shared=False)
        except OSError as refused:
            os.close(descriptor)
            if isinstance(refused, BlockingIOError):
                raise
            return -1
        return descriptor

    def unlock(self, descriptor: int) -> None:
        """Gives back what `lock_directory` took. Said aloud, since a child forked meanwhile has the descriptor too."""
        if descriptor < 0 or sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def free_bytes(self, path: Path) -> int:
        """What an ordinary user may still write."""
        if sys.platform == "win32":
            import shutil

            return shutil.disk_usage(path).free
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def file_system(self, path: Path) -> str:
        """The type as the kernel names it (`ext4`, `tmpfs`); empty where there is no telling."""
        device = os.stat(path).st_dev  # noqa: PTH116
        wanted = f"{os.major(device)}:{os.minor(device)}" if hasattr(os, "major") else ""
        try:
            with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="replace") as lines:
                for line in lines:
                    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw: proc(5)
                    fields, _, rest = line.partition(" - ")
                    if fields.split()[2] == wanted:
                        return rest.split()[0]
        except OSError:
            pass
        return ""

    def _lock(self, descriptor: int, *, shared: bool) -> None:
        if sys.platform == "win32":
            import msvcrt

            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            except OSError as refused:
                raise BlockingIOError(*refused.args) from refused
        else:
            import fcntl

            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class UnsyncedDisk(Disk):
    """The real one, never waiting for the storage: what was written survives the death of the process, not a power cut.

    Over it a log's durable mark means "handed to the operating system", which is all that an outbox on the way of a request may
    wait for. Damage below the mark is then what a power cut leaves, and is opened with quarantine.
    """

    def sync_data(self, descriptor: int) -> None:
        pass

    def sync_file(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


class KeepingDisk(UnsyncedDisk):
    """One that keeps the interpreter to itself while it writes: for local files, which are written at the speed of memory.

    `os.write` lets go of the interpreter's lock, and a busy thread that waits for it takes it: a write of 2 µs then costs the one
    who writes as long as that thread likes (99th percentile of `Outbox.track` beside a busy sender: 291 µs, so 26; adr 0013). The
    price: while such a write hangs, so does the whole process. Hence not for a second after one that took long.
    """

    def __init__(self) -> None:
        import ctypes  # 5 ms, for those who track

        self._keeping = ctypes.PyDLL(None).write
        self._keeping.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t)
        self._keeping.restype = ctypes.c_ssize_t
        self._not_before_s = 0.0

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        begun_s = perf_counter()
        if begun_s < self._not_before_s or type(data) is not bytes:
            return super().write(descriptor, data)
        written: int = self._keeping(descriptor, data, len(data))
        if perf_counter() - begun_s > _LONG_S:
            self._not_before_s = begun_s + _AVOID_S
        return written if written >= 0 else super().write(descriptor, data)  # which raises, or does what could not be done


def unsynced_disk(path: Path) -> UnsyncedDisk:
    """The quickest one for files below `path`, which need not be there yet."""
    try:
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        return KeepingDisk() if UnsyncedDisk().file_system(there) in _LOCAL_FILE_SYSTEMS else UnsyncedDisk()
    except (OSError, ImportError, AttributeError, StopIteration):  # no such path, no ctypes, no such function
        return UnsyncedDisk()


def write_all(disk: Disk, descriptor: int, data: bytes) -> None:
    """Writes every byte of `data`, however many calls it takes; a call that takes none means that the volume is full."""
    written = disk.write(descriptor, data)
    while written < len(data):
        more = disk.write(descriptor, memoryview(data)[written:])
        if more == 0:
            raise OSError(28, "No space left on device")
        written += more


def remove_if_there(disk: Disk, path: Path) -> None:
    """Removes a file that another process may have removed already."""
    try:
        disk.remove(path)
    except FileNotFoundError:
        pass


def make_durable_directory(disk: Disk, path: Path) -> None:
    """Makes `path` with its missing parents, and every name on the way to it durable.

    Also names that were there already: who made them may have died before it synced them.
    """
    missing: list[Path] = []
    parent = path
    while not disk.is_directory(parent):
        missing.append(parent)
        parent = parent.parent
    for directory in reversed(missing):
        disk.make_directory(directory)
    for depth, parent in enumerate(path.parents):
        try:
            disk.sync_directory(parent)
        except OSError:
            if depth < max(2, len(missing)):
                raise
            return  # not ours, and perhaps not even readable: /home, /
