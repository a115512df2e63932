"""Many requests on their way at once, from one thread: `HttpExchanges` over sockets, `ScriptedExchanges` in memory.

    start ─▶ a kept connection or a new one ─▶ under way ─▶ ended ─▶ handed out by wait
                                                  └── cut, on a kept one, before any answer: once more on a new one

Why one thread that polls and not several that block: it leaves the interpreter to the application. Beside eight requests on their
way, a loop of short steps took 71 µs at its 99th percentile when one thread polled for them and 1,300 µs when eight threads
blocked. Connections, their rules and their failures are those of `HttpTransport`; so are the words for what went wrong.

Invariants:
- Every request that was started is handed out exactly once, unless the exchanges are closed before. Nothing that a receiver or a
  network does leaves `start` or `wait` as an exception.
- One request at a time on a connection, and at most `IN_FLIGHT_MAX` started and not handed out.
- What a forked child inherits is the parent's: the child's first `start` or `wait` drops its copies by closing its own
  descriptors, and begins with nothing under way. The child is never told how the parent's requests ended.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
import time
from typing import Any, Final

from footfall.clock import ManualClock
from footfall.delivery.api import Done
from footfall.delivery.connection import Connection, KeptConnections
from footfall.delivery.dialing import Dial, Dialer, dial
from footfall.delivery.failures import CUT, ON_THE_WAY, network_error
from footfall.delivery.http1 import ANSWER_BYTES_MAX, Origin, Request, Response, target_of
from footfall.delivery.readiness import READABLE, Watch, new_watch
from footfall.delivery.transport import Transport
from footfall.errors import NetworkError

_PATIENCE_S_MAX: Final = 3600.0
"""What a system call is asked to wait at most; whoever asks for more waits several times."""
IN_FLIGHT_MAX: Final = 64
"""As many connections a receiver sees of one process. At 0.1 s an answer that is 640 requests a second."""


class HttpExchanges:
    """HTTP/1.1 over non-blocking sockets, from one thread; `wake` from any. Arguments as those of `HttpTransport`.

    `start` blocks while it connects, and so does `wait` for the one request whose kept connection had died; both no longer than
    that request's timeout. A request beyond `IN_FLIGHT_MAX` is refused with RuntimeError: whoever starts them counts them.
    """

    _under_way: dict[int, _Exchange]
    """By the file number of its connection."""
    _ended: list[Done]
    _kept: KeptConnections
    _expiry_s: float
    """No request under way reaches its deadline before."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: str = "",
        dial: Dial = dial,
        answer_bytes_max: int = ANSWER_BYTES_MAX,
    ) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._dialer = Dialer(tls=tls, proxy=proxy, dial=dial)
        self._closed = False
        self._bell = _Bell()
        self._begin_anew()

    def start(self, request: Request, *, token: Any) -> None:
        if self._closed:
            raise RuntimeError("the exchanges are closed; make new ones")
        self._drop_what_was_inherited()
        if len(self._under_way) + len(self._ended) >= IN_FLIGHT_MAX:
            raise RuntimeError(f"more than {IN_FLIGHT_MAX} requests on their way")
        exchange = _Exchange(request, token)
        try:
            exchange.message = self._dialer.message(request)
        except UnicodeError as error:
            self._end(exchange, error)
            return
        self._send(exchange, self._kept.take(exchange.origin))

    def wait(self, timeout_s: float) -> list[Done]:
        self._drop_what_was_inherited()
        until_s = time.monotonic() + timeout_s
        while not self._closed:
            self._poll(until_s)
            if self._ended or self._bell.is_rung or time.monotonic() >= until_s:
                break
        self._bell.silence()
        if not self._ended:
            self._kept.close_stale()
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._closed = True
        self._let_go()
        self._bell.close()

    def __del__(self) -> None:
        if hasattr(self, "_under_way"):  # not set when the constructor was refused its arguments
            self.close()

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._watch = new_watch()  # the copy of one that another thread polled at the fork would refuse for ever
        self._under_way = {}
        self._ended = []
        self._kept = KeptConnections()
        self._expiry_s = math.inf

    def _drop_what_was_inherited(self) -> None:
        if self._process != os.getpid() and not self._closed:
            self._let_go()
            self._bell.close()
            self._begin_anew()

    def _let_go(self) -> None:
        for exchange in list(self._under_way.values()):
            exchange.connection.close()
        self._under_way.clear()
        self._ended.clear()
        self._kept.close()

    def _send(self, exchange: _Exchange, kept: Connection | None) -> None:
        """Sends on `kept`, or on a new connection where there is none."""
        connection = kept
        try:
            if connection is None:
                connection = Connection(self._dialer.open(exchange.origin, deadline_s=exchange.deadline_s), exchange.origin)
            connection.begin(exchange.message, answer_bytes_max=self._answer_bytes_max)
        except ON_THE_WAY as error:
            if connection is not None:
                connection.close()
            self._end(exchange, error)
            return
        exchange.connection = connection
        exchange.may_be_resent = kept is not None
        self._under_way[connection.file] = exchange
        self._watch.register(connection.file, connection.wanted)
        self._expiry_s = min(self._expiry_s, exchange.deadline_s)

    def _poll(self, until_s: float) -> None:
        """Waits for something to happen, once, and does what it asks for."""
        self._bell.listen(self._watch)
        at_once = self._ended or self._bell.is_rung
        patience_s = 0.0 if at_once else min(until_s, self._expiry_s) - time.monotonic()
        ready = self._watch.poll(max(0.0, min(patience_s, _PATIENCE_S_MAX)) * 1000)
        self._bell.stop_listening()
        for file, _ in ready:
            exchange = self._under_way.get(file)
            if exchange is None:
                self._bell.hear()
            else:
                self._go_on(exchange)
        if time.monotonic() >= self._expiry_s:  # after reading: an answer that is here counts, however late we look
            self._expire()

    def _go_on(self, exchange: _Exchange) -> None:
        connection = exchange.connection
        wanted = connection.wanted
        try:
            response = connection.go_on()
        except ON_THE_WAY as error:
            self._leave(connection)
            connection.close()
            if exchange.may_be_resent and not connection.answered and isinstance(error, CUT):
                self._send(exchange, None)
            else:
                self._end(exchange, error)
            return
        if response is not None:
            self._leave(connection)
            self._kept.put(connection)
            self._ended.append(Done(exchange.token, response))
        elif connection.wanted != wanted:
            self._watch.register(connection.file, connection.wanted)

    def _expire(self) -> None:
        now_s = time.monotonic()
        for exchange in list(self._under_way.values()):
            if exchange.deadline_s <= now_s:
                self._leave(exchange.connection)
                exchange.connection.close()
                self._end(exchange, TimeoutError("the deadline has passed"))
        self._expiry_s = min((exchange.deadline_s for exchange in self._under_way.values()), default=math.inf)

    def _leave(self, connection: Connection) -> None:
        """Watches it no more: before it is closed, for its number may be given to another file at once."""
        del self._under_way[connection.file]
        self._watch.unregister(connection.file)

    def _end(self, exchange: _Exchange, error: Exception) -> None:
        error.with_traceback(None)  # its frames hold the key
        self._ended.append(Done(exchange.token, network_error(error, exchange.request)))


class ScriptedExchanges:
    """Exchanges over any transport, asked at once and in order: the in-memory twin, for tests, ours and our users'.

    With a `ManualClock`, waiting in vain moves the clock instead of taking time. The transport stays its owner's: `close` leaves
    it open, so that the next exchanges may go on with it.
    """

    def __init__(self, transport: Transport, *, clock: ManualClock | None = None) -> None:
        self._transport = transport
        self._clock = clock
        self._watch = new_watch()
        self._bell = _Bell()
        self._ended: list[Done] = []
        self._closed = False

    def start(self, request: Request, *, token: Any) -> None:
        if self._closed:
            raise RuntimeError("the exchanges are closed; make new ones")
        try:
            result: Response | NetworkError = self._transport.send(request)
        except NetworkError as error:
            result = error
        self._ended.append(Done(token, result))

    def wait(self, timeout_s: float) -> list[Done]:
        if self._clock is None:
            self._wait_for_a_wake(timeout_s)
        elif not (self._ended or self._bell.is_rung or self._closed):
            self._clock.advance(max(0.0, timeout_s))
        self._bell.silence()
        ended, self._ended = self._ended, []
        return ended

    def wake(self) -> None:
        self._bell.ring()

    def close(self) -> None:
        self._closed = True
        self._ended.clear()
        self._bell.close()

    def __del__(self) -> None:
        if hasattr(self, "_bell"):  # not set when the constructor was refused its arguments
            self._bell.close()

    def _wait_for_a_wake(self, timeout_s: float) -> None:
        if self._bell.is_inherited:
            self._bell.close()
            self._watch = new_watch()
        until_s = time.monotonic() + timeout_s
        while not (self._ended or self._closed):
            self._bell.listen(self._watch)
            patience_s = 0.0 if self._bell.is_rung else until_s - time.monotonic()
            if self._watch.poll(max(0.0, min(patience_s, _PATIENCE_S_MAX)) * 1000):
                self._bell.hear()
            self._bell.stop_listening()
            if self._bell.is_rung or time.monotonic() >= until_s:
                return


class _Exchange:
    """One request, from `start` until its end."""

    __slots__ = ("connection", "deadline_s", "may_be_resent", "message", "origin", "request", "token")

    connection: Connection
    """Set while it is under way."""

    def __init__(self, request: Request, token: Any) -> None:
        self.request = request
        self.token = token
        self.origin: Origin = target_of(request.url).origin
        self.deadline_s = time.monotonic() + request.timeout_s
        self.message = b""
        self.may_be_resent = False


class _Bell:
    """Rings a polling thread awake, from any other. Its sockets are made when a thread first listens, and by each process anew.

    Nothing is lost between looking and polling: the listener says that it listens before it looks whether the bell was rung, and
    the ringer rings before it looks whether anybody listens. Nobody listening, ringing costs no system call. There is no lock,
    which an exception out of a signal handler could leave taken, and a ringer that met one leaves nothing that misleads the next.
    """

    def __init__(self) -> None:
        self.is_rung = False
        self._is_heard = False
        self._process = 0
        self._ends: tuple[socket.socket, socket.socket] | None = None

    @property
    def is_inherited(self) -> bool:
        """Whether what rings belongs to the process that this one was forked from."""
        return self._ends is not None and self._process != os.getpid()

    def ring(self) -> None:
        self.is_rung = True
        ends = self._ends
        if self._is_heard and ends is not None and self._process == os.getpid():
            try:
                ends[1].send(b"!")
            except OSError:
                pass  # full: it rings already. Closed: nobody is left to wake

    def listen(self, watch: Watch) -> None:
        if self._ends is None:
            near, far = self._ends = socket.socketpair()
            near.setblocking(False)
            far.setblocking(False)
            self._process = os.getpid()
            watch.register(near.fileno(), READABLE)
        self._is_heard = True

    def stop_listening(self) -> None:
        self._is_heard = False

    def hear(self) -> None:
        """Takes what rang out of the socket."""
        try:
            if self._ends is not None:
                self._ends[0].recv(4096)
        except OSError:
            pass

    def silence(self) -> None:
        self.is_rung = False

    def close(self) -> None:
        self._is_heard = False
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()
