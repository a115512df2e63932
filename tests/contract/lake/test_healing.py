"""A table whose end a power cut damaged opens again at its last whole version, and what the rest told of lands again."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from footfall.errors import LakeError
from footfall.lake.healing import BROKEN_NAME, Healed, heal
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.upkeep.checkpoints import write_checkpoint
from footfall.lake.upkeep.upkeep import Upkeep
from footfall.log.retention import remove_sealed
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, event, record

BATCHES = 5


def landed(root: Path, *, checkpoint_after: int | None = None) -> Stage:
    """Five batches of four rows and a repeat, a segment each: versions 1 to 5, maybe a checkpoint of one of them."""
    stage = Stage(root)
    for batch in range(BATCHES):
        names = [f"{batch}-{n}" for n in range(4)]
        records = [record(event(id=name, timestamp=NOW_MS - DAY_MS * (batch % 2))) for name in names]
        stage.append("w0", *records, records[0])
        stage.land()
        if checkpoint_after == batch + 1:
            write_checkpoint(stage.volume)
    return stage


def log_of(stage: Stage) -> Path:
    return stage.data / "lake" / "events" / "_delta_log"


def entry(stage: Stage, version: int) -> Path:
    return log_of(stage) / f"{version:020d}.json"


def checkpoint(stage: Stage, version: int) -> Path:
    return log_of(stage) / f"{version:020d}.checkpoint.parquet"


def healed(stage: Stage) -> Healed:
    return heal(stage.volume, log=stage.data / "log" / "live")


def require_exact(stage: Stage) -> None:
    """After landing again: every event once, and the books balance."""
    stage.land()
    assert [row["id"] for row in stage.rows("id")] == [f"{batch}-{n}" for batch in range(BATCHES) for n in range(4)]
    stage.require_balance()


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: cut(path, 0),
    "short": lambda path: cut(path, path.stat().st_size // 2),
    "short by its last line": lambda path: cut(path, path.read_bytes().rstrip(b"\n").rindex(b"\n") + 1),
    "short by a byte": lambda path: cut(path, len(path.read_bytes().rstrip(b"\n")) - 1),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
    "zeros at the end": lambda path: path.write_bytes(path.read_bytes()[:-40] + bytes(40)) and None,
    "an earlier file's bytes": lambda path: path.write_bytes(b'[1]\n"x"\n') and None,
    "gone": lambda path: path.unlink(),
}


def test_a_whole_table_is_left_as_it_is(tmp_path: Path) -> None:
    stage = landed(tmp_path, checkpoint_after=3)
    before = tree(stage.data)
    assert healed(stage) == Healed(version=BATCHES)
    assert tree(stage.data) == before


def test_where_there_is_no_table_there_is_nothing_to_heal(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert healed(stage) == Healed()
    assert not (stage.data / "lake").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_last_entry_is_put_aside_and_landed_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = landed(tmp_path)
    DAMAGES[damage](entry(stage, 5))
    with caplog.at_level(logging.WARNING):
        found = healed(stage)
    assert found.version == 4
    if damage != "gone":
        assert found.entries == 1
        assert found.broken is not None
        assert [path.name for path in found.broken.iterdir()] == [entry(stage, 5).name]
        assert "put aside" in caplog.text
    assert stage.table().version == 4
    assert healed(stage) == Healed(version=4), "a second time there is nothing to do"
    require_exact(stage)


@pytest.mark.parametrize("damage", DAMAGES)
def test_whole_entries_after_a_damaged_one_go_with_it(tmp_path: Path, damage: str) -> None:
    stage = landed(tmp_path)
    DAMAGES[damage](entry(stage, 3))
    found = healed(stage)
    assert (found.version, found.entries) == (2, 2 if damage == "gone" else 3)
    require_exact(stage)


def test_damage_of_every_entry_starts_anew(tmp_path: Path) -> None:
    """As after the very first minute of a table's life."""
    stage = landed(tmp_path)
    for version in range(BATCHES + 1):
        cut(entry(stage, version), 0)
    assert healed(stage) == Healed(version=-1, entries=BATCHES + 1, broken=next((log_of(stage).parent / BROKEN_NAME).iterdir()))
    require_exact(stage)


@pytest.mark.parametrize("damage", ["gone", "empty", "short", "zeros"])
def test_an_entry_whose_data_file_is_not_whole_is_no_entry(tmp_path: Path, damage: str) -> None:
    stage = landed(tmp_path)
    added = [json.loads(line)["add"]["path"] for line in entry(stage, 4).read_text().splitlines() if '"add"' in line]
    DAMAGES[damage](log_of(stage).parent / added[0])
    found = healed(stage)
    assert (found.version, found.entries) == (3, 2)
    require_exact(stage)


def test_a_data_file_that_was_removed_since_need_not_be_there(tmp_path: Path) -> None:
    """Compaction took it out of the table, and vacuum out of the world."""
    stage = Stage(tmp_path, settings=LakeSettings(vacuum_hours=0))
    for n in range(16):
        stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - n)))
        stage.land()
    upkeep = Upkeep(stage.data, stage.table(), stage.settings, clock=stage.clock)
    upkeep.finish()
    stage.clock.advance(3601)
    upkeep.finish()
    upkeep.close()
    assert len(stage.volume.listed()) == 1
    assert healed(stage) == Healed(version=stage.table().version)
    stage.require_balance()


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "an earlier file's bytes"])
def test_a_damaged_checkpoint_is_put_aside_and_the_log_read_instead(tmp_path: Path, damage: str) -> None:
    stage = landed(tmp_path, checkpoint_after=3)
    if damage == "short by its last line":
        cut(checkpoint(stage, 3), checkpoint(stage, 3).stat().st_size - 100)
    else:
        DAMAGES[damage](checkpoint(stage, 3))
    found = healed(stage)
    assert (found.version, found.entries) == (5, 0)
    assert not (log_of(stage) / "_last_checkpoint").exists()
    assert stage.table().version == 5
    require_exact(stage)


def test_zeros_in_the_middle_of_a_checkpoint_are_found(tmp_path: Path) -> None:
    """As a page that was not yet written when the lights went out; the file's end is there."""
    stage = landed(tmp_path, checkpoint_after=3)
    whole = checkpoint(stage, 3).read_bytes()
    found = 0
    for offset in range(4, len(whole) // 2, 512):
        checkpoint(stage, 3).write_bytes(whole[:offset] + bytes(512) + whole[offset + 512 :])
        found += healed(stage).checkpoints
        checkpoint(stage, 3).write_bytes(whole)
        (log_of(stage) / "_last_checkpoint").write_text('{"version":3,"size":10}')
    assert found >= 5
    require_exact(stage)


@pytest.mark.parametrize("damage", ["empty", "short", "zeros"])
def test_a_damaged_pointer_to_the_last_checkpoint_is_put_aside(tmp_path: Path, damage: str) -> None:
    stage = landed(tmp_path, checkpoint_after=3)
    DAMAGES[damage](log_of(stage) / "_last_checkpoint")
    found = healed(stage)
    assert (found.version, found.entries, found.checkpoints) == (5, 0, 0)
    assert stage.table().version == 5
    require_exact(stage)


def test_entries_before_a_whole_checkpoint_may_be_damaged(tmp_path: Path) -> None:
    stage = landed(tmp_path, checkpoint_after=3)
    cut(entry(stage, 2), 0)
    assert healed(stage) == Healed(version=5)
    require_exact(stage)


def test_a_checkpoint_newer_than_the_damage_goes_with_it(tmp_path: Path) -> None:
    stage = landed(tmp_path, checkpoint_after=5)
    cut(checkpoint(stage, 5), 100)
    cut(entry(stage, 5), 0)
    found = healed(stage)
    assert (found.version, found.entries, found.checkpoints) == (4, 1, 1)
    require_exact(stage)


def test_what_delta_rs_left_half_linked_is_removed(tmp_path: Path) -> None:
    stage = landed(tmp_path)
    for name in ("_commit_2f1c.json.tmp", f"{5:020d}.checkpoint.parquet#1", "_last_checkpoint#3"):
        (log_of(stage) / name).write_bytes(b"{")
    assert healed(stage) == Healed(version=5)
    assert {path.suffix for path in log_of(stage).iterdir()} == {".json"}
    require_exact(stage)


def test_a_cut_in_the_middle_of_healing_is_healed(tmp_path: Path) -> None:
    """The newest names are moved first, so that what is left still ends in damage."""
    for moved in range(1, 4):
        stage = landed(tmp_path / str(moved))
        cut(entry(stage, 3), 0)
        aside = log_of(stage).parent / BROKEN_NAME / "20261123T175810Z-earlier"
        aside.mkdir(parents=True)
        for version in (5, 4, 3)[:moved]:
            shutil.move(entry(stage, version), aside)
        assert healed(stage).version == 2
        require_exact(stage)


# -- what cannot be healed


def test_damage_below_what_the_log_still_holds_is_an_error_and_nothing_is_moved(tmp_path: Path) -> None:
    stage = landed(tmp_path)
    writer = stage.data / "log" / "live" / "w0"
    taken = remove_sealed(writer, sealed_before_ms=time.time_ns() // 1_000_000 + DAY_MS, passed=10)
    assert taken.base_kept == 11
    cut(entry(stage, 2), 0)
    before = tree(stage.data / "lake")
    with pytest.raises(LakeError) as refused:
        healed(stage)
    assert "the events of w0 up to 5, but the log holds them from 11 on only" in refused.value.message
    assert tree(stage.data / "lake") == before


def test_damage_down_to_just_what_the_log_holds_is_healed(tmp_path: Path) -> None:
    stage = landed(tmp_path)
    writer = stage.data / "log" / "live" / "w0"
    remove_sealed(writer, sealed_before_ms=time.time_ns() // 1_000_000 + DAY_MS, passed=10)
    cut(entry(stage, 3), 0)
    assert healed(stage).version == 2
    stage.land()
    assert [row["sequence"] for row in stage.rows("sequence")] == [n for n in range(1, 26) if n % 5]
    assert stage.waiting() == 0


def test_a_log_without_beginning_or_checkpoint_is_an_error(tmp_path: Path) -> None:
    stage = landed(tmp_path, checkpoint_after=3)
    checkpoint(stage, 3).write_bytes(b"PAR1")
    entry(stage, 0).unlink()
    before = tree(stage.data)
    with pytest.raises(LakeError, match="no whole checkpoint"):
        healed(stage)
    assert tree(stage.data) == before


def test_a_lost_data_file_of_long_ago_is_an_error_that_names_it(tmp_path: Path) -> None:
    stage = landed(tmp_path, checkpoint_after=5)
    lost = stage.files()[0].path
    (log_of(stage).parent / lost).unlink()
    with pytest.raises(LakeError) as refused:
        healed(stage)
    assert lost in refused.value.message
    assert "backup" in refused.value.message


def test_entries_of_other_writers_are_taken_as_they_are(tmp_path: Path) -> None:
    """They do not say how many actions they have; each line is JSON."""
    stage = landed(tmp_path)
    other = [line for line in entry(stage, 5).read_text().splitlines() if "commitInfo" in line]
    info = json.loads(other[0])
    del info["commitInfo"]["footfall_actions"]
    entry(stage, 6).write_text(json.dumps(info) + "\n" + json.dumps({"txn": {"appId": "other", "version": 1}}) + "\n")
    assert healed(stage) == Healed(version=6)
    table = EventsTable.open(stage.volume)
    assert table is not None
    assert table.transaction("other") == 1
