"""Erasing that dies anywhere is done again by whoever comes next: nobody is half forgotten, and each row is counted once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.contract.lake.erasing_stage import STEPS, ErasingStage, dying_eraser
from tests.contract.lake.landing_process import started
from tests.contract.lake.stage import DAY_MS, NOW_MS, event, record

ANNA = "anna-3e11d2c4b5a6"


def fill(stage: ErasingStage) -> None:
    """Rows, old files, waiting records, quarantine, a refused row and test events of one person beside others."""

    def one(person: str, number: int) -> bytes:
        return record(event(id=f"{person[:4]}{number}", user_id=person, timestamp=NOW_MS - 1 - number % 3 * DAY_MS))

    stage.append("w0", *(one(ANNA if n % 2 else "bert", n) for n in range(40)), record(event(user_id=ANNA, timestamp="x")))
    stage.land()
    winner = {"id": "bert0", "user_id": "bert", "timestamp": NOW_MS - 1}
    stage.append("w1", record(event(**winner), received_at=NOW_MS - 9), one(ANNA, 90))
    stage.land()
    stage.append("w0", *(one(ANNA, n) for n in range(100, 103)))  # waits
    stage.append_tests(one(ANNA, 0).replace(b'"SHOP"', b'"SHOP_TEST"'))
    imports = stage.data / "imports" / "a1"
    imports.mkdir(parents=True)
    (imports / "refused.ndjson").write_text(json.dumps({"row": 1, "errors": [], "event": json.dumps({"userId": ANNA})}) + "\n")


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_any_step_it_is_finished_by_the_next(tmp_path: Path, step: str) -> None:
    with ErasingStage(tmp_path) as stage:
        fill(stage)
        stage.ask(ANNA)
        process = started(dying_eraser, tmp_path, step, 1)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert len(stage.registry.erasures(pending=True)) == 2
        stage.land()
        stage.erase()
        stage.require_nowhere(ANNA)
        stage.land()
        counts = stage.counts()
        assert (counts["read"], counts["erased"], counts["repeated"], counts["quarantined"]) == (46, 24, 1, 1)
        assert {row["user_id"] for row in stage.rows("user_id")} == {"bert"}
        stage.require_balance()


@pytest.mark.parametrize("step", ["count", "commit", "remove"])
def test_killed_between_two_commits_each_row_is_counted_once(tmp_path: Path, step: str) -> None:
    with ErasingStage(tmp_path) as stage:
        # more files than one commit takes
        stage.append("w0", *(record(event(id=f"e{n}", user_id=ANNA, timestamp=NOW_MS - 1 - n * DAY_MS)) for n in range(150)))
        stage.land()
        stage.ask(ANNA)
        process = started(dying_eraser, tmp_path, step, 2)
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        assert 0 < stage.counts()["erased"] < 150
        stage.erase()
        stage.require_nowhere(ANNA)
        assert stage.counts()["erased"] == 150
        stage.require_balance()
