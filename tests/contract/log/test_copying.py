"""A copy taken while the writer writes, rotates, dies and recovers holds what was durable before it began, and opens."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from footfall.errors import LogCorruptError
from footfall.log.copying import copy_tree
from footfall.log.reader import SegmentReader
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify

LOG_WRITER = Path(__file__).parents[2] / "torture" / "log" / "log_writer.py"


class DyingWriter:
    """A process that writes groups and prints what is durable, killed and started again as long as the block lasts."""

    def __init__(self, tree: Path) -> None:
        self.durable = 0
        self.lives = 0
        self._tree = tree
        self._serial = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Self:
        self._thread.start()
        while not self.durable and self._thread.is_alive():
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def _live(self) -> None:
        while not self._stop.is_set():
            command = [sys.executable, str(LOG_WRITER), str(self._tree), str(self._serial)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                self.lives += 1
                for count, line in enumerate(process.stdout):
                    last, serial = map(int, line.split())
                    self.durable, self._serial = last, serial
                    if count > 60 or self._stop.is_set():
                        process.kill()  # what it wrote and printed before it dies is read to the end of the pipe


def reopened(copy: Path) -> list[int]:
    """The sequences a copy holds once a writer has taken it over; they have no hole, and every byte is whole."""
    with SegmentWriter.open(copy, free_bytes_min=0) as writer:
        fresh = writer.write([b"fresh"])
    sequences = [record.sequence for record in SegmentReader(copy).scan()]
    assert sequences == list(range(sequences[0], fresh + 1))
    assert verify(copy).is_sound
    return sequences[:-1]


def test_a_copy_taken_at_any_moment_holds_what_was_durable_before(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    with DyingWriter(tree) as writer:
        for number in range(200):
            if number >= 24 and writer.lives > 3 and len(list((tree / "w0").glob("*.log"))) > 2:
                break
            before = writer.durable
            copy = tmp_path / f"copy{number}"
            copy_tree(tree, copy)
            # also before any opening: the copied watermark shows them
            assert len(list(SegmentReader(copy).scan())) >= before
            assert reopened(copy)[:1] == [1]
            assert len(reopened(copy)) >= before
            shutil.rmtree(copy)
        else:
            pytest.fail("the writer died or rotated too seldom to prove anything")


def test_a_copy_holds_together_while_retention_takes_segments_away(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    with DyingWriter(tree) as writer:
        for number in range(20):
            removal = threading.Thread(target=remove_sealed, args=(tree / "w0",), kwargs={"sealed_before_ms": 1 << 60})
            removal.start()
            before = writer.durable
            copy_tree(tree, tmp_path / f"copy{number}")
            removal.join()
            assert reopened(tmp_path / f"copy{number}")[-1] >= before
            shutil.rmtree(tmp_path / f"copy{number}")


def test_wherever_the_tail_of_the_newest_segment_is_cut_what_was_confirmed_opens(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    with SegmentWriter.open(tree, free_bytes_min=0) as writer:
        writer.write([b"one", b"two"])
        writer.sync()
        (segment,) = (tree / "w0").glob("*.log")
        confirmed_bytes = segment.stat().st_size
        writer.write([b"never confirmed"])
        copy_tree(tree, tmp_path / "copy")
    whole_bytes = (tmp_path / "copy" / "w0" / segment.name).stat().st_size
    assert whole_bytes > confirmed_bytes
    for cut in range(confirmed_bytes, whole_bytes + 1):
        shutil.copytree(tmp_path / "copy", tmp_path / "cut")
        with (tmp_path / "cut" / "w0" / segment.name).open("r+b") as file:
            file.truncate(cut)
        assert reopened(tmp_path / "cut") == ([1, 2, 3] if cut == whole_bytes else [1, 2])
        shutil.rmtree(tmp_path / "cut")


def test_without_a_watermark_to_trust_the_copy_has_none_and_opens_all_the_same(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "tree") as writer:
        writer.write([b"one"])
    (tmp_path / "tree" / "w0" / "durable").write_bytes(b"\xff" * 48)
    copy_tree(tmp_path / "tree", tmp_path / "copy")
    assert not (tmp_path / "copy" / "w0" / "durable").exists()
    assert reopened(tmp_path / "copy") == [1]


def test_locks_and_unfinished_and_foreign_files_stay_behind_and_quarantined_ones_come_along(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "tree") as writer:
        writer.write([b"one"])
    home = tmp_path / "tree" / "w0"
    (home / f"{9:020d}-000000.log.new").write_bytes(b"half")
    (home / "damaged").mkdir()
    (home / "damaged" / "old.log").write_bytes(b"kept")
    (tmp_path / "tree" / "lost+found").mkdir()
    files = copy_tree(tmp_path / "tree", tmp_path / "copy")
    there = {path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    assert there == {"w0/durable", f"w0/{1:020d}-000000.log", "w0/damaged/old.log"}
    assert {file.path for file in files} == there
    assert sum(file.bytes_count for file in files) == sum((tmp_path / "copy" / path).stat().st_size for path in there)


def test_a_damaged_log_is_not_copied_in_silence(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "tree") as writer:
        writer.write([b"one", b"two"])
    (segment,) = (tmp_path / "tree" / "w0").glob("*.log")
    segment.write_bytes(segment.read_bytes().replace(b"one", b"eno"))
    with pytest.raises(LogCorruptError, match="records 1 to 2 were durable"):
        copy_tree(tmp_path / "tree", tmp_path / "copy")


def test_no_tree_makes_an_empty_copy(tmp_path: Path) -> None:
    assert copy_tree(tmp_path / "nowhere", tmp_path / "copy") == []
    assert list((tmp_path / "copy").iterdir()) == []
