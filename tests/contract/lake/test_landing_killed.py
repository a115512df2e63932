"""Landers that die anywhere, landers that race: each event is in the table once, and the books balance."""

from __future__ import annotations

import random
import signal
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


@pytest.mark.parametrize("step", [step for step in STEPS if step != "partial"])
def test_a_lander_that_failed_at_any_step_goes_on_by_itself(tmp_path: Path, step: str) -> None:
    """The volume said no once: the next call lands what the failed one did not."""
    stage, model = Stage(tmp_path, settings=FEW), Model()
    fill(stage, random.Random(step))
    model.take_all(stage.data)
    reached = 0

    def at(now: str) -> None:
        nonlocal reached
        reached += now == step
        if now == step and reached in (1, 3):
            raise OSError(28, "No space left on device")

    with stage.lander(at=at) as lander:
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                while lander.land().read:
                    pass
        while lander.land().read:
            pass
    model.require_equal(stage)


def history(stage: Stage, *, days: int) -> None:
    """Events of many days by w0, landed; then the same days by w1, the first half of them received before those of w0."""

    def one(day: int, received_at: int) -> bytes:
        return record(event(id=f"d{day}", timestamp=NOW_MS - day * DAY_MS, user_id=f"u{day % 5}"), received_at=received_at)

    stage.append("w0", *(one(day, NOW_MS) for day in range(0, days, 3)))
    stage.land()
    stage.append("w1", *(one(day, NOW_MS + (-1 if day % 2 else 1)) for day in range(days)))


@pytest.mark.parametrize(("step", "die_at"), [("commit", 1)])
def test_a_batch_of_many_partitions_may_die_between_its_commits(tmp_path: Path, step: str, die_at: int) -> None:
    """More than 400 partitions take several commits; what loses in the table to the batch is gone, whichever is the last."""
    stage, model = Stage(tmp_path), Model()
    history(stage, days=620)
    model.take_all(stage.data)
    kill_and_finish(stage, Plan(stage.data, die_before=step, die_at=die_at))
    model.require_equal(stage)


def race(stage: Stage, *, races: int) -> None:
    """Two landers without the lock, at one table: of each pair of commits one is done and one refused."""
    for number in range(races):  # an hour apart: what is compared with must not grow
        stage.append("w0", record(event(id=f"e{number}", timestamp=NOW_MS - number * 3_600_000)))
    stage.table()
    start, outcomes = landing_process.barrier(2), landing_process.queue()
    landers = [started(racing_lander, Plan(stage.data, batch_events_max=1), races, start, outcomes) for _ in range(2)]
    told = [outcomes.get() for _ in range(2 * races)]
    for lander in landers:
        lander.join(60)
    assert (told.count("landed"), told.count("conflict")) == (races, races)
    assert stage.table().version == races
    stage.require_balance()


def test_of_two_landers_that_commit_at_once_exactly_one_does(tmp_path: Path) -> None:
    race(Stage(tmp_path), races=20)


def test_the_lake_has_one_owner_until_it_dies(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event()))
    stage.table()
    outcomes = landing_process.queue()
    with owned_lake(stage.data, stage.volume):
        assert is_owned(stage.data)
        with pytest.raises(LakeOwnedError), owned_lake(stage.data, stage.volume):
            raise AssertionError("owned twice")
        started(owning_lander, Plan(stage.data), outcomes).join(60)
        assert (outcomes.get(), stage.waiting()) == ("owned", 1)
    started(owning_lander, Plan(stage.data), outcomes).join(60)
    assert (outcomes.get(), stage.waiting()) == ("landed", 0)
    assert not is_owned(stage.data)  # the process is gone, and its lock with it


def test_two_data_directories_pointed_at_one_table_are_told(tmp_path: Path) -> None:
    here, there = Stage(tmp_path / "here"), Stage(tmp_path / "there")
    with owned_lake(here.data, here.volume), pytest.raises(LakeOwnedError), owned_lake(there.data, here.volume):
        raise AssertionError("owned twice")


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 3])
def test_a_position_that_does_not_grow_is_refused_and_nothing_changes(tmp_path: Path, number: int) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", *(record(event(id=f"e{number}")) for number in range(3)))
    stage.land()
    table, before = stage.table(), (stage.table().version, stage.rows())
    with pytest.raises(LakeConflictError):
        table.commit(transactions={position_name("w0"): number, position_name("w9"): 5})
    assert (stage.table().version, stage.rows()) == before
    assert stage.table().position("w9") == 0


def test_a_handle_that_somebody_overtook_cannot_commit(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    slow, quick = stage.table(), stage.table()
    quick.commit(transactions={position_name("w0"): 1})
    with pytest.raises(LakeConflictError):
        slow.commit(transactions={position_name("w1"): 1})
    slow.refresh()
    slow.commit(transactions={position_name("w1"): 1})
    assert (stage.table().position("w0"), stage.table().position("w1"), stage.table().version) == (1, 1, 2)


def test_a_table_knows_the_same_of_its_files_after_its_commits_as_one_that_is_opened_anew(tmp_path: Path) -> None:
    """Paths, bytes, rows and the first and last moment of each, from 1970 to 9999."""
    stage = Stage(tmp_path)
    table = stage.table()
    with stage.lander(table=table) as lander:
        for moment in (10**10, NOW_MS - 123, 253_402_300_799_999):
            stage.append("w0", record(event(timestamp=moment)), record(event(timestamp=moment + (moment < 10**12))))
            lander.land()
    assert dict(stage.table().files()) == dict(table.files())
    assert {(file.first_ms, file.last_ms) for file in table.files().values()} >= {(10**10, 10**10 + 1), (NOW_MS - 123,) * 2}
