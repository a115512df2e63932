"""A receiver that speaks the wire of all three libraries, writes down what arrived, and fails as told.

    POST …/userevents        one event                       Footfall
    POST /v1/batch           {"batch": [{…}, …]}             Segment
    POST /batch/             {"batch": [{…}, …]}             PostHog

It is no Footfall: `/openapi.json` is 404, so that an Outbox posts one event a request. A body that is not JSON is refused whole
with 400, `NaN` included, which JSON does not have. An event counts from the moment its body was read, whether or not anybody
waits for the answer: then the receiver has it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self

_QUIET_S: Final = 0.25
"""No request for this long, and none under way: what was sent by processes now gone has been read."""
_SETTLE_S_MAX: Final = 15.0
_is_shopper = re.compile(r"shopper-(\d+)").fullmatch


class Receiver:
    """Listens on one port of the loopback, up or down. The knobs may be turned at any time, from any thread."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        """between having read a request and answering it"""
        self.key = ""
        """the only one that is good; "": any is"""
        self.arrived: Counter[int] = Counter()
        """number of the shopper → how often it came with an answer of 200"""
        self._lock = threading.Lock()
        self._under_way = 0
        self._last_s = time.monotonic()
        self._connections: set[socket.socket] = set()
        self._server: _Server | None = None
        self._port = 0
        self.up()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        """Listens, on the port of the first time."""
        self._server = _Server(self, self._port)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        """Refuses connections and cuts those it has. Twice is allowed."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._lock:
            connections, self._connections = self._connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def settle(self) -> None:
        """Returns when nothing has come for a while and every answer was given."""
        deadline_s = time.monotonic() + _SETTLE_S_MAX
        while time.monotonic() < deadline_s:
            with self._lock:
                if not self._under_way and time.monotonic() - self._last_s > max(_QUIET_S, self.delay_s):
                    return
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    # -- what the handlers call

    def joined(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)

    def left(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def answer(self, path: str, authority: str, body: bytes) -> int:
        """The status for this request, after the delay; what it holds is counted when that is 200."""
        with self._lock:
            self._under_way += 1
        try:
            status, numbers = self._judge(path, authority, body)
            with self._lock:
                self.arrived.update(numbers)
            time.sleep(self.delay_s)
            return status
        finally:
            with self._lock:
                self._under_way -= 1
                self._last_s = time.monotonic()

    def _judge(self, path: str, authority: str, body: bytes) -> tuple[int, list[int]]:
        try:
            value = json.loads(body, parse_constant=_no_json)
        except ValueError:
            return 400, []
        if self.key and self.key not in (authority, value.get("api_key")):
            return 401, []
        events = [value] if path.endswith("/userevents") else value["batch"]
        return 200, [number_of(event) for event in events]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.receiver.joined(self.connection)

    def finish(self) -> None:
        self.server.receiver.left(self.connection)
        with contextlib.suppress(OSError):  # nobody is there any more to read the rest
            super().finish()

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._answer(404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self._answer(self.server.receiver.answer(self.path, self._authority(), body))

    def _authority(self) -> str:
        """The key of the request where it is in a header: Footfall's own, or Segment's user name of Basic authentication."""
        given = self.headers.get("Authorization", "")
        if given.startswith("Basic "):
            return base64.b64decode(given.removeprefix("Basic ")).decode().removesuffix(":")
        return str(self.headers.get("X-API-Key", ""))

    def _answer(self, status: int) -> None:
        content = b"{}" if status == 200 else b'{"code":"refused","message":"refused","detail":"refused"}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the library's name
        """Says nothing: a thousand lines a row would hide the table."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, receiver: Receiver, port: int) -> None:
        self.receiver = receiver
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed leaves half a request: that is the scenario, not an error."""


def number_of(event: dict[str, Any]) -> int:
    """Which of the shop's events this is: all three libraries carry the shopper."""
    shopper = event.get("user_id") or event.get("userId") or event.get("distinct_id") or ""
    found = _is_shopper(shopper)
    if found is None:
        raise AssertionError("an event arrived without the shopper it was tracked with")
    return int(found[1])


def _no_json(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
