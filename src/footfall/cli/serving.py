"""The parts of a server in one process, put together. Apart from the command, so that only a server waits for these imports."""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from footfall.cli.data import WRITER, new_registry, tree
from footfall.cli.output import FAILED, fail, marked, say
from footfall.cli.settings import Settings
from footfall.clock import SystemClock
from footfall.errors import LogLockedError, SettingsError
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from footfall.server.listener import reserve_port
from footfall.server.runtime import IngestServer, Parts

_DAY_MS: Final = 86_400_000
_WORKERS: Final = 1
_ROOM_FOR_EVENTS_BYTES: Final = 256 * 1024
"""Less than this is no room for events, even where the operator set no floor."""


def serve_events(data: Path, settings: Settings) -> int:
    """Takes events in until a signal or a failed log ends it; returns the exit status."""
    server = settings.server
    port, ops_port = _free_port(server.host, server.port), _free_port(server.ops_host, server.ops_port)
    if settings.durability.accept_tmpfs:
        say("[bold yellow]durability.accept_tmpfs is on:[/] where the data directory is in memory, a power cut takes all of it")
    with ExitStack() as parts:
        parts.enter_context(_owned(data))
        registry = parts.enter_context(new_registry(data))
        live, test = (parts.enter_context(_writer(data, mode, settings)) for mode in ("live", "test"))
        ingest = IngestServer(
            Parts(
                registry=registry,
                live=live,
                test=test,
                clock=SystemClock(),
                lack_of_room=lambda: _lack_of_room(data, settings),
                housekeeping=lambda: _forget_test_events(data, settings),
                announce=lambda url, ops_url: _announce(url, ops_url, data),
            ),
            server=msgspec.structs.replace(server, port=port, ops_port=ops_port),
            limits=settings.limits,
        )
        return asyncio.run(ingest.run())


@contextmanager
def _owned(data: Path) -> Iterator[None]:
    """Holds the data directory itself as a lock, before anything in it is touched: the locks of the log are files, which somebody
    may delete, and each guards one tree only."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LogLockedError(
            f"{data} is owned by another running process (a second server on the same data?); stop that one first, or use another"
            " data directory"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _free_port(host: str, port: int) -> int:
    try:
        return reserve_port(host, port)
    except SettingsError as error:  # the command line is right, the machine is not free
        fail(f"{error.message}; is another server running? --port and --ops-port choose others", FAILED)


def _writer(data: Path, mode: str, settings: Settings) -> SegmentWriter:
    return SegmentWriter.open(
        tree(data, mode),
        writer=WRITER,
        segment_bytes=settings.durability.segment_bytes,
        free_bytes_min=_free_bytes_min(data, settings),
        accept_tmpfs=settings.durability.accept_tmpfs,
        segment_age_s_max=86_400 if mode == "test" else math.inf,  # so that retention finds whole segments to take
    )


def _free_bytes_min(data: Path, settings: Settings) -> int:
    durability = settings.durability
    if durability.free_bytes_min is not None:
        return durability.free_bytes_min
    return max(2 * durability.segment_bytes * _WORKERS, min(shutil.disk_usage(data).total // 20, 2 << 30))


def _lack_of_room(data: Path, settings: Settings) -> str | None:
    needed = max(_free_bytes_min(data, settings), _ROOM_FOR_EVENTS_BYTES)
    free = shutil.disk_usage(data).free
    return (
        None
        if free >= needed
        else f"disk: {free >> 20} MiB are free on the volume of the data directory, {needed >> 20} are needed"
    )


def _forget_test_events(data: Path, settings: Settings) -> None:
    horizon_ms = SystemClock().now_ms() - round(settings.durability.test_retention_days * _DAY_MS)
    remove_sealed(tree(data, "test") / WRITER, sealed_before_ms=horizon_ms)


def _announce(url: str, ops_url: str, data: Path) -> None:
    say(f"[bold]Footfall takes events[/] at {url}   data: {marked(str(data))}")
    say(f"[dim]ready: {ops_url}/readyz   what is served: {url}/openapi.json   Ctrl-C stops[/]")
