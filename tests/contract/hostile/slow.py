"""Clients that take their time (slowhttptest, and some of our own), and what good ones notice of them."""

from __future__ import annotations

import contextlib
import re
import select
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

from tests.contract.hostile.crowd import Crowd
from tests.contract.hostile.frames import post, statuses
from tests.serving import EVENTS_PATH, Footfall

PROGRAM: Final = shutil.which("slowhttptest")
MISSING: Final = "needs slowhttptest (Debian: apt install slowhttptest)"
Kind = Literal["-H", "-B", "-X"]
KINDS: Final[tuple[Kind, ...]] = ("-H", "-B", "-X")
"""slow heads, slow bodies, slow readers"""

_GOOD_PER_S: Final = 200


class SlowClients:
    """A slowhttptest at work. `is_available`: what it said of the server in the end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.is_available = False

    @property
    def at_work(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        output, _ = self._process.communicate(timeout=60)
        said = re.findall(rb"service available:\s*(?:\x1b\[[0-9;]*m)*\s*(YES|NO)", output)
        self.is_available = bool(said) and set(said) == {b"YES"}


@contextmanager
def slow_clients(server: Footfall, kind: Kind, *, connections: int, seconds: int) -> Iterator[SlowClients]:
    """They come all at once, with a key that is good, and stay for that long."""
    path = "/openapi.json" if kind == "-X" else EVENTS_PATH.format(platform="SHOP")
    arguments = [str(PROGRAM), kind, "-c", str(connections), "-r", str(connections), "-i", "1", "-l", str(seconds), "-p", "3"]
    if kind == "-X":
        arguments += ["-w", "1", "-y", "2", "-n", "1", "-z", "1", "-k", "3"]
    else:  # it knows no option for a header, and does not look at the value of this one
        arguments += ["-t", "POST", "-s", "4096", "-f", f"application/json\r\nX-API-Key: {server.keys['SHOP']}"]
    with subprocess.Popen([*arguments, "-u", server.url + path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        clients = SlowClients(process)
        try:
            yield clients
            clients.end()
        finally:
            if process.poll() is None:
                process.kill()


def good_p99_ms(server: Footfall, *, windows: int, window_s: float) -> float:
    """The median, over some windows, of the 99th percentile that four good clients wait."""
    found = []
    with Crowd(server, connections=4, prefix="good") as good:
        for _ in range(windows):
            tally = good.run(window_s, rate_per_s=_GOOD_PER_S)
            assert set(tally.answers) == {200}
            assert not tally.broken
            found.append(tally.percentile_ms(99))
    return statistics.median(found)


def growth(server: Footfall, kind: Kind, *, connections: int, rounds: int, windows: int, window_s: float) -> float:
    """How many times longer good clients wait beside slow ones: the median over rounds of quiet and slow in turn."""
    ratios = []
    for _ in range(rounds):
        quiet_ms = good_p99_ms(server, windows=windows, window_s=window_s)
        with slow_clients(server, kind, connections=connections, seconds=round(windows * window_s) + 2) as slow:
            deadline_s = time.monotonic() + 1
            while time.monotonic() < deadline_s and slow.at_work:
                good_p99_ms(server, windows=1, window_s=0.2)  # until all of them are there
            ratios.append(good_p99_ms(server, windows=windows, window_s=window_s) / quiet_ms)
            assert slow.at_work, "they were gone before the measurement was"
        assert slow.is_available
    return statistics.median(ratios)


def drip(server: Footfall, part: Literal["head", "body"], *, connections: int, patience_s: float) -> list[tuple[float, list[int]]]:
    """Connections that send one byte of a head, or of a body, now and then, for ever. Returns of each after how many seconds the
    server ended it, and what it had answered; those it did not end are missing."""
    request = post(server, b"X-Note: " + b"n" * 2000, b"Content-Length: LENGTH", body=b"{" + b" " * 2000)
    whole = request.index(b"\r\n\r\n") + 4
    start = 100 if part == "head" else whole + 1
    ended: list[tuple[float, list[int]]] = []
    poll = select.epoll()
    files: dict[int, socket.socket] = {}
    received: dict[int, bytes] = {}
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", server.port))
        files[connection.fileno()] = connection
        received[connection.fileno()] = b""
        poll.register(connection, select.EPOLLIN)
        connection.sendall(request[:start])
    began_s = dripped_s = time.monotonic()
    while files and time.monotonic() - began_s < patience_s:
        for file, _ in poll.poll(0.1):
            chunk = _received(files[file])
            received[file] += chunk
            if not chunk:
                ended.append((time.monotonic() - began_s, statuses(received[file])))
                files.pop(file).close()
        if time.monotonic() - dripped_s > 0.5:
            dripped_s, start = time.monotonic(), start + 1
            for connection in files.values():
                with contextlib.suppress(OSError):
                    connection.send(request[start : start + 1])
    for connection in files.values():
        connection.close()
    poll.close()
    return ended


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""
