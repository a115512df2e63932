"""One POST to a User Event API, and its answer: the seam between what we say and the network.

A `Transport` has one method that matters, `send`. `HttpTransport` speaks HTTP/1.1 over sockets, `ScriptedTransport` is its twin
in memory. Above the seam nobody sees a socket, a TLS error or an HTTP library: whatever goes wrong is a `NetworkError`.

Why the standard library and no HTTP client (numbers and method: docs/adr/0001): it alone holds no thread, no lock and no event
loop, so there is nothing that a fork could leave half alive, and of everything that survived a fork it was the fastest.

Invariants:
- A connection is used by one thread at a time and only in the process that opened it. A forked child drops the copies it
  inherited by closing its own descriptors, which the parent does not notice.
- One deadline covers connecting, TLS, sending and every byte of the answer, so an answer that drips cannot hold a caller.
  Only the name lookup is outside: the operating system's resolver takes no deadline.
- At most `ANSWER_BYTES_MAX` of an answer are read, or what the maker of the transport says. Redirects are answers like any
  other: following one would carry the key off.
- No proxy is taken from the environment, for whoever sets `HTTPS_PROXY` would decide where shoppers' data goes.
- A kept connection may have died unseen. A request that met such a death before any byte of an answer is sent once more on a
  fresh one: every request here carries an event with its `id`, so the receiver counts it once.
"""

from __future__ import annotations

import http.client
import io
import os
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, cast
from urllib.parse import urlsplit

import msgspec

from footfall.errors import NetworkError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

ANSWER_BYTES_MAX: Final = 1 << 20
"""Real answers have 2 bytes, test reports a few kB; what is longer comes from something else on the way."""
IDLE_CONNECTIONS_MAX: Final = 64
IDLE_S_MAX: Final = 30.0
"""Below the 60 s after which common load balancers drop an idle connection without a word."""
_INTERIM_ANSWERS_MAX: Final = 16


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A POST of `body` to `url`. Safe to repeat. `timeout_s` is for all of it, the answer included."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_s: float

    def __repr__(self) -> str:
        return f"Request(url={self.url!r}, {len(self.body)} bytes)"  # headers hold the key, the body holds people


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of any status. Header names are lower case; `body` is cut at the transport's limit."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Response(status={self.status}, {len(self.body)} bytes)"  # a report repeats the event


class Transport(Protocol):
    """How requests leave this process. Usable from any thread."""

    def send(self, request: Request) -> Response:
        """Blocks until the answer is here. `NetworkError` when none came: the request may or may not have arrived."""
        ...

    def close(self) -> None:
        """Gives back what is held; requests under way end as they would have. Twice is allowed, `send` afterwards is not."""
        ...


Dial = Callable[[str, int, float], socket.socket]
"""Host, port, seconds → a connected socket, or OSError."""


def dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
    """Connects to the first address of `host` that answers; each gets an even share of the seconds that are left."""
    deadline_s = time.monotonic() + timeout_s
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = socket.gaierror("the name has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(_left_s(deadline_s) / (len(addresses) - index))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            failure = error
    raise failure


class HttpTransport:
    """HTTP/1.1 with kept connections. Certificates are verified against the system's authorities, or by `tls` where given.

    Nothing is lost when it is not closed: a `send` that returned is complete. Hence no ResourceWarning; idle connections are
    closed when the transport is collected.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, dial: Dial = dial, answer_bytes_max: int = ANSWER_BYTES_MAX) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._tls = tls
        self._dial = dial
        self._idle: deque[_Connection] = deque()  # append and pop are atomic: no lock that a fork could find taken
        self._closed = False

    def send(self, request: Request) -> Response:
        if self._closed:
            raise RuntimeError("the client is closed; make a new one")
        try:
            return self._exchange(request)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise network_error(error, request) from error

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):  # not set when the constructor was refused its arguments
            self.close()

    def _exchange(self, request: Request) -> Response:
        deadline_s = time.monotonic() + request.timeout_s
        parts = urlsplit(request.url)
        message = _message(request, host=parts.netloc, target=parts.path or "/")
        origin = (parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        kept = self._kept(origin)
        if kept is not None:
            try:
                return self._ask(kept, message, deadline_s)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):  # RemoteDisconnected is a ConnectionError
                if kept.answered:
                    raise
        return self._ask(self._open(origin, deadline_s), message, deadline_s)

    def _kept(self, origin: tuple[str, str, int]) -> _Connection | None:
        """The connection used last, if it is ours and looks alive. Others are closed: they are older still, or inherited."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable(origin):
                return connection
            connection.close()

    def _open(self, origin: tuple[str, str, int], deadline_s: float) -> _Connection:
        scheme, host, port = origin
        plain = self._dial(host, port, _left_s(deadline_s))
        if scheme != "https":
            return _Connection(plain, origin)
        try:
            plain.settimeout(_left_s(deadline_s))
            return _Connection(self._context().wrap_socket(plain, server_hostname=host), origin)
        except BaseException:
            plain.close()
            raise

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:  # two threads may both make one; either will do
            self._tls = ssl.create_default_context()
        return self._tls

    def _ask(self, connection: _Connection, message: bytes, deadline_s: float) -> Response:
        try:
            response, can_be_kept = connection.ask(message, deadline_s, answer_bytes_max=self._answer_bytes_max)
        except BaseException:
            connection.close()
            raise
        if can_be_kept and not self._closed and len(self._idle) < IDLE_CONNECTIONS_MAX:
            self._idle.append(connection)
        else:
            connection.close()
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


def network_error(error: Exception, request: Request) -> NetworkError:
    """What went wrong on the way to the receiver, in words that say what to look at. Holds no byte of what was sent or came."""
    host = urlsplit(request.url).netloc
    failure = NetworkError(f"no answer from {host}: {_cause(error, request.timeout_s)}")
    _emptied(error)
    return failure


def _emptied(error: Exception) -> None:
    """Takes out of an exception what it holds of the exchange, for it will hang on ours as its cause, and loggers print causes.

    The parser keeps the line that came instead of a status, which may repeat what was sent, and so does the exception it was
    itself raised after; an encoding error keeps the head of the request, with the key.
    """
    error.__context__ = error.__cause__ = None
    if isinstance(error, UnicodeEncodeError):
        error.object = ""
    elif isinstance(error, http.client.IncompleteRead):
        error.partial = b""
    elif isinstance(error, http.client.BadStatusLine):
        vars(error).clear()
    if not isinstance(error, OSError):
        error.args = ()


def _cause(error: Exception, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing complete within {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return "the host name was not found; look at platform_name, region or base_url, and at the DNS of this machine"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted here ({getattr(error, 'verify_message', 'no reason given')})"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({getattr(error, 'reason', None) or type(error).__name__})"
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused; is the receiver running, and is the port right?"
    if isinstance(error, ConnectionError):
        return "the connection was cut before the answer was complete"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, UnicodeError):
        return "the host name cannot be looked up"
    return f"what came is not an HTTP answer, or only part of one ({type(error).__name__})"


class _Connection:
    """One socket and the process it belongs to."""

    def __init__(self, connected: socket.socket, origin: tuple[str, str, int]) -> None:
        self._socket = connected
        self._origin = origin
        self._process = os.getpid()
        self._used_s = time.monotonic()
        self.answered = False
        """Whether a byte of the current answer came."""

    def is_usable(self, origin: tuple[str, str, int]) -> bool:
        if self._process != os.getpid() or self._origin != origin or time.monotonic() - self._used_s > IDLE_S_MAX:
            return False
        return not _has_something_to_read(self._socket)  # an idle peer has nothing to say but goodbye

    def ask(self, message: bytes, deadline_s: float, *, answer_bytes_max: int) -> tuple[Response, bool]:
        """The answer, and whether another request may follow on this connection."""
        self.answered = False
        self._socket.settimeout(_left_s(deadline_s))
        self._socket.sendall(message)
        # The parser asks its socket for one thing only: makefile.
        answer = http.client.HTTPResponse(cast("socket.socket", _Incoming(self, self._socket, deadline_s)), method="POST")
        try:
            _begin(answer)
            body = answer.read(answer_bytes_max)
            if answer.length and len(body) < answer_bytes_max:
                raise http.client.IncompleteRead(b"", answer.length)  # the parser lets a short body pass
            can_be_kept = answer.isclosed() and not answer.will_close
            headers = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            answer.close()
        self._used_s = time.monotonic()
        return Response(status=answer.status, headers=headers, body=body), can_be_kept

    def close(self) -> None:
        self._socket.close()  # no TLS goodbye: in a forked child it would end the parent's session


def _begin(answer: http.client.HTTPResponse) -> None:
    """Reads up to the headers of the final answer. Interim ones (RFC 9110, 15.2) come before it and say nothing that a sender
    needs, such as the 103 Early Hints of some proxies; the parser itself skips "100 Continue" only."""
    for _ in range(_INTERIM_ANSWERS_MAX):
        answer.begin()
        if answer.status >= 200:
            return
        if answer.status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            break  # nobody asked for it, and what follows is no HTTP
        answer.headers = cast("http.client.HTTPMessage", None)  # how the parser knows that it has not begun
    raise http.client.HTTPException("an interim answer where a final one was due")


class _Incoming(io.RawIOBase):
    """A socket's incoming bytes under a deadline. Plays the part of the socket for `http.client.HTTPResponse`."""

    def __init__(self, connection: _Connection, connected: socket.socket, deadline_s: float) -> None:
        self._connection = connection
        self._socket = connected
        self._deadline_s = deadline_s

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        self._socket.settimeout(_left_s(self._deadline_s))
        count = self._socket.recv_into(buffer)
        self._connection.answered = self._connection.answered or count > 0
        return count


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the deadline has passed")
    return left_s


def _message(request: Request, *, host: str, target: str) -> bytes:
    """The request as it goes over the wire. Names and values were checked for line breaks where they came in."""
    lines = [f"POST {target} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("ascii") + request.body


def _has_something_to_read(connected: socket.socket) -> bool:
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(connected, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connected], [], [], 0)[0])  # Windows, where select has no limit on descriptor numbers
