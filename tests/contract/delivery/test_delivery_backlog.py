"""A log as a source: nothing left out, whatever order its records are settled in, and whenever the process dies."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from footfall.clock import ManualClock
from footfall.delivery.address import Address
from footfall.delivery.api import Parcel, Refusal
from footfall.delivery.backlog import Backlog, Cursor, FileCursor, MemoryCursor
from footfall.delivery.exchanges import ScriptedExchanges
from footfall.delivery.pump import Pump
from footfall.delivery.transport import Request, Response
from footfall.errors import LogCorruptError
from footfall.log.api import LogReader, LogWriter, Record
from footfall.log.memory import MemoryReader, MemoryTree, MemoryWriter
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter


class Log(NamedTuple):
    open_writer: Callable[[str], LogWriter]
    reader: LogReader


@pytest.fixture(params=["segments", "memory"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    if request.param == "memory":
        tree = MemoryTree()
        return Log(lambda name: MemoryWriter.open(tree, writer=name), MemoryReader(tree))
    tree_path = tmp_path / "log"
    return Log(
        lambda name: SegmentWriter.open(tree_path, writer=name, segment_bytes=600, free_bytes_min=0), SegmentReader(tree_path)
    )


@pytest.fixture(params=["file", "memory"])
def cursor(request: pytest.FixtureRequest, tmp_path: Path) -> Cursor:
    return MemoryCursor() if request.param == "memory" else FileCursor(tmp_path / "cursor.json")


def parcel_of(record: Record) -> Parcel | None:
    """A record that says `skip` is not to be sent."""
    if b"skip" in record.body:
        return None
    return Parcel(body=record.body, lane=hash(record.writer))


def filled(log: Log, writer: str, count: int, *, skip_every: int = 0) -> None:
    with_skips = [
        b'{"id":"%s/%d"%s}' % (writer.encode(), number, b',"skip":1' if skip_every and number % skip_every == 0 else b"")
        for number in range(1, count + 1)
    ]
    opened = log.open_writer(writer)
    opened.write(with_skips)
    opened.close()


def made(log: Log, cursor: Cursor, *, clock: ManualClock | None = None, refused: list[Record] | None = None) -> Backlog:
    def note(record: Record, refusal: Refusal) -> None:
        if refused is not None:
            refused.append(record)

    return Backlog(log.reader, cursor=cursor, parcel_of=parcel_of, refused=note, clock=clock or ManualClock())


def test_a_cursor_gives_back_what_was_stored_and_nothing_before(cursor: Cursor) -> None:
    assert cursor.load() == {}
    cursor.store({"w0": 7, "w1": 2})
    cursor.store({"w0": 8, "w1": 2})
    assert cursor.load() == {"w0": 8, "w1": 2}


def test_a_cursor_that_is_damaged_is_no_beginning(tmp_path: Path) -> None:
    (tmp_path / "cursor.json").write_bytes(b'{"w0":')
    with pytest.raises(LogCorruptError, match="no cursor"):
        FileCursor(tmp_path / "cursor.json").load()


def test_the_mark_stands_before_the_oldest_record_that_is_open(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 6)
    backlog = made(log, cursor)
    parcels = backlog.take(parcels_max=10)
    assert backlog.positions == {"w0": 0}
    backlog.delivered(parcels[1:4])
    assert backlog.positions == {"w0": 0}
    backlog.delivered(parcels[:1])
    assert backlog.positions == {"w0": 4}
    backlog.delivered(parcels[4:])
    assert backlog.positions == {"w0": 6}


def test_each_record_is_handed_out_once_and_what_is_not_to_be_sent_is_passed(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 40, skip_every=2)
    backlog = made(log, cursor)
    bodies: list[bytes] = []
    while parcels := backlog.take(parcels_max=3):
        assert len(parcels) <= 3
        bodies += [parcel.body for parcel in parcels]
    assert [json.loads(body)["id"] for body in bodies] == [f"w0/{number}" for number in range(1, 40, 2)]


def test_only_records_that_are_not_to_be_sent_move_the_mark_too(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 20, skip_every=1)
    clock = ManualClock()
    backlog = made(log, cursor, clock=clock)
    clock.advance(1)
    assert backlog.take(parcels_max=5) == []
    assert cursor.load() == {"w0": 20}


def test_after_a_crash_everything_from_the_mark_goes_again_and_nothing_is_left_out(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 50)
    filled(log, "w1", 30)
    dice = random.Random(5)
    settled: set[bytes] = set()
    for _ in range(200):  # processes, each of which dies in the midst
        clock = ManualClock()
        backlog = made(log, cursor, clock=clock)
        parcels = list(backlog.take(parcels_max=12))
        dice.shuffle(parcels)
        for parcel in parcels[: dice.randrange(13)]:
            settled.add(parcel.body)
            clock.advance(dice.random())
            backlog.delivered([parcel])
        for writer, position in cursor.load().items():
            assert {b'{"id":"%s/%d"}' % (writer.encode(), number) for number in range(1, position + 1)} <= settled
    assert len(settled) == 80


def test_a_refused_record_is_told_before_the_mark_passes_it(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 1)
    told: list[Record] = []
    backlog = made(log, cursor, refused=told)
    (parcel,) = backlog.take(parcels_max=5)
    backlog.refused(parcel, Refusal(status=400, message="missing page_id"))
    assert [record.position for record in told] == ["w0/1"]
    backlog.save()
    assert cursor.load() == {"w0": 1}


def test_a_whole_log_goes_out_by_a_pump_and_the_cursor_ends_at_its_end(log: Log, cursor: Cursor) -> None:
    filled(log, "w0", 300, skip_every=7)
    filled(log, "w1", 200)
    clock = ManualClock()
    receiver = Receiver()
    told: list[Record] = []
    backlog = made(log, cursor, clock=clock, refused=told)
    address = Address(base_url="http://127.0.0.1:1", platform_id="SHOP", api_key="key", batch=False)
    pump = Pump(backlog, exchanges=ScriptedExchanges(receiver, clock=clock), address=address, clock=clock)
    while pump.turn(1) or pump.loaded:
        pass
    backlog.save()
    assert len(receiver.ids) == 300 - 42 + 200
    assert sorted(receiver.ids) == sorted(set(receiver.ids))
    assert sorted(record.position for record in told) == ["w0/13", "w1/13"]
    assert cursor.load() == {"w0": 300, "w1": 200}


class Receiver:
    """Takes every event but the thirteenth of each writer, and fails for the first seconds."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self._fails = 3

    def send(self, request: Request) -> Response:
        if self._fails:
            self._fails -= 1
            return Response(status=503)
        self.ids.append(json.loads(request.body)["id"])
        return Response(status=400 if self.ids[-1].endswith("/13") else 200)

    def close(self) -> None: ...
