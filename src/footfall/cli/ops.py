"""The ops process: its own listener, away from the one on the internet, for load balancers, monitoring and people."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from footfall.cli.output import FAILED, fail, say
from footfall.cli.settings import Settings
from footfall.console.ops import OpsApp
from footfall.errors import SettingsError
from footfall.server.listener import Listener
from footfall.server.ports import hold_port, url_of
from footfall.server.status import run_directory

_TICK_S: Final = 0.5
_LAST_ANSWERS_S: Final = 0.3
_CONNECTIONS_MAX: Final = 512
_IDLE_S: Final = 75.0


async def serve_ops(data: Path, settings: Settings, *, is_orphan: Callable[[], bool]) -> int:
    """Answers until SIGTERM, or until nobody is left to answer for; returns the exit status."""
    server = settings.server
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = Listener(
        OpsApp(run_directory(data)),
        host=server.ops_host,
        port=server.ops_port,
        connections_max=_CONNECTIONS_MAX,
        idle_timeout_s=_IDLE_S,
        header_bytes_max=settings.limits.header_bytes_max,
    )
    await listener.start()
    while not stop.is_set() and not is_orphan():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _TICK_S)
    await asyncio.wait({asyncio.create_task(listener.stop())}, timeout=_LAST_ANSWERS_S)
    return 0


def serve_ops_alone(data: Path, settings: Settings) -> int:
    """The same as a command of its own."""
    server = settings.server
    try:
        port, held = hold_port(server.ops_host, server.ops_port)
    except SettingsError as error:
        fail(f"{error.message}; does `footfall serve` run? It has an ops listener already; --ops-port chooses another", FAILED)
    with held:
        url = url_of("http", server.ops_host, port)
        say(f"[bold]ready:[/] {url}/readyz   metrics: {url}/metrics")
        own = msgspec.structs.replace(settings, server=msgspec.structs.replace(server, ops_port=port))
        return asyncio.run(serve_ops(data, own, is_orphan=lambda: False))
