"""One process of a server, as its supervisor starts it: `python -m footfall.cli.part ingest w0`, with its plan on standard input.

The plan holds the effective settings, so that a process started again later runs with the same ones as its neighbours, whatever
happened to the files since. A part dies with its supervisor: by the kernel's word on Linux, by looking at its parent elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall import __version__
from footfall.cli import journal
from footfall.cli.data import REGISTRY_NAME, tree
from footfall.cli.output import FAILED
from footfall.cli.room import lack_of_room, log_options
from footfall.cli.settings import Settings
from footfall.clock import SystemClock
from footfall.errors import FootfallError, SettingsError

logger = logging.getLogger("footfall.part")

_PR_SET_PDEATHSIG: Final = 1
_DAY_S: Final = 86_400
_ORPHAN_LOOK_S: Final = 1.0
_LANDER_NICE: Final = 5
"""Whoever waits for a 200 goes first; what lands may be late by a moment."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a part has to know. `parent` is the supervisor's process id, `workers` how many share the rates."""

    part: str
    """ingest, ops or lander"""
    name: str
    data: str
    settings: Settings
    parent: int
    workers: int
    quarantine_corrupt: bool = False


def command_of(plan: Plan) -> tuple[str, ...]:
    """How to start it, in a form a person finds again in a list of processes."""
    return sys.executable, "-m", "footfall.cli.part", plan.part, plan.name, plan.data


def run_ingest(plan: Plan) -> int:
    """One worker; returns the exit status."""
    _prefer_throughput()
    from footfall.log.segments import SegmentWriter
    from footfall.registry.store import Registry
    from footfall.server.runtime import IngestServer, Parts
    from footfall.server.status import run_directory

    settings, data = plan.settings, Path(plan.data)

    def writer(mode: str) -> SegmentWriter:
        return SegmentWriter.open(
            tree(data, mode),
            writer=plan.name,
            **log_options(data, settings, quarantine_corrupt=plan.quarantine_corrupt),
            segment_age_s_max=_DAY_S,  # so that retention finds whole segments to take
        )

    with ExitStack() as opened:
        registry = opened.enter_context(Registry.in_directory(data))
        live, test = (opened.enter_context(writer(mode)) for mode in ("live", "test"))
        worker = IngestServer(
            Parts(
                slot=plan.name,
                workers=plan.workers,
                run=run_directory(data),
                version=__version__,
                registry=registry,
                live=live,
                test=test,
                clock=SystemClock(),
                lack_of_room=lambda: lack_of_room(data, settings),
                is_orphan=lambda: os.getppid() != plan.parent,
            ),
            server=settings.server,
            limits=settings.limits,
            throttle=settings.throttle,
        )
        return _run(worker.run())


def run_ops(plan: Plan) -> int:
    """The ops listener; returns the exit status."""
    from footfall.cli.ops import serve_ops

    return asyncio.run(serve_ops(Path(plan.data), plan.settings, is_orphan=lambda: os.getppid() != plan.parent))


def run_lander(plan: Plan) -> int:
    """The lander; returns the exit status. DuckDB and delta-rs are loaded when the first event waits, or somebody is to be
    erased: a server that only tests take events with costs no more than before."""
    from footfall.cli.telling import LanderTelling

    with contextlib.suppress(OSError):
        os.nice(_LANDER_NICE)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    watch = threading.Thread(target=_stop_as_orphan, args=(plan.parent, stop), name="parent", daemon=True)
    watch.start()
    data = Path(plan.data)
    with LanderTelling(data) as telling:
        work = _Work(data)
        while not stop.is_set() and not work.waits():
            stop.wait(plan.settings.lake.interval_s / 2)
        if not stop.is_set():
            from footfall.cli.landing import run_lander as run

            run(data, plan.settings.lake, stop=stop, tell=telling)
    return 0


class _Work:
    """Whether there is anything to land or to erase: looked at without what the lander itself needs."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._registry_at = self._registry_time()

    def waits(self) -> bool:
        from footfall.log.reader import SegmentReader

        live, test = (any(SegmentReader(tree(self._data, mode)).durable().values()) for mode in ("live", "test"))
        return live or ((test or self._registry_time() != self._registry_at) and self._is_asked_to_erase())

    def _is_asked_to_erase(self) -> bool:
        from footfall.registry.store import Registry

        self._registry_at = self._registry_time()
        with Registry.in_directory(self._data) as registry:
            return bool(registry.erasures(pending=True))

    def _registry_time(self) -> float:
        return (self._data / REGISTRY_NAME).stat().st_mtime


def _stop_as_orphan(parent: int, stop: threading.Event) -> None:
    while not stop.wait(_ORPHAN_LOOK_S):
        if os.getppid() != parent:
            stop.set()


_PARTS: Final[dict[str, Callable[[Plan], int]]] = {"ingest": run_ingest, "ops": run_ops, "lander": run_lander}


def main() -> None:
    """The process."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    _die_with(plan.parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to hear
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    journal.configure(plan.settings.logging.format, plan.settings.logging.level, part=plan.name)
    sys.exit(_status(plan))


def _status(plan: Plan) -> int:
    try:
        return _PARTS[plan.part](plan)
    except FootfallError as error:
        logger.critical("%s: %s", plan.name, error.message)
        return 2 if isinstance(error, SettingsError) else FAILED
    except OSError as error:
        logger.critical("%s: %s %s", plan.name, error.filename or "", error.strerror or type(error).__name__)
        return FAILED


def _run(work: Coroutine[Any, Any, int]) -> int:
    """On uvloop where there is one: every request crosses from Granian's threads to the event loop twice, and uvloop does that
    without a system call each (44.0 → 37.6 µs of processor time a request, same run; docs/adr/0012)."""
    try:
        import uvloop
    except ImportError:  # it has no wheels for every platform
        return asyncio.run(work)
    return uvloop.run(work)


def _prefer_throughput() -> None:
    """Tells the kernel to let each thread of this process finish what it is at. Granian's threads wake each other several times a
    request; where they share a core, every wake-up otherwise costs a switch (63 → 47 µs of processor time a request, p99 10.9 →
    5.0 ms; the same server answering an empty 200: 27 → 17.5 µs). Threads started later inherit it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # not allowed everywhere, and nothing depends on it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _die_with(parent: int) -> None:
    """Ends this process when the supervisor ends, however that ends: two generations must never serve one port. At once and
    without a drain: what was answered is durable, and whoever comes next needs the port and the logs."""
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone already
        os._exit(FAILED)


if __name__ == "__main__":
    main()
