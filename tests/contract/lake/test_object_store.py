"""The table on an object store: landing, repeats, upkeep and conflicts, against a real S3 server process of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from footfall.errors import LakeConflictError, LakeError
from footfall.lake.healing import Healed, heal
from footfall.lake.settings import LakeSettings
from footfall.lake.table import position_name
from footfall.lake.upkeep.upkeep import Upkeep
from tests.contract.lake.object_store import BUCKET, Line, running_store
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, event, record

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the S3 server


@pytest.fixture(scope="module")
def store() -> Iterator[Line]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with running_store() as line:
        yield line


@pytest.fixture
def stage(tmp_path: Path, store: Line) -> Stage:
    """With a table of its own in the bucket."""
    store.mend()
    table = f"s3://{BUCKET}/{uuid4().hex}/events"
    return Stage(tmp_path, settings=LakeSettings(table=table, vacuum_hours=1))


def test_events_land_once_and_are_read_back_exactly(stage: Stage) -> None:
    money = {"currency": "KRW", "amount": "123456789.123456789"}
    stage.append(
        "w0",
        record(event(id="a", event_type="PURCHASE", revenue=money, user_id="u", extra={"colour": "red"})),
        record(event(id="b", timestamp=NOW_MS - DAY_MS)),
        record(event(id="a", event_type="PURCHASE"), received_at=NOW_MS + 1),
    )
    stage.append("w1", record(event(id="b", timestamp=NOW_MS - DAY_MS), received_at=NOW_MS + 5))
    stage.land()
    stage.append("w1", record(event(id="a", event_type="PURCHASE"), received_at=NOW_MS + 9))
    stage.land()
    purchase, view = stage.rows("id", "user_id", "revenue", "extra", "writer", "sequence")
    assert (purchase["id"], str(purchase["revenue"]["amount"]), purchase["extra"]) == ("a", money["amount"], '{"colour":"red"}')
    assert (view["id"], view["writer"], view["sequence"]) == ("b", "w0", 2)
    assert stage.counts() == {"read": 5, "repeated": 3}
    stage.require_balance()


def test_an_earlier_receipt_takes_the_place_of_a_row_that_is_there(stage: Stage) -> None:
    stage.append("w0", record(event(id="a", user_id="late")), record(event(id="b")))
    stage.land()
    stage.append("w1", record(event(id="a", user_id="early"), received_at=NOW_MS - 1))
    stage.land()
    assert {row["id"]: row["user_id"] for row in stage.rows("id", "user_id")} == {"a": "early", "b": None}
    stage.require_balance()


def land_yesterday(stage: Stage) -> None:
    """Three files of a day that is over."""
    for n in range(3):
        stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - DAY_MS - n)))
        stage.land()


@pytest.mark.torture  # 15 s: a slow store, and many commits
def test_compaction_checkpoint_and_vacuum(stage: Stage) -> None:
    land_yesterday(stage)
    before = stage.rows()
    upkeep = Upkeep(stage.data, stage.table(), stage.settings, clock=stage.clock)
    upkeep.finish()
    stage.clock.advance(1000)
    upkeep.finish()
    assert [file.rows for file in stage.files()] == [3]
    assert len(stage.volume.listed()) == 4
    for _ in range(2):
        stage.clock.advance(3601)
        upkeep.finish()
    upkeep.close()
    assert [path for path, _ in stage.volume.listed()] == [file.path for file in stage.files()]
    assert "_last_checkpoint" in stage.volume.log_names()
    assert stage.rows() == before
    stage.require_balance()


def test_of_two_that_looked_at_the_same_version_one_is_refused(stage: Stage) -> None:
    stage.append("w0", record(event(id="a")))
    one, other = stage.table(), stage.table()
    with stage.lander(table=one) as lander, stage.lander(table=other) as late:
        assert lander.land().landed == 1
        with pytest.raises(LakeConflictError):
            other.commit(transactions={position_name("w0"): 1})
        assert late.land().read == 0
    stage.require_balance()


def test_a_commit_whose_answer_is_lost_counts_once(stage: Stage, store: Line) -> None:
    """The store has it and nobody was told: whoever looks again finds it there."""
    for n in range(2):
        stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - n)), record(event(id=f"e{n}", timestamp=NOW_MS - n)))
        lost: list[str] = []

        def lose(method: str, path: str, lost: list[str] = lost) -> bool:
            lost += [path] if method == "PUT" and "_delta_log" in path and not lost else []
            return lost == [path]

        stage.table()
        store.loses = lose
        try:
            stage.land()
        except LakeError:
            assert lost
        store.mend()
        stage.land()
        assert lost
        assert len(stage.rows("id")) == n + 1
        stage.require_balance()


@pytest.mark.torture  # as the lost answer to a commit, at length
def test_a_compaction_whose_answer_is_lost_keeps_every_row(stage: Stage, store: Line) -> None:
    """The new files are the table's, whatever its owner was told."""
    land_yesterday(stage)
    upkeep = Upkeep(stage.data, stage.table(), stage.settings, clock=stage.clock)
    upkeep.finish()
    stage.clock.advance(590)  # not yet time for a checkpoint
    upkeep.finish()
    stage.clock.advance(400)
    store.loses = lambda method, path: method == "PUT" and path.endswith("4.json")
    try:
        with pytest.raises(LakeError):
            upkeep.finish()
    finally:
        upkeep.close()
    store.mend()
    assert [file.rows for file in stage.files()] == [3]
    assert len(stage.rows("id")) == 3
    stage.require_balance()


@pytest.mark.torture  # as the lost answer to a commit, at length
def test_a_data_file_whose_answer_is_lost_is_sent_again(stage: Stage, store: Line) -> None:
    stage.append("w0", record(event(id="a")))
    stage.table()
    lost: list[str] = []

    def lose(method: str, path: str) -> bool:
        if method == "PUT" and ".parquet" in path and len(lost) < 2:
            lost.append(path)
            return True
        return False

    store.loses = lose
    stage.land()
    assert len(lost) == 2
    assert len(stage.volume.listed()) == 1
    stage.require_balance()


def test_a_store_that_refuses_is_an_error_of_one_line_and_nothing_has_landed(stage: Stage, store: Line) -> None:
    stage.append("w0", record(event(id="a", user_id="somebody")))
    stage.table()
    store.refuses = lambda method, path: method == "PUT" and ".parquet" in path
    with pytest.raises(LakeError) as refused:
        stage.land()
    assert "\n" not in refused.value.message
    assert "somebody" not in refused.value.message
    store.mend()
    assert stage.rows("id") == []
    stage.land()
    stage.require_balance()


def test_an_object_store_needs_no_healing(stage: Stage) -> None:
    stage.append("w0", record(event(id="a")))
    stage.land()
    assert heal(stage.volume, log=stage.data / "log" / "live") == Healed()
    assert len(stage.rows("id")) == 1
