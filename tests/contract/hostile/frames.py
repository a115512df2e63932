"""Requests as bytes, well-formed and otherwise, and what came back, answer by answer."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import time
from typing import Final, NamedTuple

from tests.serving import EVENTS_PATH, Footfall, home

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


class Exchange(NamedTuple):
    """What one connection got. `closed`: the server ended it; else this side lost patience."""

    received: bytes
    closed: bool
    seconds: float

    @property
    def statuses(self) -> list[int]:
        return statuses(self.received)


def statuses(received: bytes) -> list[int]:
    """The status of every final answer, in order."""
    found = [int(status) for status in _STATUS_LINE.findall(received)]
    return [status for status in found if status != 100]


def post(
    server: Footfall,
    *head: bytes,
    body: bytes | None = None,
    event_id: str = "framed",
    platform: str = "SHOP",
    target: bytes | None = None,
    version: bytes = b"HTTP/1.1",
    host: bytes | None = b"h",
    newline: bytes = b"\r\n",
) -> bytes:
    """A request with these lines in its head, in which LENGTH stands for the body's length. `body` None: an event of that id."""
    content = json.dumps(home(id=event_id)).encode() if body is None else body
    path = EVENTS_PATH.format(platform=platform).encode() if target is None else target
    lines = [b"POST %b %b" % (path, version)]
    if host is not None:
        lines.append(b"Host: " + host)
    lines.append(b"X-API-Key: " + server.keys[platform].encode())
    lines += [line.replace(b"LENGTH", b"%d" % len(content)) for line in head]
    return newline.join([*lines, b"", content])


def exchange(port: int, *parts: bytes, patience_s: float, quiet_s: float | None = None, half_close: bool = False) -> Exchange:
    """Sends the parts one after the other, reads until the server closes or `patience_s` is over or, once something came,
    `quiet_s` pass without another byte."""
    began_s = time.monotonic()
    received, closed = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=patience_s) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        while (left_s := began_s + patience_s - time.monotonic()) > 0:
            connection.settimeout(left_s if quiet_s is None or not received else min(left_s, quiet_s))
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                break
            except ConnectionError:
                chunk = b""
            if not chunk:
                closed = True
                break
            received += chunk
    return Exchange(received, closed, time.monotonic() - began_s)


def pipeline(server: Footfall, *, count: int) -> None:
    """Sends so many requests without waiting for an answer, and requires an answer to each, in order."""
    unsent = b"".join(
        post(server, b"Content-Length: LENGTH", event_id=f"line-{number}", platform="SHOP_TEST") for number in range(count)
    )
    received = b""
    deadline_s = time.monotonic() + 60
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setblocking(False)
        while received.count(b"HTTP/1.1 ") < count or not received.endswith(b"}"):
            assert time.monotonic() < deadline_s, f"{received.count(b'HTTP/1.1 ')} answers in 60 s"
            readable, writable, _ = select.select([connection], [connection] if unsent else [], [], 1.0)
            if writable:
                unsent = unsent[connection.send(unsent) :]
            if readable:
                received += connection.recv(1 << 20)
    assert statuses(received) == [200] * count
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in received.split(b"HTTP/1.1 ")[1:]]
    assert [json.loads(body)["test"]["event"]["id"] for body in bodies] == [f"line-{number}" for number in range(count)]
