"""Whoever wants it sealed now gets it sealed: by the writer that lives, or in place of the one that does not."""

from __future__ import annotations

import asyncio
import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from footfall.errors import LogClosedError, LogFullError
from footfall.log.directory import list_segments
from footfall.log.disk import Disk
from footfall.log.group_commit import GroupCommit
from footfall.log.memory import MemoryTree, MemoryWriter
from footfall.log.reader import SegmentReader
from footfall.log.sealing import seal_all
from footfall.log.segment import SegmentFile
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.failing_disk import FailingDisk


def sealed_upto(tree: Path, writer: str = "w0") -> int:
    """The last sequence that is in a sealed segment."""
    last = 0
    for name in list_segments(Disk(), tree / writer).segments:
        file = SegmentFile(Disk(), tree / writer, name)
        seal = file.seal()
        file.close()
        last = seal.last if seal is not None else last
    return last


def files(tree: Path, writer: str = "w0") -> list[str]:
    return sorted(path.name for path in (tree / writer).iterdir())


class Living:
    """A writer that looks for requests as the server does, in a thread of its own, until the block ends."""

    def __init__(self, tree: Path, writer: str) -> None:
        self.log = SegmentWriter.open(tree, writer=writer, free_bytes_min=0)
        self.turn = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def _live(self) -> None:
        while not self._stop.wait(0.005):
            with self.turn:
                self.log.seal_if_asked()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)
        self.log.close()


def test_a_living_writer_seals_goes_on_and_nothing_is_left_of_the_request(tmp_path: Path) -> None:
    with Living(tmp_path, "w0") as living:
        with living.turn:
            living.log.write([b"one", b"two"])
            living.log.sync()
            living.log.write([b"not durable yet"])
        assert seal_all(tmp_path, timeout_s=10, free_bytes_min=0) == []
        assert sealed_upto(tmp_path) == 3
        assert "seal" not in files(tmp_path)
        with living.turn:
            assert living.log.write([b"next"]) == 4
    assert [record.sequence for record in SegmentReader(tmp_path).scan()] == [1, 2, 3, 4]
    assert verify(tmp_path).is_sound


def test_what_is_sealed_already_or_empty_costs_no_segment(tmp_path: Path) -> None:
    with Living(tmp_path, "w0") as living:
        assert seal_all(tmp_path, timeout_s=10, free_bytes_min=0) == []
        with living.turn:
            living.log.write([b"one"])
            living.log.sync()
        for _ in range(3):
            assert seal_all(tmp_path, timeout_s=10, free_bytes_min=0) == []
        assert len(list((tmp_path / "w0").glob("*.log"))) == 1


def test_a_dead_writer_is_sealed_with_all_it_wrote(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "source", free_bytes_min=0) as writer:
        writer.write([b"confirmed"])
        writer.sync()
        writer.write([b"written"])
        shutil.copytree(tmp_path / "source" / "w0", tmp_path / "tree" / "w0")
    (tmp_path / "tree" / "lost+found").mkdir()
    assert sealed_upto(tmp_path / "tree") == 0
    assert seal_all(tmp_path / "tree", timeout_s=10, free_bytes_min=0) == []
    assert sealed_upto(tmp_path / "tree") == 2


def test_a_writer_that_does_not_look_is_named_and_the_others_are_sealed(tmp_path: Path) -> None:
    deaf = SegmentWriter.open(tmp_path, writer="deaf", free_bytes_min=0)
    deaf.write([b"one"])
    deaf.sync()
    with Living(tmp_path, "w0") as living:
        with living.turn:
            living.log.write([b"one"])
            living.log.sync()
        assert seal_all(tmp_path, timeout_s=0.3, free_bytes_min=0) == ["deaf"]
        assert sealed_upto(tmp_path) == 1
    assert "seal" not in files(tmp_path, "deaf")
    deaf.close()
    assert seal_all(tmp_path, timeout_s=10, free_bytes_min=0) == []


def test_a_writer_that_ends_while_it_is_waited_for_needs_no_answer(tmp_path: Path) -> None:
    writer = SegmentWriter.open(tmp_path, free_bytes_min=0)
    writer.write([b"one"])
    writer.sync()
    answers: list[list[str]] = []
    asking = threading.Thread(target=lambda: answers.append(seal_all(tmp_path, timeout_s=20, free_bytes_min=0)))
    asking.start()
    while "seal" not in files(tmp_path):
        assert asking.is_alive()
    writer.abandon()  # as a killed process leaves it
    asking.join(timeout=20)
    assert answers == [[]]
    assert sealed_upto(tmp_path) == 1


def test_no_tree_has_nothing_to_seal(tmp_path: Path) -> None:
    assert seal_all(tmp_path / "nowhere", timeout_s=0) == []


def test_a_log_in_memory_has_nothing_to_seal() -> None:
    with MemoryWriter.open(MemoryTree()) as writer:
        writer.write([b"one"])
        assert not writer.seal_if_asked()


@pytest.mark.parametrize(("error", "raised"), [(errno.ENOSPC, LogFullError), (errno.EIO, LogClosedError)])
def test_a_seal_for_which_there_is_no_room_costs_nothing_and_one_that_fails_ends_the_writer(
    tmp_path: Path, error: int, raised: type[Exception]
) -> None:
    disk = FailingDisk(Disk(), error=error, calls=frozenset({"write"}))
    writer = SegmentWriter.open(tmp_path, free_bytes_min=0, disk=disk)
    writer.write([b"one"])
    writer.sync()
    (tmp_path / "w0" / "seal").touch()
    disk.fail_at = len(disk.seen) + 1
    with pytest.raises(raised):
        writer.seal_if_asked()
    assert [record.body for record in SegmentReader(tmp_path).scan()] == [b"one"]
    if raised is LogClosedError:
        with pytest.raises(LogClosedError):
            writer.write([b"two"])
        writer.close()
        return
    assert writer.write([b"two"]) == 2
    (tmp_path / "w0" / "seal").touch()
    assert writer.seal_if_asked()
    assert sealed_upto(tmp_path) == 2
    writer.close()


def group_commit(tree: Path, scenario: Callable[[GroupCommit, list[BaseException]], object], disk: Disk | None = None) -> None:
    async def main() -> None:
        poisoned: list[BaseException] = []
        writer = SegmentWriter.open(tree, free_bytes_min=0, disk=disk)
        commit = GroupCommit(writer, on_poisoned=poisoned.append)
        await scenario(commit, poisoned)
        await asyncio.wait_for(commit.close(), 10)
        commit.seal_if_asked()  # after the end nothing is done, nor waited for
        writer.close()

    asyncio.run(main())


def test_the_thread_of_the_group_commit_seals_between_two_groups(tmp_path: Path) -> None:
    async def scenario(commit: GroupCommit, poisoned: list[BaseException]) -> None:
        for number in range(3):
            await commit.append(b"%d" % number)
            (tmp_path / "w0" / "seal").touch()
            commit.seal_if_asked()
            await commit.append(b"next")
            assert sealed_upto(tmp_path) == number * 2 + 1
        assert not poisoned

    group_commit(tmp_path, scenario)
    assert len(list(SegmentReader(tmp_path).scan())) == 6


def test_what_a_predecessor_left_unsealed_is_sealed_before_the_first_append(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "source", free_bytes_min=0) as writer:
        writer.write([b"one"])
        writer.sync()
        shutil.copytree(tmp_path / "source" / "w0", tmp_path / "tree" / "w0")

    async def scenario(commit: GroupCommit, _: list[BaseException]) -> None:
        looking = asyncio.create_task(asyncio.to_thread(seal_all, tmp_path / "tree", timeout_s=10))
        while not looking.done():
            commit.seal_if_asked()
            await asyncio.sleep(0.005)
        assert await looking == []

    group_commit(tmp_path / "tree", scenario)
    assert sealed_upto(tmp_path / "tree") == 1


def test_a_seal_that_fails_for_good_ends_the_process_as_a_failed_commit_does(tmp_path: Path) -> None:
    disk = FailingDisk(Disk(), error=errno.EIO, calls=frozenset({"write"}))

    async def scenario(commit: GroupCommit, poisoned: list[BaseException]) -> None:
        await commit.append(b"one")
        disk.fail_at = len(disk.seen) + 1
        (tmp_path / "w0" / "seal").touch()
        commit.seal_if_asked()
        with pytest.raises(LogClosedError):
            await commit.append(b"two")
        assert isinstance(poisoned[0], LogClosedError)
        with pytest.raises(LogClosedError):
            commit.append(b"three")

    group_commit(tmp_path, scenario, disk)
    assert [record.body for record in SegmentReader(tmp_path).scan()] == [b"one"]
