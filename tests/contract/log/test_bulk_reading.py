"""Records by the payload, and how many there are: the same records as one by one, whatever is lost, gone or half passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from footfall.errors import LogCorruptError
from footfall.log.api import Payload
from footfall.log.inspection import check_sealed, set_aside
from footfall.log.reader import SegmentReader
from footfall.log.restoring import leave_gap
from footfall.log.retention import remove_sealed
from footfall.log.rewriting import rewrite_records
from footfall.log.segments import SegmentWriter

GROUPS = (1, 1, 5, 1, 2, 9, 3, 1, 1, 1, 4, 2, 1, 6)
COUNT = sum(GROUPS)


def body(sequence: int) -> bytes:
    return b"%03d" % sequence + b"x" * (sequence * 37 % 90)


@pytest.fixture
def log(tmp_path: Path) -> SegmentWriter:
    """A living writer's, in several segments of which the newest is open."""
    writer = SegmentWriter.open(tmp_path, segment_bytes=1000, free_bytes_min=0)
    for count in GROUPS:
        writer.write([body(sequence) for sequence in range(writer.last + 1, writer.last + 1 + count)])
        writer.sync()
    writer.write([b"not durable"])
    return writer


def records_of(payloads: list[Payload]) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for payload in payloads:
        bodies = payload.lines.split(b"\n")
        assert bodies.pop() == b""
        assert len(bodies) == payload.count == payload.last - payload.first + 1
        found.update(zip(range(payload.first, payload.last + 1), bodies, strict=True))
    return found


@pytest.mark.parametrize("after", range(COUNT + 3))
def test_one_payload_holds_all_records_after_any_position(log: SegmentWriter, tmp_path: Path, after: int) -> None:
    reader = SegmentReader(tmp_path)
    payloads = reader.read_payloads("w0", after=after, bytes_max=1 << 30, records_max=1 << 30)
    assert len(payloads) == (after < COUNT)
    assert records_of(payloads) == {sequence: body(sequence) for sequence in range(after + 1, COUNT + 1)}
    assert reader.count_after({"w0": after}) == {"w0": max(0, COUNT - after)}
    log.close()


@pytest.mark.parametrize(("bytes_max", "records_max"), [(1 << 30, 1), (1 << 30, 4), (1 << 30, 10), (0, 99), (300, 99), (300, 3)])
def test_limits_hold_but_for_one_group_and_nothing_is_passed_over(
    log: SegmentWriter, tmp_path: Path, bytes_max: int, records_max: int
) -> None:
    reader, position, reads = SegmentReader(tmp_path), 0, 0
    ends = [sum(GROUPS[: index + 1]) for index in range(len(GROUPS))]
    while payloads := reader.read_payloads("w0", after=position, bytes_max=bytes_max, records_max=records_max):
        (payload,) = payloads
        assert payload.first == position + 1
        assert payload.last in ends, "whole groups"
        is_one_group = payload.count == GROUPS[ends.index(payload.last)]
        assert is_one_group or (payload.count <= records_max and len(payload.lines) <= bytes_max)
        assert records_of(payloads) == {sequence: body(sequence) for sequence in range(position + 1, payload.last + 1)}
        position, reads = payload.last, reads + 1
        assert reader.count_after({"w0": position}) == {"w0": COUNT - position}, "from where the reading stands"
    assert position == COUNT
    assert reads > 1
    log.close()


def test_reading_one_by_one_and_by_payload_may_take_turns(log: SegmentWriter, tmp_path: Path) -> None:
    reader, found = SegmentReader(tmp_path), {}
    while len(found) < COUNT:
        found.update({record.sequence: record.body for record in reader.read_writer("w0", after=len(found), records_max=2)})
        if len(found) < COUNT:
            found.update(records_of(reader.read_payloads("w0", after=len(found), bytes_max=1, records_max=1)))
    assert found == {sequence: body(sequence) for sequence in range(1, COUNT + 1)}
    log.close()


def test_a_gap_begins_a_new_payload_and_does_not_count(log: SegmentWriter, tmp_path: Path) -> None:
    """Of a lost group, of what retention took, and of what a restore stepped over."""
    log.close()
    _, second, third = sorted((tmp_path / "w0").glob("*.log"))[:3]
    lost = int(third.name[:20]) - 1  # the last of the second segment, with its group
    second.write_bytes(second.read_bytes().replace(b"\n%03d" % lost, b"\n%03d" % (lost + 1)))
    assert set_aside(tmp_path, check_sealed(tmp_path, budget_s=60).damages) == 1
    assert remove_sealed(tmp_path / "w0", sealed_before_ms=1 << 60, passed=lost - 1).segments == 1
    floor = leave_gap(tmp_path)
    with SegmentWriter.open(tmp_path, free_bytes_min=0) as writer:
        writer.write([b"new"])
    reader = SegmentReader(tmp_path)
    one_by_one = {record.sequence: record.body for record in reader.scan()}
    payloads = reader.read_payloads("w0", after=0, bytes_max=1 << 30, records_max=1 << 30)
    assert records_of(payloads) == one_by_one
    assert [payload.first for payload in payloads] == [int(second.name[:20]), lost + 1, floor + 1]
    assert lost not in one_by_one
    for after in (*range(COUNT + 3), 1000, floor, floor + 1):
        assert reader.count_after({"w0": after}) == {"w0": sum(sequence > after for sequence in one_by_one)}, after


def test_counting_reads_no_record_of_a_large_group(tmp_path: Path) -> None:
    """What has rotted inside a payload stops a reader; the count is of lines."""
    with SegmentWriter.open(tmp_path, free_bytes_min=0) as writer:
        for _ in range(3):
            writer.write([b"r" * 1000] * 50)
    (segment,) = (tmp_path / "w0").glob("*.log")
    content = bytearray(segment.read_bytes())
    content[70_000] ^= 1
    segment.write_bytes(content)
    reader = SegmentReader(tmp_path)
    assert reader.count_after({"w0": 10}) == {"w0": 140}
    with pytest.raises(LogCorruptError):
        reader.read_payloads("w0", after=10, bytes_max=1 << 30, records_max=1 << 30)


def test_several_writers_are_counted_each_from_its_own_position(tmp_path: Path) -> None:
    for name, count in (("w0", 3), ("w1", 5)):
        with SegmentWriter.open(tmp_path, writer=name, free_bytes_min=0) as writer:
            writer.write([b"x"] * count)
    assert SegmentReader(tmp_path).count_after({"w1": 4, "gone": 9}) == {"w0": 3, "w1": 1}
    assert SegmentReader(tmp_path / "nowhere").count_after({}) == {}


def test_a_reader_of_payloads_in_the_middle_of_a_file_goes_on_after_a_rewriting(log: SegmentWriter, tmp_path: Path) -> None:
    log.close()
    for until in range(1, COUNT + 1):
        reader, found = SegmentReader(tmp_path), {}
        while payloads := reader.read_payloads("w0", after=len(found), bytes_max=1, records_max=1):
            if len(found) < until <= len(found) + payloads[0].count:
                rewrite_records(tmp_path / "w0", change=lambda bodies: [body + b"!" for body in bodies])
            found.update(records_of(payloads))
        assert list(found) == list(range(1, COUNT + 2))
        assert reader.count_after({"w0": until}) == {"w0": COUNT + 1 - until}
        reader.close()
