"""Behind the nginx of deploy/nginx.conf, with its TLS: events arrive, sizes have their limit, nobody disturbs or tricks it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest

from footfall.log.reader import SegmentReader
from tests.meta.pages import ROOT
from tests.serving import EVENTS_PATH, Footfall, Reply, free_port, home

NGINX = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
OPENSSL = shutil.which("openssl")
SLOW = shutil.which("slowhttptest")
CONF = ROOT / "deploy" / "nginx.conf"
SHOP_TEST = EVENTS_PATH.format(platform="SHOP_TEST")
BATCH = EVENTS_PATH.format(platform="SHOP") + ":batch"

pytestmark = pytest.mark.skipif(
    NGINX is None or OPENSSL is None, reason="needs nginx and openssl (Debian: apt install nginx-light openssl)"
)


class Proxy:
    """A running nginx: the file that ships, with ports and paths of this test in the places of the documented ones."""

    def __init__(self, server: Footfall, place: Path) -> None:
        self.server = server
        self.port = free_port()
        self._place = place
        self._certificate()
        self.conf = place / "nginx.conf"
        self.conf.write_text(self._adapted(CONF.read_text()))
        self.tls = ssl.create_default_context(cafile=place / "fullchain.pem")
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        assert NGINX is not None
        options = "daemon off;" + (" user root;" if os.geteuid() == 0 else "")
        with (self._place / "stderr").open("wb") as errors:
            self.process = subprocess.Popen([NGINX, "-p", str(self._place), "-c", str(self.conf), "-g", options], stderr=errors)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            assert self.process.poll() is None, (self._place / "stderr").read_text()
            time.sleep(0.02)
        raise AssertionError("nginx did not open its port")

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=10) == 0

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("localhost", self.port, timeout=15, context=self.tls)

    def request(self, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
        connection = self.connect()
        with contextlib.closing(connection):
            return asked(connection, method, path, body=body, headers=headers)

    def send(self, event: object, *, platform: str = "SHOP", connection: http.client.HTTPSConnection | None = None) -> Reply:
        path, headers = EVENTS_PATH.format(platform=platform), {"X-API-Key": self.server.keys[platform]}
        if connection is not None:
            return asked(connection, "POST", path, body=json.dumps(event).encode(), headers=headers)
        return self.request("POST", path, body=json.dumps(event).encode(), headers=headers)

    def exchange(self, data: bytes) -> bytes:
        """Bytes as they are, over TLS, and all that comes back until nginx closes or has nothing more to say."""
        received = b""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
            self.tls.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.settimeout(_QUIET_S)
            with contextlib.suppress(OSError):
                connection.sendall(data)
                while chunk := connection.recv(65536):
                    received += chunk
        return received

    def _adapted(self, text: str) -> str:
        replacements = {
            "pid /run/nginx.pid;": f"pid {self._place}/nginx.pid;",
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port} ssl;",
            "server footfall:8080;": f"server 127.0.0.1:{self.server.port};",
            "/etc/nginx/tls/": f"{self._place}/",
            "http {\n": "http {\n" + "".join(f"    {kind}_temp_path {self._place}/{kind};\n" for kind in _TEMPORARY),
        }
        for documented, real in replacements.items():
            assert documented in text, documented
            text = text.replace(documented, real)
        return text

    def _certificate(self) -> None:
        subprocess.run(
            [
                str(OPENSSL), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", str(self._place / "privkey.pem"), "-out", str(self._place / "fullchain.pem"),
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip


_QUIET_S = 0.3
"""After this long without a byte nothing more is expected: everything here answers within milliseconds."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def asked(
    connection: http.client.HTTPConnection, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None
) -> Reply:
    connection.request(method, path, body=body, headers=dict(headers or {}))  # type: ignore[arg-type]
    answer = connection.getresponse()
    return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with (
        Footfall(tmp_path_factory.mktemp("behind") / "data") as server,
        Proxy(server, tmp_path_factory.mktemp("nginx")) as running,
    ):
        yield running
        assert running.send(home()).status == 200, "all is well after all this"
        server.check_log()


def ids(proxy: Proxy, prefix: str) -> list[str]:
    """The ids of the durable events that begin so."""
    trees = (proxy.server.data / "log" / mode for mode in ("live", "test"))
    found = [json.loads(record.body)["event"].get("id", "") for tree in trees for record in SegmentReader(tree).scan()]
    return [event_id for event_id in found if event_id.startswith(prefix)]


def padded_batch(prefix: str, size: int) -> bytes:
    """Events as NDJSON, blank lines up to exactly `size` bytes."""
    lines = b"".join(json.dumps(home(id=f"{prefix}-{number}", user_id=f"u-{number}")).encode() + b"\n" for number in range(3))
    return lines + b"\n" * (size - len(lines))


def test_an_event_goes_through_and_the_answer_comes_back_unchanged(proxy: Proxy) -> None:
    assert proxy.send(home(id="through")).body == b"{}"
    report = proxy.send(home(id="through-test"), platform="SHOP_TEST")
    assert report.json["test"]["event"]["id"] == "through-test"
    assert ids(proxy, "through") == ["through", "through-test"]
    refused = proxy.send({"event_type": "HOME"})
    assert (refused.status, refused.json["code"]) == (400, 3)
    assert proxy.request("GET", "/openapi.json").json["info"]["x-footfall"] is True


def test_a_request_without_a_key_or_with_a_wrong_one_is_refused_by_the_server_behind(proxy: Proxy) -> None:
    path = EVENTS_PATH.format(platform="SHOP")
    assert proxy.request("POST", path, body=b"{}").status == 401
    assert proxy.request("POST", path, body=b"{}", headers={"X-API-Key": "nobody's"}).status == 403


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/rmp/../metrics", "/cdp/..%2fmetrics"])
def test_nothing_but_the_api_can_be_reached(proxy: Proxy, path: str) -> None:
    reply = proxy.request("GET", path)
    assert reply.status == 404
    assert reply.json["code"] == 5


def test_a_batch_of_eight_mebibytes_is_taken_and_one_byte_more_is_413(proxy: Proxy) -> None:
    headers = {"X-API-Key": proxy.server.keys["SHOP"], "Content-Type": "application/x-ndjson"}
    taken = proxy.request("POST", BATCH, body=padded_batch("largest", 8 << 20), headers=headers)
    assert (taken.status, taken.json["accepted"]) == (200, 3)
    refused = proxy.request("POST", BATCH, body=padded_batch("larger", (8 << 20) + 1), headers=headers)
    assert (refused.status, refused.json["code"]) == (413, 3)
    assert len(ids(proxy, "large")) == 3


def test_a_single_event_over_its_limit_is_413_in_the_form_of_the_api(proxy: Proxy) -> None:
    reply = proxy.send(home(page_id="p" * 70_000))
    assert (reply.status, reply.json["code"], reply.headers["content-type"]) == (413, 3, "application/json")


def test_a_chunked_body_reaches_the_server_with_its_length_and_is_accepted(proxy: Proxy) -> None:
    body = json.dumps(home(id="chunked")).encode()
    connection = proxy.connect()
    with contextlib.closing(connection):
        connection.request(
            "POST",
            EVENTS_PATH.format(platform="SHOP"),
            body=iter((body[:7], body[7:])),
            headers={"X-API-Key": proxy.server.keys["SHOP"], "Transfer-Encoding": "chunked"},
            encode_chunked=True,
        )
        assert connection.getresponse().status == 200
    assert ids(proxy, "chunked") == ["chunked"]


def test_a_connection_is_used_again_and_again(proxy: Proxy) -> None:
    connection = proxy.connect()
    with contextlib.closing(connection):
        connection.connect()
        first = connection.sock
        for number in range(50):
            assert proxy.send(home(id=f"again-{number}"), connection=connection).status == 200
            assert connection.sock is first
    assert len(ids(proxy, "again")) == 50


def test_without_a_server_behind_it_a_sender_is_told_to_come_again(tmp_path: Path) -> None:
    nobody = Footfall(tmp_path / "data")
    nobody.keys["SHOP"] = "any"
    with Proxy(nobody, tmp_path) as proxy:
        reply = proxy.send(home())
    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, 14, "1")


@pytest.mark.skipif(SLOW is None, reason="needs slowhttptest (Debian: apt install slowhttptest)")
@pytest.mark.parametrize("kind", ["-H", "-B", "-X"])
def test_a_hundred_slow_clients_disturb_nobody(proxy: Proxy, kind: str) -> None:
    """Slow heads, slow bodies, slow readers."""
    target = f"https://127.0.0.1:{proxy.port}/rmp/event/v1/platforms/SHOP/userevents"
    arguments = [str(SLOW), kind, "-c", "100", "-r", "100", "-i", "1", "-l", "3", "-p", "2", "-u", target]
    with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as slow:
        slowest = 0.0
        answered = 0
        while slow.poll() is None:
            began = time.monotonic()
            assert proxy.send(home()).status == 200
            slowest = max(slowest, time.monotonic() - began)
            answered += 1
    assert answered > 20
    assert slowest < 1


# -- request smuggling: one connection, bytes on which two parsers might disagree

INNER_ID = "inner"


def _post(proxy: Proxy, event_id: str, *head: bytes, body: bytes | None = None, version: bytes = b"HTTP/1.1") -> bytes:
    """A request of an event, with header lines of choice instead of Content-Length."""
    content = json.dumps(home(id=event_id)).encode() if body is None else body
    key = proxy.server.keys["SHOP_TEST"].encode()
    lines = [b"POST %b %b" % (SHOP_TEST.encode(), version), b"Host: localhost", b"X-API-Key: " + key]
    return b"\r\n".join([*lines, *(line.replace(b"LENGTH", b"%d" % len(content)) for line in head), b"", content])


def _chunked(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


SMUGGLING: dict[str, tuple[bytes, ...]] = {
    "length and chunked": (b"Content-Length: LENGTH", b"Transfer-Encoding: chunked"),
    "chunked and length": (b"Transfer-Encoding: chunked", b"Content-Length: LENGTH"),
    "length and chunked in capitals": (b"Content-Length: LENGTH", b"Transfer-Encoding: CHUNKED"),
    "space before the colon": (b"Content-Length: LENGTH", b"Transfer-Encoding : chunked"),
    "tab before the value": (b"Content-Length: LENGTH", b"Transfer-Encoding:\tchunked"),
    "vertical tab before the value": (b"Content-Length: LENGTH", b"Transfer-Encoding:\x0bchunked"),
    "xchunked": (b"Content-Length: LENGTH", b"Transfer-Encoding: xchunked"),
    "identity, chunked": (b"Content-Length: LENGTH", b"Transfer-Encoding: identity, chunked"),
    "chunked twice": (b"Content-Length: LENGTH", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "quoted": (b"Content-Length: LENGTH", b'Transfer-Encoding: "chunked"'),
    "folded": (b"Content-Length: LENGTH", b"Transfer-Encoding:\r\n chunked"),
    "folded header": (b"Content-Length: LENGTH", b"X-Note: a\r\n Transfer-Encoding: chunked"),
    "underscore": (b"Content-Length: LENGTH", b"Transfer_Encoding: chunked"),
    "bare line feed": (b"Content-Length: LENGTH\nTransfer-Encoding: chunked",),
    "bare carriage return": (b"Content-Length: LENGTH", b"X-Note: a\rTransfer-Encoding: chunked"),
    "nul in a header": (b"Content-Length: LENGTH", b"X-Note: a\x00Transfer-Encoding: chunked"),
    "two lengths": (b"Content-Length: 0", b"Content-Length: LENGTH"),
    "two lengths, turned": (b"Content-Length: LENGTH", b"Content-Length: 0"),
    "list of lengths": (b"Content-Length: 0, LENGTH",),
    "length with a sign": (b"Content-Length: +LENGTH",),
    "length in hexadecimal": (b"Content-Length: 0xLENGTH",),
    "length with a space": (b"Content-Length: 1 LENGTH",),
    "length of zero": (b"Content-Length: 0",),
    "no length at all": (),
    "two hosts": (b"Host: elsewhere", b"Content-Length: LENGTH"),
    "hop by hop length": (b"Connection: close, Content-Length", b"Content-Length: LENGTH"),
    "upgrade": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AA", b"Content-Length: LENGTH"),
    "expect": (b"Expect: 100-continue", b"Content-Length: LENGTH"),
}  # fmt: skip


@pytest.mark.parametrize("form", ["plain", "chunked", "ends early"])
@pytest.mark.parametrize("variant", SMUGGLING)
def test_what_two_parsers_could_read_differently_is_stored_at_most_once_for_each_200(
    proxy: Proxy, variant: str, form: str
) -> None:
    """The outer request hides a whole inner one in its body. As many events as 200s, whatever each of the two believed, and the
    next request on the same connections to the server gets its own answer."""
    name = f"s-{sorted(SMUGGLING).index(variant)}-{form.replace(' ', '_')}"
    inner = _post(proxy, f"{name}-{INNER_ID}", b"Content-Length: LENGTH")
    event = json.dumps(home(id=f"{name}-outer")).encode()
    body = {"plain": event + inner, "chunked": _chunked(event) + inner, "ends early": b"0\r\n\r\n" + inner}[form]
    answer = proxy.exchange(_post(proxy, f"{name}-outer", *SMUGGLING[variant], body=body))
    stored = ids(proxy, name)
    assert len(stored) == answer.count(b"HTTP/1.1 200 ")
    assert len(stored) == len(set(stored)) <= 2
    for number in range(3):
        after = proxy.send(home(id=f"after-{name}-{number}"), platform="SHOP_TEST")
        assert after.json["test"]["event"]["id"] == f"after-{name}-{number}"


def test_honest_requests_one_behind_the_other_are_two_answers_and_two_events(proxy: Proxy) -> None:
    """The count of the matrix above can see an inner request: here it is none of a trick's, and is stored."""
    inner = _post(proxy, "honest-inner", b"Content-Length: LENGTH")
    chunked = _chunked(json.dumps(home(id="honest-outer")).encode()) + inner
    answer = proxy.exchange(_post(proxy, "honest-outer", b"Transfer-Encoding: chunked", body=chunked))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert ids(proxy, "honest") == ["honest-outer", "honest-inner"]
