"""A real listener on this machine in front of a receiver, for shops in other threads and processes: HTTP/1.1, connections kept.

The port is the receiver's for as long as the listener is open, also while it is `down`: then it is bound and nobody listens,
which is what "connection refused" looks like from outside. An answer leaves in one write, so no connection waits for a delayed
acknowledgement.
"""

from __future__ import annotations

import http
import http.server
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from footfall.client.testing import answers
from footfall.client.testing.faults import Broken
from footfall.client.testing.judge import BATCH_BYTES_MAX, Asked, too_large
from footfall.delivery.transport import Response

Exchange = Callable[[Asked], Response | Broken]

_HOST: Final = "127.0.0.1"
_BACKLOG: Final = 128
_GOODBYE_S: Final = 2.0
_BODY_BYTES_READ: Final = 2 * BATCH_BYTES_MAX
"""A body that is too large is read all the same, up to this: closing at once would reset a sender that is still writing."""
_LENGTH_DIGITS_MAX: Final = 18
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER, on, zero seconds: close sends RST


class Loopback:
    """Serves `exchange`, a thread a connection. Open from the constructor to `close`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._socket = _bound(0)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{_HOST}:{self.port}"
        self._accepting: threading.Thread | None = None

    def up(self) -> None:
        """Listens. Once more is allowed."""
        if self._accepting is None:
            self._socket.listen(_BACKLOG)
            self._accepting = threading.Thread(target=self._accept, args=(self._socket,), name="footfall-receiver", daemon=True)
            self._accepting.start()

    def down(self) -> None:
        """Cuts every connection and listens no more; new ones are refused. Once more is allowed."""
        if self._accepting is None:
            return
        accepting, self._accepting = self._accepting, None
        self._stop_listening(accepting)
        self._socket = _bound(self.port)
        self._cut_connections()

    def close(self) -> None:
        """Gives the port back and waits for the threads, each of which has nothing left to wait for."""
        self.down()
        self._socket.close()

    def _stop_listening(self, accepting: threading.Thread) -> None:
        listener = self._socket
        try:
            listener.shutdown(socket.SHUT_RDWR)  # also ends the copy that a forked shop may hold
        except OSError:
            pass  # not everywhere may a listening socket be shut down; then the call below wakes the thread
        try:
            socket.create_connection((_HOST, self.port), timeout=_GOODBYE_S).close()
        except OSError:
            pass
        accepting.join(_GOODBYE_S)
        listener.close()

    def _cut_connections(self) -> None:
        with self._lock:
            connections = list(self._open.items())
        for _, connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it is gone already
        for thread, _ in connections:
            thread.join(_GOODBYE_S)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except OSError:
                return
            if self._accepting is not threading.current_thread():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection, address), name="footfall-receiver", daemon=True)
            with self._lock:
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket, address: Any) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Handler(connection, address, self._exchange)
        except OSError:
            pass  # the sender is gone, which is nobody's mistake
        finally:
            connection.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((_HOST, port))
    except BaseException:
        bound.close()
        raise
    return bound


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection: the parsing is the standard library's."""

    protocol_version = "HTTP/1.1"

    def __init__(self, connection: socket.socket, address: Any, exchange: Exchange) -> None:
        self._exchange = exchange
        super().__init__(connection, address, None)  # type: ignore[arg-type]  # it never asks its server for anything

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parser's name
        """A test's output is the test's."""

    def _answer(self) -> None:
        framing = self._framing_refusal()
        if framing is not None:
            self.close_connection = True
            self._write(framing)
            return
        length = int(self.headers["content-length"] or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        headers = {name.lower(): tuple(self.headers.get_all(name, ())) for name in self.headers}
        end = self._exchange(Asked(self.command, unquote(self.path.partition("?")[0]), headers, body))
        if isinstance(end, Response):
            self._write(end)
        else:
            self._break(end)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - the parser looks for these

    def _framing_refusal(self) -> Response | None:
        if len(self.headers.get_all("host", ())) != 1:
            return answers.refused(400, "Bad Request: the Host header must come exactly once")
        length = self.headers["content-length"]
        if length is None and self.command != "POST" and "transfer-encoding" not in self.headers:
            return None
        if length is None or not length.isdecimal() or len(length) > _LENGTH_DIGITS_MAX or "transfer-encoding" in self.headers:
            message = "Length Required: send the body with a Content-Length header and without Transfer-Encoding"
            return answers.refused(411, message)
        return too_large(int(length), BATCH_BYTES_MAX) if int(length) > _BODY_BYTES_READ else None

    def _write(self, response: Response) -> None:
        known = response.status in http.HTTPStatus._value2member_map_
        lines = [f"HTTP/1.1 {response.status} {http.HTTPStatus(response.status).phrase if known else 'Unknown'}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        lines += [f"content-length: {len(response.body)}", *(["connection: close"] if self.close_connection else [])]
        body = b"" if self.command == "HEAD" else response.body
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def _break(self, broken: Broken) -> None:
        self.close_connection = True
        if broken is Broken.HANG:
            while self.connection.recv(64 * 1024):  # until the sender has had enough, or the receiver goes down
                pass
        else:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
