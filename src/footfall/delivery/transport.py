"""One request to a User Event API, and its answer: the seam between what we say and the network.

A `Transport` has one method that matters, `send`. `HttpTransport` speaks HTTP/1.1 over sockets, `ScriptedTransport` is its twin
in memory. Above the seam nobody sees a socket, a TLS error or an HTTP library: whatever goes wrong is a `NetworkError`.

Why the standard library's sockets and no HTTP client (numbers and method: docs/adr/0001): they alone hold no thread, no lock and
no event loop, so there is nothing that a fork could leave half alive, and of what survived a fork they were the fastest.

Invariants, here and in `exchanges`, which sends many requests at once over the same connections:
- A connection is used by one thread at a time and only in the process that opened it.
- One deadline covers connecting, TLS, sending and every byte of the answer, so an answer that drips cannot hold a caller.
  Only the name lookup is outside: the operating system's resolver takes no deadline.
- At most `ANSWER_BYTES_MAX` of an answer are read, or what the maker of the transport says. Redirects are answers like any
  other: following one would carry the key off.
- A kept connection may have died unseen. A request that met such a death before any byte of an answer is sent once more on a
  fresh one: every POST here carries an event with its `id`, so the receiver counts it once.
"""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from footfall.delivery.connection import Connection, KeptConnections
from footfall.delivery.dialing import Dial, Dialer, dial, left_s
from footfall.delivery.failures import CUT, ON_THE_WAY, network_error
from footfall.delivery.http1 import ANSWER_BYTES_MAX, Request, Response, target_of
from footfall.errors import NetworkError

__all__ = [
    "ANSWER_BYTES_MAX",
    "Dial",
    "HttpTransport",
    "Request",
    "Response",
    "ScriptedTransport",
    "Transport",
    "dial",
    "network_error",
]


class Transport(Protocol):
    """How requests leave this process. Usable from any thread."""

    def send(self, request: Request) -> Response:
        """Blocks until the answer is here. `NetworkError` when none came: the request may or may not have arrived."""
        ...

    def close(self) -> None:
        """Gives back what is held; requests under way end as they would have. Twice is allowed, `send` afterwards is not."""
        ...


class HttpTransport:
    """HTTP/1.1 with kept connections. Certificates are verified against the system's authorities, or by `tls` where given.

    `proxy` is `http://[user:password@]host:port`, empty for none; SettingsError when it is neither. Nothing is lost when the
    transport is not closed: a `send` that returned is complete. Hence no ResourceWarning; idle connections are closed when it is
    collected.
    """

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
        self._kept = KeptConnections()
        self._closed = False

    def send(self, request: Request) -> Response:
        if self._closed:
            raise RuntimeError("the client is closed; make a new one")
        try:
            return self._exchange(request)
        except ON_THE_WAY as error:
            raise network_error(error, request) from error

    def close(self) -> None:
        self._closed = True
        self._kept.close()

    def __del__(self) -> None:
        if hasattr(self, "_kept"):  # not set when the constructor was refused its arguments
            self.close()

    def _exchange(self, request: Request) -> Response:
        deadline_s = time.monotonic() + request.timeout_s
        message = self._dialer.message(request)
        origin = target_of(request.url).origin
        kept = self._kept.take(origin)
        if kept is not None:
            try:
                return self._ask(kept, message, deadline_s)
            except CUT:
                if kept.answered:
                    raise
        return self._ask(Connection(self._dialer.open(origin, deadline_s=deadline_s), origin), message, deadline_s)

    def _ask(self, connection: Connection, message: bytes, deadline_s: float) -> Response:
        response = None
        try:
            connection.begin(message, answer_bytes_max=self._answer_bytes_max)
            while response is None:
                connection.wait(left_s(deadline_s))
                response = connection.go_on()
        except BaseException:
            connection.close()
            raise
        if self._closed:
            connection.close()
        else:
            self._kept.put(connection)
        return response


class ScriptedTransport:
    """A transport that answers from a script and remembers what it was asked: for tests, ours and our users'.

    Each step of `script` is an answer, or an exception to raise; the last one stands for ever after. Without a script every
    request is answered as the original service does, 200 and `{}`.
    """

    def __init__(self, script: Iterable[Response | NetworkError] = ()) -> None:
        self._script = deque(script) or deque([Response(status=200, body=b"{}")])
        self.requests: list[Request] = []
        self.is_closed = False

    def send(self, request: Request) -> Response:
        if self.is_closed:
            raise RuntimeError("the client is closed; make a new one")
        self.requests.append(request)
        step = self._script.popleft() if len(self._script) > 1 else self._script[0]
        if isinstance(step, NetworkError):
            raise step
        return step

    def close(self) -> None:
        self.is_closed = True
