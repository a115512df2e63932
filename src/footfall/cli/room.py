"""What a server may use of the machine: how many workers run, and how much room the volume must have for events."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from footfall.cli.settings import Settings
from footfall.log.inspection import OpenOptions
from footfall.server.settings import ServerSettings

_ROOM_FOR_EVENTS_BYTES: Final = 256 * 1024
"""Less than this is no room for events, even where the operator set no floor."""


def worker_count(server: ServerSettings) -> int:
    """The workers to run: as set, or one for every core this process may use."""
    if server.workers:
        return server.workers
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_bytes_min(data: Path, settings: Settings) -> int:
    """What a write leaves free: set, or two segments a worker, or 5 % of the volume up to 2 GiB, whichever is more."""
    durability = settings.durability
    if durability.free_bytes_min is not None:
        return durability.free_bytes_min
    segments = 2 * worker_count(settings.server)
    return max(segments * durability.segment_bytes, min(shutil.disk_usage(data).total // 20, 2 << 30))


def log_options(data: Path, settings: Settings, *, quarantine_corrupt: bool) -> OpenOptions:
    """How every writer of this data directory's log is opened."""
    return {
        "segment_bytes": settings.durability.segment_bytes,
        "free_bytes_min": free_bytes_min(data, settings),
        "accept_tmpfs": settings.durability.accept_tmpfs,
        "quarantine_corrupt": quarantine_corrupt,
    }


def lack_of_room(data: Path, settings: Settings) -> str | None:
    """Why the volume would take no event now; None: it would."""
    needed = max(free_bytes_min(data, settings), _ROOM_FOR_EVENTS_BYTES)
    free = shutil.disk_usage(data).free
    if free >= needed:
        return None
    return f"disk: {free >> 20} MiB are free on the volume of the data directory, {needed >> 20} are needed"
