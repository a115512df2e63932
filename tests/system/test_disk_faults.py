"""A disk that fails or stalls, by injecting errors into the system calls of a real server (strace)."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tests.serving import Footfall, home


def _can_trace() -> bool:
    tracer = shutil.which("strace")
    return tracer is not None and subprocess.run([tracer, "-o", "/dev/null", "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _can_trace(), reason="needs strace and the right to trace (Debian: apt install strace)")


def traced(tmp_path: Path, inject: str) -> Footfall:
    tracing = ("strace", "-f", "-qq", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{inject}", "-o", "/dev/null")
    return Footfall(tmp_path / "data", wrapper=tracing)


def test_a_failed_fdatasync_ends_the_worker_and_nothing_unsynced_was_acknowledged(tmp_path: Path) -> None:
    with traced(tmp_path, "error=EIO:when=8+") as server:
        acknowledged = []
        for number in range(50):
            event = home(id=f"eio-{number}")
            try:
                reply = server.send(event)
            except OSError:
                break
            if reply.status != 200:
                assert (reply.status, reply.json["code"]) == (503, 14)
                assert "same id" in reply.message
                break
            acknowledged.append(event["id"])
        failed_at = time.monotonic()
        assert len(acknowledged) < 50, "no error was injected"
        assert acknowledged
        ended = "w0 ended by itself (exit status 3); starting it again"
        while ended not in server.output() and time.monotonic() - failed_at < 5:
            time.sleep(0.02)
        assert ended in server.output()
        assert "cannot be trusted" in server.output()
        server.kill()
        server.wrapper = ()
        server.start()
        ids = [record["event"]["id"] for record in server.records()]
        assert set(acknowledged) <= set(ids)
        assert len(ids) == len(set(ids))
        assert server.send(home()).status == 200


def test_a_stalled_disk_is_503_in_time_while_the_process_stays_alive(tmp_path: Path) -> None:
    with traced(tmp_path, "delay_enter=4000000:when=10") as server:
        slowest = 0.0
        statuses = []
        for _ in range(60):
            began = time.monotonic()
            reply = server.send(home())
            slowest = max(slowest, time.monotonic() - began)
            statuses.append(reply.status)
            if reply.status == 503:
                assert "retry-after" in reply.headers
                assert server.ops("/healthz").status == 200
                break
        assert statuses[-1] == 503, "the stall was not noticed"
        assert slowest < 3.5, "the sender waited for the disk instead of being told"
        deadline = time.monotonic() + 15
        while (status := server.send(home()).status) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status == 200, "it must take events again once the disk answers"
