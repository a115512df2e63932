"""A lander put together: the lake of a data directory, its registry, and what is done beside landing.

Apart from the commands, so that only who lands waits for these imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from footfall.cli.data import REGISTRY_NAME
from footfall.clock import SystemClock
from footfall.lake.erasing.erasing import Erasing, Reach, erase_pending
from footfall.lake.landing import Persons
from footfall.lake.running import Chore, Parts, Progress, RunningLander, opened_lander
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.upkeep.upkeep import Upkeep
from footfall.registry.store import Registry


@contextmanager
def lander_parts(data: Path, settings: LakeSettings) -> Iterator[Parts]:
    """What a lander of this data directory works with. Raises RegistryError."""
    with Registry.in_directory(data) as registry:
        persons = _Persons(registry)

        def chores(table: EventsTable) -> list[Chore]:
            upkeep = Upkeep(data, table, settings, clock=SystemClock(), retentions=registry.retentions)
            return [upkeep, Erasing(_reach(data, table, settings, registry, give_up=upkeep.give_up))]

        yield Parts(data=data, settings=settings, clock=SystemClock(), persons=persons, chores=chores)


def run_lander(data: Path, settings: LakeSettings, *, stop: Event, tell: Callable[[Progress], None]) -> None:
    """Lands until `stop` is set."""
    with lander_parts(data, settings) as parts:
        RunningLander(parts, stop=stop, tell=tell).run()


def erase_now(data: Path, settings: LakeSettings, registry: Registry) -> None:
    """Carries out every pending erasure. Raises LakeOwnedError where another process owns the lake, LakeError with what could not
    be done: all stays pending then."""
    with lander_parts(data, settings) as parts, opened_lander(parts) as (_, table):
        erase_pending(_reach(data, table, settings, registry))


def has_registry(data: Path) -> bool:
    """Whether anything can have been accepted here."""
    return (data / REGISTRY_NAME).exists()


def _reach(
    data: Path, table: EventsTable, settings: LakeSettings, registry: Registry, *, give_up: Callable[[], None] = lambda: None
) -> Reach:
    return Reach(data=data, table=table, settings=settings, registry=registry, clock=SystemClock(), give_up=give_up)


class _Persons:
    """Who was erased, read again when the registry says that this changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self._known: Persons | None = None

    def __call__(self) -> Persons | None:
        revision = self._registry.erasures_revision()
        if revision != self._revision:
            erasures = self._registry.erasures()
            self._known = Persons(erasures, self._registry.pepper()) if erasures else None
            self._revision = revision
        return self._known
