"""Landers that die anywhere, landers that race: each event is in the table once, and the books balance."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall.errors import LakeConflictError, LakeOwnedError
from footfall.lake.ownership import is_owned, owned_lake
from footfall.lake.settings import LakeSettings
from footfall.lake.table import position_name
from tests.contract.lake import landing_process
from tests.contract.lake.landing_process import STEPS, Plan, dying_lander, owning_lander, racing_lander, started
from tests.contract.lake.stage import DAY_MS, NOW_MS, Model, Stage, erased_record, event, record

FEW = LakeSettings(batch_events_max=25)


def fill(stage: Stage, chance: random.Random, *, records: int = 120) -> None:
    """Two writers' logs with everything in them: repeats within a writer and across, in both orders of receipt, events without
    id, erased records, poison."""
    for _ in range(records // 10):
        writer = chance.choice(["w0", "w1"])
        stage.append(writer, *(_any_record(chance) for _ in range(10)))


def _any_record(chance: random.Random) -> bytes:
    kind = chance.randrange(20)
    received_at = NOW_MS + chance.randrange(5)
    if kind == 0:
        return erased_record(received_at=received_at)
    number = chance.randrange(40)
    identifier = None if kind < 4 else f"e{number}"
    timestamp: Any = "poison" if kind == 5 else NOW_MS - number % 3 * DAY_MS
    return record(event(id=identifier, timestamp=timestamp, user_id=f"u{chance.randrange(5)}"), received_at=received_at)


def kill_and_finish(stage: Stage, plan: Plan) -> None:
    """A lander dies as planned, then another lands the rest."""
    first = started(dying_lander, plan)
    first.join(60)
    assert first.exitcode == -signal.SIGKILL
    stage.land()


@pytest.mark.parametrize("step", [step for step in STEPS if step != "partial"])
@pytest.mark.parametrize("die_at", [1, 2])
def test_a_lander_killed_before_any_step_loses_and_doubles_nothing(tmp_path: Path, step: str, die_at: int) -> None:
    stage, model = Stage(tmp_path, settings=FEW), Model()
    fill(stage, random.Random(f"{step}{die_at}"))
    model.take_all(stage.data)
    assert model.counts["quarantined"] and model.counts["erased"] and model.counts["repeated"]
    plan = Plan(stage.data, batch_events_max=40, die_before=step, die_at=die_at)
    kill_and_finish(stage, plan)
    model.require_equal(stage)


def history(stage: Stage, *, days: int) -> None:
    """Events of many days by w0, landed; then the same days by w1, the first half of them received before those of w0."""
    def one(day: int, received_at: int) -> bytes:
        return record(event(id=f"d{day}", timestamp=NOW_MS - day * DAY_MS), received_at=received_at)

    stage.append("w0", *(one(day, NOW_MS) for day in range(0, days, 3)))
    stage.land()
    stage.append("w1", *(one(day, NOW_MS + (-1 if day % 2 else 1)) for day in range(days)))


@pytest.mark.parametrize(("step", "die_at"), [("partial", 1), ("write", 2), ("commit", 1), ("done", 1)])
def test_a_batch_of_many_partitions_may_die_between_its_commits(tmp_path: Path, step: str, die_at: int) -> None:
    """More than 400 partitions take several commits; events of the table that lose to the batch do so in all of it or not at all."""
    stage, model = Stage(tmp_path), Model()
    history(stage, days=620)
    model.take_all(stage.data)
    kill_and_finish(stage, Plan(stage.data, die_before=step, die_at=die_at))
    model.require_equal(stage)
