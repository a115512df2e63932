"""Troubles of a disk, of signal handlers and of callers, met by an outbox one after another: none costs more than it must."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall import Money
from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import list_trays
from footfall.delivery.exchanges import ScriptedExchanges
from footfall.delivery.transport import Request, Response
from footfall.log.disk import UnsyncedDisk
from tests.contract.delivery.line import Line
from tests.unit.client.test_outbox_track import URL, Hours, complaints, event

Make = Callable[..., Outbox]


class PickyLine(Line):
    """Refuses the events of one shopper."""

    def send(self, request: Request) -> Response:
        if b"unwanted" in bytes(request.body):
            return Response(status=400, body=b'{"code":3,"message":"no such thing","details":[]}')
        return super().send(request)


class InterruptedDisk(UnsyncedDisk):
    """A signal arrives just after the event of one of these names was written, once for each."""

    def __init__(self) -> None:
        self.armed: set[bytes] = set()

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        count = super().write(descriptor, data)
        for name in [name for name in self.armed if b'"id":"%b"' % name in bytes(data)]:
            self.armed.remove(name)
            signal.raise_signal(signal.SIGTERM)
        return count


class BrokenDisk(UnsyncedDisk):
    """Makes directories and files, and takes no event."""

    is_broken = True

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.is_broken and b'"event":' in bytes(data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().write(descriptor, data)


class CountingDisk(UnsyncedDisk):
    """Counts how often the log of purchases is looked at."""

    looks = 0

    def names(self, path: Path) -> list[str]:
        self.looks += path.name == "purchase"
        return super().names(path)


@pytest.fixture
def line() -> PickyLine:
    return PickyLine()


@pytest.fixture
def make(tmp_path: Path, line: PickyLine) -> Iterator[Make]:
    """Makes outboxes that reach `line`; at the end each must balance."""
    made: list[Outbox] = []

    def make(**settings: Any) -> Outbox:
        settings = {"exchanges": lambda: ScriptedExchanges(line), "exit_s": 0.0, "batch": False} | settings
        made.append(Outbox(tmp_path / "outbox", platform_id="SHOP", api_key="secret-key", base_url=URL, **settings))
        return made[-1]

    yield make
    for outbox in made:
        outbox.close()
        stats = outbox.stats()
        assert stats.tracked == stats.delivered + stats.waiting + stats.refused + stats.shed
        assert sum(stats.shed_for.values()) == stats.shed


@pytest.fixture
def on_signal() -> Iterator[Callable[[Callable[..., None]], None]]:
    previous = signal.getsignal(signal.SIGTERM)

    def set_it(handler: Callable[..., None]) -> None:
        signal.signal(signal.SIGTERM, handler)

    yield set_it
    signal.signal(signal.SIGTERM, previous)


def test_what_a_signal_handler_tracks_before_it_ends_the_program_is_kept(
    make: Make, line: PickyLine, on_signal: Callable[[Callable[..., None]], None]
) -> None:
    disk = InterruptedDisk()
    outbox = make(disk=disk)
    outbox.track(event("first"))

    def end(*_: object) -> None:
        assert outbox.track(event("inner")) == "inner"
        sys.exit(0)

    on_signal(end)
    disk.armed = {b"outer"}
    with pytest.raises(SystemExit):
        outbox.track(event("outer"))
    assert outbox.flush(10)
    assert {"first", "inner"} <= set(line.ids)


def test_what_is_left_aside_by_handlers_that_raised_one_after_another_is_kept_at_the_end(
    make: Make, line: PickyLine, on_signal: Callable[[Callable[..., None]], None]
) -> None:
    """The first comes out of `track`; the second while what the first tracked is being written."""
    line.is_away = True
    disk = InterruptedDisk()
    outbox = make(disk=disk)
    outbox.track(event("first"))

    def end(*_: object) -> None:
        if not disk.armed:
            sys.exit(1)
        assert [outbox.track(event(name)) for name in ("inner-1", "inner-2")] == ["inner-1", "inner-2"]
        sys.exit(0)

    on_signal(end)
    disk.armed = {b"outer", b"inner-1"}
    with pytest.raises(SystemExit):
        outbox.track(event("outer"))
    outbox.close()
    line.is_away = False
    assert make().flush(10)
    assert {"first", "inner-1", "inner-2"} <= set(line.ids)


def test_a_log_of_refused_events_that_somebody_removed_does_not_stop_delivery(
    make: Make, line: PickyLine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Hours()
    outbox = make(clock=clock)
    outbox.track(event("e-1", user_id="unwanted"))
    assert outbox.flush(10)
    (log,) = tmp_path.glob("outbox/*/refused/*.log")
    log.unlink()
    clock.ahead_s += 5  # it is tidied at once
    outbox.track(event("e-2"))
    assert outbox.flush(10)
    stats = outbox.stats()
    assert (stats.refused, stats.delivered) == (1, 1)
    assert not any("nobody foresaw" in said for said in complaints(caplog))


def test_a_disk_that_takes_no_event_is_left_alone_for_a_while(make: Make, line: PickyLine, tmp_path: Path) -> None:
    """Although it makes directories: not each event has one made for it, and its descriptors."""
    disk, clock = BrokenDisk(), Hours()
    outbox = make(disk=disk, clock=clock)
    for turn in range(1, 6):
        assert [outbox.track(event(f"lost-{number}")) for number in range(100)] == [""] * 100
        stats = outbox.stats()
        assert stats.shed == 100 * turn
        assert stats.shed_for["disk"] == turn + 1  # two to begin with, and one for each attempt after that
        assert (stats.state, "Input/output error" in stats.reason) == ("unwritable", True)
        clock.ahead_s += 3.1
    assert len(list_trays(tmp_path / "outbox")) <= 6
    disk.is_broken = False
    assert outbox.track(event("e-1")) == "e-1"
    assert outbox.flush(10)
    assert outbox.stats().state == "flowing"
    assert line.ids == ["e-1"]
    outbox.close()
    assert list_trays(tmp_path / "outbox") == []


def test_so_many_trays_that_failed_are_open_and_no_more(make: Make, line: PickyLine, tmp_path: Path) -> None:
    """Each holds an event that cannot be delivered now, and so some descriptors."""
    line.is_away = True
    disk, clock = BrokenDisk(), Hours()
    disk.is_broken = False
    outbox = make(disk=disk, clock=clock)
    kept: set[str] = set()
    for number in range(80):
        kept.add(outbox.track(event(f"kept-{number}")))
        disk.is_broken = True
        assert outbox.track(event("lost")) == ""
        disk.is_broken = False
        clock.ahead_s += 3.1
    kept.discard("")
    assert len(kept) == 64
    assert "too often" in outbox.stats().reason
    line.is_away = False
    clock.ahead_s += 3600
    while not outbox.flush(0.05):
        clock.ahead_s += 1
    assert set(line.ids) == kept
    assert outbox.track(event("after")) == "after"


def test_only_words_of_footfall_are_repeated_of_a_mistake(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    outbox = make()
    person = "kim@example.com"

    class Price:
        def __str__(self) -> str:
            raise ValueError(person)

    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"items": ({"id": "a", "quantity": int(row)} for row in [person])}, "ValueError"),
        ({"items": ({"id": row, "price": Money("USD", row)} for row in [person])}, "an amount must be"),
        ({"timestamp": person}, "timestamp is whole milliseconds"),
        ({"revenue": {"amount": person, "currency": "USD"}}, "revenue.amount: an amount must be"),
        ({"revenue": {"amount": Price(), "currency": "USD"}}, "nothing is sent: "),
        ({"extra": {person: float("nan")}}, "a member that nobody knows is NaN or infinite, which JSON cannot carry"),
        ({"extra": {f"{person}]": float("nan")}}, "a member that nobody knows is NaN"),
        ({"extra": {f"items[3].{person}": 1}}, "extra names a part that the event has not"),
        ({"items": [{"quantity": float("inf")}]}, "items[0].quantity is NaN or infinite"),
        ({"extra": {person: object()}}, "TypeError"),
        ({"page_id": f"\ud800{person}"}, "lone surrogate"),
    ]
    for number, (fields, _) in enumerate(mistakes):  # each at a place of its own
        exec(compile("outbox.track(**fields)", f"shop-{number}", "exec"), {"outbox": outbox, "fields": fields})
    said = complaints(caplog)
    assert len(said) == len(mistakes)
    for text, (_, words) in zip(said, mistakes, strict=True):
        assert words in text
    assert person not in caplog.text


def test_purchases_above_the_bound_are_not_looked_through_all_the_time(make: Make, line: PickyLine) -> None:
    """They are never given up, so there is no room to be made, however often it is tried."""
    line.is_away = True
    disk = CountingDisk()
    outbox = make(disk=disk, bytes_max=1 << 20)
    number = 0

    def purchase() -> None:
        nonlocal number
        number += 1
        assert outbox.track(event(f"e-{number}", "PURCHASE", search_query="x" * 400))

    while number < 4000:
        purchase()
    before, until_s = disk.looks, time.monotonic() + 0.2
    while disk.looks == before and time.monotonic() < until_s + 5:  # until it was found that nothing can be done
        purchase()
    before, until_s = disk.looks, time.monotonic() + 0.7
    while time.monotonic() < until_s:
        purchase()
        time.sleep(0.005)
    assert disk.looks - before <= 8  # one time of tidying, or two; 35 if it were tried every 20 ms
    assert outbox.stats().shed == 0


def test_what_the_engine_holds_is_not_given_up_and_is_delivered_after_a_restart(
    make: Make, line: PickyLine, tmp_path: Path
) -> None:
    """During an outage the oldest events are handed out, and room is made behind them. No count speaks of damage later."""
    line.is_away = True
    clock = Hours()
    outbox = make(clock=clock, bytes_max=1 << 20)
    outbox.track(event("e-0"))
    while outbox.stats().state == "flowing":  # it is under way, and comes back
        time.sleep(0.001)
    number = 0
    while outbox.stats().shed_for.get("full", 0) < 2000:
        number += 1
        outbox.track(event(f"e-{number}", search_query="x" * 400))
        if number % 100 == 0:
            outbox.flush(0.03)  # gives the sender a turn
    assert sum(file.stat().st_size for file in (tmp_path / "outbox").glob("*/*/*.log")) < 1.3 * (1 << 20)
    outbox.close()
    waiting = outbox.stats().waiting
    line.is_away = False
    successor = make(clock=clock, bytes_max=1 << 20)
    while not successor.flush(0.1):
        clock.ahead_s += 1
    assert "e-0" in line.ids
    assert len(set(line.ids)) >= waiting
    assert set(successor.stats().shed_for) == {"full"}
