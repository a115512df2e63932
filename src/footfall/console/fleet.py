"""What the status files say about the processes of one data directory, and what follows from it: would an event be taken now?

The supervisor says which workers there should be; without one that is heard of (it hangs, or died a moment ago), workers that
are heard of count by themselves. A worker that is only just starting, or being replaced, does not make the server unready as
long as another takes events; one that runs and takes none does, because the kernel goes on giving it connections.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.server.status import (
    STALE_S,
    STARTING,
    LanderStatus,
    Part,
    SupervisorStatus,
    WorkerStatus,
    is_alive,
    lander_status_path,
    read_status,
    read_workers,
    supervisor_status_path,
)

_WORKER: Final = re.compile(r"w[0-9]+")
NO_WORKER: Final = "no worker is running"


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose process lives, or is just being started."""

    name: str
    state: str
    """as the supervisor says: starting, running, stopping"""
    status: WorkerStatus | None
    """what it said last; None: nothing yet"""
    silent_s: float
    """how long ago that was"""

    @property
    def is_silent(self) -> bool:
        return self.silent_s > STALE_S

    @property
    def reasons(self) -> list[str]:
        """Why it takes no event; none: it does."""
        if self.status is None:
            return [STARTING] if self.state == "starting" else [f"worker {self.name} has not been heard of"]
        if self.is_silent:
            return [f"worker {self.name} has not been heard of for {self.silent_s:.0f} s"]
        return self.status.reasons


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """All processes of a data directory at one moment."""

    supervisor: SupervisorStatus | None
    """None: there is none that is heard of"""
    expected: dict[str, Part]
    """the workers the supervisor keeps, by slot"""
    workers: list[Worker]
    """those whose process lives, or is just being started"""
    left: dict[str, WorkerStatus]
    """what every slot said last, however long ago: its counts are still true"""
    lander: LanderStatus | None = None
    """None: there is none that is heard of"""

    def reasons_not_ready(self) -> list[str]:
        """Why an event would not be taken now, each reason once; none: it would."""
        if self.supervisor is not None and self.supervisor.stopping:
            return ["stopping"]
        if not self.workers:
            ended = [name for name, part in self.expected.items() if part.state == "backing off"]
            if self.supervisor is not None and not self.expected:  # it has not come to them yet
                return [STARTING]
            return [f"worker {name} ended by itself and is being started again" for name in ended] or [NO_WORKER]
        one_accepts = any(not worker.reasons for worker in self.workers)
        telling = [worker for worker in self.workers if worker.state == "running" or not one_accepts]
        several = len(self.workers) > 1
        found = [
            f"{worker.name}: {reason}" if several and not reason.startswith("worker ") else reason
            for worker in telling
            for reason in worker.reasons
        ]
        return list(dict.fromkeys(found))


def look(run: Path, *, clock: Clock) -> Fleet:
    """One look at the status files in `run`. Reads some small files, never raises."""
    now_s = clock.monotonic_s()
    supervisor = read_status(supervisor_status_path(run), SupervisorStatus)
    if supervisor is not None and not (_heard(supervisor, now_s) and is_alive(supervisor.pid)):
        supervisor = None
    lander = read_status(lander_status_path(run), LanderStatus)
    if lander is not None and not (_heard(lander, now_s) and is_alive(lander.pid)):
        lander = None
    left = read_workers(run)
    expected = {name: part for name, part in supervisor.parts.items() if _WORKER.fullmatch(name)} if supervisor else {}
    if supervisor is not None:
        workers = [_expected_worker(name, part, left.get(name), now_s) for name, part in expected.items() if _lives(part)]
    else:
        workers = [
            Worker(name=name, state="running", status=status, silent_s=now_s - status.heartbeat_s)
            for name, status in left.items()
            if _heard(status, now_s) and is_alive(status.pid)
        ]
    return Fleet(supervisor=supervisor, expected=expected, workers=workers, left=left, lander=lander)


def _expected_worker(name: str, part: Part, status: WorkerStatus | None, now_s: float) -> Worker:
    if status is None or status.pid != part.pid:  # its predecessor's
        return Worker(name=name, state=part.state, status=None, silent_s=0.0)
    return Worker(name=name, state=part.state, status=status, silent_s=max(0.0, now_s - status.heartbeat_s))


def _lives(part: Part) -> bool:
    if part.state == "backing off":
        return False
    return is_alive(part.pid) if part.pid is not None else part.state == "starting"


def _heard(status: SupervisorStatus | WorkerStatus | LanderStatus, now_s: float) -> bool:
    """Lately, and since this machine started: the clock begins anew with it."""
    return 0.0 <= now_s - status.heartbeat_s <= STALE_S
