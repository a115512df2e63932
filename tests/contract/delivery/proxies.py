"""A small HTTP proxy on loopback: CONNECT, and plain requests in absolute form. Remembers what it was asked."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.contract.delivery.peers import Peer, peer, read_exactly, read_head

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Proxy(NamedTuple):
    peer: Peer
    heads: list[bytes]
    """What was asked, one head each, without what went through a tunnel."""
    tunnelled: list[bytes]
    """What went to receivers through tunnels, as the proxy saw it."""

    def url(self, login: str = "") -> str:
        return f"http://{login}127.0.0.1:{self.peer.port}"


@contextlib.contextmanager
def proxy(*, login: str = "", answer: bytes = ESTABLISHED) -> Iterator[Proxy]:
    """Lets through whoever shows `login` (`user:password`), or everybody. Answers CONNECT with `answer`."""
    heads: list[bytes] = []
    tunnelled: list[bytes] = []
    due = b"Proxy-Authorization: Basic " + base64.b64encode(login.encode()) + b"\r\n"

    def serve(connection: socket.socket) -> None:
        while head := read_head(connection):
            heads.append(head)
            method, target, _ = head.split(b" ", 2)
            if login and due not in head:
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif method == b"CONNECT":
                if b" 200 " not in answer:
                    connection.sendall(answer)
                    return
                tunnel(connection, target.decode(), answer, tunnelled)
                return
            else:
                forward(connection, head, target.decode())

    with peer(serve) as running:
        yield Proxy(running, heads, tunnelled)


def tunnel(connection: socket.socket, target: str, answer: bytes, seen: list[bytes]) -> None:
    host, _, port = target.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as onward:
        connection.sendall(answer)
        back = threading.Thread(target=pump, args=(onward, connection, []), daemon=True)
        back.start()
        pump(connection, onward, seen)
        back.join(5)


def pump(source: socket.socket, sink: socket.socket, seen: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            seen.append(data)
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def forward(connection: socket.socket, head: bytes, url: str) -> None:
    """One plain request, passed on in origin form, and its answer with Content-Length."""
    parts = urlsplit(url)
    fields = [line for line in head.split(b"\r\n")[1:] if not line.startswith(b"Proxy-")]
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
    with socket.create_connection((parts.hostname or "", parts.port or 80), 5) as onward:
        first = head.split(b" ", 1)[0] + b" " + parts.path.encode() + b" HTTP/1.1"
        onward.sendall(b"\r\n".join([first, *fields]) + read_exactly(connection, length))
        answered = read_head(onward)
        size = int(answered.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        connection.sendall(answered + read_exactly(onward, size))
