"""Erasing beside landing: the lander's loop asks whether somebody is to be erased, and no trouble of erasing stops it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.lake.erasing.erasing import Erasing, erase_steps
from footfall.lake.erasing.receipts import Account, told_trouble
from footfall.log.segments import SegmentWriter
from tests.contract.lake.erasing_stage import ErasingStage
from tests.contract.lake.stage import event, record

ANNA = "anna-90ab12cd34ef"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[ErasingStage]:
    with ErasingStage(tmp_path) as made:
        (made.data / "run").mkdir()
        made.append("w0", record(event(id="a", user_id=ANNA)), record(event(id="b", user_id="bert")))
        made.land()
        yield made


def ticked(erasing: Erasing, stage: ErasingStage) -> bool:
    """Ticks until nothing is pending, or nothing more happens for now."""
    deadline_s = time.monotonic() + 20
    while stage.registry.erasures(pending=True) and time.monotonic() < deadline_s:
        erasing.tick()
        if told_trouble(stage.data):
            return False
    return not stage.registry.erasures(pending=True)


def test_a_tick_without_a_request_does_nothing_and_one_after_it_erases(stage: ErasingStage) -> None:
    steps: list[str] = []
    with stage.reach(at=steps.append) as reach:
        erasing = Erasing(reach)
        erasing.tick()
        erasing.tick()
        assert steps == []
        stage.ask(ANNA)
        assert ticked(erasing, stage)
        assert steps[-1] == "finish"
        stage.require_nowhere(ANNA)
        taken = len(steps)
        erasing.tick()
        assert len(steps) == taken
        stage.ask(ANNA)
        assert ticked(erasing, stage)
        assert len(steps) > taken, "asked for again it is done again"
        erasing.close()


def test_a_writer_that_does_not_answer_is_told_of_and_waited_for(stage: ErasingStage) -> None:
    writer = SegmentWriter.open(stage.data / "log" / "live", writer="w0", free_bytes_min=0)
    writer.write([record(event(id="c", user_id=ANNA))])
    writer.sync()
    with stage.reach(seal_s=0.05) as reach:
        erasing = Erasing(reach)
        stage.ask(ANNA)
        assert not ticked(erasing, stage)
        assert "w0 did not close the segment in writing" in told_trouble(stage.data)
        assert [row["id"] for row in stage.rows("id")] == ["b"], "the rest is done"
        writer.close()
        erasing.tick()
        assert stage.registry.erasures(pending=True), "not at once again"
        stage.clock.advance(3)
        while stage.registry.erasures(pending=True):
            erasing.tick()
        assert told_trouble(stage.data) == ""
        receipt = stage.receipts()["SHOP", "user_id"]
        assert [(place["place"], *list(place.values())[1:]) for place in receipt.places[:2]] == [
            ("lake", 1, 1), ("log/live", 2, 2),
        ], "attempts are added up"  # fmt: skip
        erasing.close()
    stage.require_nowhere(ANNA)
    stage.land()
    stage.require_balance()


def test_a_pass_that_is_given_up_leaves_the_request_pending(stage: ErasingStage) -> None:
    with stage.reach() as reach:
        stage.ask(ANNA)
        steps = erase_steps(reach, Account())
        next(steps)
        steps.close()
        assert len(stage.registry.erasures(pending=True)) == 2
        again = Erasing(reach)
        assert ticked(again, stage)
        again.close()
    stage.require_nowhere(ANNA)
    stage.require_balance()
