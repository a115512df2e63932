"""A receiver on loopback in this process that answers each POST as a function says; its /openapi.json may call it a Footfall."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from footfall.client.settings import Settings


class Told(NamedTuple):
    """An answer to give."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = {}


def batch_answer(accepted: int, *rejected: Mapping[str, Any], retry_after: str = "", **members: Any) -> Told:
    headers = {"Retry-After": retry_after} if retry_after else {}
    return Told(200, json.dumps({"accepted": accepted, "rejected": rejected, **members}).encode(), headers)


class BatchReceiver:
    """`answer` gets the lines of each POST; `posts` remembers path, content type and lines."""

    def __init__(self, answer: Callable[[list[bytes]], Told], *, openapi: Mapping[str, Any] | None = None) -> None:
        self.posts: list[tuple[str, str, list[bytes]]] = []
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                lines = self.rfile.read(int(self.headers["Content-Length"])).split(b"\n")[:-1]
                posts.append((self.path, self.headers["Content-Type"], lines))
                self._give(answer(lines))

            def do_GET(self) -> None:
                self._give(Told(404) if openapi is None else Told(200, json.dumps(openapi).encode()))

            def log_message(self, *_: object) -> None:
                pass

            def _give(self, told: Told) -> None:
                self.send_response(told.status)
                self.send_header("Content-Length", str(len(told.body)))
                for name, value in told.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(told.body)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def settings(self) -> Settings:
        return Settings(
            base_url=f"http://127.0.0.1:{self._server.server_port}",
            platform_id="SHOP", api_key="sesame", currency="", timeout_s=5, retries=0,
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


FOOTFALL = {"info": {"x-footfall": True, "version": "9"}, "paths": {"/rmp/event/v1/platforms/{platform}/userevents:batch": {}}}
FOOTFALL_WITHOUT_BATCHES = {"info": {"x-footfall": True, "version": "0"}, "paths": {}}
