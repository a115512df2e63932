"""`footfall serve`: one process that takes events in. Opens the parts, hands them to the server, reports how it ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, WRITER, DataOption, tree
from footfall.cli.output import talk
from footfall.cli.settings import Settings, load
from footfall.clock import SystemClock
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from footfall.registry.store import Registry
from footfall.server.listener import reserve_port
from footfall.server.runtime import IngestServer, Parts

_DAY_MS: Final = 86_400_000
_WORKERS: Final = 1
_ROOM_FOR_EVENTS_BYTES: Final = 256 * 1024
"""Less than this is no room for events, even where the operator set no floor."""


def serve(
    data: DataOption = DEFAULT_DATA,
    host: Annotated[str | None, typer.Option(help="Address of the public listener.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8080]")] = None,
    ops_host: Annotated[str | None, typer.Option(help="Address of the ops listener.  [default: 127.0.0.1]")] = None,
    ops_port: Annotated[int | None, typer.Option(help="Its port; 0 picks one.  [default: 8081]")] = None,
    config: ConfigOption = None,
) -> None:
    """Take events in. Ctrl-C or SIGTERM stops it without losing a request."""
    flags = {"server": {"host": host, "port": port, "ops_host": ops_host, "ops_port": ops_port}}
    settings = load(file=config, data=data, environment=os.environ, flags=flags)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    status = _serve(data, settings)
    talk.print("stopped" if status == 0 else "stopped, because the log failed; start again: it recovers what was acknowledged")
    raise typer.Exit(status)


def _serve(data: Path, settings: Settings) -> int:
    server = settings.server
    port, ops_port = reserve_port(server.host, server.port), reserve_port(server.ops_host, server.ops_port)
    if settings.durability.accept_tmpfs:
        talk.print(
            "[bold yellow]durability.accept_tmpfs is on:[/] where the data directory is in memory, a power cut takes all of it"
        )
    with ExitStack() as parts:
        registry = parts.enter_context(Registry.in_directory(data))
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


def _writer(data: Path, mode: str, settings: Settings) -> SegmentWriter:
    return SegmentWriter.open(
        tree(data, mode),
        writer=WRITER,
        segment_bytes=settings.durability.segment_bytes,
        free_bytes_min=_free_bytes_min(data, settings),
        accept_tmpfs=settings.durability.accept_tmpfs,
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
    talk.print(f"[bold]Footfall takes events[/] at {url}   data: {data}")
    talk.print(f"[dim]ready: {ops_url}/readyz   what is served: {url}/openapi.json   Ctrl-C stops[/]", soft_wrap=True)
