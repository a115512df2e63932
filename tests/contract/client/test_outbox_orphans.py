"""What dead processes left is delivered by the living: once, oldest first, and only to the place it was meant for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import drop, list_trays, refused_events, resend
from footfall.errors import LogCorruptError
from footfall.log.disk import Disk
from tests.contract.delivery.receiver import Receiver, answer
from tests.serving import until

SHOP = str(Path(__file__).with_name("outbox_shop.py"))


def make(directory: Path, url: str, **settings: Any) -> Outbox:
    return Outbox(directory, **({"platform_id": "SHOP", "api_key": "key", "base_url": url, "batch": False} | settings))


def leave(directory: Path, receiver: Receiver, *, scenario: str = "is_killed", times: int = 1) -> None:
    """Shops that are killed with events in hand: the receiver is out of order meanwhile."""
    receiver.script(answer(503))
    for _ in range(times):
        command = [sys.executable, SHOP, scenario, str(directory), receiver.url]
        ended = subprocess.run(command, capture_output=True, check=False)
        assert ended.stdout, ended.stderr
    receiver.wait_for_the_dead()
    receiver.script(answer(200))
    receiver.arrivals.clear()


def track(outbox: Outbox, name: str, event_type: str = "HOME") -> None:
    assert outbox.track(id=name, event_type=event_type, channel_type="SITE", user_id="a-shopper", page_id="p") == name


def run_and_kill(directory: Path, receiver: Receiver, *, arrivals: int) -> set[str]:
    """A shop that tracks until so much has arrived, and is killed then; what it was promised."""
    command = [sys.executable, SHOP, "tracks_for_ever", str(directory), receiver.url, "x"]
    promised: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as shop:
        assert shop.stdout is not None
        while len(receiver.arrivals) < arrivals:
            promised.append(shop.stdout.readline())
        shop.kill()
        promised += shop.stdout.readlines()
    return {line.decode().strip() for line in promised}


def balanced(outbox: Outbox) -> bool:
    stats = outbox.stats()
    return stats.tracked == stats.delivered + stats.waiting + stats.refused + stats.shed


def test_two_that_start_at_once_share_what_is_left_and_send_nothing_twice(tmp_path: Path) -> None:
    with Receiver() as receiver:
        leave(tmp_path, receiver, scenario="leaves_many")
        start = threading.Barrier(2)
        adopters: list[Outbox] = []

        def adopt() -> None:
            start.wait()
            adopters.append(make(tmp_path, receiver.url))

        threads = [threading.Thread(target=adopt) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(adopter.flush(10) for adopter in adopters)
        assert sum(adopter.stats().adopted for adopter in adopters) == 12
        assert all(balanced(adopter) for adopter in adopters)
        for adopter in adopters:
            adopter.close()
        assert Counter(arrival.event["id"] for arrival in receiver.arrivals) == {f"e-{number}": 1 for number in range(12)}
    assert list(tmp_path.iterdir()) == []


def test_what_is_meant_for_another_place_is_left_alone(tmp_path: Path) -> None:
    with Receiver() as receiver, Receiver() as elsewhere:
        leave(tmp_path, receiver)
        before = [tray.waiting for tray in list_trays(tmp_path)]
        with make(tmp_path, elsewhere.url) as other, make(tmp_path, receiver.url, platform_id="OTHER") as another:
            assert other.flush(5) and another.flush(5)
            assert (other.stats().adopted, another.stats().adopted) == (0, 0)
        assert elsewhere.arrivals == []
        assert (
            [tray.waiting for tray in list_trays(tmp_path)]
            == before
            == [{"page-view": 0, "browsing": 1, "cart": 0, "purchase": 0}]
        )


def test_more_trays_than_are_taken_up_at_once_are_all_delivered(tmp_path: Path) -> None:
    with Receiver() as receiver:
        leave(tmp_path, receiver, times=10)
        with make(tmp_path, receiver.url) as outbox:
            assert outbox.flush(10)
            assert outbox.stats().adopted == outbox.stats().delivered == 10
    assert list_trays(tmp_path) == []


def test_two_living_processes_share_a_directory_and_touch_only_their_own(tmp_path: Path) -> None:
    with Receiver() as receiver, make(tmp_path, receiver.url) as one, make(tmp_path, receiver.url) as two:
        for number in range(50):
            track(one, f"one-{number}")
            track(two, f"two-{number}")
        assert one.flush(10) and two.flush(10)
        assert (one.stats().delivered, two.stats().delivered) == (50, 50)
        assert (one.stats().adopted, two.stats().adopted) == (0, 0)
        assert set(Counter(arrival.event["id"] for arrival in receiver.arrivals).values()) == {1}


def test_what_was_sent_but_not_noted_goes_again_with_the_same_id(tmp_path: Path) -> None:
    """A shop is killed after the receiver had the event and before its answer came."""
    with Receiver() as receiver:
        hold = threading.Event()

        def answer_late(connection: Any) -> bool:
            hold.wait(20)
            return False

        receiver.script(answer_late)
        promised = run_and_kill(tmp_path, receiver, arrivals=1)
        hold.set()
        receiver.script(answer(200))
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(30)
            assert successor.stats().delivered == successor.stats().adopted
        arrived = Counter(arrival.event["id"] for arrival in receiver.arrivals)
    assert promised <= set(arrived)
    assert arrived[receiver.arrivals[0].event["id"]] == 2


def test_a_refused_event_is_set_aside_listed_and_can_be_sent_again_while_its_owner_lives(tmp_path: Path) -> None:
    with Receiver() as receiver, make(tmp_path, receiver.url) as outbox:
        receiver.script(answer(400, b'{"code":3,"message":"missing page_id","details":[]}'), answer(200))
        track(outbox, "bad", "PURCHASE")
        track(outbox, "good")
        assert outbox.flush(10)
        stats = outbox.stats()
        assert (stats.refused, stats.delivered) == (1, 1)
        (refused,) = refused_events(tmp_path)
        assert (refused.status, b'"id":"bad"' in refused.event) == (400, True)
        assert "a-shopper" not in repr(refused)
        assert resend(tmp_path) == 1
        assert list(refused_events(tmp_path)) == []
        assert outbox.flush(10)
        assert outbox.stats().adopted == 1
        assert [arrival.event["id"] for arrival in receiver.arrivals].count("bad") == 2
    assert list_trays(tmp_path) == []


def test_refused_events_outlive_their_process_until_they_are_dropped(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.script(answer(400))
        with make(tmp_path, receiver.url) as outbox:
            track(outbox, "bad")
            assert outbox.flush(10)
        receiver.script(answer(200))
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(10)
            assert successor.stats().adopted == 0
        (tray,) = list_trays(tmp_path)
        assert (tray.refused, tray.alive, sum(tray.waiting.values())) == (1, False, 0)
        assert drop(tmp_path) == 1
        assert [tray.refused for tray in list_trays(tmp_path)] == [0]
        with make(tmp_path, receiver.url) as another:
            assert another.flush(10)
    assert list_trays(tmp_path) == []


def test_the_counts_on_disk_balance_after_a_kill(tmp_path: Path) -> None:
    with Receiver() as receiver:
        promised = run_and_kill(tmp_path, receiver, arrivals=300)
        (tray,) = list_trays(tmp_path)
        assert promised
        assert 0 < tray.delivered <= len(receiver.arrivals)  # some were on their way
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(30)
            assert balanced(successor)
            adopted = successor.stats().adopted
        distinct = len({arrival.event["id"] for arrival in receiver.arrivals})
        assert tray.delivered + adopted == distinct >= len(promised)


def test_damage_among_refused_events_is_told_holds_nobody_up_and_ends_with_drop(tmp_path: Path) -> None:
    with Receiver() as receiver:
        receiver.script(answer(400))
        for _ in range(2):
            with make(tmp_path, receiver.url) as outbox:
                track(outbox, "bad")
                assert outbox.flush(10)
        damaged, sound = list_trays(tmp_path)
        (segment,) = tmp_path.glob(f"{damaged.name}/refused/*.log")
        segment.write_bytes(b"x" * segment.stat().st_size)
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(10)
            assert until(lambda: not any(tray.alive for tray in list_trays(tmp_path)), seconds=10)
            seen, other = list_trays(tmp_path)
            assert (seen.refused, other) == (0, sound)
            assert f"refused/{segment.name}: the first line of this segment is damaged" in seen.damaged
            assert str(tmp_path) not in seen.damaged
        assert [event.tray for event in refused_events(tmp_path)] == [sound.name]
        with pytest.raises(LogCorruptError, match=damaged.name):
            resend(tmp_path)
        assert list(refused_events(tmp_path)) == []
        receiver.script(answer(200))
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(10)
            assert successor.stats().delivered == 1
        assert drop(tmp_path) == 0
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(10)
    assert list_trays(tmp_path) == []


def test_a_tray_that_goes_while_it_is_read_is_left_out_of_the_list(tmp_path: Path) -> None:
    class GoingDisk(Disk):
        def is_locked(self, path: Path) -> bool:
            locked = super().is_locked(path)
            if path.parent.name == first.name:
                path.parent.rename(tmp_path / "gone")
            return locked

    with Receiver() as receiver:
        receiver.script(answer(503))
        leave(tmp_path, receiver, times=2)
    first, second = list_trays(tmp_path)
    assert list_trays(tmp_path, disk=GoingDisk()) == [second]


@pytest.mark.parametrize("place", ["older", "newest", "label", "tally"])
def test_damage_costs_what_it_hit_and_is_counted(place: str, tmp_path: Path) -> None:
    """As a power cut or a bad disk leaves it: the outbox opens, delivers the rest and says what is lost."""
    with Receiver() as receiver:
        leave(tmp_path, receiver, scenario="leaves_purchases")
        segments = sorted(tmp_path.glob("*/purchase/*.log"))
        assert len(segments) > 2
        path = {"older": segments[1], "newest": segments[-1]}.get(place) or next(tmp_path.glob(f"*/{place}"))
        damaged = bytearray(path.read_bytes())
        damaged[len(damaged) // 2 : len(damaged) // 2 + 40] = bytes(40)
        path.write_bytes(damaged)
        with make(tmp_path, receiver.url) as successor:
            assert successor.flush(30)
            stats = successor.stats()
        arrived = {arrival.event["id"] for arrival in receiver.arrivals}
        assert stats.delivered == len(arrived)
        # Behind damage only the records after one prove that it was there: the very last of all is as if never written.
        assert stats.shed == stats.shed_for.get("damage", 0) in (600 - len(arrived), 599 - len(arrived))
        assert (stats.shed > 0) == (place in ("older", "newest"))
        assert stats.shed < 400
