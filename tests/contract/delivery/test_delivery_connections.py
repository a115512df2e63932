"""One connection from beneath: addresses a system cannot use, and what a poll is told to wait for."""

from __future__ import annotations

import socket
import ssl
import time

import pytest

from footfall.delivery.connection import Connection
from footfall.delivery.dialing import dial_any
from footfall.delivery.http1 import Origin
from footfall.delivery.readiness import READABLE, WRITABLE

NO_FAMILY = 999
"""Of addresses: none that any system knows."""


def test_an_address_of_a_family_that_the_system_lacks_does_not_hide_the_next() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        unusable = (NO_FAMILY, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0))
        usable = (int(socket.AF_INET), int(socket.SOCK_STREAM), 6, "", server.getsockname())
        with dial_any([unusable, usable], deadline_s=time.monotonic() + 5) as connected:
            assert connected.getpeername() == server.getsockname()
        with pytest.raises(OSError, match="not supported"):
            dial_any([unusable], deadline_s=time.monotonic() + 5)


class Renegotiating(socket.socket):
    """TLS that must write before it can read on, once."""

    asked = False

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        if not self.asked:
            self.asked = True
            raise ssl.SSLWantWriteError
        raise ssl.SSLWantReadError


def test_a_connection_that_only_reads_on_does_not_wait_to_write() -> None:
    """A socket can nearly always be written to, so a poll for that would return at once, again and again."""
    near, far = socket.socketpair()
    connection = Connection(Renegotiating(fileno=near.detach()), Origin(scheme="https", host="shop.example", port=443))
    with far:
        connection.begin(b"POST", answer_bytes_max=1_000)
        assert connection.go_on() is None
        assert connection.wanted == READABLE | WRITABLE
        assert connection.go_on() is None
        assert connection.wanted == READABLE
        connection.close()
