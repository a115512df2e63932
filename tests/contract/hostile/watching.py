"""What a worker takes of the machine, and what the server says about itself."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from footfall.server.status import WorkerStatus, read_status, worker_status_path
from tests.serving import Footfall, home, until


def worker(server: Footfall, name: str = "w0") -> psutil.Process:
    return server.children()[name]


def resident_bytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def peak_bytes(process: psutil.Process) -> int:
    """The most memory it ever occupied, also between two looks."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return 1024 * int(found[1])


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def unshaken(data: Path) -> Iterator[Footfall]:
    """A server that waits for nobody longer than a second or two, and lets an identifier send as fast as it likes. At the end it
    must be the same process, take an event, and have a whole log."""
    settings = {
        "FOOTFALL_LIMITS__BODY_TIMEOUT_S": "1",
        "FOOTFALL_LIMITS__IDLE_TIMEOUT_S": "1",
        "FOOTFALL_THROTTLE__IDENTIFIER_PER_S": "0",
    }
    with Footfall(data, settings=settings) as running:
        pid = worker(running).pid
        yield running
        assert worker(running).pid == pid, "the worker was replaced"
        assert running.send(home()).status == 200
        running.check_log()


def metric(server: Footfall, name: str) -> float:
    """The sum of a metric over its labels."""
    text = server.ops("/metrics").body.decode()
    values = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, flags=re.MULTILINE)
    assert values, f"there is no metric {name}"
    return sum(float(value) for value in values)


def settles(server: Footfall, *, files_max: int, seconds: float = 15.0, name: str = "w0") -> bool:
    """Whether the worker comes back to that many open files, and says then that it holds no request and no byte."""
    process, path = worker(server, name), worker_status_path(server.data / "run", name)
    began_s = time.monotonic()

    def is_settled() -> bool:
        status = read_status(path, WorkerStatus)
        assert status is not None
        is_news = status.heartbeat_s > began_s + 0.1
        return is_news and process.num_fds() <= files_max and status.requests_open == status.bytes_in_flight == 0

    return until(is_settled, seconds=seconds)
