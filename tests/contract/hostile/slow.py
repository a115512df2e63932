"""Clients that take their time (slowhttptest, and some of our own), and what good ones notice of them."""

from __future__ import annotations

import contextlib
import math
import re
import select
import shutil
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
_GATHERING_S: Final = 0.5
"""until all of the slow ones are there"""
_UNREST_MS: Final = 5.0
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")


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
        said = re.findall(rb"service available:\s*(YES|NO)", _COLOUR.sub(b"", output))
        self.is_available = bool(said) and set(said) == {b"YES"}


@contextmanager
def slow_clients(
    server: Footfall, kind: Kind, *, connections: int, seconds: int, port: int | None = None
) -> Iterator[SlowClients]:
    """They come all at once, with a key that is good, and stay for that long; to another port than the server's, if told so."""
    path = "/openapi.json" if kind == "-X" else EVENTS_PATH.format(platform="SHOP")
    arguments = [str(PROGRAM), kind, "-c", str(connections), "-r", str(connections), "-i", "1", "-l", str(seconds), "-p", "3"]
    if kind == "-X":
        arguments += ["-w", "1", "-y", "2", "-n", "1", "-z", "1", "-k", "3"]
    else:  # it knows no option for a header, and does not look at the value of this one
        arguments += ["-t", "POST", "-s", "4096", "-f", f"application/json\r\nX-API-Key: {server.keys['SHOP']}"]
    url = f"http://127.0.0.1:{port or server.port}{path}"
    with subprocess.Popen([*arguments, "-u", url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        clients = SlowClients(process)
        try:
            yield clients
            clients.end()
        finally:
            if process.poll() is None:
                process.kill()


@contextmanager
def nobody() -> Iterator[int]:
    """A port that takes connections, and does nothing with them."""
    taken: list[socket.socket] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        taker = threading.Thread(target=take)
        taker.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        taker.join()
    for connection in taken:
        connection.close()


def good_waits_ms(server: Footfall, *, windows: int, window_s: float) -> list[float]:
    """The 99th percentile that four good clients wait, in each of some windows."""
    found = []
    with Crowd(server, connections=4, prefix="good") as good:
        for _ in range(windows):
            tally = good.run(window_s, rate_per_s=_GOOD_PER_S)
            assert set(tally.answers) == {200}
            assert not tally.broken
            found.append(tally.percentile_ms(99))
    return found


def growth(server: Footfall, *kinds: Kind, connections: int, rounds: int, windows: int, window_s: float) -> float:
    """How many times longer good clients wait when slow ones are at this server than when they are as busy elsewhere, in turn:
    medians over all windows.

    The slow clients' program takes a fifth of a core, in bursts, of the machine that is measured; so it runs in both halves.
    A wait counts as 5 ms at least: below, it is the machine's own unrest (1.7 to 14 ms were measured within one quiet minute).
    """
    waits_ms: dict[bool, list[float]] = {True: [], False: []}
    seconds = math.ceil(windows * window_s + _GATHERING_S) + 1
    for at_us in (False, True) * rounds:
        with nobody() as elsewhere, ExitStack() as stack:
            port = None if at_us else elsewhere
            slow = [
                stack.enter_context(slow_clients(server, each, connections=connections, seconds=seconds, port=port))
                for each in kinds
            ]
            deadline_s = time.monotonic() + _GATHERING_S
            while time.monotonic() < deadline_s:
                good_waits_ms(server, windows=1, window_s=0.2)
            waits_ms[at_us] += good_waits_ms(server, windows=windows, window_s=window_s)
            assert all(clients.at_work for clients in slow), "they were gone before the measurement was"
        assert not at_us or all(clients.is_available for clients in slow)
    here_ms, elsewhere_ms = (max(_UNREST_MS, statistics.median(waits_ms[at_us])) for at_us in (True, False))
    return here_ms / elsewhere_ms


def drip(
    server: Footfall, part: Literal["head", "body"], *, connections: int, patience_s: float
) -> list[tuple[float, list[int]]]:
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
