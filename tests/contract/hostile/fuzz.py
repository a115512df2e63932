"""Requests with their bytes changed at random: each on a connection of its own, many at a time, all watched to their end."""

from __future__ import annotations

import random
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from tests.contract.hostile.frames import statuses

_SPICES: Final = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b"\xff", b" ", b"\t", b":", b",", b"0", b"-1", b"99999999999999999999", b"%00",
    b"%2e%2e/", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n", b"Connection: keep-alive\r\n", b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n", b"Content-Encoding: gzip\r\n", b"HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET ",
    b"CONNECT ",
    b'"', b"{", b"}", b"[", b"]", b"\\", b"\\ud800", b"null", b"true", b"1e400", b"NaN", b"\xed\xa0\x80", b"\xef\xbb\xbf",
)  # fmt: skip


class Outcome(msgspec.Struct, kw_only=True):
    """What came of all of them."""

    answers: Counter[int]
    accepted: int
    """answers 2xx"""
    failures: list[tuple[bytes, bytes]]
    """(request, answer) with a 5xx in it, the first few"""
    hanging: list[bytes]
    """requests whose connection was not ended in time, the first few"""


def mutants(seeds: Sequence[bytes], *, count: int, number: int) -> Iterator[bytes]:
    """The same ones for the same number."""
    chance = random.Random(number)
    for _ in range(count):
        mutant = chance.choice(seeds)
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            mutant = _changed(mutant, chance)
        yield mutant


def _changed(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    end = min(len(data), place + chance.choice((1, 1, 2, 8, 40)))
    match chance.randrange(8):
        case 0:  # other bits
            return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        case 1:  # another byte
            return data[:place] + chance.randbytes(1) + data[place + 1 :]
        case 2:  # a gap
            return data[:place] + data[end:]
        case 3:  # something twice
            return data[:end] + data[place:end] * chance.choice((1, 2, 50)) + data[end:]
        case 4 | 5:  # something that means something
            return data[:place] + chance.choice(_SPICES) + data[place:]
        case 6:
            return data[:place] + chance.choice(_SPICES) + data[end:]
        case _:  # two pieces change places
            other = chance.randrange(len(data))
            low, high = sorted((place, other))
            return data[:low] + data[high:] + data[low:high]


class _Connection:
    def __init__(self, port: int, request: bytes, now_s: float) -> None:
        self.request = request
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.began_s = now_s
        self.received = b""
        self.socket.setblocking(False)


def send_all(port: int, requests: Iterator[bytes], *, at_once: int, patience_s: float) -> Outcome:
    """Sends each on a connection of its own and waits until the server ends it, however long that takes up to `patience_s`."""
    outcome = Outcome(answers=Counter(), accepted=0, failures=[], hanging=[])
    poll = select.epoll()
    by_file: dict[int, _Connection] = {}

    def end(connection: _Connection) -> None:
        del by_file[connection.socket.fileno()]
        connection.socket.close()
        for status in statuses(connection.received):
            outcome.answers[status] += 1
            outcome.accepted += 200 <= status < 300
            if status >= 500 and len(outcome.failures) < 5:
                outcome.failures.append((connection.request, connection.received))

    more = True
    while more or by_file:
        while more and len(by_file) < at_once:
            request = next(requests, None)
            if request is None:
                more = False
                break
            _open(port, request, by_file, poll)
        _hear(poll, by_file, end)
        now_s = time.monotonic()
        for connection in [each for each in by_file.values() if now_s - each.began_s > patience_s]:
            if len(outcome.hanging) < 5:
                outcome.hanging.append(connection.request)
            end(connection)
    poll.close()
    return outcome


def _open(port: int, request: bytes, by_file: dict[int, _Connection], poll: select.epoll) -> None:
    connection = _Connection(port, request, time.monotonic())
    by_file[connection.socket.fileno()] = connection
    try:
        connection.socket.send(request)
    except OSError:
        pass  # refused already: the poll says so
    poll.register(connection.socket, select.EPOLLIN)


def _hear(poll: select.epoll, by_file: dict[int, _Connection], end: Callable[[_Connection], None]) -> None:
    for file, _ in poll.poll(0.05):
        connection = by_file[file]
        try:
            received = connection.socket.recv(65536)
        except BlockingIOError:
            continue
        except OSError:
            received = b""
        connection.received += received
        if not received:
            end(connection)
