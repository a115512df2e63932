"""`footfall outbox` on directories that real shops left: killed with events in hand, or refused by a real receiver."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from footfall.client.outbox import Outbox
from footfall.clock import ManualClock
from footfall.testing import Receiver
from tests.serving import COMMAND, run_cli, until

SHOPPER = "shopper-whom-nobody-may-see"
SHOP = f"""
import os, signal, sys
from footfall.client.outbox import Outbox
for _ in range(int(sys.argv[3])):
    outbox = Outbox(sys.argv[1], platform_id="SHOP", api_key="key", base_url=sys.argv[2])
    for number, event_type in enumerate(sys.argv[4:]):
        assert outbox.track(id=f"e-{{number}}-{{id(outbox)}}", event_type=event_type, channel_type="SITE", user_id="{SHOPPER}",
                            page_id="p", items=[dict(id="i", quantity=1, price=dict(currency="USD", amount=1))])
    globals()[f"kept{{_}}"] = outbox
os.kill(os.getpid(), signal.SIGKILL)
"""
TRAY_MEMBERS = {
    "name", "to", "platform", "pid", "made_at", "alive", "waiting", "oldest_waiting_at", "delivered", "refused", "shed",
    "mistaken", "bytes_count", "damaged",
}  # fmt: skip


class Run(NamedTuple):
    status: int
    out: str
    told: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def outbox(*arguments: object, stdin: bytes = b"", key: str = "") -> Run:
    """One run of the command, none of which may show a shopper."""
    done = run_cli("outbox", *map(str, arguments), stdin=stdin, env={"FOOTFALL_KEY": key})
    assert SHOPPER.encode() not in done.stdout + done.stderr
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


def trays(directory: Path) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = outbox("ls", directory, "--json").json["trays"]
    return listed


def leave(directory: Path, url: str, *event_types: str, processes: int = 1) -> None:
    """A shop tracks these while its receiver is away, and is killed."""
    command = [sys.executable, "-c", SHOP, str(directory), url, str(processes), *event_types]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def have_refused(directory: Path, receiver: Receiver, *event_types: str) -> None:
    """A shop whose every event is refused, and which ends."""
    with receiver.failing(400), make(directory, receiver) as shop:
        for number, event_type in enumerate(event_types):
            track(shop, f"refused-{number}", event_type)
        assert shop.flush(20)
    assert shop.stats().refused == len(event_types)


def make(directory: Path, receiver: Receiver) -> Outbox:
    return Outbox(directory, platform_id="SHOP", api_key=receiver.api_key, base_url=receiver.url)


def track(shop: Outbox, name: str, event_type: str = "HOME") -> None:
    assert shop.track(id=name, event_type=event_type, channel_type="SITE", user_id=SHOPPER, page_id="p") == name


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver(platform_id="SHOP", api_key="the-key-of-the-shop")
    with made.served():
        yield made


def test_ls_tells_what_a_killed_shop_left(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    leave(tmp_path, receiver.url, "PAGE_VIEW", "HOME", "ADD_TO_CART", "PURCHASE")
    run = outbox("ls", tmp_path, "--json")
    assert (run.status, run.json["refused"]) == (0, [])
    (tray,) = run.json["trays"]
    assert set(tray) == TRAY_MEMBERS
    assert tray["waiting"] == {"page-view": 1, "browsing": 1, "cart": 1, "purchase": 1}
    assert (tray["alive"], tray["platform"], tray["delivered"], tray["refused"]) == (False, "SHOP", 0, 0)
    assert tray["to"] == f"{receiver.url}/rmp/event/v1/platforms/SHOP/userevents"
    shown = outbox("ls", tmp_path)
    assert tray["name"] in shown.out
    assert f"SHOP at {receiver.url}" in shown.out
    assert (
        f"4 events wait of processes that died: a running shop delivers them within 30 s, footfall outbox resend {tmp_path}"
        in (shown.told)
    )


def test_ls_groups_the_refused_by_what_was_said_of_them(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME", "HOME", "PAGE_VIEW")
    with make(tmp_path, receiver) as shop:
        track(shop, "no-query", "SEARCH")
        assert shop.flush(20)
    first, second = outbox("ls", tmp_path, "--json").json["refused"]
    assert (first["status"], first["count"], first["event_types"]) == (400, 3, {"HOME": 2, "PAGE_VIEW": 1})
    assert (second["status"], second["count"], second["event_types"]) == (400, 1, {"SEARCH": 1})
    assert second["example_id"] == "no-query"
    shown = outbox("ls", tmp_path)
    assert "400 3 events, HOME, PAGE_VIEW: " in shown.out
    assert "search_query" in shown.out
    assert f"footfall outbox resend {tmp_path}; or: footfall outbox drop {tmp_path}" in shown.told


def test_ls_knows_how_long_the_oldest_event_has_waited(tmp_path: Path, receiver: Receiver) -> None:
    before_ms = time.time_ns() // 1_000_000
    receiver.down()
    with make(tmp_path, receiver) as shop:
        track(shop, "first")
        track(shop, "second", "PURCHASE")
        assert until(lambda: trays(tmp_path)[0]["oldest_waiting_at"] is not None, seconds=20)
        assert before_ms <= trays(tmp_path)[0]["oldest_waiting_at"] <= time.time_ns() // 1_000_000
        assert trays(tmp_path)[0]["alive"] is True


def test_a_type_that_nobody_knows_is_not_repeated(tmp_path: Path, receiver: Receiver) -> None:
    """Who mixes up two members may have put a shopper there; every run here is searched for that name."""
    have_refused(tmp_path, receiver, SHOPPER, "HOME")
    (reason,) = outbox("ls", tmp_path, "--json").json["refused"]
    assert reason["event_types"] == {"other": 1, "HOME": 1}
    assert "HOME 1, other 1" in outbox("drop", tmp_path).told


def test_ls_tells_of_damage_and_goes_on(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME")
    have_refused(tmp_path, receiver, "HOME", "SEARCH")
    damaged, sound = trays(tmp_path)
    assert damaged["damaged"] == ""
    (segment,) = tmp_path.glob(f"{damaged['name']}/refused/*.log")
    segment.write_bytes(b"x" * segment.stat().st_size)
    run = outbox("ls", tmp_path, "--json")
    assert run.status == 0
    assert run.json["trays"] == [damaged | {"refused": 0, "damaged": run.json["trays"][0]["damaged"]}, sound]
    assert run.json["trays"][0]["damaged"].startswith(f"refused/{segment.name}: the first line of this segment is damaged")
    assert sum(reason["count"] for reason in run.json["refused"]) == 2
    shown = outbox("ls", tmp_path)
    assert shown.status == 0
    assert "dead, damaged" in shown.out
    assert f"{damaged['name']} cannot be read entirely" in shown.told


def test_ls_reads_the_platform_out_of_any_address(tmp_path: Path) -> None:
    base_url = "http://127.0.0.1:9/behind/a/path"
    with Outbox(tmp_path, platform_id="SHOP/É 1", api_key="key", base_url=base_url, exit_s=0) as shop:
        track(shop, "e-1")
    assert f"SHOP/É 1 at {base_url}" in outbox("ls", tmp_path).out
    assert trays(tmp_path)[0]["platform"] == "SHOP/É 1"


def test_an_outbox_with_nothing_in_it_is_no_mistake_and_a_missing_one_is(tmp_path: Path) -> None:
    assert outbox("ls", tmp_path)[:2] == (0, "")
    assert outbox("ls", tmp_path, "--json").json == {"trays": [], "refused": []}
    for command in ("ls", "resend", "drop"):
        run = outbox(command, tmp_path / "missing")
        assert run.status == 2
        assert "there is no directory" in run.told
    for command in ("resend", "drop"):
        run = outbox(command, tmp_path, "--tray", "k8f3m2q1x-4711-9fa3c1")
        assert run.status == 2
        assert "there is no k8f3m2q1x-4711-9fa3c1 in" in run.told


def test_what_the_dead_left_waits_for_the_right_key_and_is_delivered_with_it(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    leave(tmp_path, receiver.url, "HOME", "PAGE_VIEW", "HOME")
    receiver.up()
    wrong = outbox("resend", tmp_path, "--key", "wrong", "--json")
    assert wrong.status == 3
    (delivery,) = wrong.json["deliveries"]
    assert (delivery["platform"], delivery["delivered"], delivery["waiting"], delivery["state"]) == ("SHOP", 0, 3, "paused")
    assert "403" in wrong.told
    assert "wrong" not in wrong.out
    assert len(receiver.events) == 0
    right = outbox("resend", tmp_path, "--key", "-", stdin=receiver.api_key.encode() + b"\n")
    assert (right.status, right.out) == (0, "")
    assert "SHOP: 3 events delivered" in right.told
    assert len(receiver.events) == 3
    assert trays(tmp_path) == []


def test_resend_gives_nothing_up_for_its_age(tmp_path: Path, receiver: Receiver) -> None:
    """A shop gives up what is older than a month; whoever resends by hand wants it delivered."""
    now_ms = time.time_ns() // 1_000_000
    a_quarter_ago = ManualClock(now_ms - 90 * 86_400_000)
    exchanges = receiver.exchanges
    place: dict[str, Any] = {"platform_id": "SHOP", "api_key": receiver.api_key, "base_url": receiver.url}
    with receiver.failing(503), Outbox(tmp_path, **place, exit_s=0, exchanges=exchanges, clock=a_quarter_ago) as shop:
        assert shop.track(event_type="HOME", channel_type="SITE", user_id=SHOPPER, page_id="p", timestamp=str(now_ms))
    assert "90 days ago" in outbox("ls", tmp_path).out
    run = outbox("resend", tmp_path, "--json", key=receiver.api_key)
    assert (run.status, run.json["deliveries"][0]["delivered"]) == (0, 1)


def test_refused_events_are_delivered_once_their_cause_is_mended(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME", "PAGE_VIEW")
    run = outbox("resend", tmp_path, "--json", key=receiver.api_key)
    assert run.status == 0
    assert run.json["put_back"] == 2
    assert run.json["refused"] == []
    assert [(one["delivered"], one["refused"], one["waiting"]) for one in run.json["deliveries"]] == [(2, 0, 0)]
    assert set(run.json["deliveries"][0]) == {
        "to", "platform", "delivered", "refused", "given_up", "waiting", "elsewhere", "state", "reason",
    }  # fmt: skip
    assert {event.id for event in receiver.events} == {"refused-0", "refused-1"}
    assert trays(tmp_path) == []


def test_events_that_are_refused_again_are_exit_1_with_the_reason(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME", "SEARCH")
    run = outbox("resend", tmp_path, key=receiver.api_key)
    assert run.status == 1
    assert "SHOP: 1 event delivered, 1 refused again" in run.told
    assert "400 1 event, SEARCH: " in run.out
    again = outbox("resend", tmp_path, "--json", key=receiver.api_key)
    assert (again.status, again.json["put_back"], again.json["refused"][0]["count"]) == (1, 1, 1)


def test_without_a_key_refused_events_wait_for_a_shop(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME", "PURCHASE")
    run = outbox("resend", tmp_path)
    assert run.status == 0
    assert "2 refused events put back among the waiting" in run.told
    assert "a running shop delivers them within 30 s" in run.told
    assert sum(sum(tray["waiting"].values()) for tray in trays(tmp_path)) == 2
    with make(tmp_path, receiver) as shop:
        assert shop.flush(20)
        assert shop.stats().adopted == 2


def test_resend_of_one_tray_leaves_the_refused_of_others(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME")
    have_refused(tmp_path, receiver, "HOME", "PAGE_VIEW")
    chosen = max(trays(tmp_path), key=lambda tray: int(tray["refused"]))
    run = outbox("resend", tmp_path, "--tray", chosen["name"], "--json", key=receiver.api_key)
    assert (run.status, run.json["put_back"], run.json["deliveries"][0]["delivered"]) == (0, 2, 2)
    assert [tray["refused"] for tray in trays(tmp_path)] == [1]


def test_a_receiver_that_is_not_there_is_exit_3_when_the_time_is_over(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    leave(tmp_path, receiver.url, "HOME")
    run = outbox("resend", tmp_path, "--timeout", "1", "--json", key=receiver.api_key)
    assert run.status == 3
    (delivery,) = run.json["deliveries"]
    assert (delivery["waiting"], delivery["state"]) == (1, "retrying")
    assert "refused" in delivery["reason"]
    assert sum(trays(tmp_path)[0]["waiting"].values()) == 1


def test_one_key_is_not_shown_to_two_receivers(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME")
    receiver.clear()
    leave(tmp_path, "http://127.0.0.1:9", "HOME")
    run = outbox("resend", tmp_path, key=receiver.api_key)
    assert run.status == 2
    assert "choose by --tray" in run.told
    assert sum(tray["refused"] for tray in trays(tmp_path)) == 1
    ours = next(tray["name"] for tray in trays(tmp_path) if tray["refused"])
    assert outbox("resend", tmp_path, "--tray", ours, key=receiver.api_key).status == 0
    assert len(receiver.events) == 1
    assert [tray["to"].startswith("http://127.0.0.1:9/") for tray in trays(tmp_path)] == [True]


def test_more_dead_processes_than_an_outbox_takes_up_at_once_are_delivered_in_one_run(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    leave(tmp_path, receiver.url, "HOME", "PURCHASE", processes=20)
    receiver.up()
    run = outbox("resend", tmp_path, "--json", key=receiver.api_key)
    assert (run.status, run.json["deliveries"][0]["delivered"]) == (0, 40)
    assert len(receiver.events) == 40
    assert trays(tmp_path) == []


def test_what_a_living_process_has_waiting_is_its_own(tmp_path: Path, receiver: Receiver) -> None:
    with make(tmp_path, receiver) as shop:
        with receiver.failing(400):
            track(shop, "refused")
            assert shop.flush(20)
        receiver.down()
        track(shop, "waits")
        assert until(lambda: sum(trays(tmp_path)[0]["waiting"].values()) == 1, seconds=20)
        run = outbox("drop", tmp_path, "--waiting", "--yes")
        assert run.status == 0
        assert "1 refused event dropped: HOME 1" in run.told
        (tray,) = trays(tmp_path)
        assert (tray["alive"], tray["refused"], sum(tray["waiting"].values())) == (True, 0, 1)
        run = outbox("resend", tmp_path, "--json", key=receiver.api_key)
        assert (run.status, run.json["put_back"], run.json["deliveries"]) == (0, 0, [])
        assert "nothing waits that no process answers for" in run.told


def test_drop_gives_up_the_refused_and_says_what_they_were(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME", "HOME", "PURCHASE")
    receiver.down()
    leave(tmp_path, receiver.url, "HOME")
    run = outbox("drop", tmp_path)
    assert (run.status, run.out) == (0, "")
    assert "3 refused events dropped: HOME 2, PURCHASE 1" in run.told
    assert sum(tray["refused"] for tray in trays(tmp_path)) == 0
    assert sum(sum(tray["waiting"].values()) for tray in trays(tmp_path)) == 1
    assert "no refused events to drop" in outbox("drop", tmp_path).told


def test_drop_takes_what_waits_only_when_told_twice(tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME")
    receiver.down()
    leave(tmp_path, receiver.url, "PAGE_VIEW", "PURCHASE", "PURCHASE")
    refusal = outbox("drop", tmp_path, "--waiting")
    assert refusal.status == 2
    assert "--yes" in refusal.told
    assert sum(tray["refused"] for tray in trays(tmp_path)) == 1
    run = outbox("drop", tmp_path, "--waiting", "--yes")
    assert run.status == 0
    assert "3 waiting events dropped: PAGE_VIEW 1, PURCHASE 2" in run.told
    assert "1 refused event dropped: HOME 1" in run.told
    assert [(tray["refused"], sum(tray["waiting"].values())) for tray in trays(tmp_path)] == [(0, 0)]


def test_drop_of_one_tray_leaves_the_others(tmp_path: Path, receiver: Receiver) -> None:
    receiver.down()
    leave(tmp_path, receiver.url, "HOME")
    leave(tmp_path, receiver.url, "HOME", "HOME")
    first, second = trays(tmp_path)
    assert "2 waiting events" in outbox("drop", tmp_path, "--tray", second["name"], "--waiting", "--yes").told
    assert trays(tmp_path) == [first]


@pytest.mark.parametrize(("said", "status", "left"), [(b"n\n", 1, 1), (b"y\n", 0, 0)])
def test_a_person_is_asked_first(said: bytes, status: int, left: int, tmp_path: Path, receiver: Receiver) -> None:
    have_refused(tmp_path, receiver, "HOME")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, said)
        done = subprocess.run(
            [*COMMAND, "outbox", "drop", str(tmp_path)], stdin=theirs, capture_output=True, timeout=60, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == status
    assert b"Drop 1 refused event for good?" in done.stderr
    assert sum(tray["refused"] for tray in trays(tmp_path)) == left
