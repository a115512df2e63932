"""What an unfriendly or broken sender does: the documented status, a message that says what to do, the server up and small."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.serving import EVENTS_PATH, Footfall, home, raw_exchange

SHOP = EVENTS_PATH.format(platform="SHOP")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server that gives a body two seconds."""
    with Footfall(tmp_path_factory.mktemp("hostile") / "data", settings={"FOOTFALL_LIMITS__BODY_TIMEOUT_S": "2"}) as running:
        yield running
        assert running.send(home()).status == 200, "the server must be up after all this"
        running.check_log()


def head(server: Footfall, *, length: int, extra: bytes = b"") -> bytes:
    key = server.keys["SHOP"].encode()
    return b"POST %b HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\nContent-Length: %d\r\n%b\r\n" % (SHOP.encode(), key, length, extra)


def test_a_two_megabyte_body_is_413_and_the_sender_gets_to_read_it(server: Footfall) -> None:
    for _ in range(10):
        reply = server.send(b"x" * 2_000_000)
        assert reply.status == 413
        assert "65536" in reply.message


def test_a_declared_size_over_the_limit_is_answered_without_waiting_for_it(server: Footfall) -> None:
    began = time.monotonic()
    assert raw_exchange(server.port, head(server, length=10**12), timeout_s=1).startswith(b"HTTP/1.1 413")
    assert time.monotonic() - began < 1.9


def test_a_body_of_exactly_the_limit_is_understood(server: Footfall) -> None:
    event = home(page_id="")
    padding = 65_536 - len(json.dumps(event).encode())
    reply = server.send({**event, "page_id": "p" * padding})
    assert reply.status == 200


def test_a_truncated_body_is_never_200_and_nothing_is_stored(server: Footfall) -> None:
    before = len(server.records())
    body = json.dumps(home()).encode()
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        answer = raw_exchange(server.port, head(server, length=len(body)) + body[:cut], half_close=True, timeout_s=5)
        assert b" 200 " not in answer
    assert len(server.records()) == before


def test_a_body_that_never_ends_is_408_and_the_connection_closed(server: Footfall) -> None:
    began = time.monotonic()
    answer = raw_exchange(server.port, head(server, length=500) + b'{"event_type"', timeout_s=10)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":4' in answer
    assert b"connection: close" in answer
    assert 1.5 < time.monotonic() - began < 6


def test_slow_bodies_do_not_hold_up_others(server: Footfall) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            slow.sendall(head(server, length=500) + b"{")
        began = time.monotonic()
        assert all(server.send(home()).status == 200 for _ in range(20))
        assert time.monotonic() - began < 2


def test_an_endless_chunked_body_is_411_and_costs_no_memory(server: Footfall) -> None:
    before = _memory_bytes(server)
    opening = b"POST %b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" % SHOP.encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection, contextlib.suppress(OSError):
        connection.sendall(opening)
        for _ in range(64):
            connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
    assert raw_exchange(server.port, opening, timeout_s=1).startswith(b"HTTP/1.1 411")
    assert _memory_bytes(server) - before < 40_000_000


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{" * 5_000, ""),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, ""),
        (b"[" * 5_000 + b"]" * 5_000, ""),
        (b'{"event_type":"HOME","user_id":"\xff\xfe"}', "UTF-8"),
        (b'{"event_type":"HOME","nobody_knows":"\xc3("}', "UTF-8"),
        (b'\xef\xbb\xbf{"event_type":"HOME"}', ""),
        (b'{"user_id":"\\ud800"}', ""),
        (b'{"timestamp":' + b"9" * 6_000 + b"}", ""),
        (b"{" + b",".join(b'"k%d":1' % i for i in range(5_000)) + b"}", "256"),
        (b"", ""),
        (b"null", ""),
        (b"[]", ""),
        (b'"event"', ""),
        (b"event_type=HOME&user_id=1", ""),
        (b"\x00" * 100, ""),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else None,
)
def test_bodies_that_are_no_event_are_400_with_one_place_to_look(server: Footfall, body: bytes, words: str) -> None:
    began = time.monotonic()
    reply = server.send(body)
    assert time.monotonic() - began < 1
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.violations
    assert words in json.dumps(reply.json)


def test_an_answer_never_repeats_an_identifier_or_the_key(server: Footfall) -> None:
    planted = "planted-identifier-4711"
    for event in (
        home(user_id=planted, event_type="NONE"),
        home(user_id=planted + "x" * 200),
        {**home(user_id=planted), "userId": planted},
        home(user_id={"value": planted}),
        home(user_id=planted, device={"persistent_id": planted * 10, "os": ["x"]}),
    ):
        reply = server.send(event)
        assert reply.status == 400
        assert planted.encode() not in reply.body
    wrong = "footfall_live_planted4711planted4711planted4711"
    assert b"planted4711" not in server.send(home(), key=wrong).body
    assert "planted" not in server.output()


def test_headers_over_the_buffer_are_refused_and_the_server_lives(server: Footfall) -> None:
    answer = raw_exchange(server.port, head(server, length=2, extra=b"X-Big: %b\r\n" % (b"x" * 40_000)) + b"{}", timeout_s=3)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400"))


def test_pipelined_requests_are_each_answered(server: Footfall) -> None:
    body = json.dumps(home()).encode()
    request = head(server, length=len(body)) + body
    last = head(server, length=len(body), extra=b"Connection: close\r\n") + body
    answer = raw_exchange(server.port, request * 20 + last, timeout_s=5)
    assert answer.count(b"HTTP/1.1 200 OK") == 21


def test_a_reset_storm_leaves_no_files_open(server: Footfall) -> None:
    process = _process(server)
    before = process.num_fds()
    for _ in range(500):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        connection.sendall(head(server, length=300) + b"{")
        connection.close()
    deadline = time.monotonic() + 10
    while process.num_fds() > before + 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.num_fds() <= before + 5


def test_memory_stays_small_under_many_bodies(server: Footfall) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    headers = {"X-API-Key": server.keys["SHOP_TEST"]}
    for _ in range(300):
        body = json.dumps(home(page_id="p" * 60_000)).encode()
        connection.request("POST", EVENTS_PATH.format(platform="SHOP_TEST"), body=body, headers=headers)
        reply = connection.getresponse()
        reply.read()
        assert reply.status == 200
    connection.close()
    assert _memory_bytes(server) < 250_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small volume needs root")
def test_a_full_disk_is_503_and_the_server_recovers_when_room_returns(tmp_path: Path) -> None:
    """A real volume of 8 MB: full means 503 with Retry-After, what was acknowledged is there, room back means 200 again."""
    import subprocess

    volume = tmp_path / "volume"
    volume.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "footfall-test", str(volume)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not allow mounts: {mounted.stderr.decode().strip()}")
    settings = {"FOOTFALL_DURABILITY__SEGMENT_BYTES": "1000000", "FOOTFALL_DURABILITY__FREE_BYTES_MIN": "0"}
    try:
        with Footfall(volume / "data", settings=settings) as server:
            server.log_path = tmp_path / "serve.log"
            acknowledged = []
            big = "p" * 50_000
            for number in range(400):
                event = home(id=f"full-{number}", page_id=big)
                reply = server.send(event)
                if reply.status == 503:
                    break
                assert reply.status == 200, reply
                acknowledged.append(event["id"])
            assert reply.status == 503, "the volume never filled"
            assert "retry-after" in reply.headers
            assert reply.json["code"] == 14
            assert "send it again" in reply.message
            assert acknowledged
            assert {r["event"]["id"] for r in server.records()} >= set(acknowledged)
            deadline = time.monotonic() + 5
            while (ready := server.ops("/readyz")).status != 503 and time.monotonic() < deadline:
                time.sleep(0.05)
                server.send(home(page_id=big))
            assert ready.status == 503
            assert ready.json["reasons"]
            subprocess.run(["mount", "-o", "remount,size=64m", str(volume)], check=True)
            deadline = time.monotonic() + 5
            while (reply := server.send(home(id="after"))).status != 200 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert reply.status == 200, reply
            ids = [r["event"]["id"] for r in server.records()]
            assert set(ids) >= {*acknowledged, "after"}
            assert len(ids) == len(set(ids))
            server.check_log()
    finally:
        subprocess.run(["umount", "-l", str(volume)], check=False)


def test_little_free_space_refuses_before_the_disk_is_full(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data") as server:
        server.stop()
        server.settings["FOOTFALL_DURABILITY__FREE_BYTES_MIN"] = str(10**18)
        with pytest.raises(AssertionError, match="not ready"):
            _start_within(server, seconds=3)
        reply = server.send(home())
        assert (reply.status, reply.json["code"]) == (503, 14)
        assert server.ops("/healthz").status == 200
        assert server.ops("/readyz").json["ready"] is False


def _start_within(server: Footfall, *, seconds: float) -> None:
    import tests.serving as serving

    usual, serving.START_TIMEOUT_S = serving.START_TIMEOUT_S, seconds
    try:
        server.start()
    finally:
        serving.START_TIMEOUT_S = usual


def _process(server: Footfall) -> psutil.Process:
    """The worker."""
    return server.children()["w0"]


def _memory_bytes(server: Footfall) -> int:
    return int(_process(server).memory_info().rss)
