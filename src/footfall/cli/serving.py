"""A whole server put together: the data directory owned, the ports held, the log looked at, the processes started.

Apart from the commands, so that only a server waits for these imports.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from footfall import __version__
from footfall.cli.data import TREES, new_registry, owned, tree
from footfall.cli.journal import tell
from footfall.cli.output import FAILED, complain, fail, marked
from footfall.cli.part import Plan, command_of
from footfall.cli.room import free_bytes_min, log_options, worker_count
from footfall.cli.settings import Settings
from footfall.clock import SystemClock
from footfall.errors import LogCorruptError, LogError, SettingsError
from footfall.log.directory import writers_of
from footfall.log.disk import Disk
from footfall.log.inspection import check_sealed, recover_leftover, set_aside
from footfall.log.retention import remove_sealed
from footfall.server.ports import hold_port, url_of
from footfall.server.settings import ServerSettings
from footfall.server.status import run_directory
from footfall.server.supervisor import Child, Places, Supervisor

logger = logging.getLogger("footfall.supervisor")

_DAY_MS: Final = 86_400_000
_HOUSEKEEPING_PERIOD_S: Final = 600.0
_INSPECTION_S_MAX: Final = 3.0
"""How long a start may look at old segments; `footfall log verify` looks at all of them, however long it takes."""
_ANOTHER_SERVER: Final = (
    "another running process (a second server on the same data?); stop that one first, or use another data directory"
)
_PORT_PATIENCE_S: Final = 0.5
"""Workers of a killed supervisor are gone, and their port is free, some milliseconds after it."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line asked for."""

    data: Path
    load: Callable[[], Settings]
    """reads the settings: once at the start, again for every rolling restart"""
    with_ops: bool
    quarantine_corrupt: bool = False


def serve_events(wanted: Wanted) -> int:
    """Takes events in until a signal ends it, or it cannot come up; returns the exit status."""
    settings = wanted.load()
    server, data = settings.server, wanted.data
    _require_tls_that_works(server)
    with ExitStack() as held:
        port = _held(held, server.host, server.port, flag="--port")
        ops_port = _held(held, server.ops_host, server.ops_port, flag="--ops-port") if wanted.with_ops else server.ops_port
        if settings.durability.accept_tmpfs:
            tell(
                settings.logging.format,
                "[bold yellow]durability.accept_tmpfs is on:[/] where the data directory is in memory, a power cut takes it all",
            )
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        held.enter_context(owned(data, otherwise=f"{data} is owned by {_ANOTHER_SERVER}"))
        with new_registry(data):
            pass  # made, and found to be usable, before any worker asks for it
        run_directory(data).mkdir(mode=0o700, exist_ok=True)
        _prepare_logs(wanted, settings)
        return asyncio.run(_supervise(wanted, _Recipe(wanted, settings, port=port, ops_port=ops_port)))


class _Recipe:
    """How children are started: with the settings of the start, or of the last rolling restart. What cannot change under a
    running server (its ports, which are held, and the number of places) stays as it was at the start."""

    def __init__(self, wanted: Wanted, settings: Settings, *, port: int, ops_port: int) -> None:
        self._wanted = wanted
        self._server = msgspec.structs.replace(
            settings.server, port=port, ops_port=ops_port, workers=worker_count(settings.server)
        )
        self._use(settings)

    @property
    def workers(self) -> int:
        return self._server.workers

    def reload(self) -> None:
        self._use(self._wanted.load())

    def _use(self, loaded: Settings) -> None:
        fixed = {name: getattr(self._server, name) for name in ("host", "port", "ops_host", "ops_port", "workers")}
        self.settings = msgspec.structs.replace(loaded, server=msgspec.structs.replace(loaded.server, **fixed))

    def child(self, part: str, name: str) -> Child:
        plan = Plan(
            part=part,
            name=name,
            data=str(self._wanted.data.absolute()),
            settings=self.settings,
            parent=os.getpid(),
            workers=self.workers,
            quarantine_corrupt=self._wanted.quarantine_corrupt,
        )
        return Child(command=command_of(plan), plan=msgspec.json.encode(plan))


async def _supervise(wanted: Wanted, recipe: _Recipe) -> int:
    data, settings = wanted.data, recipe.settings
    places = Places(
        workers=recipe.workers,
        worker=lambda slot: recipe.child("ingest", slot),
        others=_others(wanted, recipe),
        run=run_directory(data),
        needed_bytes=free_bytes_min(data, settings),
        drain_delay_s=settings.server.drain_delay_s,
        reload=recipe.reload,
        announce=lambda: _announce(recipe.settings, data, with_ops=wanted.with_ops),
    )
    housekeeping = threading.Thread(target=_keep_house, args=(data, settings), name="housekeeping", daemon=True)
    housekeeping.start()
    return await Supervisor(places, clock=SystemClock(), version=__version__).run()


def _others(wanted: Wanted, recipe: _Recipe) -> dict[str, Callable[[], Child]]:
    """The parts beside the workers. `footfall ingest` has none."""
    if not wanted.with_ops:
        return {}
    names = ["ops", *(["lander"] if recipe.settings.lake.enabled else [])]
    return {name: partial(recipe.child, name, name) for name in names}


def _held(held: ExitStack, host: str, port: int, *, flag: str) -> int:
    """The port, held until the server ends."""
    patience_s = time.monotonic() + _PORT_PATIENCE_S
    while True:
        try:
            number, holder = hold_port(host, port)
        except SettingsError as error:  # the command line is right, the machine is not free
            if time.monotonic() < patience_s:
                time.sleep(0.05)
                continue
            fail(f"{error.message}; is another server running? {flag} chooses another", FAILED)
        held.enter_context(holder)
        return number


def _require_tls_that_works(server: ServerSettings) -> None:
    """Says what is wrong with certificate and key now, not in a worker's last words."""
    if (server.tls_cert is None) != (server.tls_key is None):
        raise SettingsError("TLS needs both, --tls-cert and --tls-key")
    if server.tls_cert is None or server.tls_key is None:
        return
    for path in (server.tls_cert, server.tls_key):
        if not Path(path).is_file():
            raise SettingsError(f"there is no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(server.tls_cert, server.tls_key, password=_no_password)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{server.tls_cert} and {server.tls_key} are no certificate and its key: {error}") from None


def _no_password() -> str:
    raise ValueError("the key is encrypted; give it without a pass phrase")


def _prepare_logs(wanted: Wanted, settings: Settings) -> None:
    """Looks at old segments (rule R6: damage is never skipped in silence), and closes what former workers left open."""
    slots = {f"w{index}" for index in range(worker_count(settings.server))}
    options = log_options(wanted.data, settings, quarantine_corrupt=wanted.quarantine_corrupt)
    for mode in TREES:
        directory = tree(wanted.data, mode)
        inspection = check_sealed(directory, budget_s=_INSPECTION_S_MAX)
        for damage in inspection.damages:
            complain(f"{mode}/{damage.file} at byte {damage.offset}: {damage.reason}")
        if inspection.damages and not wanted.quarantine_corrupt:
            raise LogCorruptError(
                "the log is damaged where it had been durable; copy the data directory, then restore a backup, or start with"
                " --quarantine-corrupt, which sets the damaged files aside and goes on without their records"
            )
        if inspection.damages:
            set_aside(directory, inspection.damages)
        recover_leftover(directory, keep=slots, **options)


def _keep_house(data: Path, settings: Settings) -> None:
    """A thread beside the supervisor: takes test events away when they are old enough."""
    retention_ms = round(settings.durability.test_retention_days * _DAY_MS)
    while True:
        horizon_ms = SystemClock().now_ms() - retention_ms
        try:
            for writer in writers_of(Disk(), tree(data, "test")):
                remove_sealed(tree(data, "test") / writer, sealed_before_ms=horizon_ms)
        except (LogError, OSError) as error:
            logger.warning("housekeeping failed, will be tried again: %s", error)
        time.sleep(_HOUSEKEEPING_PERIOD_S)


def _announce(settings: Settings, data: Path, *, with_ops: bool) -> None:
    server = settings.server
    url = url_of("https" if server.tls_cert else "http", server.host, server.port)
    tell(settings.logging.format, f"[bold]Footfall takes events[/] at {url}   data: {marked(str(data))}")
    ready = f"ready: {url_of('http', server.ops_host, server.ops_port)}/readyz   " if with_ops else ""
    tell(settings.logging.format, f"[dim]{ready}what is served: {url}/openapi.json   Ctrl-C stops[/]")
