"""The writer on a disk that fails, fills up, or is somebody else's."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from footfall.clock import ManualClock
from footfall.errors import LogClosedError, LogError, LogFullError, LogLockedError
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.crash_disk import CrashDisk
from tests.unit.log.failing_disk import CHANGING, FailingDisk

TREE = Path("/data/log")
SYNCS = frozenset({"sync_data", "sync_file", "sync_directory"})


def open_writer(disk: Disk, *, clock: ManualClock | None = None, free_bytes_min: int = 0) -> SegmentWriter:
    return SegmentWriter.open(TREE, segment_bytes=700, free_bytes_min=free_bytes_min, clock=clock or ManualClock(), disk=disk)


def bodies_on(disk: Disk) -> list[bytes]:
    return [record.body for record in SegmentReader(TREE, disk=disk).scan()]


def test_a_second_owner_is_told_who_and_what_to_do(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path), pytest.raises(LogLockedError, match=r"another running process.*stop that one"):
        SegmentWriter.open(tmp_path)


def test_files_are_private(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path / "new" / "tree") as writer:
        writer.write([b"a"])
        directory = tmp_path / "new" / "tree" / "w0"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_a_clean_close_seals_and_the_next_opening_copies_nothing(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path) as writer:
        writer.write([b"a"])
    (before,) = (tmp_path / "w0").glob("*.log")
    content = before.read_bytes()
    SegmentWriter.open(tmp_path).close()
    (after,) = (tmp_path / "w0").glob("*.log")
    assert (after.name, after.read_bytes()) == (before.name, content)


def test_segments_rotate_by_size_and_are_read_as_one(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path, segment_bytes=2000, free_bytes_min=0) as writer:
        for number in range(100):
            writer.write([b"%03d" % number * 30])
    sizes = [path.stat().st_size for path in (tmp_path / "w0").glob("*.log")]
    assert len(sizes) > 5
    assert max(sizes) <= 2000 + 200  # the seal comes on top
    assert [record.body for record in SegmentReader(tmp_path).scan()] == [b"%03d" % number * 30 for number in range(100)]


def test_segments_rotate_by_age_so_that_retention_can_take_them(tmp_path: Path) -> None:
    clock = ManualClock()
    with SegmentWriter.open(tmp_path, segment_age_s_max=3600, clock=clock) as writer:
        for number in range(4):
            writer.write([b"%d" % number])
            clock.advance(1801)
    assert [name.read_bytes().count(b"#group") for name in sorted((tmp_path / "w0").glob("*.log"))] == [2, 2]
    assert [record.body for record in SegmentReader(tmp_path).scan()] == [b"0", b"1", b"2", b"3"]
    assert remove_sealed(tmp_path / "w0", sealed_before_ms=clock.now_ms()).segments == 1


def test_unsealed_records_are_copied_never_appended_to_and_files_do_not_pile_up() -> None:
    disk = CrashDisk()
    for life in range(30):
        writer = open_writer(disk)
        writer.write([b"%d" % life])
        disk = disk.kill()
    open_writer(disk).close()
    assert bodies_on(disk) == [b"%d" % life for life in range(30)]
    assert len(disk.names(TREE / "w0")) < 12


def test_recovery_leaves_out_what_every_reader_has_passed() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    for number in range(1, 6):
        writer.write([b"%d" % number])
    disk = disk.kill()
    writer = SegmentWriter.open(TREE, free_bytes_min=0, disk=disk, passed={"w0": 3})
    assert bodies_on(disk) == [b"4", b"5"]
    disk = disk.kill()
    writer = SegmentWriter.open(TREE, free_bytes_min=0, disk=disk, passed={"w0": 5})
    assert bodies_on(disk) == []
    assert writer.write([b"6"]) == 6
    writer.close()
    assert verify(TREE, disk=disk).is_sound


@pytest.mark.parametrize("call", sorted(SYNCS))
def test_after_a_failed_sync_nothing_is_confirmed_ever_again(call: str) -> None:
    inner = CrashDisk()
    disk = FailingDisk(inner, error=errno.EIO, calls=frozenset({call}))
    writer = open_writer(disk)
    disk.fail_at = len(disk.seen) + 1
    with pytest.raises(LogClosedError):
        for _ in range(20):
            writer.write([b"x" * 200])
            writer.sync()
    confirmed = writer.durable
    assert disk.has_failed
    for attempt in (lambda: writer.write([b"y"]), writer.sync):
        with pytest.raises(LogClosedError, match="stopped earlier"):
            attempt()
    seen = len(disk.seen)
    writer.close()
    assert len(disk.seen) == seen  # closing asks the volume for nothing either
    assert len(bodies_on(inner)) == confirmed
    open_writer(inner.kill()).close()


def test_an_io_error_of_a_write_ends_the_writer() -> None:
    disk = FailingDisk(CrashDisk(), error=errno.EIO, calls=frozenset({"write"}))
    writer = open_writer(disk)
    writer.write([b"a"])
    disk.fail_at = len(disk.seen) + 1
    for _ in range(2):
        with pytest.raises(LogClosedError):
            writer.write([b"b"])


def test_a_full_volume_refuses_the_group_whole_and_the_log_goes_on() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    writer.write([b"first"])
    writer.sync()
    for room in range(0, 300, 7):
        disk.free = room
        with pytest.raises(LogFullError):
            writer.write([b"x" * 600])
        disk.free = 1 << 30
        writer.sync()
    assert writer.write([b"second"]) == 2
    writer.close()
    assert bodies_on(disk) == [b"first", b"second"]
    assert verify(TREE, disk=disk).is_sound


def test_a_restart_on_a_full_volume_serves_readers_and_takes_records_again_when_there_is_room() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    writer.write([b"durable"])
    writer.sync()
    writer.write([b"written"])
    disk = disk.kill()
    disk.free = 0
    clock = ManualClock()
    writer = open_writer(disk, clock=clock)
    assert bodies_on(disk) == [b"durable"]
    for _ in range(3):
        with pytest.raises(LogFullError):
            writer.write([b"no"])
        clock.advance(1)
    assert writer.sync() == 1
    disk.free = 1 << 30
    assert writer.write([b"yes"]) == 3
    writer.close()
    assert bodies_on(disk) == [b"durable", b"written", b"yes"]


def test_free_space_below_the_floor_refuses_before_writing_and_looks_again_later() -> None:
    disk, clock = CrashDisk(free_bytes=10_000), ManualClock()
    writer = open_writer(disk, clock=clock, free_bytes_min=9_000)
    with pytest.raises(LogFullError, match="kept free"):
        writer.write([b"x" * 2000])
    disk.free = 1 << 30
    with pytest.raises(LogFullError):
        writer.write([b"x"])  # within 0.2 s the answer is remembered
    clock.advance(0.3)
    assert writer.write([b"x"]) == 1


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("for_ever", [False, True])
def test_whatever_call_fails_nothing_confirmed_is_lost(error: int, for_ever: bool) -> None:
    """Every changing call of a life with rotation, death and recovery fails in turn; only LogErrors come out."""
    fail_at = 0
    while True:
        fail_at += 1
        inner = CrashDisk()
        confirmed: dict[int, bytes] = {}
        first = FailingDisk(inner, error=error, fail_at=fail_at, for_ever=for_ever)
        _live(first, confirmed)
        second = FailingDisk(inner.kill(), error=error, fail_at=max(0, fail_at - len(first.seen)), for_ever=for_ever)
        _live(second, confirmed)
        healthy = inner.kill().lose_power(fail_at)
        with open_writer(healthy) as writer:
            assert writer.last >= max(confirmed, default=0)
        found = {record.sequence: record.body for record in SegmentReader(TREE, disk=healthy).scan()}
        assert {sequence: found.get(sequence) for sequence in confirmed} == confirmed, f"call {fail_at}"
        if not (first.has_failed or second.has_failed):
            assert fail_at > 40
            assert CHANGING - {"open_append", "truncate", "link"} <= {*first.seen, *second.seen}
            return


def _live(disk: Disk, confirmed: dict[int, bytes]) -> None:
    try:
        writer = open_writer(disk)
    except LogError:
        return
    for number in range(8):
        body = b"%d " % number + b"x" * 150
        try:
            sequence = writer.write([body])
            writer.sync()
        except LogError:
            continue
        confirmed[sequence] = body


def test_retention_keeps_the_newest_and_the_sequence_goes_on(tmp_path: Path) -> None:
    clock = ManualClock()
    with SegmentWriter.open(tmp_path, segment_bytes=500, free_bytes_min=0, clock=clock) as writer:
        for number in range(10):
            writer.write([b"%d" % number * 200])
            clock.advance(60)
    directory = tmp_path / "w0"
    names = sorted(path.name for path in directory.glob("*.log"))
    assert remove_sealed(directory, sealed_before_ms=clock.now_ms() - 10**9).segments == 0
    assert remove_sealed(directory, sealed_before_ms=clock.now_ms() + 1, passed=2).segments == 2
    removed = remove_sealed(directory, sealed_before_ms=clock.now_ms() + 1)
    assert removed.segments == len(names) - 3
    assert removed.bytes_count > 0
    assert [path.name for path in directory.glob("*.log")] == names[-1:]
    with SegmentWriter.open(tmp_path, clock=clock) as writer:
        assert writer.write([b"next"]) == 11
    reader = SegmentReader(tmp_path)
    assert [record.sequence for record in reader.read({"w0": 3}, records_max=10)][-1] == 11
    assert verify(tmp_path).is_sound


def test_a_reader_goes_on_across_retention_recovery_and_rotation() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    reader = SegmentReader(TREE, disk=disk)
    position, seen = 0, []
    for number in range(60):
        writer.write([b"%d" % number * 20])
        writer.sync()
        if number % 7 == 0:
            disk.free_locks()  # the writer dies without a word, the reader lives on
            writer = open_writer(disk)
        if number % 5 == 0:
            for record in reader.read({"w0": position}, records_max=3):
                seen.append(record.sequence)
                position = record.sequence
            remove_sealed(TREE / "w0", sealed_before_ms=2**60, passed=position, disk=disk)
    while records := reader.read({"w0": position}, records_max=3):
        seen += [record.sequence for record in records]
        position = seen[-1]
    assert seen == list(range(1, 61))


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no tmpfs to try")
def test_a_file_system_that_forgets_is_refused_unless_accepted() -> None:
    tree = Path(f"/dev/shm/footfall-test-{os.getpid()}")
    if Disk().file_system(tree.parent) != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    try:
        with pytest.raises(LogError, match="tmpfs"):
            SegmentWriter.open(tree)
        SegmentWriter.open(tree, accept_tmpfs=True).close()
    finally:
        for path in sorted(tree.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        tree.rmdir()


def test_unconfirmed_records_are_counted_only_when_no_writer_is_alive() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    writer.write([b"a"])
    writer.sync()
    writer.write([b"b", b"c"])
    assert SegmentReader(TREE, disk=disk).unconfirmed() == {}
    disk = disk.kill()
    reader = SegmentReader(TREE, disk=disk)
    assert reader.unconfirmed() == {"w0": 2}
    assert reader.durable() == {"w0": 1}
    open_writer(disk)
    assert bodies_on(disk) == [b"a", b"b", b"c"]
