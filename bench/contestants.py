"""The servers that take turns: Footfall with all its processes, and its peers; started here, pinned to their cores, proved alive.

A contestant is ready when it answers one real request with 200: a peer that refuses everything is fast, and says nothing.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import psutil

from bench.postgres import Postgres
from tests.serving import EVENTS_PATH, Footfall, free_port, request

PLATFORM: Final = "SHOP"
PATH: Final = EVENTS_PATH.format(platform=PLATFORM)
_BURST: Final = 100_000
"""The throttle counts as ever, and nobody gets to its end: the shoppers of the mix come round several times a second."""
_START_TIMEOUT_S: Final = 20.0


class ProcessMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One process: what it has resident, and its fair share of that (pages shared with others divided by their number)."""

    name: str
    rss_mb: float
    pss_mb: float


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """A running server: where it listens, the key it wants, and the roots of its processes."""

    port: int
    key: str
    roots: tuple[int, ...]

    def memory(self) -> list[ProcessMemory]:
        """Every process of it, the oldest first."""
        return [_memory(process) for process in self._processes()]

    def processor_s(self) -> float:
        """Processor time all of them have taken so far, in seconds."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """All of it stands still inside the block; the kernel goes on taking connections for it."""
        processes = self._processes()
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                process.resume()

    def _processes(self) -> list[psutil.Process]:
        roots = [psutil.Process(pid) for pid in self.roots]
        return [process for root in roots for process in (root, *root.children(recursive=True))]


@contextlib.contextmanager
def footfall(data: Path, *, workers: int, wrapper: Sequence[str]) -> Iterator[tuple[Contestant, Footfall]]:
    """`footfall serve` on a log of its own, with everything on that an answer waits for; all settings but the number of workers
    and the throttle's burst are the default ones; stopped at the end of the block at the latest. Landing has a scenario of its
    own: here its process would take from the one core what it takes elsewhere."""
    settings = {
        "FOOTFALL_SERVER__WORKERS": str(workers),
        "FOOTFALL_THROTTLE__IDENTIFIER_BURST": str(_BURST),
        "FOOTFALL_LAKE__ENABLED": "false",
    }
    with Footfall(data, settings=settings, wrapper=wrapper) as server:
        assert server.process is not None
        yield Contestant(port=server.port, key=server.keys[PLATFORM], roots=(server.process.pid,)), server


def records_in_log(server: Footfall) -> int:
    """How many live records are durable and whole, by reading every byte. The server must be stopped."""
    found = server.cli("log", "verify", "--json")
    if found.returncode:
        raise AssertionError(f"the log is not sound after the benchmark:\n{found.stderr.decode()}")
    report = msgspec.json.decode(found.stdout)
    return sum(writer["records"] for writer in report["live"]["writers"])


@contextlib.contextmanager
def peer(name: str, *, wrapper: Sequence[str], proof: bytes, database: Postgres | None = None) -> Iterator[Contestant]:
    """A server of `bench.peers`. `proof` is a whole request that it must answer with 200."""
    port = free_port()
    command = [*wrapper, sys.executable, "-m", "bench.peers", name, str(port)]
    process = subprocess.Popen(command if database is None else [*command, str(database.socket)])
    roots = (process.pid,) if database is None else (process.pid, database.pid)
    try:
        _wait(port, process)
        _prove(name, port, proof)
        yield Contestant(port=port, key="any", roots=roots)
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            request(port, "GET", "/")
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)


def _prove(name: str, port: int, proof: bytes) -> None:
    head, _, body = proof.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    answer = request(port, "POST", PATH, body=body, headers=headers)
    if answer.status != 200:
        raise AssertionError(f"the peer {name} answers {answer.status}: {answer.body.decode(errors='replace')[:300]}")


def _memory(process: psutil.Process) -> ProcessMemory:
    memory = process.memory_full_info()
    return ProcessMemory(name=_name(process), rss_mb=memory.rss / 1e6, pss_mb=memory.pss / 1e6)


def _name(process: psutil.Process) -> str:
    """What a person calls it: the part of a Footfall server, or the program."""
    command = " ".join(process.cmdline())
    part = re.search(r"footfall\.cli\.part (\w+) (\w+)", command)
    if part is not None:
        return part[1] if part[1] == part[2] else f"{part[1]} {part[2]}"
    if "-m footfall serve" in command:
        return "supervisor"
    known = re.search(r"-m bench\.peers (\S+)", command)
    return process.name() if known is None else "FastAPI" if known[1] not in ("empty", "count") else known[1]
