"""Cut, reset, half-closed and broken requests by the ten thousand: the same process, its files and its memory as before."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator

import pytest

from tests.contract.hostile.crowd import stored_bodies
from tests.contract.hostile.frames import pipeline, post, statuses
from tests.contract.hostile.fuzz import mutants, send_all
from tests.contract.hostile.watching import resident_bytes, settles, unshaken, worker
from tests.serving import Footfall, home

pytestmark = pytest.mark.torture

LENGTH, CLOSE = b"Content-Length: LENGTH", b"Connection: close"
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"
"""struct linger: on, 0 s"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    with unshaken(tmp_path_factory.mktemp("framing") / "data") as running:
        yield running


def test_a_body_cut_at_any_byte_is_never_an_event(server: Footfall) -> None:
    """Every offset, held open until the server gives up, and half-closed."""
    body = json.dumps(home(id="cut")).encode()
    request = post(server, LENGTH, body=body)
    whole = len(request) - len(body)
    files = worker(server).num_fds()
    poll, open_files, received = select.poll(), {}, {}
    for cut in range(whole, len(request)):
        for half_close in (False, True):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(request[:cut])
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            poll.register(connection, select.POLLIN)
            open_files[connection.fileno()], received[connection.fileno()] = connection, b""
    deadline_s = time.monotonic() + 20
    while open_files and time.monotonic() < deadline_s:
        for file, _ in poll.poll(100):
            try:
                chunk = open_files[file].recv(65536)
            except ConnectionError:
                chunk = b""
            received[file] += chunk
            if not chunk:
                poll.unregister(file)
                open_files.pop(file).close()
    assert not open_files, "a cut body was waited for without an end"
    assert {status for answer in received.values() for status in statuses(answer)} <= {400, 408}
    assert settles(server, files_max=files + 5)
    assert not [stored for stored in stored_bodies(server.data) if b'"cut"' in stored]


def test_ten_thousand_resets_half_closes_and_fragments_leave_nothing_behind(server: Footfall) -> None:
    request = post(server, LENGTH, platform="SHOP_TEST")
    process = worker(server)
    files = process.num_fds()
    for number in range(22):  # 500 at a time: the memory of thousands at once is given back to the allocator, not to the machine
        _storm(server, request, count=500)
        assert settles(server, files_max=files + 5)
        if number == 1:
            before_bytes = resident_bytes(process)
    assert resident_bytes(process) - before_bytes < 0.05 * before_bytes + 5_000_000


def _storm(server: Footfall, request: bytes, *, count: int) -> None:
    for number in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port))
        cut = (number * 7) % len(request) + 1
        if number % 50 == 0:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for place in range(cut):
                connection.send(request[place : place + 1])
        else:
            connection.sendall(request[:cut])
        if number % 3 == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif number % 3 == 1:
            connection.shutdown(socket.SHUT_WR)
        connection.close()


def test_a_thousand_requests_in_one_go_are_answered_one_by_one_in_order(server: Footfall) -> None:
    process = worker(server)
    before_bytes = resident_bytes(process)
    pipeline(server, count=1000)
    assert resident_bytes(process) - before_bytes < 20_000_000


def test_a_hundred_thousand_broken_requests_are_each_answered_or_ended(server: Footfall) -> None:
    """No 5xx, no hanging connection, the same worker, and as many events as answers 200."""
    before = sum(1 for _ in stored_bodies(server.data))
    process = worker(server)
    files = process.num_fds()
    segment = (b"x-platform-id: SHOP", LENGTH, CLOSE)
    seeds = [
        post(server, LENGTH, CLOSE, b"Content-Type: application/json", b"User-Agent: shop/1"),
        post(server, CLOSE, b"Accept: */*", LENGTH, platform="SHOP_TEST"),
        post(server, *segment, target=b"/cdp/SEGMENT"),
    ]
    outcome = send_all(server.port, mutants(seeds, count=100_000, number=1), at_once=1000, patience_s=8)
    assert not outcome.failures
    assert not outcome.hanging
    assert worker(server).pid == process.pid
    assert outcome.accepted > 2000
    assert sum(1 for _ in stored_bodies(server.data)) - before == outcome.accepted
    assert settles(server, files_max=files + 5)


def test_twenty_thousand_connections_with_one_request_each_leave_nothing_behind(server: Footfall) -> None:
    request = post(server, LENGTH, CLOSE, platform="SHOP_TEST")
    _churn(server, request, count=2000)
    assert settles(server, files_max=worker(server).num_fds() + 5)
    process = worker(server)
    files, before_bytes = process.num_fds(), resident_bytes(process)
    _churn(server, request, count=20_000)
    assert settles(server, files_max=files + 5)
    assert resident_bytes(process) - before_bytes < 0.05 * before_bytes + 5_000_000


def _churn(server: Footfall, request: bytes, *, count: int) -> None:
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
