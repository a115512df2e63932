"""What `log.api` promises, on every back end that ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from footfall.errors import LogClosedError, LogLockedError
from footfall.log.api import LogReader, LogWriter
from footfall.log.memory import MemoryReader, MemoryTree, MemoryWriter
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter


class Backend(NamedTuple):
    open_writer: Callable[[str], LogWriter]
    reader: LogReader


@pytest.fixture(params=["segments", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "memory":
        tree = MemoryTree()
        return Backend(lambda name: MemoryWriter.open(tree, writer=name), MemoryReader(tree))
    return Backend(
        lambda name: SegmentWriter.open(tmp_path, writer=name, segment_bytes=600, free_bytes_min=0), SegmentReader(tmp_path)
    )


def test_sequences_begin_at_one_and_rise_by_one(log: Backend) -> None:
    writer = log.open_writer("w0")
    assert writer.write([b"a", b"b"]) == 2
    assert writer.write([b"c"]) == 3
    assert writer.sync() == 3
    assert [record.sequence for record in log.reader.scan()] == [1, 2, 3]
    writer.close()


def test_a_record_is_shown_only_after_a_sync(log: Backend) -> None:
    writer = log.open_writer("w0")
    writer.write([b"a"])
    assert list(log.reader.scan()) == []
    assert list(log.reader.read({}, records_max=10)) == []
    writer.sync()
    assert [record.body for record in log.reader.read({}, records_max=10)] == [b"a"]
    writer.close()


def test_bodies_come_back_byte_for_byte(log: Backend) -> None:
    bodies = [b"", b"#group bytes=1 crc=00000000", bytes(range(10)) + bytes(range(11, 256)), "né €".encode(), b"x" * 5000]
    writer = log.open_writer("w0")
    writer.write(bodies)
    writer.sync()
    assert [record.body for record in log.reader.scan()] == bodies
    writer.close()


def test_a_newline_is_refused_and_nothing_of_the_group_stored(log: Backend) -> None:
    writer = log.open_writer("w0")
    with pytest.raises(ValueError, match="one line"):
        writer.write([b"good", b"bad\nbad"])
    assert writer.write([b"next"]) == 1
    writer.close()
    assert [record.body for record in log.reader.scan()] == [b"next"]


def test_a_record_over_the_limit_is_refused(log: Backend) -> None:
    writer = log.open_writer("w0")
    with pytest.raises(ValueError, match="record"):
        writer.write([b"x" * (1 << 20) + b"x"])
    assert writer.write([b"x" * (1 << 20)]) == 1
    writer.close()


def test_lines_in_one_piece_are_the_records_a_list_would_be(log: Backend) -> None:
    writer = log.open_writer("w0")
    assert writer.write([b"a"]) == 1
    assert writer.write_lines(b"b\n\n" + b"c" * 700 + b"\n", count=3) == 4
    assert writer.write_lines(b"d\n", count=1) == 5
    assert writer.sync() == 5
    writer.close()
    records = list(log.reader.scan())
    assert [record.body for record in records] == [b"a", b"b", b"", b"c" * 700, b"d"]
    assert [record.sequence for record in records] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        (b"a\nb\n", 1),
        (b"a\nb\n", 3),
        (b"a\nb", 2),
        (b"a\nb", 1),
        (b"a", 0),
        (b"", 1),
        (b"x" * ((1 << 20) + 1) + b"\n", 1),
        (b"a\n" * 600_000 + b"x" * ((1 << 20) + 1) + b"\nz\n", 600_002),
        (b"a\n" * 5 + b"x" * (3 << 20) + b"\n", 6),
        ((b"x" * (1 << 20) + b"\n") * 64, 64),
    ],
    ids=["fewer", "more", "cut", "cut and counted", "none", "empty", "long", "long in the middle", "long at the end", "too many"],
)
def test_lines_that_are_not_the_records_told_are_refused_and_nothing_is_stored(log: Backend, payload: bytes, count: int) -> None:
    writer = log.open_writer("w0")
    with pytest.raises(ValueError, match=r"record|group"):
        writer.write_lines(payload, count=count)
    assert writer.write_lines(b"next\n", count=1) == 1
    writer.close()
    assert [record.body for record in log.reader.scan()] == [b"next"]


def test_lines_of_the_longest_records_there_are_come_back(log: Backend) -> None:
    bodies = [b"a", b"b" * (1 << 20), b"", b"c" * (1 << 20), b"d" * 100, b"e" * (1 << 20)]
    writer = log.open_writer("w0")
    assert writer.write_lines(b"".join(body + b"\n" for body in bodies), count=6) == 6
    writer.close()
    assert [record.body for record in log.reader.scan()] == bodies


def test_reading_goes_on_after_a_position_in_small_portions(log: Backend) -> None:
    writer = log.open_writer("w0")
    for start in range(0, 60, 6):
        writer.write([b"%d" % number for number in range(start, start + 6)])
    writer.sync()
    seen: list[bytes] = []
    position = 0
    while records := log.reader.read({"w0": position}, records_max=7):
        assert len(records) <= 7
        assert [record.sequence for record in records] == list(range(position + 1, position + 1 + len(records)))
        seen += [record.body for record in records]
        position = records[-1].sequence
    assert seen == [b"%d" % number for number in range(60)]
    writer.close()


def test_writers_of_one_tree_count_for_themselves(log: Backend) -> None:
    first, second = log.open_writer("a"), log.open_writer("b")
    for writer, body in ((first, b"1"), (second, b"2"), (first, b"3")):
        writer.write([body])
        writer.sync()
    assert [(record.position, record.body) for record in log.reader.scan()] == [("a/1", b"1"), ("a/2", b"3"), ("b/1", b"2")]
    found = log.reader.read({"a": 1}, records_max=10)
    assert sorted(record.position for record in found) == ["a/2", "b/1"]
    first.close()
    second.close()


def test_a_writer_is_owned_once(log: Backend) -> None:
    writer = log.open_writer("w0")
    with pytest.raises(LogLockedError):
        log.open_writer("w0")
    writer.close()
    log.open_writer("w0").close()


def test_a_reopened_log_goes_on_counting(log: Backend) -> None:
    for expected in (1, 2, 3):
        writer = log.open_writer("w0")
        assert writer.write([b"x"]) == expected
        writer.close()
        log.open_writer("w0").close()  # with nothing to say
    assert [record.sequence for record in log.reader.scan()] == [1, 2, 3]


def test_closing_syncs_twice_is_once_and_then_all_is_refused(log: Backend) -> None:
    writer = log.open_writer("w0")
    writer.write([b"a"])
    writer.close()
    writer.close()
    assert [record.body for record in log.reader.scan()] == [b"a"]
    with pytest.raises(LogClosedError):
        writer.write([b"b"])
    with pytest.raises(LogClosedError):
        writer.write_lines(b"b\n", count=1)
    with pytest.raises(LogClosedError):
        writer.sync()


def test_no_records_is_no_group(log: Backend) -> None:
    writer = log.open_writer("w0")
    assert writer.write([]) == 0
    assert writer.write_lines(b"", count=0) == 0
    writer.write([b"a"])
    assert writer.write([]) == 1
    writer.close()


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a b", "x" * 65])
def test_a_writers_name_that_is_no_plain_name_is_refused(log: Backend, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        log.open_writer(name)


def test_an_empty_tree_reads_as_nothing(log: Backend) -> None:
    assert list(log.reader.scan()) == []
    assert list(log.reader.read({"w9": 7}, records_max=5)) == []
