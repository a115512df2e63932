"""Requests that are broken at random, and bodies made to be expensive: a 4xx, quickly, in little memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.contract.hostile.bombs import gzip_bomb, heavy_batches, heavy_events, packed
from tests.contract.hostile.crowd import stored_bodies
from tests.contract.hostile.frames import post
from tests.contract.hostile.fuzz import mutants, send_all
from tests.contract.hostile.watching import cpu_s, peak_bytes, unshaken, worker
from tests.serving import EVENTS_PATH, Footfall, home

LENGTH, CLOSE = b"Content-Length: LENGTH", b"Connection: close"
SINGLE = EVENTS_PATH.format(platform="SHOP")
ROUTES = {SINGLE: 64 << 10, SINGLE + ":batch": 32 << 20}
"""path → what is taken there, inflated"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    with unshaken(tmp_path_factory.mktemp("input") / "data") as running:
        yield running


def test_two_thousand_broken_requests_are_each_answered_or_ended_and_none_is_our_fault(server: Footfall) -> None:
    """No 5xx, no hanging connection, the same worker; and as many events as answers 200."""
    before = sum(1 for _ in stored_bodies(server.data))
    pid = worker(server).pid
    seeds = fuzz_seeds(server)
    outcome = send_all(server.port, mutants(seeds, count=2000, number=20261123), at_once=400, patience_s=6)
    assert not outcome.failures
    assert not outcome.hanging
    assert worker(server).pid == pid
    assert outcome.accepted > 50, "nearly nothing came through: the mutants are too wild to prove anything"
    assert sum(outcome.answers.values()) > 1000
    assert sum(1 for _ in stored_bodies(server.data)) - before == outcome.accepted
    asking = [b"GET /openapi.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"]
    asked = send_all(server.port, mutants(asking, count=200, number=20261123), at_once=200, patience_s=6)
    assert not asked.failures
    assert not asked.hanging


def fuzz_seeds(server: Footfall) -> list[bytes]:
    """Requests as good senders send them. Each asks for the connection to be closed, so that its end can be waited for."""
    segment = (b"x-platform-id: SHOP", LENGTH, CLOSE)
    event = post(server, LENGTH, CLOSE, b"Content-Type: application/json", b"User-Agent: shop/1")
    return [
        event,
        event,
        post(server, CLOSE, b"Accept: */*", LENGTH, platform="SHOP_TEST"),
        post(server, *segment, target=b"/cdp/SEGMENT"),
    ]


@pytest.mark.parametrize("path", ROUTES)
def test_compressed_bodies_that_are_no_good_are_refused_in_little_time_and_memory(server: Footfall, path: str) -> None:
    """Processor time is the worker's own, so other programs on the machine do not count."""
    process = worker(server)
    sizes = peak_bytes(process)
    for name, body in packed(b"[" + b"1" * 1000 + b"]").items():
        began_s = cpu_s(process)
        encoding = "gzip" if "gzip" in name else "zstd"
        headers = {"X-API-Key": server.keys["SHOP"], "Content-Encoding": encoding}
        replies = [server.request("POST", path, body=body, headers=headers) for _ in range(4)]
        spent_ms = 1000 * (cpu_s(process) - began_s) / len(replies)
        assert {reply.status for reply in replies} <= {400, 413}, (name, replies)
        assert spent_ms < 100, (name, spent_ms)
    assert peak_bytes(process) - sizes < 2 * ROUTES[path] + 30_000_000


def test_compressed_bombs_all_at_once_leave_room_for_others(server: Footfall) -> None:
    process = worker(server)
    sizes = peak_bytes(process)
    headers = {"X-API-Key": server.keys["SHOP"], "Content-Encoding": "gzip"}
    statuses: list[int] = []
    body = gzip_bomb(1 << 30)

    def throw() -> None:
        for _ in range(4):
            statuses.append(server.request("POST", SINGLE + ":batch", body=body, headers=headers).status)

    throwers = [threading.Thread(target=throw) for _ in range(8)]
    for thrower in throwers:
        thrower.start()
    waits = []
    while any(thrower.is_alive() for thrower in throwers):
        began_s = time.monotonic()
        assert server.send(home()).status in (200, 503)
        waits.append(time.monotonic() - began_s)
    assert set(statuses) <= {413, 503}
    assert len(statuses) == 32
    assert max(waits) < 2
    # the 64 MiB that may be held, once as they came and once as they are inflated
    assert peak_bytes(process) - sizes < 150_000_000


@pytest.mark.parametrize("name", heavy_events())
def test_an_event_made_to_be_expensive_costs_fifty_milliseconds_at_most(server: Footfall, name: str) -> None:
    """As a single event and inside a batch; neither holds up the worker nor breaks it."""
    process, body = worker(server), heavy_events()[name]
    assert len(body) <= 65_536
    began_s = cpu_s(process)
    singles = [server.send(body) for _ in range(4)]
    single_ms = 1000 * (cpu_s(process) - began_s) / len(singles)
    headers = {"X-API-Key": server.keys["SHOP"], "Content-Type": "application/x-ndjson"}
    lines = b"\n".join((b'{"event_type":', body, b'{"event_type":'))
    began_s = cpu_s(process)
    batches = [server.request("POST", SINGLE + ":batch", body=lines, headers=headers) for _ in range(4)]
    batch_ms = 1000 * (cpu_s(process) - began_s) / len(batches)
    assert {reply.status for reply in singles} <= {200, 400}
    assert {reply.status for reply in batches} == {200}
    assert {reply.json["accepted"] for reply in batches} == {int(singles[0].status == 200)}
    assert single_ms <= 50, single_ms
    assert batch_ms <= 50, batch_ms


@pytest.mark.parametrize("name", heavy_batches())
def test_a_batch_made_to_be_expensive_does_not_hold_up_the_others(server: Footfall, name: str) -> None:
    process, body = worker(server), heavy_batches()[name]
    assert len(body) <= 8 << 20
    kind = "application/x-ndjson" if "lines" in name else "application/json"
    headers = {"X-API-Key": server.keys["SHOP"], "Content-Type": kind}
    sizes, began_s = peak_bytes(process), cpu_s(process)
    replies = []
    sender = threading.Thread(
        target=lambda: replies.append(server.request("POST", SINGLE + ":batch", body=body, headers=headers))
    )
    sender.start()
    slowest_s = 0.0
    while sender.is_alive():
        asked_s = time.monotonic()
        assert server.send(home()).status == 200
        slowest_s = max(slowest_s, time.monotonic() - asked_s)
    assert replies[0].status in (200, 400, 413), replies
    assert len(replies[0].body) < 20_000_000
    assert slowest_s < 1.5
    assert cpu_s(process) - began_s < 4
    assert peak_bytes(process) - sizes < 150_000_000
