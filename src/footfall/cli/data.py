"""The one directory of a Footfall, and what lies where in it.

footfall-data/
    footfall.toml           settings, where you want any
    registry.db             platforms and keys
    golive/SHOP_TEST.json   where `golive --reset` made a fresh start
    log/live/w0/            the durable log: events of live platform ids, by writer
    log/test/w0/            events of test platform ids
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from footfall.registry.store import FILE_NAME, Registry

WRITER = "w0"
TREES = ("live", "test")

DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="FOOTFALL_DATA", help="The data directory.", file_okay=False),
]
DEFAULT_DATA = Path("footfall-data")


def tree(data: Path, mode: str) -> Path:
    return data / "log" / mode


def existing_registry(data: Path) -> Registry | None:
    """The registry where there is one: commands that only read make no directory."""
    return Registry.in_directory(data) if (data / FILE_NAME).exists() else None
