"""Clients that send or read as slowly as they can: they are ended in time, and good clients hardly notice them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.contract.hostile.slow import KINDS, MISSING, PROGRAM, drip, growth
from tests.contract.hostile.watching import worker
from tests.serving import Footfall, until

TIMEOUT_S = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server that waits two seconds for a head, and as long for a body."""
    settings = {"FOOTFALL_LIMITS__BODY_TIMEOUT_S": str(TIMEOUT_S), "FOOTFALL_LIMITS__IDLE_TIMEOUT_S": str(TIMEOUT_S)}
    with Footfall(tmp_path_factory.mktemp("slow") / "data", settings=settings) as running:
        yield running
        running.check_log()


@pytest.mark.torture
@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
def test_two_hundred_slow_clients_of_each_kind_do_not_double_the_wait_of_good_ones(shared_footfall: Footfall) -> None:
    """Slow heads, slow bodies and slow readers, all at once. Two more tries, because other programs on the machine disturb the
    measurement; the goal, a tenth, is for the torture tests."""
    found: list[float] = []
    while len(found) < 3 and (not found or min(found) > 2):
        found.append(growth(shared_footfall, *KINDS, connections=200, rounds=1, windows=1, window_s=0.5))
    assert min(found) <= 2, found


def test_a_reader_who_never_reads_is_ended_when_its_time_is_over(server: Footfall) -> None:
    """Without a key: anybody could keep a connection for ever, and all of them."""
    files = worker(server).num_fds()
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as connection:
        with contextlib.suppress(TimeoutError):
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: h\r\n\r\n" * 100_000)
        assert until(lambda: worker(server).num_fds() <= files, seconds=TIMEOUT_S + 2)


def test_a_head_that_drips_in_is_ended_when_its_time_is_over(server: Footfall) -> None:
    ended = drip(server, "head", connections=200, patience_s=TIMEOUT_S + 3)
    assert len(ended) == 200
    assert max(seconds for seconds, _ in ended) < TIMEOUT_S + 2
    assert not [answers for _, answers in ended if [status for status in answers if status < 400]]


def test_a_body_that_drips_in_is_408_when_its_time_is_over(server: Footfall) -> None:
    ended = drip(server, "body", connections=200, patience_s=TIMEOUT_S + 3)
    assert [answers for _, answers in ended] == [[408]] * 200
    assert max(seconds for seconds, _ in ended) < TIMEOUT_S + 2
