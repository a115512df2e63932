"""A closed-loop HTTP load from one core: as many connections as asked for, each with one request under way.

Plain sockets and one epoll loop, so that the load costs less than what it measures; every answer is checked. Requests are made
beforehand and all different. Latency is from the last byte sent to the last byte of the answer.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence

import msgspec


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One round. Rates are per second, times milliseconds."""

    requests: int
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    failures: int


def drive(port: int, requests: Sequence[bytes], *, connections: int, seconds: float, warmup_s: float = 0.5) -> Measured:
    """Sends for `warmup_s`, then measures for `seconds`. An answer that is not 200 counts as a failure."""
    loop = _Loop(port, requests, connections)
    try:
        loop.run(warmup_s)
        loop.reset()
        began = time.perf_counter()
        loop.run(seconds)
        took = time.perf_counter() - began
    finally:
        loop.close()
    times = sorted(loop.times)
    return Measured(
        requests=len(times),
        seconds=took,
        rate=len(times) / took,
        p50_ms=1000 * times[len(times) // 2],
        p99_ms=1000 * times[len(times) * 99 // 100],
        failures=loop.failures,
    )


class _Loop:
    def __init__(self, port: int, requests: Sequence[bytes], connections: int) -> None:
        self._requests = requests
        self._next = 0
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._sent_at: dict[int, float] = {}
        self._parts: dict[int, bytes] = {}
        self.reset()
        for _ in range(connections):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[connection.fileno()] = connection
            self._poll.register(connection, select.EPOLLIN)
        for number in self._sockets:
            self._send(number)

    def reset(self) -> None:
        self.times: list[float] = []
        self.failures = 0

    def close(self) -> None:
        for connection in self._sockets.values():
            connection.close()
        self._poll.close()

    def run(self, seconds: float) -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for number, _ in self._poll.poll(1.0):
                self._receive(number)

    def _send(self, number: int) -> None:
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        self._sent_at[number] = time.perf_counter()
        self._sockets[number].sendall(request)

    def _receive(self, number: int) -> None:
        answer = self._parts.pop(number, b"") + self._sockets[number].recv(65536)
        if not _is_whole(answer):
            if not answer:
                raise ConnectionError("the server closed a connection under load")
            self._parts[number] = answer
            return
        self.times.append(time.perf_counter() - self._sent_at[number])
        if not answer.startswith(b"HTTP/1.1 200"):
            self.failures += 1
        self._send(number)


def _is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    place = head.lower().find(b"content-length: ")
    return place >= 0 and len(body) >= int(head[place + 16 :].split(b"\r\n", 1)[0])
