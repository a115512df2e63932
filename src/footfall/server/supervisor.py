"""The parent of a server's processes: starts them, starts them again, replaces them, stops them. It serves nothing itself.

There are N places for workers and N + 1 slots (w0 … wN), each with a log of its own: a rolling restart starts the new worker in
the free slot, waits until it takes events, and only then stops the old one, whose slot becomes the free one. A worker that died
is started again in its own slot, which recovers its log.

    SIGTERM, SIGINT   stop: not ready, drain delay, requests in flight answered, exit within 10 s
    SIGHUP            rolling restart: settings read again, workers replaced one by one

A child that ends while the server is still coming up ends the server with its status: what keeps the first start from succeeding
(damage, a full registry, a wrong certificate) is the operator's to mend, and no restart mends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import Callable, Sequence
from os import getpid
from pathlib import Path
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.errors import SettingsError
from footfall.server.status import (
    EXIT_DONE,
    EXIT_FAILED,
    STARTING,
    Part,
    PartState,
    StatusFile,
    SupervisorStatus,
    WorkerStatus,
    read_status,
    supervisor_status_path,
    usage,
    worker_status_path,
)

logger = logging.getLogger("footfall.supervisor")

STOP_S_MAX: Final = 9.8
"""Children have 9.5 s of their own after the drain delay; what still lives then is killed."""
_HEARTBEAT_S: Final = 0.5
_LOOK_S: Final = 0.02
_READY_S_MAX: Final = 60.0
"""How long a new worker of a rolling restart may take: recovery of a long log is part of it."""
_BACKOFF_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_S: Final = 30.0
"""A child that lived this long had not failed to start: its next restart is quick again."""


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """How to start one process: its command, and the plan it reads from standard input."""

    command: tuple[str, ...]
    plan: bytes


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """What the composition root hands in."""

    workers: int
    """places for workers; there is one slot more"""
    worker: Callable[[str], Child]
    """slot → how to start a worker there"""
    others: dict[str, Callable[[], Child]]
    """name → the other parts, started and kept beside the workers"""
    run: Path
    """directory of the status files"""
    needed_bytes: int
    drain_delay_s: float
    reload: Callable[[], None]
    """called before a rolling restart: reads the settings anew. Raises `SettingsError`"""
    announce: Callable[[], None]
    """called once, when the first event would be accepted"""


class Supervisor:
    """`run` returns the exit status of the server."""

    def __init__(self, places: Places, *, clock: Clock, version: str) -> None:
        self._places = places
        self._clock = clock
        self._version = version
        self._started_at = clock.now_ms()
        self._stop = asyncio.Event()
        self._rolling = asyncio.Event()
        self._exit_status = EXIT_DONE
        self._announced = asyncio.Event()
        self._kept: dict[str, _Kept] = {}
        self._restarts: Counter[str] = Counter()
        self._slots = [f"w{index}" for index in range(places.workers + 1)]
        self._status = StatusFile(supervisor_status_path(places.run))

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._rolling.set)
        self._publish()
        for slot in self._slots[: self._places.workers]:
            self._keep(slot)
        for name in self._places.others:
            self._keep(name)
        tasks = [asyncio.create_task(work) for work in (self._beat(), self._announce(), self._roll_when_asked())]
        await self._stop.wait()
        for task in tasks[1:]:
            task.cancel()
        await self._end_all()
        tasks[0].cancel()
        self._status.close()
        return self._exit_status

    # -- keeping children alive

    def _keep(self, name: str) -> _Kept:
        kept = _Kept(name=name, since=self._clock.now_ms())
        kept.task = asyncio.create_task(self._keep_alive(kept))
        self._kept[name] = kept
        return kept

    async def _keep_alive(self, kept: _Kept) -> None:
        failures = 0
        while not kept.ending.is_set():
            child = await self._start(kept)
            began_s = self._clock.monotonic_s()
            status = await child.wait()
            if kept.ending.is_set():
                return
            if not self._announced.is_set():
                self._give_up(kept.name, status)
                return
            failures = 1 if self._clock.monotonic_s() - began_s > _STEADY_S else failures + 1
            pause_s = _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]
            self._restarts[kept.name] += 1
            kept.process = None
            kept.move("backing off", self._clock.now_ms())
            logger.error("%s ended by itself (%s); starting it again in %g s", kept.name, _how_it_ended(status), pause_s)
            await asyncio.sleep(pause_s)

    async def _start(self, kept: _Kept) -> Process:
        make = self._places.others.get(kept.name)
        child = make() if make is not None else self._places.worker(kept.name)
        # a group of its own: Ctrl-C is the supervisor's to hear; children die with it all the same (`cli.part`)
        process = await asyncio.create_subprocess_exec(*child.command, stdin=PIPE, stdout=DEVNULL, process_group=0)
        assert process.stdin is not None  # noqa: S101
        with contextlib.suppress(ConnectionError):  # it died at once: its status tells
            process.stdin.write(child.plan)
            await process.stdin.drain()
        process.stdin.close()
        kept.process = process
        kept.move("starting", self._clock.now_ms())
        return process

    def _give_up(self, name: str, status: int) -> None:
        if not self._stop.is_set():
            logger.error("%s did not come up (%s); the server ends", name, _how_it_ended(status))
            self._exit_status = status if status in (1, 2) else EXIT_FAILED
            self._stop.set()

    # -- telling

    async def _beat(self) -> None:
        while True:
            self._publish()
            await asyncio.sleep(_HEARTBEAT_S)

    def _publish(self) -> None:
        for name, kept in self._kept.items():
            if kept.state == "starting" and (name in self._places.others or self._is_up(kept)):
                kept.move("running", self._clock.now_ms())
        try:
            self._status.publish(
                SupervisorStatus(
                    pid=getpid(),
                    heartbeat_s=self._clock.monotonic_s(),
                    started_at=self._started_at,
                    version=self._version,
                    stopping=self._stop.is_set(),
                    parts={name: kept.part() for name, kept in self._kept.items()},
                    restarts=dict(self._restarts),
                    free_bytes=shutil.disk_usage(self._places.run).free,
                    needed_bytes=self._places.needed_bytes,
                    usage=usage(),
                )
            )
        except OSError as error:  # a full volume: readers keep what they had
            logger.warning("the status file could not be written: %s", error.strerror)

    async def _announce(self) -> None:
        workers = [kept for name, kept in self._kept.items() if name not in self._places.others]
        # a few looks a second at a mapped file: children have no other way to tell
        while not any(self._is_up(kept) for kept in workers):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        self._announced.set()
        self._publish()
        self._places.announce()

    def _is_up(self, kept: _Kept) -> bool:
        """Whether the process that runs there now has opened its listener. (It may lack room for events all the same.)"""
        if kept.process is None or kept.process.returncode is not None:
            return False
        status = read_status(worker_status_path(self._places.run, kept.name), WorkerStatus)
        return status is not None and status.pid == kept.process.pid and STARTING not in status.reasons

    # -- replacing

    async def _roll_when_asked(self) -> None:
        while True:
            await self._rolling.wait()
            await self._announced.wait()
            self._rolling.clear()
            await self._roll()

    async def _roll(self) -> None:
        """Each worker is replaced by one in the free slot, once that takes events."""
        try:
            self._places.reload()
        except SettingsError as error:
            logger.error("no rolling restart, the settings are wrong: %s", error.message)  # noqa: TRY400
            return
        old = [name for name in self._kept if name not in self._places.others]
        logger.info("rolling restart of %d worker(s)", len(old))
        for slot in old:
            free = next(name for name in self._slots if name not in self._kept)
            new = self._keep(free)
            if not await self._comes_up(new):
                logger.error("the new worker in %s does not take events; the old ones go on", free)
                await self._end([new])
                return
            new.move("running", self._clock.now_ms())
            await self._end([self._kept[slot]])
        logger.info("rolling restart done")

    async def _comes_up(self, kept: _Kept) -> bool:
        deadline_s, restarts = self._clock.monotonic_s() + _READY_S_MAX, self._restarts[kept.name]
        while self._clock.monotonic_s() < deadline_s and self._restarts[kept.name] == restarts:
            if self._is_up(kept):
                return True
            await asyncio.sleep(_LOOK_S)
        return False

    # -- ending

    async def _end_all(self) -> None:
        """Workers first, so that the ops process tells "stopping" until the last of them is gone."""
        workers = [kept for name, kept in self._kept.items() if name not in self._places.others]
        self._publish()
        await self._end(workers)
        await self._end(list(self._kept.values()))

    async def _end(self, ending: Sequence[_Kept]) -> None:
        for kept in ending:
            kept.ending.set()
            kept.move("stopping", self._clock.now_ms())
            if kept.process is None:  # between two starts
                kept.task.cancel()
            else:
                _signal(kept.process, signal.SIGTERM)
        tasks: list[asyncio.Task[None]] = [kept.task for kept in ending]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._places.drain_delay_s + STOP_S_MAX)
            for kept in ending:
                if kept.task in late and kept.process is not None:
                    logger.error("%s did not end in time and is killed", kept.name)
                    _signal(kept.process, signal.SIGKILL)
                    self._exit_status = self._exit_status or EXIT_FAILED
            if late:
                await asyncio.wait(late, timeout=1.0)
        for kept in ending:
            if (
                kept.process is not None
                and kept.process.returncode not in (0, None, -signal.SIGTERM, -signal.SIGKILL)
                and self._stop.is_set()
            ):
                self._exit_status = self._exit_status or EXIT_FAILED
            del self._kept[kept.name]


class _Kept:
    """One child, through all its lives."""

    def __init__(self, *, name: str, since: int) -> None:
        self.name = name
        self.process: Process | None = None
        self.task: asyncio.Task[None]
        self.ending = asyncio.Event()
        self.state: PartState = "starting"
        self.since = since

    def move(self, state: PartState, now_ms: int) -> None:
        self.state, self.since = state, now_ms

    def part(self) -> Part:
        pid = self.process.pid if self.process is not None else None
        return Part(state=self.state, since=self.since, pid=pid)


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
