"""The life of one ingest process: open the listeners, keep up with the registry, stop without losing a request.

Stopping: not ready → `drain_delay_s` for the load balancer → port closed → requests in flight answered → logs synced and closed.
A log that can no longer be trusted ends the process at once with status 3: whoever supervises it starts a new one, which
recovers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.errors import LogError
from footfall.log.api import LogWriter
from footfall.log.group_commit import GroupCommit
from footfall.registry.store import Registry
from footfall.server.ingest import IngestApp
from footfall.server.listener import Listener
from footfall.server.openapi import document
from footfall.server.ops import OpsApp
from footfall.server.settings import LimitSettings, ServerSettings
from footfall.server.state import DoorKeeper, RegistryWatch

logger = logging.getLogger("footfall.server")

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 3
_IN_FLIGHT_TIMEOUT_S: Final = 7.0
_LAST_ANSWERS_S: Final = 0.3
_EXIT_S_MAX: Final = 9.5
"""After the drain delay: requests in flight, the last answers, the closing of logs, and all of it within 10 s of the signal."""
_TICK_S: Final = 0.5
_KEY_USE_PERIOD_S: Final = 60.0
_HOUSEKEEPING_PERIOD_S: Final = 600.0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What the composition root hands in: everything that could be another implementation."""

    registry: Registry
    live: LogWriter
    test: LogWriter
    clock: Clock
    lack_of_room: Callable[[], str | None]
    """why the volume would take no event now; None: it would"""
    housekeeping: Callable[[], None]
    """called now and then in a thread: drops what retention allows"""
    announce: Callable[[str, str], None]
    """called once with the URLs of both listeners when the first event would be accepted"""


class IngestServer:
    """One process' worth of server. `run` returns the exit status."""

    def __init__(self, parts: Parts, *, server: ServerSettings, limits: LimitSettings) -> None:
        self._parts = parts
        self._settings = server
        self._limits = limits
        self._stop = asyncio.Event()
        self._exit_status = EXIT_DONE

    async def run(self) -> int:
        parts, limits = self._parts, self._limits
        keeper = DoorKeeper(await asyncio.to_thread(parts.registry.snapshot))
        live = GroupCommit(parts.live, on_poisoned=self._poisoned)
        test = GroupCommit(parts.test, on_poisoned=self._poisoned)
        app = IngestApp(keeper=keeper, live=live, test=test, clock=parts.clock, limits=limits, openapi=document(limits))
        public = self._listener(app, self._settings.host, self._settings.port)
        ops = self._listener(OpsApp(keeper), self._settings.ops_host, self._settings.ops_port)
        self._handle_signals()
        keeper.report("start", "starting")
        await ops.start()
        await public.start()
        keeper.report("start", None)
        parts.announce(public.url, ops.url)
        upkeep = asyncio.create_task(self._upkeep(app, keeper, {"live": live, "test": test}))
        await self._stop.wait()
        self._end_process_in_time()
        keeper.report("stop", "stopping")  # first only /readyz says so: a load balancer still sends, and is still served
        if self._exit_status == EXIT_DONE:
            await asyncio.sleep(self._settings.drain_delay_s)
        keeper.stopping = True
        closing = asyncio.create_task(public.stop())
        await self._finish_requests(app)
        # answers still on their way get a moment; a connection that never ends its request is not waited for
        await asyncio.wait({closing}, timeout=_LAST_ANSWERS_S)
        upkeep.cancel()
        await asyncio.gather(live.close(), test.close(), return_exceptions=True)
        await RegistryWatch(parts.registry, keeper, clock=parts.clock).record_use(app.keys_used)
        await asyncio.wait({asyncio.create_task(ops.stop())}, timeout=_LAST_ANSWERS_S)
        return self._exit_status

    def _end_process_in_time(self) -> None:
        """Whatever hangs from here on (a disk, a connection, a thread), the process ends: what was answered is durable already,
        and an unsealed log is recovered by the next start."""
        delay_s = self._settings.drain_delay_s if self._exit_status == EXIT_DONE else 0.0
        watchdog = threading.Timer(delay_s + _EXIT_S_MAX, lambda: os._exit(self._exit_status or EXIT_FAILED))
        watchdog.daemon = True
        watchdog.start()

    def _listener(self, app: IngestApp | OpsApp, host: str, port: int) -> Listener:
        limits = self._limits
        return Listener(
            app,
            host=host,
            port=port,
            connections_max=limits.connections_max,
            idle_timeout_s=limits.idle_timeout_s,
            header_bytes_max=limits.header_bytes_max,
        )

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

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

    async def _upkeep(self, app: IngestApp, keeper: DoorKeeper, logs: dict[str, GroupCommit]) -> None:
        """The clockwork: every tick the sweeper and the logs' readiness, now and then the registry and retention."""
        watch = RegistryWatch(self._parts.registry, keeper, clock=self._parts.clock)
        tasks = [
            asyncio.create_task(_each(self._settings.registry_poll_s, watch.look)),
            asyncio.create_task(_each(_KEY_USE_PERIOD_S, lambda: watch.record_use(_taken(app)))),
            asyncio.create_task(_each(_HOUSEKEEPING_PERIOD_S, self._keep_house)),
        ]
        try:
            while True:
                app.sweeper.sweep()
                keeper.report("volume", self._parts.lack_of_room())
                for name, log in logs.items():
                    keeper.report(f"log/{name}", log.refusing)
                await asyncio.sleep(_TICK_S)
        finally:
            for task in tasks:
                task.cancel()

    async def _keep_house(self) -> None:
        try:
            await asyncio.to_thread(self._parts.housekeeping)
        except (LogError, OSError) as error:
            logger.warning("housekeeping failed, will be tried again: %s", error)


async def _each(period_s: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(period_s)
        await act()


def _taken(app: IngestApp) -> dict[str, int]:
    used, app.keys_used = app.keys_used, {}
    return used
