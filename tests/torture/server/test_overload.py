"""Overload, idle crowds and slow clients at full length: the figures of the goals, not only their direction."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hostile.overload import Overload, neighbours, overload, recovers
from tests.contract.hostile.slow import KINDS, MISSING, PROGRAM, Kind, drip, growth
from tests.contract.hostile.watching import resident_bytes, settles, worker
from tests.serving import Footfall, home, until

pytestmark = pytest.mark.torture


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def test_thirty_seconds_of_ten_times_too_much_cost_a_tenth_of_the_rate_at_most(server: Footfall) -> None:
    """Goodput ≥ 0.9 of the peak just before, p99 of the accepted < 1 s, full recovery within 10 s; the first run is the long one.
    Peak and overload are seconds apart, and other programs run beside: a run that misses the figure is measured again."""
    runs: list[Overload] = []
    for attempt, seconds in enumerate((30, 10, 10)):
        runs.append(overload(server, connections=2000, seconds=seconds, peak_s=4, name=f"ten-{attempt}"))
        assert runs[-1].under.percentile_ms(99) < 1000, [run.under.percentile_ms(99) for run in runs]
        assert recovers(server, before=runs[-1].peak, share=0.7, name=f"ten-{attempt}")
        if runs[-1].share >= 0.9:
            break
    assert max(run.share for run in runs) >= 0.9, [round(run.share, 2) for run in runs]


def test_a_noisy_neighbour_takes_nothing_from_the_others_for_twenty_seconds(server: Footfall) -> None:
    noisy, others = neighbours(server, seconds=20)
    assert noisy.answers[200] <= 200 + 50 * (noisy.seconds + 1)
    assert noisy.answers[429] > 10 * noisy.answers[200]
    assert set(others.answers) == {200}
    assert others.percentile_ms(99) < 250


def test_ten_thousand_idle_connections_hold_nobody_up(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11_000 and hard != resource.RLIM_INFINITY:
        pytest.skip(f"needs 11,000 open files, this machine allows {hard}")
    with (
        Footfall(tmp_path / "data", settings={"FOOTFALL_LIMITS__CONNECTIONS_MAX": "12000"}) as server,
        _files(11_000, soft, hard),
    ):
        server.stop()
        server.start()  # under the raised limit, as a unit with LimitNOFILE would
        process = worker(server)
        files, before_bytes = process.num_fds(), resident_bytes(process)
        with contextlib.ExitStack() as stack:
            for _ in range(10_000):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
            assert until(lambda: process.num_fds() >= files + 10_000, seconds=20)
            waits = []
            for _ in range(300):
                began_s = time.monotonic()
                assert server.send(home()).status == 200
                waits.append(time.monotonic() - began_s)
            assert sorted(waits)[-3] < 0.5
            assert resident_bytes(process) - before_bytes < 150_000_000
        assert settles(server, files_max=files + 5, seconds=30)
        server.check_log()


@contextlib.contextmanager
def _files(wanted: int, soft: int, hard: int) -> Iterator[None]:
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_slow_clients_cost_good_ones_a_tenth_of_their_wait_at_most(server: Footfall, kind: Kind) -> None:
    """Three rounds in turn; measured again, twice at most, because other programs run beside. What is compared: see `growth`."""
    found: list[float] = []
    while len(found) < 3 and (not found or min(found) > 1.1):
        found.append(growth(server, kind, connections=1000, rounds=3, windows=4, window_s=0.5))
    assert min(found) <= 1.1, [round(ratio, 2) for ratio in found]


def test_a_thousand_dripping_heads_and_bodies_are_ended_in_time(tmp_path: Path) -> None:
    settings = {"FOOTFALL_LIMITS__BODY_TIMEOUT_S": "10", "FOOTFALL_LIMITS__IDLE_TIMEOUT_S": "5"}
    with Footfall(tmp_path / "data", settings=settings) as server:
        heads = drip(server, "head", connections=1000, patience_s=10)
        assert len(heads) == 1000
        assert max(seconds for seconds, _ in heads) < 7
        bodies = drip(server, "body", connections=1000, patience_s=16)
        assert [answers for _, answers in bodies] == [[408]] * 1000
        assert max(seconds for seconds, _ in bodies) < 12
        assert not server.records()
