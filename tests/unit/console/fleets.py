"""A run directory with real status files, and the ops listener over it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from footfall.clock import ManualClock
from footfall.console.ops import OpsApp
from footfall.server.listener import Listener
from footfall.server.status import (
    LanderStatus,
    Part,
    StatusFile,
    SupervisorStatus,
    WorkerStatus,
    lander_status_path,
    supervisor_status_path,
    worker_status_path,
)
from tests.serving import Reply, request


def ended_process() -> int:
    """The id of a process that is no more."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


class FleetFiles:
    """The status files of a server, written as its processes would; all of them live in this test's process unless told."""

    def __init__(self, run: Path, clock: ManualClock) -> None:
        self.run = run
        self.clock = clock

    def worker(self, name: str, *reasons: str, **members: Any) -> None:
        """What worker `name` says now."""
        given = {"pid": os.getpid(), "heartbeat_s": self.clock.monotonic_s(), **members}
        self._publish(worker_status_path(self.run, name), WorkerStatus(worker=name, reasons=list(reasons), **given))

    def lander(self, **members: Any) -> None:
        """What the lander says now."""
        given = {"pid": os.getpid(), "heartbeat_s": self.clock.monotonic_s(), **members}
        self._publish(lander_status_path(self.run), LanderStatus(**given))

    def supervisor(self, **members: Any) -> None:
        """What the supervisor says now; each part as its state alone (then its process is this one) or as a `Part`."""
        parts: Mapping[str, str | Part] = members.pop("parts", {})
        given = {"pid": os.getpid(), "heartbeat_s": self.clock.monotonic_s(), **members}
        told = {name: part if isinstance(part, Part) else part_of(part) for name, part in parts.items()}
        self._publish(supervisor_status_path(self.run), SupervisorStatus(parts=told, **given))

    def _publish(self, path: Path, status: msgspec.Struct) -> None:
        with StatusFile(path) as file:
            file.publish(status)


def part_of(state: Any, **members: Any) -> Part:
    return Part(**{"state": state, "since": 0, "pid": os.getpid(), **members})


class OpsListener:
    """Requests to a running ops listener."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **headers: str) -> Reply:
        return self.request("GET", path, **headers)

    def request(self, method: str, path: str, **headers: str) -> Reply:
        return request(self._port, method, path, headers=headers)

    @property
    def reasons(self) -> list[str]:
        """Why it is not ready; none: it is. Status and body agree."""
        reply = self.get("/readyz")
        if reply.status == 200:
            assert reply.json == {"ready": True}
            return []
        assert (reply.status, reply.json["ready"], set(reply.json)) == (503, False, {"ready", "reasons"})
        reasons: list[str] = reply.json["reasons"]
        assert reasons
        return reasons


@contextmanager
def ops_listener(run: Path, clock: ManualClock) -> Iterator[OpsListener]:
    """The real listener with the real application, on an event loop in a thread."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    loop = asyncio.new_event_loop()
    app = OpsApp(run, clock=clock, version="1.2.3")
    listener = Listener(app, host="127.0.0.1", port=port, connections_max=64, idle_timeout_s=10, header_bytes_max=16 * 1024)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(listener.start(), loop).result(timeout=10)
        yield OpsListener(port)
        asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(timeout=10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
