"""The machine under the benchmark: what it is, how busy it was, and who runs on which core.

One core for a server and everything it starts, the other for the load: then a rate is what one core can do, and a load that gets
cheaper does not make a server look faster. Linux only (`taskset`, epoll).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Final

import msgspec
import psutil

SERVER_CORE: Final = 0
LOAD_CORE: Final = 1
_PACKAGES: Final = (
    *("granian", "msgspec", "fastapi", "pydantic", "uvicorn", "uvloop", "httptools", "asyncpg"),
    *("segment-analytics-python", "posthog", "gunicorn"),
    *("duckdb", "deltalake"),
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from. `load_average` is that of the last minute before the first round."""

    system: str
    python: str
    processor: str
    cores: int
    load_average: float
    file_system: str
    packages: dict[str, str]


def describe(directory: Path) -> Machine:
    """This machine; `directory` is where the logs and the database will lie."""
    return Machine(
        system=platform.platform(),
        python=platform.python_version(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
        load_average=os.getloadavg()[0],
        file_system=_file_system(directory),
        packages=_versions(),
    )


def why_not_here() -> str | None:
    """Why this machine cannot run the benchmark; None: it can."""
    if sys.platform != "linux":
        return "the benchmark needs Linux: it pins processes with taskset and drives them with epoll"
    if shutil.which("taskset") is None:
        return "the benchmark needs taskset (Debian: util-linux) to give the server and the load a core each"
    return None


def pinned(*cores: int) -> tuple[str, ...]:
    """What to write before a command so that it, and all it starts, runs on these cores only."""
    return ("taskset", "-c", ",".join(map(str, _usable(cores))))


def settle_on(*cores: int) -> None:
    """Moves this process, the load, to these cores."""
    os.sched_setaffinity(0, _usable(cores))


def _usable(cores: tuple[int, ...]) -> list[int]:
    """Those of them this machine has; on a machine with one core, that one is shared."""
    return [core for core in cores if core < (os.cpu_count() or 1)] or [SERVER_CORE]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    """The type of file system that `directory` lies on: that of the longest mount point above it."""
    path = directory.resolve()
    above = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    return max(above, key=lambda mount: len(mount.mountpoint)).fstype if above else "unknown"
