"""Who may change the lake: one process at a time, told by locks that the kernel gives back when it dies.

Two locks: a file in the data directory (its log's positions must have one lander), and the table's own directory where it is
local (two data directories may be pointed at one table by mistake). On an object store the second is missing; there the commit
itself refuses whoever looked before somebody else committed (`table`).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from footfall.errors import LakeOwnedError
from footfall.lake.volume import LocalVolume, Volume

LOCK_NAME: Final = "lake.lock"


@contextmanager
def owned_lake(data: Path, volume: Volume) -> Iterator[None]:
    """The lake of this data directory is this process's for the length of the block. Raises LakeOwnedError at once."""
    with ExitStack() as held:
        held.enter_context(_locked(data / LOCK_NAME, os.O_RDWR | os.O_CREAT))
        if isinstance(volume, LocalVolume):
            volume.make()
            held.enter_context(_locked(volume.root, os.O_RDONLY | os.O_DIRECTORY))
        yield


def is_owned(data: Path) -> bool:
    """Whether some process lands events of this data directory now."""
    try:
        with _locked(data / LOCK_NAME, os.O_RDWR):
            return False
    except FileNotFoundError:
        return False
    except LakeOwnedError:
        return True


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[None]:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeOwnedError(
                f"{path} is owned by another process: `footfall serve` lands by itself, `footfall land` is for when none runs"
            ) from None
        yield
    finally:
        os.close(descriptor)
