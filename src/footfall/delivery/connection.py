"""One connection that waits for nothing: it sends and reads what can be sent and read now, and says what it waits for.

    begin ─▶ sending ─▶ reading ─▶ complete ─▶ kept, or closed
                └─ a final answer may come while the request is still being sent: 413, say. It counts, and the connection ends.

`HttpTransport` waits for one of them at a time, `HttpExchanges` for many. A connection is used by one thread at a time and only
in the process that opened it. A forked child drops the copies it inherited by closing its own descriptors, which the parent does
not notice.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections import deque
from typing import Final

from footfall.delivery.failures import CUT
from footfall.delivery.http1 import AnswerReader, Origin, Response
from footfall.delivery.readiness import READABLE, WRITABLE, is_ready

IDLE_CONNECTIONS_MAX: Final = 64
IDLE_S_MAX: Final = 30.0
"""Below the 60 s after which common load balancers drop an idle connection without a word."""
_READ_BYTES: Final = 16_384
"""What one TLS record holds at most."""
_SEND_BYTES: Final = 1 << 18


class Connection:
    """One socket, where it leads, and the exchange it is in."""

    def __init__(self, connected: socket.socket, origin: Origin) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._origin = origin
        self._process = os.getpid()
        self._used_s = time.monotonic()
        self._unsent: memoryview | None = None
        self._reader = AnswerReader()
        self.file: Final = connected.fileno()
        self.wanted = READABLE
        """What this connection waits for before `go_on` makes sense."""
        self.answered = False
        """Whether a byte of the current answer came."""
        self.can_be_kept = False
        """Whether another request may follow; to be asked when the answer is complete."""

    def begin(self, message: bytes, *, answer_bytes_max: int) -> None:
        """Sends of `message` what the system takes at once. That the connection is dead is for `go_on` to tell."""
        self._reader = AnswerReader(answer_bytes_max=answer_bytes_max)
        self._unsent = memoryview(message)
        self.wanted = READABLE
        self.answered = self.can_be_kept = False
        try:
            self._send()
        except CUT:
            pass  # an answer may have come before: 413, say

    def go_on(self) -> Response | None:
        """The answer when it is complete, else None and `wanted`. OSError or AnswerError when there will be none."""
        if self._unsent is None:
            return self._receive()
        try:
            self._send()
        except CUT:  # a receiver may have answered before it hung up on the rest of the request
            response = self._receive()
            if response is None:
                raise
            return response
        return self._receive()

    def is_usable(self, origin: Origin) -> bool:
        """Whether another request for `origin` may go out here: ours, not idle for long, and silent, as a live peer is."""
        return (
            self._origin == origin
            and self._process == os.getpid()
            and not self.is_stale()
            and not is_ready(self._socket, READABLE, timeout_s=0)
        )

    def is_stale(self) -> bool:
        return time.monotonic() - self._used_s > IDLE_S_MAX

    def wait(self, timeout_s: float) -> None:
        """Until `go_on` makes sense, or the seconds have passed."""
        is_ready(self._socket, self.wanted, timeout_s=timeout_s)

    def close(self) -> None:
        self._socket.close()  # no TLS goodbye and no shutdown: in a forked child either would end the parent's exchange

    def _send(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                unsent = unsent[self._socket.send(unsent[:_SEND_BYTES]) :]  # after a refusal TLS wants the same piece again
        except (BlockingIOError, ssl.SSLWantWriteError):
            self.wanted = READABLE | WRITABLE
        except ssl.SSLWantReadError:
            self.wanted = READABLE
        else:
            unsent = None
            self.wanted = READABLE
        self._unsent = unsent

    def _receive(self) -> Response | None:
        while True:  # TLS may hold what no poll tells of, so this ends when there is nothing more, or with the answer
            try:
                data = self._socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                if self._unsent is None:  # else a socket that can always be written to would wake a poll without end
                    self.wanted = READABLE
                return None
            except ssl.SSLWantWriteError:
                self.wanted = READABLE | WRITABLE
                return None
            if not data and not self.answered:
                raise ConnectionResetError("the connection ended before the answer began")
            self.answered = True
            response = self._reader.feed(data)
            if response is not None:
                self.can_be_kept = self._reader.can_be_kept and self._unsent is None
                self._unsent = None
                self._used_s = time.monotonic()
                return response


class KeptConnections:
    """Connections that wait for another request; the one used last goes first.

    Append and pop of a deque are atomic: several threads may share one of these, with no lock that a fork could find taken.
    """

    def __init__(self) -> None:
        self._idle: deque[Connection] = deque()

    def take(self, origin: Origin) -> Connection | None:
        """One that leads there, is ours and looks alive. Others on the way are closed: they are older still, or inherited."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable(origin):
                return connection
            connection.close()

    def put(self, connection: Connection) -> None:
        """Keeps it where that is allowed and there is room, else closes it."""
        if connection.can_be_kept and len(self._idle) < IDLE_CONNECTIONS_MAX:
            self._idle.append(connection)
        else:
            connection.close()

    def close_stale(self) -> None:
        """Closes what idled too long to be used again. For one thread only."""
        while self._idle and self._idle[0].is_stale():
            self._idle.popleft().close()

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()
