"""However a shop ends, what `track` promised is delivered, by the shop itself or by the next one (test P2 of the catalogue)."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from footfall.client.outbox import Outbox
from tests.contract.delivery.receiver import Receiver

ENDS = {
    "returns": 0,
    "exits": 0,
    "raises": 0,
    "is_terminated": -signal.SIGTERM,
    "is_killed": -signal.SIGKILL,
    "ends_hard": 0,
    "in_daemon_thread": 0,
    "at_exit": 0,
    "under_asyncio": 0,
    "under_gevent": 0,
}


def run(scenario: str, directory: Path, url: str) -> tuple[set[str], float]:
    """What was promised, and how long the shop took."""
    program = str(Path(__file__).with_name("outbox_shop.py"))
    started_s = time.monotonic()
    ended = subprocess.run(
        [sys.executable, program, scenario, str(directory), url], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == ENDS[scenario], ended.stderr
    assert "Traceback" not in ended.stderr and "Fatal" not in ended.stderr, ended.stderr
    return set(ended.stdout.split()), time.monotonic() - started_s


def deliver_what_is_left(directory: Path, url: str) -> None:
    with Outbox(directory, platform_id="SHOP", api_key="key", base_url=url, batch=False) as successor:
        assert successor.flush(15)
        stats = successor.stats()
    assert stats.tracked == stats.adopted == stats.delivered


@pytest.mark.parametrize("scenario", [scenario for scenario in ENDS if scenario != "under_gevent"])
def test_what_was_promised_arrives_however_the_shop_ends(scenario: str, tmp_path: Path) -> None:
    with Receiver() as receiver:
        promised, _ = run(scenario, tmp_path, receiver.url)
        deliver_what_is_left(tmp_path, receiver.url)
        assert promised
        assert promised <= {arrival.event["id"] for arrival in receiver.arrivals}


@pytest.mark.parametrize("scenario", ["returns", "exits"])
def test_an_ordinary_end_delivers_by_itself(scenario: str, tmp_path: Path) -> None:
    with Receiver() as receiver:
        promised, _ = run(scenario, tmp_path, receiver.url)
        assert promised == {arrival.event["id"] for arrival in receiver.arrivals}
    assert list(tmp_path.iterdir()) == []


def test_a_patched_process_of_gevent_delivers_what_fifty_greenlets_track_and_ends_by_itself(tmp_path: Path) -> None:
    pytest.importorskip("gevent")
    with Receiver() as receiver:
        promised, seconds = run("under_gevent", tmp_path, receiver.url)
        assert Counter(arrival.event["id"] for arrival in receiver.arrivals) == dict.fromkeys(promised, 1)
    assert len(promised) == 1000
    assert seconds < 10
    assert list(tmp_path.iterdir()) == []


def test_the_end_waits_no_longer_than_said_when_nobody_answers(tmp_path: Path) -> None:
    """exit_s is 2 s: a receiver that takes the connection and says nothing holds the shop so long and no longer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        promised, seconds = run("returns", tmp_path, url)
    assert promised == {"e-1"}
    assert seconds < 5


def test_the_end_does_not_wait_for_a_receiver_that_is_known_to_be_away(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    promised, seconds = run("returns", tmp_path, url)
    assert promised == {"e-1"}
    assert seconds < 2
