"""A closed-loop HTTP load from one core: as many connections as asked for, each with one request under way.

Plain sockets and one epoll loop, so that the load costs less than what it measures; every answer is checked. Requests are made
beforehand and all different. Latency is from the moment before the first byte is sent to the last byte of the answer.

    drive(port, requests, connections=64, seconds=3.0) ─▶ Measured
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from typing import Final

import msgspec

_STALLED_S: Final = 10.0
"""No answer for this long: the server hangs, and the benchmark with it would."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One round. Rates are per second, times milliseconds."""

    requests: int
    """answers in the measured time"""
    answered: int
    """answers with the proof in them, also those of the warming: what must be in the log"""
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    failures: int
    """answers that were not 200, or did not hold the proof"""
    first_failure: str
    """what the first of them said"""
    load_busy: float
    """share of its core that the load itself took: near 1, it was the load that was measured"""


def drive(
    port: int,
    requests: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    warmup_s: float = 0.5,
    proof: bytes = b"",
) -> Measured:
    """Sends for `warmup_s`, then measures for `seconds`. An answer is good when it is 200 and holds `proof`."""
    loop = _Loop(port, requests, connections=connections, proof=proof)
    try:
        loop.run(warmup_s)
        loop.times.clear()
        began, busy_began = time.perf_counter(), time.process_time()
        loop.run(seconds)
        took, busy = time.perf_counter() - began, time.process_time() - busy_began
        times = sorted(loop.times)
        loop.finish()
    finally:
        loop.close()
    return Measured(
        requests=len(times),
        answered=loop.answered,
        seconds=took,
        rate=len(times) / took,
        p50_ms=1000 * times[len(times) // 2],
        p99_ms=1000 * times[len(times) * 99 // 100],
        failures=loop.failures,
        first_failure=loop.first_failure,
        load_busy=busy / took,
    )


class _Connection:
    """One socket and its request under way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.unsent: memoryview | None = None
        self.received = b""
        self.sent_at = 0.0


class _Loop:
    def __init__(self, port: int, requests: Sequence[bytes], *, connections: int, proof: bytes) -> None:
        self._requests = requests
        self._proof = proof
        self._next = 0
        self._finishing = False
        self._under_way = connections
        self._poll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self.times: list[float] = []
        self.answered = 0
        self.failures = 0
        self.first_failure = ""
        for _ in range(connections):
            connection = _Connection(port)
            self._connections[connection.socket.fileno()] = connection
            self._poll.register(connection.socket, select.EPOLLIN)
        for connection in self._connections.values():
            self._begin(connection)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._poll.close()

    def run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while self._under_way and time.perf_counter() < end:
            ready = self._poll.poll(_STALLED_S)
            if not ready:
                raise TimeoutError(f"the server under load did not answer for {_STALLED_S:g} s")
            for number, what in ready:
                connection = self._connections[number]
                if what & select.EPOLLOUT:
                    self._send_on(connection)
                else:
                    self._receive(connection)

    def finish(self) -> None:
        """Waits for the answers under way and sends no more: what was sent and not read could be stored and not counted."""
        self._finishing = True
        self.run(_STALLED_S)

    def _begin(self, connection: _Connection) -> None:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        connection.sent_at = time.perf_counter()
        sent = _sent(connection.socket, request)
        if sent < len(request):  # a batch is longer than the socket's buffer
            connection.unsent = memoryview(request)[sent:]
            self._poll.modify(connection.socket, select.EPOLLIN | select.EPOLLOUT)

    def _send_on(self, connection: _Connection) -> None:
        assert connection.unsent is not None
        connection.unsent = connection.unsent[_sent(connection.socket, connection.unsent) :]
        if not connection.unsent:
            connection.unsent = None
            self._poll.modify(connection.socket, select.EPOLLIN)

    def _receive(self, connection: _Connection) -> None:
        received = connection.socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed a connection under load")
        answer = connection.received + received
        if not _is_whole(answer):
            connection.received = answer
            return
        connection.received = b""
        self.times.append(time.perf_counter() - connection.sent_at)
        self._judge(answer)
        if self._finishing:
            self._under_way -= 1
        else:
            self._begin(connection)

    def _judge(self, answer: bytes) -> None:
        if answer.startswith(b"HTTP/1.1 200") and self._proof in answer:
            self.answered += 1
            return
        if not self.failures:
            self.first_failure = answer[:500].decode(errors="replace")
        self.failures += 1


def _sent(connection: socket.socket, data: bytes | memoryview) -> int:
    try:
        return connection.send(data)
    except BlockingIOError:
        return 0


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    place = head.lower().find(b"content-length: ")
    return place >= 0 and len(body) >= int(head[place + 16 :].split(b"\r\n", 1)[0])
