"""The look at a tree before a server opens it: rot in old segments, and what writers that run no more left behind."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from footfall.clock import ManualClock
from footfall.errors import LogCorruptError, LogLockedError
from footfall.log.disk import Disk
from footfall.log.inspection import check_sealed, recover_leftover, set_aside
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.failing_disk import FailingDisk

GROUPS = 24
PER_GROUP = 2
BODIES = [b"%03d" % number * 20 for number in range(GROUPS * PER_GROUP)]


def fill(tree: Path, writer: str = "w0", *, clock: ManualClock | None = None) -> None:
    """Some eight sealed segments of three groups, two records each."""
    options = {"clock": clock} if clock else {}
    with SegmentWriter.open(tree, writer=writer, segment_bytes=700, free_bytes_min=0, **options) as log:
        for start in range(0, len(BODIES), PER_GROUP):
            log.write(BODIES[start : start + PER_GROUP])
            log.sync()
            if clock:
                clock.advance(1)


def segments(tree: Path, writer: str = "w0") -> list[Path]:
    return sorted((tree / writer).glob("*.log"))


def flip(path: Path, offset: int) -> bytes:
    """Turns one bit, returns the damaged content."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)
    return bytes(content)


def shown(tree: Path, writer: str = "w0") -> dict[int, bytes]:
    return {record.sequence: record.body for record in SegmentReader(tree).scan_writer(writer)}


def test_sound_segments_are_counted_and_nothing_is_found(tmp_path: Path) -> None:
    fill(tmp_path, "w0")
    fill(tmp_path, "w1")
    found = check_sealed(tmp_path, budget_s=60)
    older = [*segments(tmp_path, "w0")[:-1], *segments(tmp_path, "w1")[:-1]]
    assert len(older) > 8
    assert (found.damages, found.segments_checked, found.segments_left) == ((), len(older), 0)
    assert found.bytes_checked == sum(path.stat().st_size for path in older)


def test_damage_that_an_opening_does_not_see_is_found_with_its_place(tmp_path: Path) -> None:
    fill(tmp_path)
    damaged = segments(tmp_path)[2]
    flip(damaged, damaged.read_bytes().index(b"\n0") + 5)
    SegmentWriter.open(tmp_path).close()  # reads only the ends of old segments
    (place,) = check_sealed(tmp_path, budget_s=60).damages
    assert place.file == f"w0/{damaged.name}"
    assert damaged.read_bytes()[place.offset :].startswith(b"#group")


def test_every_flipped_bit_before_the_seal_of_an_old_segment_is_found(tmp_path: Path) -> None:
    fill(tmp_path)
    victim = segments(tmp_path)[1]
    content = victim.read_bytes()
    for offset in range(content.rindex(b"#sealed")):
        flip(victim, offset)
        assert check_sealed(tmp_path, budget_s=60).damages, f"byte {offset}"
        victim.write_bytes(content)


class _TickingClock(ManualClock):
    """Time passes by looking at it."""

    def monotonic_s(self) -> float:
        self.advance(1)
        return super().monotonic_s()


def test_the_budget_ends_the_look_and_says_how_much_is_left(tmp_path: Path) -> None:
    fill(tmp_path)
    older = len(segments(tmp_path)) - 1
    none = check_sealed(tmp_path, budget_s=0)
    assert (none.segments_checked, none.segments_left, none.bytes_checked) == (0, older, 0)
    some = check_sealed(tmp_path, budget_s=3.5, clock=_TickingClock())
    assert (some.segments_checked, some.segments_left) == (3, older - 3)


def test_the_last_sealed_segments_are_looked_at_first_across_writers(tmp_path: Path) -> None:
    clock = ManualClock()
    fill(tmp_path, "late", clock=clock)
    clock.advance(3600)
    fill(tmp_path, "early", clock=clock)
    for path in (segments(tmp_path, "early")[-2], segments(tmp_path, "late")[0]):
        flip(path, path.stat().st_size // 2)
    first = check_sealed(tmp_path, budget_s=1.5, clock=_TickingClock())
    assert first.segments_checked == 1
    assert [place.file.partition("/")[0] for place in first.damages] == ["early"]
    assert len(check_sealed(tmp_path, budget_s=60).damages) == 2


@pytest.mark.parametrize("part", ["first line", "group", "record", "seal's counts"])
def test_a_damaged_old_segment_is_set_aside_and_the_undamaged_groups_stay(tmp_path: Path, part: str) -> None:
    fill(tmp_path)
    whole = shown(tmp_path)
    damaged = segments(tmp_path)[3]
    content = damaged.read_bytes()
    second_group = content.index(b"#group", content.index(b"#group") + 1)
    offset = {
        "first line": 20,
        "group": second_group + 9,
        "record": content.index(b"\n", second_group) + 30,
        "seal's counts": content.rindex(b"#sealed") + 20,
    }[part]
    bad = flip(damaged, offset)
    if part == "seal's counts":  # the records are whole: an opening seals it again, nothing has to be set aside
        assert check_sealed(tmp_path, budget_s=60).damages == ()
        SegmentWriter.open(tmp_path).close()
        assert shown(tmp_path) == whole
        return
    found = check_sealed(tmp_path, budget_s=60)
    assert set_aside(tmp_path, found.damages) == 1
    assert (tmp_path / "w0" / "damaged" / damaged.name).read_bytes() == bad
    left = shown(tmp_path)
    lost = whole.keys() - left.keys()
    assert left.items() <= whole.items()
    assert len(lost) == (PER_GROUP * content.count(b"#group") if part == "first line" else PER_GROUP)
    (report,) = verify(tmp_path).writers
    assert (report.damages, report.lost, report.quarantined) == ((), len(lost), 1)
    assert check_sealed(tmp_path, budget_s=60).damages == ()
    assert set_aside(tmp_path, found.damages) == 0
    with SegmentWriter.open(tmp_path) as writer:
        assert (writer.quarantined, writer.write([b"fresh"])) == (0, len(BODIES) + 1)


def test_setting_aside_that_dies_at_any_call_can_be_done_again(tmp_path: Path) -> None:
    fill(tmp_path / "whole")
    damaged = segments(tmp_path / "whole")[3]
    bad = flip(damaged, damaged.stat().st_size // 2)
    whole_but = None
    for fail_at in range(1, 100):
        tree = tmp_path / f"try{fail_at}"
        shutil.copytree(tmp_path / "whole", tree)
        damages = check_sealed(tree, budget_s=60).damages
        disk = FailingDisk(Disk(), error=errno.EIO, fail_at=fail_at, for_ever=True)
        try:
            set_aside(tree, damages, disk=disk)
        except Exception:
            assert disk.has_failed
            assert bad in [path.read_bytes() for path in (tree / "w0").rglob(damaged.name)], "damaged bytes are never deleted"
        again = check_sealed(tree, budget_s=60).damages
        set_aside(tree, again)
        SegmentWriter.open(tree).close()
        assert verify(tree).is_sound
        whole_but = whole_but or shown(tree)
        assert shown(tree) == whole_but
        if not disk.has_failed:
            break
    assert fail_at > 5
    assert not disk.has_failed


def test_nothing_is_set_aside_under_a_living_writer(tmp_path: Path) -> None:
    fill(tmp_path)
    flip(segments(tmp_path)[1], 200)
    damages = check_sealed(tmp_path, budget_s=60).damages
    with SegmentWriter.open(tmp_path), pytest.raises(LogLockedError):
        set_aside(tmp_path, damages)
    assert not (tmp_path / "w0" / "damaged").exists()


@pytest.fixture
def abandoned(tmp_path: Path) -> Path:
    """A tree with w0 closed properly, and w3 whose writer was killed: one record confirmed, two written after it."""
    tree = tmp_path / "tree"
    fill(tree, "w0")
    with SegmentWriter.open(tmp_path / "source", writer="w3", free_bytes_min=0) as writer:
        writer.write([b"confirmed"])
        writer.sync()
        writer.write([b"written", b"only"])
        shutil.copytree(tmp_path / "source" / "w3", tree / "w3")
    (tree / "lost+found").mkdir()
    return tree


def test_what_a_former_writer_left_unconfirmed_becomes_durable_and_sealed(abandoned: Path) -> None:
    assert len(shown(abandoned, "w3")) == 1
    assert SegmentReader(abandoned).unconfirmed() == {"w3": 2}
    assert recover_leftover(abandoned, keep={"w0"}, free_bytes_min=0) == ["w3"]
    assert list(shown(abandoned, "w3").values()) == [b"confirmed", b"written", b"only"]
    (newest,) = segments(abandoned, "w3")
    assert newest.read_bytes().splitlines()[-1].startswith(b"#sealed last=3")
    assert recover_leftover(abandoned, keep={"w0"}, free_bytes_min=0) == []


def test_kept_and_living_writers_and_directories_without_a_log_are_left_alone(abandoned: Path) -> None:
    assert recover_leftover(abandoned, keep={"w0", "w3"}) == []
    assert SegmentReader(abandoned).unconfirmed() == {"w3": 2}
    with SegmentWriter.open(abandoned, writer="import-1") as living:
        living.write([b"x"])
        assert recover_leftover(abandoned, keep={"w0", "w3"}) == []
    assert list((abandoned / "lost+found").iterdir()) == []


def test_a_damaged_leftover_is_an_error_unless_quarantine_is_asked_for(abandoned: Path) -> None:
    (segment,) = segments(abandoned, "w3")
    segment.write_bytes(segment.read_bytes().replace(b"confirmed", b"c0nfirmed"))
    with pytest.raises(LogCorruptError):
        recover_leftover(abandoned, keep={"w0"})
    assert recover_leftover(abandoned, keep={"w0"}, quarantine_corrupt=True) == ["w3"]
    report = verify(abandoned).writers[-1]
    assert (report.writer, report.damages, report.lost, report.quarantined) == ("w3", (), 1, 1)


def test_no_tree_is_nothing_to_look_at(tmp_path: Path) -> None:
    found = check_sealed(tmp_path / "nowhere", budget_s=1)
    assert (found.damages, found.segments_checked, found.segments_left) == ((), 0, 0)
    assert recover_leftover(tmp_path / "nowhere", keep=set()) == []
