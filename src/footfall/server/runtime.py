"""The life of one ingest worker: open the listener, keep up with the registry, tell how it goes, stop without losing a request.

Stopping: not ready → `drain_delay_s` for the load balancer → port closed → requests in flight answered → logs synced and closed.
A log that can no longer be trusted ends the worker at once with status 3: the supervisor starts a new one, which recovers.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import threading
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import msgspec

from footfall.clock import Clock
from footfall.log.api import LogWriter
from footfall.log.group_commit import GroupCommit
from footfall.registry.snapshot import Rate
from footfall.registry.store import Registry
from footfall.server.ingest import IngestApp
from footfall.server.listener import Listener
from footfall.server.management import Management
from footfall.server.openapi import document
from footfall.server.settings import LimitSettings, ServerSettings, ThrottleSettings
from footfall.server.state import DoorKeeper, RegistryWatch
from footfall.server.status import (
    EXIT_DONE,
    EXIT_FAILED,
    STARTING,
    Counters,
    StatusFile,
    WorkerStatus,
    read_status,
    usage,
    worker_status_path,
)
from footfall.server.throttle import Throttle

logger = logging.getLogger("footfall.server")

_IN_FLIGHT_TIMEOUT_S: Final = 7.0
_GOODBYE_S: Final = 0.2
"""How long answers ask senders to close their connection, before it is closed on them: a request that meets a connection just
being closed is lost to its sender, who must send it again."""
_CLOSING_S: Final = 0.5
_LAST_ANSWERS_S: Final = 0.3
_EXIT_S_MAX: Final = 9.5
"""After the drain delay: requests in flight, the last answers, the closing of logs, and all of it within 10 s of the signal."""
_TICK_S: Final = 0.25
_OWN_FILES: Final = 32
_SAVE_PERIOD_S: Final = 1.0
_REFUSALS_PERIOD_S: Final = 10.0
_KEY_USE_PERIOD_S: Final = 60.0
_SEAL_LOOK_PERIOD_S: Final = 1.0


class DurableLog(LogWriter, Protocol):
    """A log writer that tells what is durable."""

    @property
    def durable(self) -> int: ...


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the composition root hands in: everything that could be another implementation."""

    slot: str
    """w0, w1, …: the name of this worker's logs and of its status file"""
    workers: int
    """how many share the rates of the throttle"""
    run: Path
    """directory of the status files"""
    version: str
    registry: Registry
    live: DurableLog
    test: DurableLog
    clock: Clock
    lack_of_room: Callable[[], str | None]
    """why the volume would take no event now; None: it would"""
    is_orphan: Callable[[], bool]
    """whether the supervisor is gone, and this process with it has to go"""


class IngestServer:
    """One worker. `run` returns the exit status."""

    def __init__(self, parts: Parts, *, server: ServerSettings, limits: LimitSettings, throttle: ThrottleSettings) -> None:
        self._parts = parts
        self._settings = server
        self._limits = limits
        self._throttle = Throttle(
            default=Rate(throttle.identifier_per_s, throttle.identifier_burst) if throttle.identifier_per_s else None,
            workers=parts.workers,
            buckets_max=throttle.buckets_max,
        )
        self._stop = asyncio.Event()
        self._exit_status = EXIT_DONE
        self._started_at = parts.clock.now_ms()
        status_path = worker_status_path(parts.run, parts.slot)
        previous = read_status(status_path, WorkerStatus)
        self._counters = Counters(previous.counts if previous is not None else None)
        self._status = StatusFile(status_path)
        self._usage = usage()

    async def run(self) -> int:
        parts, limits, counters = self._parts, self._limits, self._counters
        snapshot = await asyncio.to_thread(parts.registry.snapshot)
        keeper = DoorKeeper(snapshot)
        self._throttle.use(snapshot.limits)
        logs = {
            tree: GroupCommit(writer, on_poisoned=self._poisoned, observe=counters.commit_seconds.observe)
            for tree, writer in (("live", parts.live), ("test", parts.test))
        }
        app = IngestApp(
            keeper=keeper,
            live=logs["live"],
            test=logs["test"],
            throttle=self._throttle,
            counters=counters,
            clock=parts.clock,
            limits=limits,
            openapi=document(limits),
            management=Management(parts.registry, clock=parts.clock),
        )
        listener = Listener(
            app,
            host=self._settings.host,
            port=self._settings.port,
            connections_max=_connections_max(limits),
            idle_timeout_s=limits.idle_timeout_s,
            header_bytes_max=limits.header_bytes_max,
            tls=_tls(self._settings),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)
        keeper.report("start", STARTING)
        await listener.start()
        keeper.report("start", None)
        _tame_collector()
        watch = RegistryWatch(
            parts.registry, keeper, clock=parts.clock, on_change=lambda snapshot: self._throttle.use(snapshot.limits)
        )
        upkeep = asyncio.create_task(self._upkeep(app, keeper, watch, logs))
        await self._stop.wait()
        self._end_process_in_time()
        keeper.report("stop", "stopping")  # first only /readyz says so: a load balancer still sends, and is still served
        self._publish(app, keeper)
        if self._exit_status == EXIT_DONE:
            await asyncio.sleep(self._settings.drain_delay_s)
        app.let_go()
        await asyncio.sleep(_GOODBYE_S)
        # idle connections end now, the others behind the answer they wait for
        closing = asyncio.create_task(listener.stop())
        await asyncio.wait({closing}, timeout=_CLOSING_S)
        await self._finish_requests(app)
        keeper.stopping = True
        # answers still on their way get a moment; a connection that never ends its request is not waited for
        await asyncio.wait({closing}, timeout=_LAST_ANSWERS_S)
        upkeep.cancel()
        await asyncio.gather(*(log.close() for log in logs.values()), return_exceptions=True)
        await watch.record_use(app.admission.keys_used)
        self._publish(app, keeper)
        self._status.close()
        return self._exit_status

    def _end_process_in_time(self) -> None:
        """Whatever hangs from here on (a disk, a connection, a thread), the process ends: what was answered is durable already,
        and an unsealed log is recovered by the next start."""
        delay_s = self._settings.drain_delay_s if self._exit_status == EXIT_DONE else 0.0
        watchdog = threading.Timer(delay_s + _EXIT_S_MAX, lambda: os._exit(self._exit_status or EXIT_FAILED))
        watchdog.daemon = True
        watchdog.start()

    def _poisoned(self, error: BaseException) -> None:
        logger.critical("the log failed and cannot be trusted any more; stopping: %s", error)
        self._exit_status = EXIT_FAILED
        self._stop.set()

    async def _finish_requests(self, app: IngestApp) -> None:
        deadline_s = self._parts.clock.monotonic_s() + (_IN_FLIGHT_TIMEOUT_S if self._exit_status == EXIT_DONE else 0.5)
        # looked at a few times at the end: an event would cost every request a check
        while app.requests_open and self._parts.clock.monotonic_s() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if app.requests_open:
            logger.warning("%d requests were still open at the end of the drain", app.requests_open)

    async def _upkeep(self, app: IngestApp, keeper: DoorKeeper, watch: RegistryWatch, logs: Mapping[str, GroupCommit]) -> None:
        """The clockwork: every tick the sweeper, the logs' readiness and the status; now and then the registry and the rest."""
        tasks = [
            asyncio.create_task(_each(self._settings.registry_poll_s, watch.look)),
            asyncio.create_task(_each(_KEY_USE_PERIOD_S, lambda: watch.record_use(_taken(app)))),
            asyncio.create_task(_each(_SAVE_PERIOD_S, self._save)),
            asyncio.create_task(_each(_SEAL_LOOK_PERIOD_S, lambda: _seal_if_asked(logs))),
            asyncio.create_task(self._tell_refusals()),
        ]
        try:
            while True:
                if self._parts.is_orphan():
                    logger.critical("the supervisor is gone; this worker ends at once")
                    os._exit(EXIT_FAILED)
                app.sweeper.sweep()
                keeper.report("volume", self._parts.lack_of_room())
                for name, log in logs.items():
                    keeper.report(f"log/{name}", log.refusing)
                self._publish(app, keeper)
                await asyncio.sleep(_TICK_S)
        finally:
            for task in tasks:
                task.cancel()

    def _publish(self, app: IngestApp, keeper: DoorKeeper) -> None:
        parts = self._parts
        status = WorkerStatus(
            worker=parts.slot,
            pid=os.getpid(),
            heartbeat_s=parts.clock.monotonic_s(),
            started_at=self._started_at,
            version=parts.version,
            reasons=keeper.reasons_not_ready(),
            counts=self._counters.counts(),
            durable={"live": parts.live.durable, "test": parts.test.durable},
            requests_open=app.requests_open,
            bytes_in_flight=app.budget.bytes_held,
            throttle_buckets=self._throttle.buckets,
            registry_revision=keeper.revision,
            usage=self._usage,
        )
        try:
            self._status.publish(status)
        except OSError as error:  # a full volume: readers keep what they had
            logger.warning("the status file could not be written: %s", error.strerror)

    async def _save(self) -> None:
        """Counts survive a power cut up to a second; what the process takes of the machine is looked up on the way."""
        try:
            await asyncio.to_thread(self._status.sync)
            self._usage = await asyncio.to_thread(usage)
        except OSError as error:
            logger.warning("the status file could not be saved: %s", error.strerror)

    async def _tell_refusals(self) -> None:
        """Who comes without a good key is written down, as numbers: an attack must not be able to fill the journal."""
        before: dict[int, int] = dict(self._counters.refusals)
        while True:
            await asyncio.sleep(_REFUSALS_PERIOD_S)
            now = dict(self._counters.refusals)
            more = {status: now[status] - before.get(status, 0) for status in (401, 403) if status in now}
            before = now
            if any(more.values()):
                logger.warning(
                    "refused in %g s: %d requests without a key (401), %d with a key that does not open the platform (403)",
                    _REFUSALS_PERIOD_S,
                    more.get(401, 0),
                    more.get(403, 0),
                )


def _tame_collector() -> None:
    """What lives as long as the process is not looked at again, and requests make no cycles: the collector may be lazy. It took
    6 % of the processor time of a request (47.8 → 44.7 µs, same run)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _each(period_s: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(period_s)
        await act()


async def _seal_if_asked(logs: Mapping[str, GroupCommit]) -> None:
    """An erasure asks for it: it can only reach what is sealed."""
    for log in logs.values():
        log.seal_if_asked()


def _taken(app: IngestApp) -> dict[str, int]:
    admission = app.admission
    used, admission.keys_used = admission.keys_used, {}
    return used


def _connections_max(limits: LimitSettings) -> int:
    """As set, but a tenth of the files this process may open is kept for logs and everything else: a log that cannot open its
    next segment ends the worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    files = soft if soft != resource.RLIM_INFINITY else limits.connections_max * 2
    possible = max(1, files * 9 // 10 - _OWN_FILES)
    if possible < limits.connections_max:
        logger.warning("%d files may be open, so at most %d connections are taken (limits.connections_max)", files, possible)
    return min(limits.connections_max, possible)


def _tls(server: ServerSettings) -> tuple[Path, Path] | None:
    if server.tls_cert is None or server.tls_key is None:
        return None
    return Path(server.tls_cert), Path(server.tls_key)
