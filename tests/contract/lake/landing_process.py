"""Landers that die: a process that lands a data directory and kills itself, without a word, before a step of its choice.

Processes come from a fork server that has the packages loaded already, so that one costs 50 ms instead of a second.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, Final

from footfall.clock import ManualClock
from footfall.errors import LakeConflictError, LakeOwnedError
from footfall.lake.landing import Lander
from footfall.lake.ownership import owned_lake
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.volume import LocalVolume
from tests.contract.lake.stage import NOW_MS

STEPS: Final = ("read", "stage", "parse", "compare", "write", "place", "keep", "partial", "commit", "done")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.contract.lake.landing_process"])


class Plan:
    """Which lander it is to be. Given to another process, so it holds plain values only."""

    def __init__(self, data: Path, *, batch_events_max: int = 1000, die_before: str = "", die_at: int = 1) -> None:
        self.data = data
        self.batch_events_max = batch_events_max
        self.die_before = die_before
        self.die_at = die_at
        """at which reaching of the step"""


def started(target: Callable[..., None], *arguments: object) -> ForkServerProcess:
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def barrier(parties: int) -> Any:
    """For `racing_lander`."""
    return _context.Barrier(parties, timeout=60)


def queue() -> Any:
    """For `racing_lander` and `owning_lander`."""
    return _context.SimpleQueue()


def dying_lander(plan: Plan) -> None:
    """Lands everything, or dies where the plan says."""
    reached = 0

    def at(step: str) -> None:
        nonlocal reached
        reached += step == plan.die_before
        if step == plan.die_before and reached == plan.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    lander = _lander(plan, at)
    while lander.land().read:
        pass


def racing_lander(plan: Plan, races: int, start: Any, outcomes: Any) -> None:
    """Lands so many batches without owning the lake, each commit at the moment when the others are ready for theirs too. Tells
    of each batch "landed" or "conflict"."""
    lander = _lander(plan, lambda step: start.wait() if step == "commit" else None)
    for _ in range(races):
        start.wait()  # making a lander empties the staging directory, and a loser must not look before the winner is done
        try:
            lander.land()
        except LakeConflictError:
            outcomes.put("conflict")
        else:
            outcomes.put("landed")


def owning_lander(plan: Plan, outcomes: Any) -> None:
    """Lands under the lock, or tells that it is not to be had."""
    try:
        with owned_lake(plan.data, _volume(plan)):
            _lander(plan, lambda _: None).land()
            outcomes.put("landed")
    except LakeOwnedError:
        outcomes.put("owned")


def _lander(plan: Plan, at: Callable[[str], None]) -> Lander:
    table = EventsTable.open(_volume(plan), create=True)
    assert table is not None
    settings = LakeSettings(batch_events_max=plan.batch_events_max)
    return Lander(plan.data, table, settings, clock=ManualClock(NOW_MS), at=at)


def _volume(plan: Plan) -> LocalVolume:
    return LocalVolume(plan.data / "lake" / "events")
