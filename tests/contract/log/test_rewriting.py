"""Records of sealed segments are changed in place: whatever dies, reads, removes or opens meanwhile meets a whole log."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from footfall.clock import ManualClock
from footfall.errors import LogClosedError, LogLockedError
from footfall.log.copying import copy_tree
from footfall.log.directory import SegmentName, changing, list_segments
from footfall.log.disk import Disk
from footfall.log.format import encode_sealed
from footfall.log.inspection import check_sealed, set_aside
from footfall.log.reader import SegmentReader
from footfall.log.retention import remove_sealed
from footfall.log.rewriting import rewrite_records
from footfall.log.segment import SegmentFile
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.failing_disk import FailingDisk

PER_GROUP = 3
GROUPS = 12
COUNT = PER_GROUP * GROUPS
GONE = b'{"erased":true}'


def body(sequence: int, *, serial: int = 0) -> bytes:
    person = b"ann" if sequence % 5 == 0 else b"bob"
    return b'{"n":%d,"who":"%b","serial":%d,"pad":"%b"}' % (sequence, person, serial, b"x" * 40)


def erase_ann(bodies: Sequence[bytes]) -> Sequence[bytes] | None:
    if not any(b'"ann"' in body for body in bodies):
        return None
    return [GONE if b'"ann"' in body else body for body in bodies]


def expected(*, first: int = 1, last: int = COUNT) -> dict[int, bytes]:
    return {sequence: GONE if sequence % 5 == 0 else body(sequence) for sequence in range(first, last + 1)}


def fill(tree: Path, *, close: bool = True) -> SegmentWriter:
    """Four sealed segments of three groups, three records each; every fifth record is Ann's."""
    clock = ManualClock()
    log = SegmentWriter.open(tree, segment_bytes=1300, free_bytes_min=0, clock=clock)
    for first in range(1, COUNT, PER_GROUP):
        log.write([body(sequence) for sequence in range(first, first + PER_GROUP)])
        log.sync()
        clock.advance(1)
    if close:
        log.close()
    return log


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    fill(tmp_path / "tree")
    return tmp_path / "tree"


def shown(tree: Path) -> dict[int, bytes]:
    return {record.sequence: record.body for record in SegmentReader(tree).scan()}


def segments(tree: Path) -> list[Path]:
    return sorted((tree / "w0").glob("*.log"))


def bytes_below(tree: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file())


def times_of(tree: Path) -> list[tuple[int, int, int, int]]:
    """Base, first sequence and times of every segment."""
    times = []
    for name in list_segments(Disk(), tree / "w0").segments:
        file = SegmentFile(Disk(), tree / "w0", name)
        header, seal = file.require_header(), file.seal()
        assert seal is not None
        times.append((name.base, header.first, header.created_at_ms, seal.sealed_at_ms))
        file.close()
    return times


def test_what_changes_changes_everywhere_and_nothing_else_does(tree: Path) -> None:
    before, sizes = times_of(tree), [path.stat().st_size for path in segments(tree)]
    assert len(before) == 4
    told: list[int] = []
    done = rewrite_records(tree / "w0", change=erase_ann, on_segment=told.append)
    assert (done.records, done.segments, done.segments_read, done.aside, done.damages) == (COUNT // 5, 4, 4, 0, ())
    assert (told, done.bytes_read) == (sizes, sum(sizes))
    assert shown(tree) == expected()
    assert b'"ann"' not in bytes_below(tree)
    assert times_of(tree) == before, "retention is not moved"
    assert [SegmentName(base, 1).file for base, *_ in before] == [path.name for path in segments(tree)]
    (report,) = verify(tree).writers
    assert (report.damages, report.records, report.groups, report.sealed) == ((), COUNT, GROUPS, 4)
    with SegmentWriter.open(tree) as writer:
        assert writer.write([b"next"]) == COUNT + 1


def test_a_second_time_nothing_is_left_to_do(tree: Path) -> None:
    rewrite_records(tree / "w0", change=erase_ann)
    names = segments(tree)
    done = rewrite_records(tree / "w0", change=erase_ann)
    assert (done.records, done.segments, done.segments_read) == (0, 0, 4)
    assert segments(tree) == names


def test_a_segment_in_which_nothing_changes_keeps_its_file(tree: Path) -> None:
    third = segments(tree)[2].read_bytes()
    done = rewrite_records(tree / "w0", change=lambda bodies: [GONE if b'"n":7,' in body else body for body in bodies])
    assert (done.records, done.segments) == (1, 1)
    assert [path.name[-10:-4] for path in segments(tree)] == ["000001", "000000", "000000", "000000"]
    assert segments(tree)[2].read_bytes() == third


@pytest.mark.parametrize("upto", range(COUNT + 2))
def test_records_after_the_limit_are_neither_shown_nor_changed(tree: Path, upto: int) -> None:
    asked: list[bytes] = []

    def change(bodies: Sequence[bytes]) -> Sequence[bytes] | None:
        asked.extend(bodies)
        return erase_ann(bodies)

    done = rewrite_records(tree / "w0", change=change, upto=upto)
    assert asked == [body(sequence) for sequence in range(1, min(upto, COUNT) + 1)]
    assert done.records == min(upto, COUNT) // 5
    assert shown(tree) == {**expected(), **{sequence: body(sequence) for sequence in range(upto + 1, COUNT + 1)}}


@pytest.mark.parametrize("answer", [[], [b"one"] * (PER_GROUP + 1), [b"two\nlines"] * PER_GROUP, [b"x" * (2 << 20)] * PER_GROUP])
def test_what_cannot_stand_in_for_the_records_is_refused_and_nothing_changes(tree: Path, answer: list[bytes]) -> None:
    before = bytes_below(tree)
    with pytest.raises(ValueError, match="record"):
        rewrite_records(tree / "w0", change=lambda _: answer)
    assert bytes_below(tree) == before


def test_an_open_segment_is_left_alone_and_a_sealed_newest_one_is_not(tmp_path: Path) -> None:
    writer = fill(tmp_path, close=False)
    newest = segments(tmp_path)[-1]
    first_open = int(newest.name[:20])
    assert rewrite_records(tmp_path / "w0", change=erase_ann).segments_read == 3
    assert shown(tmp_path) == {**expected(), **{sequence: body(sequence) for sequence in range(first_open, COUNT + 1)}}
    (tmp_path / "w0" / "seal").touch()
    assert writer.seal_if_asked()
    assert rewrite_records(tmp_path / "w0", change=erase_ann).segments_read == 4
    assert shown(tmp_path) == expected(), "beside a living writer that has sealed and not gone on yet"
    assert writer.write([b"next"]) == COUNT + 1
    writer.close()
    assert shown(tmp_path) == {**expected(), COUNT + 1: b"next"}
    assert verify(tmp_path).is_sound


def test_what_quarantine_gave_up_stays_given_up(tree: Path) -> None:
    """Of a damaged group only a line is left that says so; the file set aside is told of, and removed when that is asked for."""
    damaged = segments(tree)[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b'"n":14,', b'"n":41,'))
    found = check_sealed(tree, budget_s=60)
    left = rewrite_records(tree / "w0", change=erase_ann)
    assert [place.file for place in left.damages] == [place.file for place in found.damages] == [f"w0/{damaged.name}"]
    assert b'"ann"' in damaged.read_bytes(), "a damaged segment is left as it is"
    assert set_aside(tree, found.damages) == 1
    kept = {sequence: record for sequence, record in expected().items() if sequence not in {13, 14, 15}}
    done = rewrite_records(tree / "w0", change=erase_ann)
    assert (done.records, done.aside, done.damages) == (1, 1, ())  # 10; 15 was lost with its group
    assert b'"ann"' in bytes_below(tree)
    assert rewrite_records(tree / "w0", change=erase_ann, remove_damaged=True).aside == 1
    assert rewrite_records(tree / "w0", change=erase_ann).aside == 0
    assert b'"ann"' not in bytes_below(tree)
    assert shown(tree) == kept
    (report,) = verify(tree).writers
    assert (report.damages, report.lost) == ((), PER_GROUP)


def sealed_otherwise(path: Path) -> bytes:
    """A seal that passes its sum and counts a group too many."""
    file = SegmentFile(Disk(), path.parent, SegmentName(int(path.name[:20]), 0))
    seal, header = file.seal(), file.require_header()
    file.close()
    assert seal is not None
    return encode_sealed(msgspec.structs.replace(seal, groups=seal.groups + 1), seed=header.seed)


@pytest.mark.parametrize("seal", [b"", b"#sealed last=9 groups=3 records=9 sealed_at=1790000000000 check=00000000\n", None])
def test_a_segment_with_a_wrong_seal_or_none_is_told_of_and_left_as_it_is(tree: Path, seal: bytes | None) -> None:
    """To write it anew would make something that looks whole of what is not."""
    first = segments(tree)[0]
    lines = first.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:-1]) + (sealed_otherwise(first) if seal is None else seal))
    before = first.read_bytes()
    done = rewrite_records(tree / "w0", change=erase_ann)
    assert [place.file for place in done.damages] == [f"w0/{first.name}"]
    assert done.segments == 3
    assert first.read_bytes() == before
    SegmentWriter.open(tree).close()
    if seal is not None:  # which the opening has mended
        assert rewrite_records(tree / "w0", change=erase_ann).damages == ()
        assert shown(tree) == expected()


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_attempt_that_fails_at_any_call_leaves_a_whole_log_and_can_be_repeated(tmp_path: Path, error: int) -> None:
    fill(tmp_path / "whole")
    calls = 0
    for fail_at in range(1, 200):
        tree = tmp_path / f"try{fail_at}"
        shutil.copytree(tmp_path / "whole", tree)
        disk = FailingDisk(Disk(), error=error, fail_at=fail_at, for_ever=True)
        try:
            rewrite_records(tree / "w0", change=erase_ann, disk=disk)
        except (OSError, LogClosedError):
            assert disk.has_failed
        found = shown(tree)
        assert found.keys() == expected().keys()
        assert all(record in (body(sequence), expected()[sequence]) for sequence, record in found.items())
        assert verify(tree).is_sound
        rewrite_records(tree / "w0", change=erase_ann)
        assert shown(tree) == expected()
        assert b'"ann"' not in bytes_below(tree), "no leftover of the first attempt holds what had to go"
        assert len(segments(tree)) == 4
        shutil.rmtree(tree)
        if not disk.has_failed:
            calls = fail_at
            break
    assert calls > 20


@pytest.mark.parametrize("read_first", range(COUNT + 1))
def test_a_reader_in_the_middle_of_a_file_goes_on_without_a_gap_or_a_repetition(tree: Path, read_first: int) -> None:
    reader = SegmentReader(tree)
    records = list(reader.read_writer("w0", after=0, records_max=read_first)) if read_first else []
    rewrite_records(tree / "w0", change=erase_ann)
    while more := reader.read_writer("w0", after=records[-1].sequence if records else 0, records_max=2):
        records += more
    assert [record.sequence for record in records] == list(range(1, COUNT + 1))
    assert all(record.body in (body(record.sequence), expected()[record.sequence]) for record in records)
    assert all(record.body == expected()[record.sequence] for record in records[-PER_GROUP:] if read_first <= COUNT // 2)
    reader.close()


def test_a_reader_that_begins_again_in_the_segment_it_had_open_sees_the_change(tree: Path) -> None:
    reader = SegmentReader(tree)
    assert reader.read_writer("w0", after=0, records_max=6)
    rewrite_records(tree / "w0", change=erase_ann)
    reader.close()
    assert {record.sequence: record.body for record in reader.read({"w0": 0}, records_max=COUNT)} == expected()


def test_a_scan_under_way_shows_every_record_once(tree: Path) -> None:
    scan = SegmentReader(tree).scan()
    records = [next(scan) for _ in range(4)]
    rewrite_records(tree / "w0", change=erase_ann)
    remove_sealed(tree / "w0", sealed_before_ms=0)
    records += scan
    assert [record.sequence for record in records] == list(range(1, COUNT + 1))


class _MissingOnce(Disk):
    """A listing that is made while a file is replaced may show neither the old name nor the new one."""

    def __init__(self, tree: Path, *, listing: int) -> None:
        self.tree = tree
        self.listing = listing

    def names(self, directory: Path) -> list[str]:
        names = super().names(directory)
        self.listing -= directory == self.tree / "w0"
        if self.listing == 0 and directory == self.tree / "w0":
            names.remove(min(name for name in names if name.endswith(".log")))
        return names


@pytest.mark.parametrize("listing", [1, 2, 3])
def test_records_are_not_passed_over_because_one_listing_missed_a_file(tree: Path, tmp_path: Path, listing: int) -> None:
    reader = SegmentReader(tree, disk=_MissingOnce(tree, listing=listing))
    assert [record.sequence for record in reader.read({}, records_max=COUNT)] == list(range(1, COUNT + 1))
    copy_tree(tree, tmp_path / "copy", disk=_MissingOnce(tree, listing=listing))
    assert list(shown(tmp_path / "copy")) == list(range(1, COUNT + 1))


def during(act: Callable[[], object]) -> Callable[[Sequence[bytes]], Sequence[bytes] | None]:
    """A change that lets something else happen first, once: before the first segment is replaced."""
    acts = [act]

    def change(bodies: Sequence[bytes]) -> Sequence[bytes] | None:
        if acts:
            acts.pop()()
        return erase_ann(bodies)

    return change


def test_what_retention_takes_meanwhile_does_not_come_back(tree: Path) -> None:
    """Else a segment would stand before a gap, and the log would not open any more."""
    took = []
    done = rewrite_records(
        tree / "w0",
        change=during(lambda: took.append(remove_sealed(tree / "w0", sealed_before_ms=1 << 60, passed=COUNT // 2))),
    )
    assert took[0].segments == 2
    assert done.segments_read == 2
    first = min(shown(tree))
    assert took[0].base_kept == first
    assert shown(tree) == expected(first=first)
    assert verify(tree).is_sound
    with SegmentWriter.open(tree) as writer:
        assert writer.write([b"next"]) == COUNT + 1


class _ActingFirst(Disk):
    """Something happens between the look at a directory and the hold on it; `blocked` says that the hold had to wait."""

    def __init__(self, act: Callable[[], object] = lambda: None) -> None:
        self.acts = [act]
        self.blocked = threading.Event()

    def lock_directory(self, path: Path) -> int:
        if self.acts:
            self.acts.pop()()
        try:
            return super().lock_directory(path)
        except BlockingIOError:
            self.blocked.set()
            raise


def test_retention_takes_what_counts_by_then_not_what_it_saw_before(tree: Path) -> None:
    disk = _ActingFirst(lambda: rewrite_records(tree / "w0", change=erase_ann))
    assert remove_sealed(tree / "w0", sealed_before_ms=1 << 60, passed=COUNT // 2, disk=disk).segments == 2
    assert shown(tree) == expected(first=min(shown(tree)))
    assert verify(tree).is_sound


def test_an_opening_waits_until_the_directory_is_at_rest(tree: Path) -> None:
    disk = _ActingFirst()
    opening = threading.Thread(target=lambda: SegmentWriter.open(tree, disk=disk).close())
    with changing(Disk(), tree / "w0"):
        opening.start()
        assert disk.blocked.wait(timeout=10)
    opening.join(timeout=10)
    assert not opening.is_alive()


def test_retention_lets_a_segment_be_that_is_just_replaced(tree: Path) -> None:
    with changing(Disk(), tree / "w0"):
        assert remove_sealed(tree / "w0", sealed_before_ms=1 << 60).segments == 0
    assert shown(tree).keys() == expected().keys()
    assert remove_sealed(tree / "w0", sealed_before_ms=1 << 60).segments == 3


def test_whoever_holds_the_directory_for_ever_is_told_of(tree: Path) -> None:
    others = changing(Disk(), tree / "w0", patience_s=0.01)
    with changing(Disk(), tree / "w0"), pytest.raises(LogLockedError, match="rewritten or removed just now"), others:
        pytest.fail("two at a time")


def test_a_writer_may_open_write_and_close_meanwhile(tree: Path) -> None:
    def live() -> None:
        with SegmentWriter.open(tree, free_bytes_min=0) as writer:
            writer.write([b"meanwhile"])

    rewrite_records(tree / "w0", change=during(live))
    assert shown(tree) == {**expected(), COUNT + 1: b"meanwhile"}
    assert verify(tree).is_sound


def test_a_segment_set_aside_meanwhile_is_looked_at_again(tree: Path) -> None:
    """Quarantine replaces the segment after it was read: what stands there then is what has to change."""
    second = segments(tree)[1]

    def quarantine() -> None:
        whole = second.read_bytes()
        second.write_bytes(whole.replace(b'"n":18,', b'"n":81,'))
        set_aside(tree, check_sealed(tree, budget_s=60).damages)

    done = rewrite_records(tree / "w0", change=during(quarantine), remove_damaged=True)
    assert done.damages == ()
    assert b'"ann"' not in b"".join(path.read_bytes() for path in segments(tree))
    assert rewrite_records(tree / "w0", change=erase_ann, remove_damaged=True).aside == 1


def test_beside_a_writer_readers_retention_backups_and_checks_nothing_is_lost_doubled_or_raised(tmp_path: Path) -> None:
    """All at once, for a thousand records: each reader sees each sequence once, in order, as it was or as it became."""
    tree = tmp_path / "tree"
    total = 1200
    failures: list[BaseException] = []
    written = threading.Event()
    caught_up = threading.Event()
    positions = [0, 0]

    def run(work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as failure:
                failures.append(failure)
                written.set()
                caught_up.set()

        thread = threading.Thread(target=guarded)
        thread.start()
        return thread

    def write() -> None:
        with SegmentWriter.open(tree, segment_bytes=2000, free_bytes_min=0) as writer:
            for first in range(1, total, 4):
                writer.write([body(sequence) for sequence in range(first, first + 4)])
                writer.sync()
                if first % 80 == 1:
                    (tree / "w0" / "seal").touch()
                writer.seal_if_asked()
        written.set()

    def read(index: int) -> None:
        reader = SegmentReader(tree)
        while positions[index] < total and not failures:
            for record in reader.read({"w0": positions[index]}, records_max=7 + index * 30):
                assert record.sequence == positions[index] + 1, "a gap, or a repetition"
                assert record.body in (body(record.sequence), GONE)
                positions[index] = record.sequence
        caught_up.set()

    def rewrite() -> None:
        while not caught_up.is_set():
            rewrite_records(tree / "w0", change=erase_ann, upto=min(positions) + 400)

    def retain() -> None:
        while not caught_up.is_set():
            remove_sealed(tree / "w0", sealed_before_ms=1 << 60, passed=min(positions) - 200)

    def look() -> None:
        for number in range(1000):
            if caught_up.is_set():
                return
            assert verify(tree).is_sound
            copy_tree(tree, tmp_path / f"copy{number}")
            found = list(shown(tmp_path / f"copy{number}"))
            assert found == list(range(found[0], found[-1] + 1)) if found else True
            shutil.rmtree(tmp_path / f"copy{number}")

    (tree / "w0").mkdir(parents=True)
    threads = [run(work) for work in (write, lambda: read(0), lambda: read(1), rewrite, retain, look)]
    for thread in threads:
        thread.join(timeout=60)
    assert not failures, failures
    assert positions == [total, total]
    rewrite_records(tree / "w0", change=erase_ann)
    assert b'"ann"' not in bytes_below(tree)
    assert shown(tree) == expected(first=min(shown(tree)), last=total)
