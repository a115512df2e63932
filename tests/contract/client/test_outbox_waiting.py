"""`flush` means all of it, and there is one sender however an outbox was interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.client.outbox import Outbox
from footfall.client.outbox.inspection import list_trays
from footfall.delivery.exchanges import ScriptedExchanges
from footfall.delivery.transport import ScriptedTransport
from footfall.log.disk import UnsyncedDisk

SHOPS = 12
EACH = 5
LEFT_BEHIND = """
import os, sys
from footfall import Outbox
from footfall.delivery.exchanges import ScriptedExchanges
from footfall.delivery.transport import Response, ScriptedTransport

def away():
    return ScriptedExchanges(ScriptedTransport([Response(status=503)]))

for shop in range(int(sys.argv[2])):
    if os.fork() == 0:
        outbox = Outbox(sys.argv[1], platform_id="SHOP", api_key="k", base_url="http://127.0.0.1:9", batch=False, exchanges=away)
        for number in range(int(sys.argv[3])):
            assert outbox.track(event_type="HOME", channel_type="SITE", user_id=f"{shop}-{number}")
        os.kill(os.getpid(), 9)
    os.wait()
"""


class SlowToLock(UnsyncedDisk):
    """A disk on which taking up a tray takes a moment."""

    def lock(self, path: Path) -> int:
        time.sleep(0.01)
        return super().lock(path)


@pytest.fixture
def taken() -> ScriptedTransport:
    return ScriptedTransport()


def made(directory: Path, taken: ScriptedTransport) -> Outbox:
    return Outbox(
        directory, platform_id="SHOP", api_key="key", base_url="http://127.0.0.1:9", batch=False, disk=SlowToLock(),
        exchanges=lambda: ScriptedExchanges(taken),
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no fork on this system")
def test_flush_is_true_only_when_all_that_dead_processes_left_has_arrived(tmp_path: Path, taken: ScriptedTransport) -> None:
    subprocess.run([sys.executable, "-c", LEFT_BEHIND, str(tmp_path), str(SHOPS), str(EACH)], check=True, timeout=60)
    assert len(list_trays(tmp_path)) == SHOPS
    with made(tmp_path, taken) as outbox:
        assert outbox.flush(30)
        assert len(taken.requests) == SHOPS * EACH
        assert outbox.stats().adopted == SHOPS * EACH


@pytest.fixture
def alarms() -> Iterator[None]:
    """Puts back what the program did with the alarm."""
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this system")
@pytest.mark.usefixtures("alarms")
def test_a_handler_that_tracks_during_the_first_track_starts_no_second_sender(tmp_path: Path) -> None:
    for attempt in range(60):
        before = senders()
        taken = ScriptedTransport()
        outbox = made(tmp_path / str(attempt), taken)
        ids: list[str] = []
        signal.signal(signal.SIGALRM, lambda *_: ids.append(track(outbox)) if len(ids) < 5 else None)  # noqa: B023
        signal.setitimer(signal.ITIMER_REAL, 0.00005 + attempt * 0.00001, 0.0002)
        last = track(outbox)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        assert senders() - before == 1
        assert outbox.flush(10)
        outbox.close()
        assert outbox.stats().tracked == outbox.stats().delivered == len({*ids, last}) == len(taken.requests)


def track(outbox: Outbox) -> str:
    return outbox.track(event_type="HOME", channel_type="SITE", user_id="a-shopper")


def senders() -> int:
    return sum(thread.name == "footfall-outbox" for thread in threading.enumerate())
