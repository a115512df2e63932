"""A bare server on loopback: each connection is handed to a function of the test, in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple


class Peer(NamedTuple):
    port: int
    connections: list[socket.socket]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[Peer]:
    """Serves until the end of the block; then every connection is closed and every thread awaited."""
    listener = socket.create_server(("127.0.0.1", 0))
    running = Peer(listener.getsockname()[1], [])
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
            except OSError:
                pass  # the sender is gone

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            running.connections.append(connection)
            threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield running
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        acceptor.join(5)
        listener.close()
        for connection in running.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)


def read_head(connection: socket.socket) -> bytes:
    """One byte at a time up to the blank line: whatever follows stays unread. Empty when the sender went."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes, or ConnectionError."""
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(min(65_536, count - len(data)))
        if not piece:
            raise ConnectionError("the sender went")
        data += piece
    return bytes(data)
