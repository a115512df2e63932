"""Everything a receiver can do wrong, to one request at a time and to many: one outcome for both (test W1 of the catalogue)."""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from footfall.delivery.exchanges import HttpExchanges
from footfall.delivery.transport import ANSWER_BYTES_MAX, HttpTransport, Request, Response
from footfall.errors import NetworkError
from tests.contract.delivery.certificates import made_certificate, serving, trusting
from tests.contract.delivery.peers import peer, read_exactly, read_head
from tests.contract.delivery.receiver import Play, Receiver, answer, drip, raw, reset_after


class Sender(Protocol):
    def send(self, request: Request) -> Response: ...

    def close(self) -> None: ...


class OneAtATime:
    """Exchanges, used as a transport."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._exchanges = HttpExchanges(tls=tls)

    def send(self, request: Request) -> Response:
        token = object()
        self._exchanges.start(request, token=token)
        until_s = time.monotonic() + request.timeout_s + 5
        while time.monotonic() < until_s:
            for done in self._exchanges.wait(1):
                assert done.token is token
                if isinstance(done.result, NetworkError):
                    raise done.result
                return done.result
        raise AssertionError("a request was never handed out")

    def close(self) -> None:
        self._exchanges.close()


def made(kind: str, tls: ssl.SSLContext | None = None) -> Sender:
    return HttpTransport(tls=tls) if kind == "transport" else OneAtATime(tls)


@pytest.fixture(params=["transport", "exchanges"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def sender(kind: str) -> Iterator[Sender]:
    running = made(kind)
    yield running
    running.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def request_to(url: str, *, body: bytes = b'{"id":"1"}', timeout_s: float = 5.0) -> Request:
    return Request(url=f"{url}/path", headers=(("X-API-Key", "secret-key"),), body=body, timeout_s=timeout_s)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
SPLIT_DELAY_S = 0.001

ANSWERS: dict[str, tuple[Play, bool]] = {
    "kept": (answer(200), True),
    "close": (answer(200, b"{}", {"Connection": "close"}), False),
    "chunked": (raw(CHUNKED, keep=True), True),
    "trailers": (raw(CHUNKED.replace(b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n"), keep=True), True),
    "no length": (raw(b"HTTP/1.1 200 OK\r\n\r\n{}"), False),
    "HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\n{}"), False),
    "interim": (raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + OK, keep=True), True),
    "extra byte": (raw(OK + b"x", keep=True), False),
    "extra answer": (raw(OK + OK, keep=True), False),
    "byte by byte": (drip(OK, every_s=SPLIT_DELAY_S, stop=threading.Event()), False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_counts_and_its_connection_is_kept_where_that_is_safe(receiver: Receiver, sender: Sender, name: str) -> None:
    play, is_kept = ANSWERS[name]
    receiver.script(play, answer(202))
    response = sender.send(request_to(receiver.url))
    assert (response.status, response.body) == (200, b"{}")
    assert sender.send(request_to(receiver.url)).status == 202
    assert receiver.connections == (1 if is_kept else 2)
    assert len(receiver.arrivals) == 2


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_ends_with_its_head(receiver: Receiver, sender: Sender, status: int) -> None:
    receiver.script(raw(b"HTTP/1.1 %d Nothing\r\n\r\n" % status, keep=True))
    for _ in range(2):
        assert sender.send(request_to(receiver.url)).status == status
    assert receiver.connections == 1


NO_ANSWERS: dict[str, tuple[Play, str]] = {
    "end before the answer": (raw(b""), "cut before the answer"),
    "reset before the answer": (reset_after(b""), "cut before the answer"),
    "end in the head": (raw(b"HTTP/1.1 200 OK\r\nContent-Le"), r"not an HTTP answer, or only part of one \(it ends too soon\)"),
    "reset in the body": (reset_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "cut before|only part of one"),
    "end in the body": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), "only part of one"),
    "end in a chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"), "only part of one"),
    "garbage, open": (raw(b"secret-answer", keep=True), "does not begin like one"),
    "garbage status": (raw(b"HTTP/1.1 secret-answer\r\n\r\n", keep=True), "its head is malformed"),
    "two lengths": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", keep=True), "two of them"),
    "huge head": (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000, keep=True), "its head is too long"),
    "many fields": (raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n", keep=True), "too many fields"),
    "interim for ever": (raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50, keep=True), "interim answer"),
    "switching": (raw(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", keep=True), "interim answer"),
    "unknown coding": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", keep=True), "nobody offered"),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_is_a_network_error_at_once_and_its_connection_ends(
    receiver: Receiver, sender: Sender, name: str
) -> None:
    play, words = NO_ANSWERS[name]
    receiver.script(play, answer(202))
    with pytest.raises(NetworkError, match=words) as raised:
        sender.send(request_to(receiver.url))
    assert str(receiver.port) in raised.value.message
    assert "secret" not in f"{raised.value} {raised.value.__cause__!r}"
    assert sender.send(request_to(receiver.url)).status == 202
    assert (receiver.connections, len(receiver.arrivals)) == (2, 2)


def test_a_reset_before_anything_is_read_is_a_network_error(sender: Sender) -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with peer(reset) as server, pytest.raises(NetworkError, match="cut before the answer"):
        sender.send(request_to(server.url))


@pytest.mark.parametrize("play", ["hang", "drip", "drip in a chunk line", "silent and reading nothing"])
def test_one_deadline_covers_the_exchange(sender: Sender, play: str) -> None:
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        if play != "silent and reading nothing":
            read_head(connection)
        if play == "drip":
            drip(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500, every_s=0.02, stop=stop)(connection)
        if play == "drip in a chunk line":
            start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            drip(start + b"1;" + b"x" * 500, every_s=0.02, stop=stop)(connection)
        stop.wait(10)

    with peer(serve) as server:
        started_s = time.monotonic()
        with pytest.raises(NetworkError, match=r"nothing complete within 0\.3 s"):
            sender.send(request_to(server.url, body=b"x" * (8 << 20), timeout_s=0.3))
        assert 0.25 < time.monotonic() - started_s < 3
        stop.set()


def test_a_kept_connection_that_dies_before_an_answer_costs_one_resend(receiver: Receiver, sender: Sender) -> None:
    receiver.script(answer(200), reset_after(b""), answer(202))
    sender.send(request_to(receiver.url))
    assert sender.send(request_to(receiver.url)).status == 202
    assert (receiver.connections, len(receiver.arrivals)) == (2, 3)


def test_a_second_death_in_a_row_is_a_network_error(receiver: Receiver, sender: Sender) -> None:
    receiver.script(answer(200), raw(b""), raw(b""), answer(202))
    sender.send(request_to(receiver.url))
    with pytest.raises(NetworkError, match="cut before the answer"):
        sender.send(request_to(receiver.url))
    assert len(receiver.arrivals) == 3


def test_a_kept_connection_that_dies_within_an_answer_is_not_resent(receiver: Receiver, sender: Sender) -> None:
    receiver.script(answer(200), reset_after(b"HTTP/1.1 200 OK\r\nContent-Le"), answer(202))
    sender.send(request_to(receiver.url))
    with pytest.raises(NetworkError):
        sender.send(request_to(receiver.url))
    assert len(receiver.arrivals) == 2


def test_connections_that_were_closed_while_idle_are_replaced(receiver: Receiver, sender: Sender) -> None:
    sender.send(request_to(receiver.url))
    receiver.drop_connections()
    assert sender.send(request_to(receiver.url)).status == 200
    assert (receiver.connections, len(receiver.arrivals)) == (2, 2)


def test_of_a_huge_answer_the_status_counts_and_the_rest_is_dropped(receiver: Receiver, sender: Sender) -> None:
    receiver.script(answer(200, b"x" * (ANSWER_BYTES_MAX + 5)), answer(202))
    response = sender.send(request_to(receiver.url))
    assert (response.status, len(response.body)) == (200, ANSWER_BYTES_MAX)
    assert sender.send(request_to(receiver.url)).status == 202
    assert receiver.connections == 2


@pytest.mark.parametrize(
    "hangs_up", [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="a reset"))]
)
def test_an_answer_before_the_request_was_read_counts(sender: Sender, hangs_up: bool) -> None:
    """As a receiver says 413 to a body that it will not read. Linux lets what came before a reset be read after it."""
    is_over = threading.Event()

    def refuse(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        if not hangs_up:
            is_over.wait(10)

    with peer(refuse) as server:
        for _ in range(5):
            assert sender.send(request_to(server.url, body=b"x" * (8 << 20))).status == 413
        assert len(server.connections) == 5
        is_over.set()


def test_a_request_is_read_slowly_and_arrives_whole(sender: Sender) -> None:
    body = bytes(range(256)) * (8 << 12)
    arrived: list[bytes] = []

    def read_slowly(connection: socket.socket) -> None:
        read_head(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        arrived.append(read_exactly(connection, len(body)))
        connection.sendall(OK)

    with peer(read_slowly) as server:
        assert sender.send(request_to(server.url, body=body)).status == 200
    assert arrived == [body]


def test_a_get_carries_no_body_and_no_length(sender: Sender) -> None:
    heads: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        while head := read_head(connection):
            heads.append(head)
            connection.sendall(OK)

    with peer(serve) as server:
        request = Request(url=f"{server.url}/openapi.json?x=1", headers=(("Accept", "a/b"),), timeout_s=5, method="GET")
        assert [sender.send(request).body for _ in range(2)] == [b"{}", b"{}"]
        host = f"127.0.0.1:{server.port}".encode()
    assert heads == [b"GET /openapi.json?x=1 HTTP/1.1\r\nHost: " + host + b"\r\nAccept: a/b\r\n\r\n"] * 2


def test_no_exception_that_hangs_on_the_error_holds_the_key(receiver: Receiver, sender: Sender) -> None:
    with pytest.raises(NetworkError) as raised:
        sender.send(Request(url=receiver.url, headers=(("X-API-Key", "sésame"),), body=b"", timeout_s=5))
    cause = raised.value.__cause__
    assert "sésame" not in f"{raised.value} {cause!r} {vars(raised.value)} {getattr(cause, 'object', '')}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_certificate(tmp_path_factory.mktemp("tls"))


def test_a_certificate_nobody_vouches_for_is_refused_before_anything_is_sent(certificate: Path, sender: Sender) -> None:
    with Receiver(tls=serving(certificate)) as receiver:
        with pytest.raises(NetworkError, match="certificate is not trusted here"):
            sender.send(request_to(receiver.url))
        assert receiver.arrivals == []


def test_https_to_something_else_is_a_network_error(receiver: Receiver, sender: Sender) -> None:
    with pytest.raises(NetworkError, match=r"TLS failed|cut|within"):
        sender.send(request_to(receiver.url.replace("http://", "https://"), timeout_s=1))


def test_large_requests_and_answers_pass_through_tls_and_its_connection_is_kept(certificate: Path, kind: str) -> None:
    body = bytes(range(256)) * (4 << 12)
    with Receiver([answer(200, b"y" * 300_000)], tls=serving(certificate)) as receiver:
        sender = made(kind, trusting(certificate))
        for _ in range(2):
            assert sender.send(request_to(receiver.url, body=body)).body == b"y" * 300_000
        assert [arrival.body for arrival in receiver.arrivals] == [body, body]
        assert receiver.connections == 1
        sender.close()


def test_tls_connections_that_died_are_replaced(certificate: Path, kind: str) -> None:
    with Receiver([answer(200), raw(b""), answer(202)], tls=serving(certificate)) as receiver:
        sender = made(kind, trusting(certificate))
        sender.send(request_to(receiver.url))
        assert sender.send(request_to(receiver.url)).status == 202
        sender.close()
