"""The one directory of a Footfall, and what lies where in it.

footfall-data/
    footfall.toml           settings, where you want any
    registry.db             platforms and keys
    golive/SHOP_TEST.json   where `golive --reset` made a fresh start
    log/live/w0/            the durable log: events of live platform ids, by writer
    log/test/w0/            events of test platform ids
    lake/events/            the table that live events land in; its lander's scratch is in lake-staging/ and lake-upkeep/
    quarantine/             records that could not become rows
    imports/                how far each import got, and what it refused
    run/                    how each process of a running server is: for /readyz, /metrics and the command line

Only `footfall serve` and `footfall platform add` make it; whoever merely asks leaves no trace.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from footfall.cli.output import FAILED, REFUSED, fail, marked, say
from footfall.errors import LogLockedError, RegistryError, RegistryRefusedError

if TYPE_CHECKING:
    from footfall.registry.store import Registry

REGISTRY_NAME: Final = "registry.db"
TREES: Final = ("live", "test")
DEFAULT_DATA: Final = Path("footfall-data")
_OTHER_DIRECTORY: Final = "--data or FOOTFALL_DATA chooses another directory"

DataOption = Annotated[
    Path,
    typer.Option("--data", metavar="DIR", envvar="FOOTFALL_DATA", help="The data directory.", file_okay=False, readable=False),
]


def tree(data: Path, mode: str) -> Path:
    return data / "log" / mode


def note_absence(data: Path) -> None:
    """Says on stderr that there is no data directory: a mistyped path must not pass for an empty log."""
    with explained(data):
        if not data.exists():
            say(f"there is no data directory {marked(str(data))} yet; {_OTHER_DIRECTORY}")


@contextmanager
def owned(data: Path, *, otherwise: str) -> Iterator[None]:
    """Holds an existing data directory itself as a lock, as a server does before it touches anything in it: the locks of the log
    are files, which somebody may delete, and each guards one tree only. Raises LogLockedError, saying `otherwise`."""
    import fcntl  # POSIX only, as the server is

    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LogLockedError(otherwise) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def new_registry(data: Path) -> Iterator[Registry]:
    """The registry of a data directory; both are made when there is none."""
    from footfall.registry.store import Registry  # its SQL library costs 0.2 s, which `footfall check` shall not pay

    with explained(data):
        registry = Registry.in_directory(data)
    with registry, _trouble_explained(data):
        yield registry


@contextmanager
def found_registry(data: Path) -> Iterator[Registry | None]:
    """The registry where there is one."""
    with explained(data):
        exists = (data / REGISTRY_NAME).exists()
    if not exists:
        yield None
        return
    from footfall.registry.store import Registry

    with _trouble_explained(data), Registry.at(data / REGISTRY_NAME) as registry:
        yield registry


@contextmanager
def required_registry(data: Path) -> Iterator[Registry]:
    """The registry, or exit 1 with what to do."""
    with found_registry(data) as registry:
        if registry is None:
            fail(f"no platforms in {data}; make a pair with `footfall platform add SHOP`; {_OTHER_DIRECTORY}", REFUSED)
        yield registry


@contextmanager
def explained(data: Path) -> Iterator[None]:
    """A data directory that cannot be used is one line and exit 3."""
    try:
        yield
    except OSError as error:
        fail(f"the data directory {data} cannot be used ({error.strerror}); {_OTHER_DIRECTORY}", FAILED)
    except RegistryError as error:
        fail(_registry_trouble(error, data), FAILED)


@contextmanager
def _trouble_explained(data: Path) -> Iterator[None]:
    try:
        yield
    except RegistryRefusedError:
        raise
    except RegistryError as error:
        fail(_registry_trouble(error, data), FAILED)


def _registry_trouble(error: RegistryError, data: Path) -> str:
    return f"{error.message}; look at {data}: who owns it, whether it may be written, whether its volume is full"
