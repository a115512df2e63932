"""Row 1 of the speed table: one event a request, durable before its 200, 64 connections, everything on.

The server runs on one core, the load on the other. Three servers take turns, several rounds each, so that a machine that slows
down slows all of them; the ratio is that of the medians.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench.load import Measured, drive
from bench.shop import events, requests
from tests.serving import EVENTS_PATH, Footfall, free_port, request

CONNECTIONS = 64
ROUNDS = 5
ROUND_S = 3.0
DISTINCT = 20_000
SERVER_CORE, LOAD_CORE = 0, 1


def run() -> dict[str, Any]:
    """The table as values: a row for each server, and our ratios to the peers."""
    os.sched_setaffinity(0, {min(LOAD_CORE, (os.cpu_count() or 1) - 1)})
    bodies = events(DISTINCT)
    path = EVENTS_PATH.format(platform="SHOP")
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as directory, contextlib.ExitStack() as stack:
        footfall = stack.enter_context(Footfall(Path(directory) / "data", wrapper=("taskset", "-c", str(SERVER_CORE))))
        servers: dict[str, tuple[int, int]] = {"footfall": (footfall.port, _pid(footfall))}
        for name in ("empty", "fastapi"):
            servers[name] = stack.enter_context(_peer(name))
        made = requests(path, footfall.keys["SHOP"], bodies)
        rounds: dict[str, list[Measured]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (port, _) in servers.items():
                rounds[name].append(drive(port, made, connections=CONNECTIONS, seconds=ROUND_S))
        memory = {name: psutil.Process(pid).memory_info().rss for name, (_, pid) in servers.items()}
        stored = sum(measured.requests for measured in rounds["footfall"])
        rows = {name: _row(measured, memory[name]) for name, measured in rounds.items()}
        footfall.stop()
        in_log = sum(1 for _ in footfall.cli("log", "cat", check=True).stdout.splitlines())
    assert in_log >= stored, f"{stored} answered, {in_log} in the log"
    ratios = {name: rows["footfall"]["rate"] / row["rate"] for name, row in rows.items() if name != "footfall"}
    return {"scenario": "ingest_single", "connections": CONNECTIONS, "rounds": ROUNDS, "rows": rows, "ratios": ratios}


def _row(measured: list[Measured], memory_bytes: int) -> dict[str, Any]:
    return {
        "rate": statistics.median(one.rate for one in measured),
        "p50_ms": statistics.median(one.p50_ms for one in measured),
        "p99_ms": statistics.median(one.p99_ms for one in measured),
        "memory_mb": memory_bytes / 1e6,
        "failures": sum(one.failures for one in measured),
    }


def _pid(footfall: Footfall) -> int:
    assert footfall.process is not None
    return footfall.process.pid


@contextlib.contextmanager
def _peer(name: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen(["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "bench.peers", name, str(port)])
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                request(port, "GET", "/")
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(timeout=10)
