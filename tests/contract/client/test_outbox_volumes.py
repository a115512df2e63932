"""Outboxes on real volumes of their own: one that fills up, and one that nobody may write to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import list_trays
from footfall.clock import ManualClock
from footfall.delivery.exchanges import ScriptedExchanges
from tests.contract.delivery.line import Line

URL = "https://receiver.example"
BYTES_MAX = 32 << 20
"""Of a volume of 4 MiB carts leave 512 KiB free then, browsing 1 MiB, page views 2 MiB."""
EVENT_BYTES_MAX = 500
Mount = Callable[[str], None]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Path]:
    """A volume of 4 MiB in memory."""
    place = tmp_path / "volume"
    place.mkdir()
    try:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=True)


def remount(volume: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", volume], capture_output=True, check=True)


def make(directory: Path, line: Line, clock: ManualClock) -> Outbox:
    return Outbox(
        directory, platform_id="SHOP", api_key="key", base_url=URL, batch=False, bytes_max=BYTES_MAX, exit_s=0.0, clock=clock,
        exchanges=lambda: ScriptedExchanges(line),
    )  # fmt: skip


def burst(outbox: Outbox, event_type: str, *, events_max: int) -> set[str]:
    """The events of this kind that were kept, tracked as fast as can be until one is turned away."""
    kept: set[str] = set()
    for number in range(events_max):
        name = outbox.track(
            id=f"{event_type}-{number}", event_type=event_type, channel_type="SITE", user_id="u-1", page_id="p" * 100
        )
        if not name:
            return kept
        kept.add(name)
    return kept


def deliver(outbox: Outbox, clock: ManualClock) -> None:
    clock.advance(3600)
    while not outbox.flush(0.05):
        clock.advance(1)


@pytest.mark.parametrize("kinds", [("ADD_TO_CART",), ("PAGE_VIEW", "HOME", "ADD_TO_CART")], ids=["carts", "all kinds"])
@pytest.mark.parametrize("is_restarted", [False, True], ids=["same", "restarted"])
def test_on_a_full_volume_a_burst_leaves_the_last_room_to_purchases(
    kinds: tuple[str, ...], is_restarted: bool, volume: Path
) -> None:
    """The clock stands still: so fast a burst is over before time makes anybody look at the room that is left."""
    line, clock = Line(is_away=True), ManualClock()
    outbox = make(volume / "outbox", line, clock)
    kept: set[str] = set()
    for kind in kinds:
        stored = burst(outbox, kind, events_max=20_000)
        assert 0 < len(stored) < 20_000
        kept |= stored
    turned_away = len(kinds)
    purchases = burst(outbox, "PURCHASE", events_max=20_000)
    assert len(purchases) > (256 << 10) / EVENT_BYTES_MAX  # half of what carts leave
    kept |= purchases
    assert outbox.stats().shed_for == {"disk-full": turned_away + 1}
    if is_restarted:
        outbox.close()
        outbox = make(volume / "outbox", line, clock)
    line.is_away = False
    deliver(outbox, clock)
    outbox.close()
    assert set(line.ids) == kept
    assert outbox.stats().delivered == len(kept)
    assert list_trays(volume / "outbox") == []


def test_a_read_only_volume_costs_events_and_not_the_shop(volume: Path, caplog: pytest.LogCaptureFixture) -> None:
    line, clock = Line(is_away=True), ManualClock()
    line.is_away = False
    remount(volume, "ro")
    with make(volume / "outbox", line, clock) as outbox:
        assert burst(outbox, "PURCHASE", events_max=3) == set()
        assert outbox.flush(5)
        stats = outbox.stats()
        assert (stats.tracked, stats.shed_for, stats.state) == (1, {"unwritable": 1}, "unwritable")
        assert "Read-only file system" in stats.reason
        remount(volume, "rw")
        clock.advance(5)
        kept = burst(outbox, "PURCHASE", events_max=3)
        assert len(kept) == 3
        deliver(outbox, clock)
        assert (outbox.stats().state, set(line.ids)) == ("flowing", kept)
    assert len([record for record in caplog.records if record.name == "footfall.outbox"]) == 1


def test_what_was_left_on_a_volume_that_became_read_only_waits_there(volume: Path) -> None:
    line, clock = Line(is_away=True), ManualClock()
    with make(volume / "outbox", line, clock) as outbox:
        kept = burst(outbox, "HOME", events_max=3)
    line.is_away = False
    remount(volume, "ro")
    with make(volume / "outbox", line, clock) as successor:
        assert successor.flush(5)
        assert successor.stats().adopted == 0
    (tray,) = list_trays(volume / "outbox")
    assert (tray.alive, sum(tray.waiting.values())) == (False, 3)
    remount(volume, "rw")
    with make(volume / "outbox", line, clock) as successor:
        deliver(successor, clock)
    assert set(line.ids) == kept


@pytest.mark.parametrize("inside", ["", "outbox"])
def test_a_file_where_the_directory_should_be_costs_events_and_not_the_shop(inside: str, tmp_path: Path) -> None:
    line, clock = Line(is_away=True), ManualClock()
    (tmp_path / "file").write_text("in the way")
    with make(tmp_path / "file" / inside, line, clock) as outbox:
        assert burst(outbox, "PURCHASE", events_max=3) == set()
        assert outbox.flush(5)
        stats = outbox.stats()
    assert (stats.tracked, stats.shed_for, stats.state) == (1, {"unwritable": 1}, "unwritable")
    assert (tmp_path / "file").read_text() == "in the way"
