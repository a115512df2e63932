"""Workers that are killed again and again while senders send."""

from __future__ import annotations

import contextlib
import time

import psutil

from footfall.server.status import STARTING, WorkerStatus, read_status, worker_status_path
from tests.contract.hostile.crowd import stored_bodies
from tests.load import Load
from tests.serving import Footfall, until


def kill_again_and_again(server: Footfall, *, seconds: float, pause_s: float) -> tuple[Load, int]:
    """Every `pause_s` one of the workers that serve is killed, under load; returns what was sent and how many died."""
    load = Load(server)
    end_s = time.monotonic() + seconds
    kills = 0
    while time.monotonic() < end_s:
        due_s = time.monotonic() + pause_s
        serving = {name: process for name, process in server.children().items() if _serves(server, name, process)}
        if serving:
            victim = serving[sorted(serving)[kills % len(serving)]]
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
                kills += 1
        until(lambda at_s=due_s: time.monotonic() >= at_s, seconds=pause_s)  # type: ignore[misc]
    return load.stop(), kills


def _serves(server: Footfall, name: str, process: psutil.Process) -> bool:
    """Whether that very process has opened its listener and answered somebody."""
    status = read_status(worker_status_path(server.data / "run", name), WorkerStatus) if name != "ops" else None
    return status is not None and status.pid == process.pid and STARTING not in status.reasons and bool(status.durable)


def log_files(server: Footfall) -> dict[str, int]:
    """The segments of the log, by size."""
    found = (server.data / "log").rglob("*")
    return {str(path.relative_to(server.data)): path.stat().st_size for path in found if path.is_file() and path.suffix == ".log"}


def record_bytes(server: Footfall) -> int:
    return sum(map(len, stored_bodies(server.data)))
