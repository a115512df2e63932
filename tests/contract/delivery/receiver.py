"""A receiver on loopback that answers from a script, byte by byte where a test wants it, and remembers what arrived."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

Play = Callable[[socket.socket], bool]
"""Answers on the connection; returns whether it stays open."""


class Arrival(NamedTuple):
    line: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)


def answer(status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> Play:
    """A complete answer; the connection stays open."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in ({"Content-Type": "application/json"} | dict(headers or {})).items()]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body, keep=True)


def raw(data: bytes, *, keep: bool = False) -> Play:
    """Exactly these bytes, then the end of the connection unless `keep`."""

    def play(connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return play


def reset_after(data: bytes) -> Play:
    """These bytes, then a TCP reset."""

    def play(connection: socket.socket) -> bool:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return play


def drip(data: bytes, *, every_s: float, stop: threading.Event) -> Play:
    """One byte at a time, until the peer has gone or the test stops it."""

    def play(connection: socket.socket) -> bool:
        for index in range(len(data)):
            if stop.wait(every_s):
                break
            try:
                connection.sendall(data[index : index + 1])
            except OSError:
                break
        return False

    return play


class Receiver:
    """Accepts connections in threads. The last step of the script stands for ever after."""

    def __init__(self, script: Iterable[Play] = (), *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._script = deque(script) or deque([answer(200)])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self.arrivals: list[Arrival] = []
        self.connections = 0
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def script(self, *plays: Play) -> None:
        with self._lock:
            self._script = deque(plays)

    def drop_connections(self) -> None:
        """Closes every open connection, as a load balancer does with idle ones, and waits until the threads noticed."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.shutdown(socket.SHUT_RDWR)

    def wait_for_the_dead(self) -> None:
        """Until whatever processes sent before they were killed has arrived: a connection is accepted, and read, after its peer
        has gone. Nobody else may be connected."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as last:
            last.sendall(b"\n")
            assert last.recv(1) == b""  # accepted after all others
        while self._open:
            time.sleep(0.002)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._open.add(connection)
                number = self.connections
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection, connection.makefile("rb") as incoming:
                while True:
                    line = incoming.readline().decode().strip()
                    if not line:
                        return
                    headers: dict[str, str] = {}
                    while header := incoming.readline().decode().strip():
                        name, _, value = header.partition(":")
                        headers[name.lower()] = value.strip()
                    body = incoming.read(int(headers["content-length"]))
                    with self._lock:
                        self.arrivals.append(Arrival(line, headers, body, number))
                        play = self._script.popleft() if len(self._script) > 1 else self._script[0]
                    if not play(connection):
                        return
        except (OSError, ValueError, KeyError):
            return  # the peer is gone, or speaks no HTTP, as TLS does
        finally:
            with self._lock:
                self._open.discard(connection)
