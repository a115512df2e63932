"""The lander against death, rivals and its own volume, often enough to believe it."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from footfall.lake.landing import Persons
from tests.contract.lake.landing_process import STEPS, Plan, dying_lander, started
from tests.contract.lake.stage import NOW_MS, Model, Stage
from tests.contract.lake.test_landing import hide_poison
from tests.contract.lake.test_landing_killed import fill, history, race
from tests.contract.lake.test_landing_model import PEPPER, Gone, Story, stories, tell

pytestmark = pytest.mark.torture

RUNS = 50
CALLS = [("rename", 1), ("rename", 2), ("rename", 5), ("linkat", 1), ("linkat", 2), ("linkat", 3)]
CALLS += [("fsync", number) for number in range(1, 14)]
LAND = """
import sys
from pathlib import Path
from tests.contract.lake.landing_process import Plan, dying_lander
dying_lander(Plan(Path(sys.argv[1]), batch_events_max=40))
"""


@pytest.mark.parametrize("step", [step for step in STEPS if step != "partial"])
def test_fifty_deaths_before_each_step(tmp_path: Path, step: str) -> None:
    """One directory for all: logs grow, landers die at the first, second or third reaching, sometimes two in a row."""
    chance = random.Random(step)
    stage = Stage(tmp_path)
    deaths = 0
    while deaths < RUNS:
        fill(stage, chance, records=120)
        for _ in range(chance.choice([1, 1, 2])):
            size, die_at = chance.choice([20, 40, 90]), chance.choice([1, 1, 2, 3])
            lander = started(dying_lander, Plan(stage.data, batch_events_max=size, die_before=step, die_at=die_at))
            lander.join(60)
            assert lander.exitcode in (0, -signal.SIGKILL)  # 0: the step was not reached so often
            deaths += lander.exitcode != 0
        if chance.random() < 0.3:
            stage.land()
    model = Model()
    model.take_all(stage.data)
    stage.land()
    model.require_equal(stage)


@pytest.mark.parametrize("run", range(RUNS))
def test_fifty_deaths_between_the_commits_of_one_batch(tmp_path: Path, run: int) -> None:
    """With events of the table that lose, and with a second death on the way of whoever takes over."""
    chance = random.Random(run)
    stage, model = Stage(tmp_path), Model()
    history(stage, days=chance.choice([620, 1000]))
    model.take_all(stage.data)
    for _ in range(chance.choice([0, 1])):
        started(dying_lander, Plan(stage.data, die_before=chance.choice(STEPS))).join(60)
    step, die_at = chance.choice([("partial", 1), ("write", 2), ("place", 2), ("commit", 1)])
    lander = started(dying_lander, Plan(stage.data, batch_events_max=chance.choice([500, 1000]), die_before=step, die_at=die_at))
    lander.join(60)
    stage.land()
    model.require_equal(stage)


def test_who_is_erased_between_the_commits_of_one_batch_is_not_counted_twice(tmp_path: Path) -> None:
    """What landed before the death stays in the table, for the erasure to find; what had not never lands."""
    stage = Stage(tmp_path)
    history(stage, days=620)
    started(dying_lander, Plan(stage.data, die_before="commit")).join(60)
    landed = [
        row["sequence"] for row in stage.rows("writer", "sequence", "user_id") if (row["writer"], row["user_id"]) == ("w1", "u0")
    ]
    stage.persons = Persons([Gone("SHOP", "user_id", "u0", NOW_MS + 1)], PEPPER)
    stage.land()
    rows = stage.rows("writer", "sequence", "user_id")
    assert landed
    assert landed == [row["sequence"] for row in rows if (row["writer"], row["user_id"]) == ("w1", "u0")]
    assert stage.counts()["erased"] == 620 // 5 - len(landed)
    stage.require_balance()


def test_a_thousand_races(tmp_path: Path) -> None:
    race(Stage(tmp_path), races=1000)


def test_fifty_poisons_among_ten_thousand(tmp_path: Path) -> None:
    hide_poison(Stage(tmp_path), poisons=50)


@given(stories)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_table_is_what_the_model_says_three_hundred_times(story: Story) -> None:
    tell(story)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "number"), CALLS)
def test_a_lander_killed_inside_a_system_call_loses_and_doubles_nothing(tmp_path: Path, call: str, number: int) -> None:
    """In the middle of putting files in place, of the commit itself, of making it durable: after the call was made, before
    anything of ours knew that it was."""
    stage, model = Stage(tmp_path), Model()
    fill(stage, random.Random(f"{call}{number}"))
    model.take_all(stage.data)
    stage.table()
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    ran = subprocess.run([*strace, sys.executable, "-c", LAND, str(stage.data)], capture_output=True, timeout=120, check=False)
    assert ran.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), ran.stderr
    stage.land()
    model.require_equal(stage)
