"""Many connections to one server in one epoll loop: what a thousand senders do, and what each of them was answered.

    closed loop   each connection sends its next event when it has its answer
    open loop     events come at a rate, whether or not answers did; one that finds every connection waiting for an answer was
                  turned away by its own sender, and is counted

Events are made from a template of constant length and numbered, so that the log can be asked for each of them.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import msgspec

from footfall.log.reader import SegmentReader
from tests.serving import EVENTS_PATH, Footfall, now_ms

_STALLED_S: Final = 10.0
_BURST_MAX: Final = 64
"""Events begun between two looks at the answers."""


class Tally(msgspec.Struct, kw_only=True):
    """What came of one run."""

    seconds: float
    answers: Counter[int]
    waits_ms: list[float]
    """of the answers 200, sorted"""
    turned_away: int
    """arrivals that found no free connection"""
    broken: int
    """requests whose connection ended without an answer"""
    unhelpful: list[bytes]
    """429 and 503 without Retry-After, the first few"""

    @property
    def goodput_per_s(self) -> float:
        return self.answers[200] / self.seconds

    def percentile_ms(self, percent: float) -> float:
        return percentile(self.waits_ms, percent)


def percentile(ordered: list[float], percent: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Connection:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.number = -1
        self.sent_at_s = 0.0
        self.received = b""


class Crowd:
    """The connections of one sender. `sent` and `accepted` hold the numbers of all runs so far."""

    def __init__(
        self, server: Footfall, *, connections: int, prefix: str, platform: str = "SHOP", user: str | None = None
    ) -> None:
        """`user`: all events are this one shopper's; None: each is of a shopper of its own."""
        self._port = server.port
        self._template = _template(server, platform=platform, prefix=prefix, user=user)
        self._poll = select.epoll()
        self._by_file: dict[int, _Connection] = {}
        self._idle: list[_Connection] = []
        self.sent = 0
        self.accepted: set[int] = set()
        for _ in range(connections):
            self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._by_file.values():
            connection.socket.close()
        self._poll.close()

    def run(self, seconds: float, *, rate_per_s: float | None = None, watch: Callable[[], None] | None = None) -> Tally:
        """Sends for that long, at a rate (open loop) or as fast as answers come (closed), then waits for the last answers, which
        count in `accepted` and not in the tally. `watch` is called a few times a second."""
        tally = Tally(seconds=0.0, answers=Counter(), waits_ms=[], turned_away=0, broken=0, unhelpful=[])
        began_s = time.perf_counter()
        end_s, heard_s, watched_s, arrived = began_s + seconds, began_s, began_s, 0
        while (now_s := time.perf_counter()) < end_s:
            if rate_per_s is None:
                arriving = len(self._idle)
            else:
                due = int((now_s - began_s) * rate_per_s)
                arriving, arrived = due - arrived, due
                tally.turned_away += max(0, arriving - len(self._idle))
            for _ in range(min(arriving, len(self._idle), 1 << 30 if rate_per_s is None else _BURST_MAX)):
                self._begin(self._idle.pop())
            ready = self._poll.poll(0.001)
            heard_s = self._hear(ready, tally) or heard_s
            if len(self._idle) == len(self._by_file):
                heard_s = now_s
            assert now_s - heard_s < _STALLED_S, "nobody is answered any more"
            if watch is not None and now_s - watched_s > 0.25:
                watch()
                watched_s = now_s
        tally.seconds = time.perf_counter() - began_s
        self._finish()
        tally.waits_ms.sort()
        return tally

    def _finish(self) -> None:
        rest = Tally(seconds=0.0, answers=Counter(), waits_ms=[], turned_away=0, broken=0, unhelpful=[])
        end_s = time.perf_counter() + _STALLED_S
        while len(self._idle) < len(self._by_file):
            assert time.perf_counter() < end_s, f"{len(self._by_file) - len(self._idle)} requests were never answered"
            self._hear(self._poll.poll(0.1), rest)

    def _connect(self) -> None:
        connection = _Connection(self._port)
        self._by_file[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        self._idle.append(connection)

    def _begin(self, connection: _Connection) -> None:
        connection.number = self.sent
        self.sent += 1
        connection.sent_at_s = time.perf_counter()
        number = b"%010d" % connection.number
        try:
            connection.socket.send(self._template.replace(b"0000000000", number))
        except OSError:
            return  # closed meanwhile: the poll says so next

    def _hear(self, ready: list[tuple[int, int]], tally: Tally) -> float | None:
        now_s = None
        for file, _ in ready:
            connection = self._by_file[file]
            try:
                received = connection.socket.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                received = b""
            now_s = time.perf_counter()
            if not received:
                self._replace(connection, tally)
                continue
            answer = connection.received + received
            if not is_whole(answer):
                connection.received = answer
                continue
            connection.received = b""
            self._judge(connection, answer, tally, now_s)
        return now_s

    def _judge(self, connection: _Connection, answer: bytes, tally: Tally, now_s: float) -> None:
        status = int(answer[9:12])
        tally.answers[status] += 1
        if status == 200:
            self.accepted.add(connection.number)
            tally.waits_ms.append(1000 * (now_s - connection.sent_at_s))
        elif status in (429, 503) and b"retry-after" not in answer.lower() and len(tally.unhelpful) < 5:
            tally.unhelpful.append(answer)
        connection.number = -1
        self._idle.append(connection)

    def _replace(self, connection: _Connection, tally: Tally) -> None:
        if connection.number >= 0:
            tally.broken += 1
        else:
            self._idle.remove(connection)
        del self._by_file[connection.socket.fileno()]
        connection.socket.close()
        self._connect()


def _template(server: Footfall, *, platform: str, prefix: str, user: str | None) -> bytes:
    """A request; ten zeros in it stand for the number."""
    shopper = user if user is not None else f"u-{prefix}-0000000000"
    event = (
        b'{"id":"%b-0000000000","event_type":"HOME","channel_type":"SITE","timestamp":"%d","user_id":"%b",'
        b'"device":{"persistent_id":"p-90aa"}}' % (prefix.encode(), now_ms(), shopper.encode())
    )
    head = b"POST %b HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    path = EVENTS_PATH.format(platform=platform).encode()
    return head % (path, server.keys[platform].encode(), len(event)) + event


def is_whole(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    place = head.lower().find(b"content-length: ")
    return place >= 0 and len(body) >= int(head[place + 16 :].split(b"\r\n", 1)[0])


def stored_bodies(data: Path) -> Iterator[bytes]:
    """Every durable record, live and test, as its bytes."""
    for mode in ("live", "test"):
        tree = data / "log" / mode
        if tree.exists():
            reader = SegmentReader(tree)
            for record in reader.scan():
                yield record.body
            reader.close()


def stored_numbers(data: Path, prefix: str) -> Counter[int]:
    """Numbers of a crowd's events in the log, and how often each stands there."""
    pattern = re.compile(rb'"id":"%b-(\d{10})"' % re.escape(prefix.encode()))
    return Counter(int(found[1]) for body in stored_bodies(data) if (found := pattern.search(body)))


def assert_kept(server: Footfall, crowd: Crowd, prefix: str) -> None:
    """Whatever the crowd was answered 200 for stands in the log, once, and nothing that it never sent."""
    stored = stored_numbers(server.data, prefix)
    lost = crowd.accepted - set(stored)
    assert not lost, f"{len(lost)} lost after a 200, such as {sorted(lost)[:5]}"
    assert not [number for number, times in stored.items() if times > 1], "an event stands in the log twice"
    assert not stored or max(stored) < crowd.sent
