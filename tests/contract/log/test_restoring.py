"""After a restore no sequence is issued a second time, and readers that knew the lost log see every new record."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from footfall.errors import LogCorruptError
from footfall.log.copying import copy_tree
from footfall.log.inspection import check_sealed, recover_leftover
from footfall.log.reader import SegmentReader
from footfall.log.restoring import GAP, leave_gap
from footfall.log.retention import remove_sealed
from footfall.log.rewriting import rewrite_records
from footfall.log.sealing import seal_all
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify


def open_writer(tree: Path, writer: str = "w0") -> SegmentWriter:
    return SegmentWriter.open(tree, writer=writer, segment_bytes=600, free_bytes_min=0)


def bodies_after(tree: Path, positions: dict[str, int]) -> list[bytes]:
    reader, found = SegmentReader(tree), []
    while records := reader.read(positions, records_max=3):
        found += [record.body for record in records]
        positions = {**positions, **{record.writer: record.sequence for record in records}}
    reader.close()
    return found


@pytest.fixture(params=["closed", "living", "torn", "without a watermark", "empty"])
def restored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A tree brought back from a copy of one in some state, its 20 records (or none) whole, and its floor. Readers of the lost
    one had come to record 1,000."""
    source, tree = tmp_path / "source", tmp_path / "tree"
    with open_writer(source) as writer:
        for number in range(0 if request.param == "empty" else 20):
            writer.write([b"old-%d" % number])
            writer.sync()
        if request.param == "closed":
            writer.close()
        copy_tree(source, tree)
    newest = max((tree / "w0").glob("*.log"), default=None)
    if request.param == "torn" and newest is not None:
        with newest.open("ab") as file:
            file.write(b"#group bytes=999 crc=0")
    if request.param == "without a watermark":
        (tree / "w0" / "durable").unlink()
    return tree, leave_gap(tree)


def test_new_records_come_after_everything_that_was_ever_issued(restored: tuple[Path, int]) -> None:
    tree, floor = restored
    assert floor >= GAP
    old = [record.body for record in SegmentReader(tree).scan()]
    with open_writer(tree) as writer:
        assert writer.last == floor
        assert writer.write([b"new-0"]) == floor + 1
        writer.sync()
        assert bodies_after(tree, {"w0": 1000}) == [b"new-0"], "a reader that was further than the copy"
    for number in range(1, 40):
        with open_writer(tree) as writer:
            assert writer.write([b"new-%d" % number]) == floor + 1 + number
    new = [b"new-%d" % number for number in range(40)]
    assert bodies_after(tree, {"w0": 1000}) == new
    assert bodies_after(tree, {}) == [*old, *new]
    assert bodies_after(tree, {"w0": 7}) == [*old[7:], *new]
    assert verify(tree).is_sound
    assert check_sealed(tree, budget_s=60).damages == ()


def test_before_the_first_start_the_tree_reads_as_the_copy_did(restored: tuple[Path, int]) -> None:
    tree, floor = restored
    (report,) = verify(tree).writers
    old = bodies_after(tree, {})
    assert (report.damages, report.records) == ((), len(old))
    assert len(old) in (0, 20)
    assert SegmentReader(tree).unconfirmed() == {}
    assert SegmentReader(tree).count_after({}) == {"w0": len(old)}
    assert SegmentReader(tree).count_after({"w0": 1000}) == {"w0": 0}
    assert bodies_after(tree, {"w0": 1000}) == []
    assert report.last == (floor if old else 0)


def test_whole_records_beyond_the_watermark_are_counted_as_unconfirmed_and_confirmed_by_the_start(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "source", free_bytes_min=0) as writer:
        writer.write([b"confirmed"])
        writer.sync()
        writer.write([b"written", b"only"])
        copy_tree(tmp_path / "source", tmp_path / "tree")
    leave_gap(tmp_path / "tree")
    assert SegmentReader(tmp_path / "tree").unconfirmed() == {"w0": 2}
    open_writer(tmp_path / "tree").close()
    assert bodies_after(tmp_path / "tree", {}) == [b"confirmed", b"written", b"only"]


def test_recovery_retention_rewriting_sealing_and_copies_take_the_gap_as_it_is(
    restored: tuple[Path, int], tmp_path: Path
) -> None:
    tree, floor = restored
    old = bodies_after(tree, {})
    assert recover_leftover(tree, keep=(), free_bytes_min=0) == (["w0"] if old else [])
    assert seal_all(tree, timeout_s=0, free_bytes_min=0) == []
    with open_writer(tree) as writer:
        writer.write([b"new"])
        writer.sync()
    copy_tree(tree, tmp_path / "copy")
    assert bodies_after(tmp_path / "copy", {}) == [*old, b"new"]
    done = rewrite_records(tree / "w0", change=lambda bodies: [b"changed" for _ in bodies])
    assert (done.records, done.damages) == (len(old) + 1, ())
    remove_sealed(tree / "w0", sealed_before_ms=1 << 60)
    assert bodies_after(tree, {"w0": 1000}) == [b"changed"]
    with open_writer(tree) as writer:
        assert writer.write([b"newer"]) == floor + 2
    assert verify(tree).is_sound


@pytest.mark.parametrize("passed", [0, 5, 20, 1000])
def test_an_opening_told_what_readers_have_passed_keeps_the_gap(restored: tuple[Path, int], passed: int) -> None:
    tree, floor = restored
    for number in range(3):
        with SegmentWriter.open(tree, free_bytes_min=0, passed={"w0": passed}) as writer:
            assert writer.write([b"new"]) == floor + 1 + number
    assert bodies_after(tree, {"w0": 1000}) == [b"new"] * 3
    (report,) = verify(tree).writers
    assert (report.damages, report.lost) == ((), 0), "numbers that were never given are not lost"


def test_writers_that_the_copy_does_not_know_begin_above_the_floor(restored: tuple[Path, int], tmp_path: Path) -> None:
    """The lost server may have had more of them, which readers remember too."""
    tree, floor = restored
    writer = open_writer(tree, "w7")
    assert bodies_after(tree, {"w0": 1000, "w7": 4000}) == []
    assert writer.write([b"new"]) == floor + 1
    writer.sync()
    assert bodies_after(tree, {"w0": 1000, "w7": 4000}) == [b"new"]
    writer.close()
    assert verify(tree).is_sound
    copy_tree(tree, tmp_path / "copy")
    with open_writer(tmp_path / "copy", "w8") as unknown_again:
        assert unknown_again.write([b"new"]) == floor + 1, "the floor is copied with the tree"


def test_a_new_writer_that_dies_at_its_first_steps_begins_there_again(tmp_path: Path) -> None:
    floor = leave_gap(tmp_path)
    for _ in range(3):
        open_writer(tmp_path).abandon()
    with open_writer(tmp_path) as writer:
        assert writer.write([b"new"]) == floor + 1
    assert bodies_after(tmp_path, {}) == [b"new"]


def test_each_restore_goes_higher_though_its_copy_is_the_same(tmp_path: Path) -> None:
    tree, chance = tmp_path / "0", random.Random(5)
    with open_writer(tree) as writer:
        writer.write([b"first"])
    issued = {1}
    for life in range(1, 5):
        copied, tree = tree, tmp_path / str(life)
        copy_tree(copied, tree)
        leave_gap(tree)
        with open_writer(tree) as writer:
            for _ in range(chance.randrange(3)):
                last = writer.write([b"in life %d" % life])
                assert last not in issued
                issued.add(last)
    assert len(bodies_after(tree, {})) == len(issued) > 1
    assert verify(tree).is_sound


def test_a_floor_that_cannot_be_read_is_not_guessed(restored: tuple[Path, int]) -> None:
    tree, _ = restored
    line = (tree / "floor").read_bytes()
    for offset in range(len(line)):
        (tree / "floor").write_bytes(line[:offset] + bytes([line[offset] ^ 1]) + line[offset + 1 :])
        with pytest.raises(LogCorruptError, match="floor is damaged"):
            open_writer(tree, "w7")
    (tree / "floor").write_bytes(line)
    open_writer(tree, "w7").close()


def test_a_damaged_tree_gets_no_gap(tmp_path: Path) -> None:
    with open_writer(tmp_path / "source") as writer:
        writer.write([b"one"])
    shutil.copytree(tmp_path / "source", tmp_path / "tree")
    (segment,) = (tmp_path / "tree" / "w0").glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b"one", b"eno"))
    with pytest.raises(LogCorruptError):
        leave_gap(tmp_path / "tree")
    assert not (tmp_path / "tree" / "floor").exists()
