"""A real S3 server on this machine, and a line to it that can lose answers."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

import boto3
import pytest
from moto.server import ThreadedMotoServer

BUCKET: Final = "events"


class Line:
    """What stands between the table and the store. `loses` is asked of each request (method, path) after the store has done it:
    True and its answer never arrives. `refuses` is asked before: True and the store never hears of it, the answer is 503."""

    def __init__(self, port: int) -> None:
        self.upstream_port = port
        self.loses: Callable[[str, str], bool] = lambda _method, _path: False
        self.refuses: Callable[[str, str], bool] = lambda _method, _path: False
        self.seen: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Relay)
        self._server.line = self  # type: ignore[attr-defined]
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def mend(self) -> None:
        self.loses = self.refuses = lambda _method, _path: False
        self.seen.clear()


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _relay(self) -> None:
        line: Line = cast("Any", self.server).line
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        line.seen.append((self.command, self.path))
        if line.refuses(self.command, self.path):
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection("127.0.0.1", line.upstream_port, timeout=20)
        try:
            upstream.request(self.command, self.path, body=body, headers=dict(self.headers))
            reply = upstream.getresponse()
            content = reply.read()
        finally:
            upstream.close()
        if line.loses(self.command, self.path):
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in {"transfer-encoding", "connection", "server", "date", "content-length"}:
                self.send_header(name, value)
        self.send_header(
            "Content-Length", reply.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        )
        try:
            self.end_headers()
            self.wfile.write(content)
        except ConnectionError:  # who asked has read what it wanted
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay  # noqa: N815 - the names are http.server's

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: tests say what they need to."""


@contextmanager
def running_store() -> Iterator[Line]:
    """An S3 server with one empty bucket, and the AWS_… variables that lead to it through the line."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    line = Line(server.get_host_and_port()[1])
    try:
        with pytest.MonkeyPatch.context() as environment:
            for name, value in {
                "AWS_ENDPOINT_URL": line.url, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "nobody",
                "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }.items():  # fmt: skip
                environment.setenv(name, value)
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            client.close()
            line.mend()
            yield line
    finally:
        line.close()
        server.stop()
