"""What `track` keeps, what it turns away, and that every event is in exactly one count, whatever the disk and the caller do."""

from __future__ import annotations

import errno
import gc
import logging
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall import Money
from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import list_trays
from footfall.client.web import shopper
from footfall.client.web.wsgi import FootfallMiddleware
from footfall.clock import SystemClock
from footfall.delivery.api import Done
from footfall.delivery.exchanges import ScriptedExchanges
from footfall.errors import SettingsError
from footfall.log.disk import Disk, UnsyncedDisk
from tests.contract.delivery.line import Line

Make = Callable[..., Outbox]
URL = "https://receiver.example"


class Hours(SystemClock):
    """The machine's clock, set forward by whole hours, or by some seconds."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead_s * 1000)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class TroubledDisk(UnsyncedDisk):
    """Fails to write as told, and has as little room as told. `bug` is no trouble of disks, and nobody expects it."""

    def __init__(self) -> None:
        self.trouble = 0
        self.free = 1 << 40
        self.bug: Exception | None = None

    def lock(self, path: Path) -> int:
        if self.bug:
            raise self.bug
        return super().lock(path)

    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.bug:
            raise self.bug
        if self.trouble:
            raise OSError(self.trouble, os.strerror(self.trouble))
        return super().write(descriptor, data)

    def free_bytes(self, path: Path) -> int:
        return self.free


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def make(tmp_path: Path, line: Line) -> Iterator[Make]:
    """Makes outboxes that reach `line`; at the end each must balance."""
    made: list[Outbox] = []

    def make(directory: Path = tmp_path / "outbox", **settings: Any) -> Outbox:
        settings = {"exchanges": lambda: ScriptedExchanges(line), "exit_s": 0.0, "batch": False} | settings
        made.append(Outbox(directory, platform_id="SHOP", api_key="secret-key", base_url=URL, **settings))
        return made[-1]

    yield make
    for outbox in made:
        outbox.close()
        stats = outbox.stats()
        assert stats.tracked == stats.delivered + stats.waiting + stats.refused + stats.shed
        assert stats.waiting >= 0
        assert sum(stats.shed_for.values()) == stats.shed


def event(name: str, event_type: str = "HOME", **more: Any) -> dict[str, Any]:
    return {"id": name, "event_type": event_type, "channel_type": "SITE", "user_id": "u-1", "page_id": "p"} | more


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "footfall.outbox"]


def test_an_event_is_on_disk_before_track_returns_its_id(make: Make, line: Line, tmp_path: Path) -> None:
    line.is_away = True
    outbox = make()
    event_id = outbox.track(event_type="HOME", channel_type="SITE", user_id="u-1")
    assert len(event_id) == 36
    assert any(event_id.encode() in path.read_bytes() for path in tmp_path.glob("outbox/*/*/*.log"))
    assert outbox.stats().waiting == 1


def test_the_key_is_nowhere_on_disk(make: Make, line: Line, tmp_path: Path) -> None:
    line.is_away = True
    make().track(event("e-1"))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(b"secret-key" in path.read_bytes() for path in files)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "outbox").rglob("*"))


def test_events_of_one_shopper_arrive_in_the_order_in_which_they_were_tracked(make: Make, line: Line) -> None:
    outbox = make()
    kinds = ("PURCHASE", "PAGE_VIEW", "ADD_TO_CART", "HOME")
    names = [outbox.track(event(f"e-{number}", kinds[number % 4])) for number in range(500)]
    assert outbox.flush(10)
    assert line.ids == names
    assert outbox.stats().delivered == 500


def test_what_is_beyond_memory_is_read_back_from_disk_in_order(make: Make, line: Line) -> None:
    line.is_away = True
    clock = Hours()
    outbox = make(clock=clock)
    kinds = ("PURCHASE", "PAGE_VIEW", "ADD_TO_CART", "HOME")
    names = [outbox.track(event(f"e-{number}", kinds[number % 4])) for number in range(12_000)]
    line.is_away = False
    clock.ahead_s += 3600
    assert not outbox.flush(0)
    while not outbox.flush(0.2):
        clock.ahead_s += 1  # the rate rises with each second
    assert list(dict.fromkeys(line.ids)) == names


def test_a_mistake_of_the_caller_is_told_once_for_each_place_and_counted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    outbox = make()
    for _ in range(3):
        assert outbox.track({"event_type": "HOME", "revenue": float("nan"), "user_id": "a-person"}) == ""
    assert outbox.track(evnt_type="HOME") == ""  # type: ignore[call-arg]
    assert outbox.track() == ""
    assert outbox.track(event("e-1", extra_thing=object())) == ""
    said = complaints(caplog)
    assert len(said) == 4
    assert all(Path(__file__).name in line for line in said)
    assert "did you mean 'event_type'" in said[1]
    assert not any("a-person" in line for line in said)
    stats = outbox.stats()
    assert (stats.tracked, stats.refused, stats.mistaken) == (6, 6, 6)


def test_a_mistake_behind_a_web_helper_is_told_where_the_shop_made_it(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    def shop(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        assert shopper().track(evnt_type="HOME") == ""  # type: ignore[call-arg]
        return []

    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "203.0.113.9", "wsgi.url_scheme": "http"}
    FootfallMiddleware(shop, make())(environ, lambda *_: lambda _: None)
    (said,) = complaints(caplog)
    assert said.startswith(f"{__file__}:{shop.__code__.co_firstlineno + 2} tracks what is no event")


@pytest.mark.parametrize("is_first", [True, False], ids=["making its directory", "writing"])
def test_what_nobody_foresaw_costs_the_event_and_not_the_request(
    is_first: bool, make: Make, line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    disk, clock = TroubledDisk(), Hours()
    outbox = make(disk=disk, clock=clock)
    kept = set() if is_first else {outbox.track(event("before"))}
    disk.bug = TypeError("'a-person' is of the wrong type")
    assert outbox.track(event("lost-1", user_id="a-person")) == ""
    assert outbox.track(event("lost-2", user_id="a-person")) == ""
    disk.bug = None
    clock.ahead_s += 5
    kept.add(outbox.track(event("after")))
    assert outbox.flush(5)
    assert set(line.ids) == kept == {"before", "after"} - ({"before"} if is_first else set())
    stats = outbox.stats()
    assert (stats.shed, stats.delivered) == (2, len(kept))
    said = complaints(caplog)
    assert len(said) == len(set(said)) > 0
    assert all("TypeError" in each for each in said)
    assert "a-person" not in caplog.text


def test_a_sender_that_cannot_be_woken_costs_no_event(make: Make, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(ScriptedExchanges):
        def wait(self, timeout_s: float) -> list[Done]:
            if timeout_s > 0.5:
                asleep.set()
            return super().wait(timeout_s)

        def wake(self) -> None:
            if is_deaf.is_set():
                raise TypeError("not to be woken")
            super().wake()

    asleep, is_deaf = threading.Event(), threading.Event()
    outbox = make(exchanges=lambda: Deaf(line))
    is_deaf.set()
    assert outbox.track(event("e-1")) == "e-1"
    assert asleep.wait(10)
    while not complaints(caplog):
        assert outbox.track(event("e-2")) == "e-2"
    assert "TypeError" in complaints(caplog)[0]
    is_deaf.clear()
    assert outbox.flush(10)
    assert set(line.ids) == {"e-1", "e-2"}


def test_a_log_filter_of_the_shop_that_fails_does_not_come_out_of_track(make: Make) -> None:
    def fail(_: logging.LogRecord) -> bool:
        raise RuntimeError

    logger = logging.getLogger("footfall.outbox")
    logger.addFilter(fail)
    try:
        assert make().track(evnt_type="HOME") == ""  # type: ignore[call-arg]
    finally:
        logger.removeFilter(fail)


def test_an_event_too_large_for_the_log_is_turned_away(make: Make) -> None:
    outbox = make()
    assert outbox.track(event("e-1", search_query="x" * (1 << 20))) == ""
    assert outbox.track(event("e-2"))
    assert outbox.stats().shed_for == {"too-large": 1}


def test_on_a_full_volume_the_last_room_is_for_purchases(make: Make, line: Line, tmp_path: Path) -> None:
    line.is_away = True
    disk = TroubledDisk()
    kinds = ("PAGE_VIEW", "HOME", "ADD_TO_CART", "PURCHASE")
    for free, kept in ((1 << 30, 4), (50 << 10, 3), (20 << 10, 2), (4 << 10, 1)):
        disk.free = free
        fresh = make(tmp_path / str(kept), disk=disk, bytes_max=1 << 20)
        ids = [fresh.track(event(kind, kind)) for kind in kinds]
        assert ids == [""] * (4 - kept) + list(kinds[4 - kept :])
        assert fresh.stats().shed_for == ({"disk-full": 4 - kept} if kept < 4 else {})


def test_a_disk_without_room_loses_what_it_reports_and_no_more(make: Make, line: Line, caplog: pytest.LogCaptureFixture) -> None:
    disk = TroubledDisk()
    outbox = make(disk=disk)
    kept = {outbox.track(event("before"))}
    disk.trouble = errno.ENOSPC
    assert [outbox.track(event(f"lost-{number}", "PURCHASE")) for number in range(20)] == [""] * 20
    disk.trouble = 0
    kept |= {outbox.track(event(f"after-{number}", "PURCHASE")) for number in range(5)}
    assert outbox.flush(5)
    assert set(line.ids) == kept
    assert outbox.stats().shed_for == {"disk-full": 20}
    assert len(complaints(caplog)) == 1


def test_a_disk_that_fails_costs_the_events_of_that_moment_only(make: Make, line: Line) -> None:
    line.is_away = True
    disk, clock = TroubledDisk(), Hours()
    outbox = make(disk=disk, clock=clock)
    kept = {outbox.track(event("before-1")), outbox.track(event("before-2", "PURCHASE"))}
    disk.trouble = errno.EIO
    assert outbox.track(event("lost")) == ""
    disk.trouble = 0
    clock.ahead_s += 10
    kept |= {outbox.track(event("after"))}
    line.is_away = False
    clock.ahead_s += 3600
    while not outbox.flush(0.1):
        clock.ahead_s += 1
    assert set(line.ids) == kept == {"before-1", "before-2", "after"}
    assert outbox.stats().shed == 1


def test_a_directory_that_cannot_be_made_costs_events_and_not_the_shop(
    make: Make, line: Line, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    clock = Hours()
    outbox = make(blocked, clock=clock)
    assert [outbox.track(event(f"lost-{number}")) for number in range(3)] == [""] * 3
    assert outbox.stats().state == "unwritable"
    assert len(complaints(caplog)) == 1
    blocked.unlink()
    assert outbox.track(event("too soon")) == ""
    clock.ahead_s += 5
    assert outbox.track(event("e-1")) == "e-1"
    assert outbox.flush(5)
    stats = outbox.stats()
    assert (stats.delivered, stats.shed_for, stats.state) == (1, {"unwritable": 4}, "flowing")


def test_a_full_outbox_gives_up_page_views_first_and_purchases_never(make: Make, line: Line, tmp_path: Path) -> None:
    line.is_away = True
    clock = Hours()
    outbox = make(clock=clock, bytes_max=1 << 20)
    kinds = ("PAGE_VIEW", "HOME", "ADD_TO_CART", "PURCHASE")
    kept: Counter[str] = Counter()
    for number in range(6000):
        kind = kinds[number % 4] if number % 40 < 4 else "PAGE_VIEW" if number % 2 else "HOME"
        if outbox.track(event(f"{kind}-{number}", kind, search_query="x" * 400)):
            kept[kind] += 1
        if number % 100 == 0:
            outbox.flush(0.03)  # gives the sender a turn
    line.is_away = False
    clock.ahead_s += 3600
    while not outbox.flush(0.1):
        clock.ahead_s += 1
    arrived = Counter(name.partition("-")[0] for name in set(line.ids))
    assert arrived["PURCHASE"] == kept["PURCHASE"] == 150
    assert arrived["ADD_TO_CART"] == 150
    stats = outbox.stats()
    assert stats.shed == stats.shed_for["full"] == 6000 - sum(arrived.values()) > 0
    assert sum(file.stat().st_size for file in (tmp_path / "outbox").glob("*/*/*.log")) < 1.3 * (1 << 20)


def test_an_event_older_than_the_bound_is_given_up_unless_it_is_a_purchase(make: Make, line: Line) -> None:
    line.is_away = True
    clock = Hours()
    outbox = make(clock=clock, age_s_max=3600.0)
    outbox.close()
    first = make(clock=clock, age_s_max=3600.0)
    first.track(event("a-view", "PAGE_VIEW"))
    first.track(event("a-purchase", "PURCHASE"))
    first.close()  # before the sender took them: the next one reads them
    clock.ahead_s += 7200
    line.is_away = False
    second = make(clock=clock, age_s_max=3600.0)
    while not second.flush(0.1):
        clock.ahead_s += 1
    stats = second.stats()
    assert "a-purchase" in line.ids
    assert stats.delivered + stats.shed == 2


def test_track_from_a_signal_handler_neither_deadlocks_nor_loses(make: Make, line: Line) -> None:
    """The handler interrupts `track` at any line, the write and the lock included."""
    outbox = make()
    interrupted: list[str] = []
    previous = signal.signal(signal.SIGVTALRM, lambda *_: interrupted.append(outbox.track(event(f"s-{len(interrupted)}"))))
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.0003)
    try:
        names = [outbox.track(event(f"e-{number}")) for number in range(20_000)]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
    assert len(interrupted) > 20
    assert outbox.flush(20)
    assert Counter(line.ids) == Counter(names + interrupted)


class TimeIsUp(BaseException):
    """What a web server's worker raises out of a signal handler."""


def test_an_exception_out_of_a_signal_handler_costs_that_event_at_most(make: Make, line: Line) -> None:
    outbox = make()
    inside = False
    interruptions = 0

    def interrupt(*_: object) -> None:
        if inside:
            raise TimeIsUp

    previous = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.001, 0.001)
    gc.disable()  # a collection within `track` would take the exception in somebody else's callback
    kept: list[str] = []
    try:
        for number in range(30_000):
            inside = True
            try:
                kept.append(outbox.track(event(f"e-{number}")))
            except TimeIsUp:
                interruptions += 1
            inside = False
            if interruptions == 20:
                break
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)
        gc.enable()
    assert outbox.flush(20)
    assert interruptions
    assert set(filter(None, kept)) - set(line.ids) == set(), outbox.stats()


def test_threads_that_track_at_once_lose_nothing(make: Make, line: Line) -> None:
    outbox = make()
    kept: list[str] = []

    def work(name: int) -> None:
        kept.extend(outbox.track(event(f"{name}-{number}", user_id=f"u-{name}")) for number in range(300))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outbox.flush(20)
    assert Counter(line.ids) == Counter(kept)
    assert all(
        [name for name in line.ids if name.startswith(f"{thread}-")] == [f"{thread}-{number}" for number in range(300)]
        for thread in range(8)
    )


def test_durability_disk_syncs_before_track_returns(make: Make) -> None:
    class CountingDisk(Disk):
        syncs = 0

        def sync_data(self, descriptor: int) -> None:
            self.syncs += 1
            super().sync_data(descriptor)

    disk = CountingDisk()
    outbox = make(disk=disk, durability="disk")
    outbox.track(event("e-0"))
    before = disk.syncs
    for number in range(5):
        outbox.track(event(f"e-{number + 1}"))
    assert disk.syncs >= before + 5


def test_what_is_tracked_after_close_is_shed_and_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    outbox = make()
    outbox.track(event("e-1"))
    outbox.close()
    assert outbox.track(event("e-2")) == ""
    assert outbox.stats().shed_for == {"closed": 1}
    assert outbox.stats().state == "closed"
    outbox.close()


def test_an_outbox_that_only_was_made_leaves_nothing(make: Make, tmp_path: Path) -> None:
    threads = threading.active_count()
    outbox = make()
    assert outbox.flush(0)
    outbox.close()
    assert not (tmp_path / "outbox").exists()
    assert threading.active_count() <= threads + 1  # the warming of user agents, once a process


def test_an_outbox_shows_no_key_and_cannot_be_pickled(make: Make) -> None:
    outbox = make()
    assert "secret-key" not in repr(outbox) + str(outbox.stats())
    with pytest.raises(TypeError, match="in each process"):
        pickle.dumps(outbox)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "http://elsewhere.example"},
        {"base_url": URL, "durability": "hope"},
        {"base_url": URL, "bytes_max": 10},
        {"base_url": URL, "age_s_max": 0},
        {},
    ],
)
def test_settings_that_make_no_sense_are_refused_at_once(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        Outbox(tmp_path, platform_id="SHOP", api_key="key", **settings)


def test_the_environment_says_where_to(tmp_path: Path, line: Line) -> None:
    environment = {"MCM_MODE": "test", "MCM_TEST_PLATFORM_ID": "SHOP_TEST", "MCM_API_KEY": "key", "MCM_BASE_URL": URL}
    with Outbox.from_env(tmp_path, environment, exchanges=lambda: ScriptedExchanges(line), batch=False, currency="USD") as outbox:
        outbox.track(event("e-1", "PURCHASE", revenue=Money("USD", "1.50")))
        assert outbox.flush(5)
    assert "/platforms/SHOP_TEST/" in line.there.requests[0].url
    assert list_trays(tmp_path) == []
