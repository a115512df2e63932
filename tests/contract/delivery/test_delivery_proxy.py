"""Events through an HTTP proxy: in a tunnel that it cannot read, only when it is said, and with a password that stays secret."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.delivery.dialing import Proxy, parsed_proxy
from footfall.delivery.exchanges import HttpExchanges
from footfall.delivery.transport import HttpTransport, Request, Response
from footfall.errors import NetworkError, SettingsError
from tests.contract.delivery.certificates import made_certificate, serving, trusting
from tests.contract.delivery.peers import peer, read_exactly, read_head
from tests.contract.delivery.proxies import ESTABLISHED, proxy
from tests.contract.delivery.receiver import Receiver, answer, raw

LOGIN = "some.user:p%40ss-w0rd@"
PASSWORDS = ("p@ss-w0rd", "p%40ss-w0rd", base64.b64encode(b"some.user:p@ss-w0rd").decode(), "some.user")


class Sender:
    """Either way to send, through a proxy."""

    def __init__(self, kind: str, proxy_url: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.door: HttpTransport | HttpExchanges
        self.door = HttpTransport(proxy=proxy_url, tls=tls) if kind == "transport" else HttpExchanges(proxy=proxy_url, tls=tls)

    def send(self, url: str, *, timeout_s: float = 5.0, method: str = "POST") -> Response:
        body = b'{"id":"1"}' if method == "POST" else b""
        request = Request(
            url=f"{url}/path", headers=(("X-API-Key", "secret-key"),), body=body, timeout_s=timeout_s, method=method
        )
        if isinstance(self.door, HttpTransport):
            return self.door.send(request)
        self.door.start(request, token=None)
        (done,) = self.door.wait(timeout_s + 5)
        if isinstance(done.result, NetworkError):
            raise done.result
        return done.result


@pytest.fixture(params=["transport", "exchanges"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificate: Path) -> Iterator[Receiver]:
    with Receiver(tls=serving(certificate)) as running:
        yield running


def test_https_goes_through_a_tunnel_that_is_kept_and_shows_the_proxy_a_host_and_a_port(
    kind: str, secure: Receiver, certificate: Path
) -> None:
    with proxy() as running:
        sender = Sender(kind, running.url(), tls=trusting(certificate))
        for _ in range(3):
            assert sender.send(secure.url).status == 200
        where = f"127.0.0.1:{secure.port}".encode()
        assert running.heads == [b"CONNECT " + where + b" HTTP/1.1\r\nHost: " + where + b"\r\n\r\n"]
        seen = b"".join(running.tunnelled)
        assert seen and b"secret-key" not in seen and b'"id"' not in seen
        sender.door.close()
    assert [arrival.line for arrival in secure.arrivals] == ["POST /path HTTP/1.1"] * 3
    assert secure.connections == 1


def test_a_dead_tunnel_is_replaced(kind: str, secure: Receiver, certificate: Path) -> None:
    secure.script(answer(200), raw(b""), answer(202))
    with proxy() as running:
        sender = Sender(kind, running.url(), tls=trusting(certificate))
        sender.send(secure.url)
        assert sender.send(secure.url).status == 202
        assert len(running.heads) == 2
        sender.door.close()


def test_the_certificate_is_the_receivers_and_is_verified(kind: str, secure: Receiver) -> None:
    with proxy() as running:
        sender = Sender(kind, running.url())
        with pytest.raises(NetworkError, match="certificate is not trusted here"):
            sender.send(secure.url)
    assert secure.arrivals == []


def test_user_and_password_go_to_the_proxy_and_not_to_the_receiver(kind: str, secure: Receiver, certificate: Path) -> None:
    with proxy(login="some.user:p@ss-w0rd") as running:
        sender = Sender(kind, running.url(LOGIN), tls=trusting(certificate))
        assert sender.send(secure.url).status == 200
        sender.door.close()
    assert "proxy-authorization" not in secure.arrivals[0].headers


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_plain_http_names_the_whole_url_to_the_proxy(kind: str, method: str) -> None:
    arrived: list[bytes] = []

    def receive(connection: socket.socket) -> None:
        arrived.append(read_head(connection))
        read_exactly(connection, 10 if method == "POST" else 0)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with peer(receive) as receiver, proxy(login="some.user:p@ss-w0rd") as running:
        sender = Sender(kind, running.url(LOGIN))
        assert [sender.send(receiver.url, method=method).status for _ in range(2)] == [200, 200]
        sender.door.close()
        where = receiver.url.removeprefix("http://")
        assert {head.split(b"\r\n")[0] for head in running.heads} == {f"{method} http://{where}/path HTTP/1.1".encode()}
        assert all(f"\r\nHost: {where}\r\n".encode() in head for head in running.heads)
        assert len(running.peer.connections) == 1
    assert [head.split(b"\r\n")[0] for head in arrived] == [f"{method} /path HTTP/1.1".encode()] * 2


REFUSALS = {
    "407": (
        b"HTTP/1.1 407 Auth\r\nContent-Length: 6\r\n\r\nsecret",
        r"wants a user and a password, .*http://user:password@host:port",
    ),
    "403": (b"HTTP/1.1 403 Forbidden\r\n\r\nsecret", r"must be told to allow CONNECT to 127\.0\.0\.1:\d+"),
    "502": (b"HTTP/1.1 502 Bad\r\nX: secret\r\n\r\n", r"answered CONNECT to 127\.0\.0\.1:\d+ with 502"),
    "302": (b"HTTP/1.1 302 Found\r\nLocation: http://secret\r\n\r\n", "with 302"),
    "garbage": (b"secret\r\n\r\n", "did not answer CONNECT as an HTTP proxy does"),
    "nothing": (b"", "did not answer CONNECT as an HTTP proxy does"),
    "cut": (b"HTTP/1.1 403 For", "did not answer CONNECT as an HTTP proxy does"),
    "huge": (b"HTTP/1.1 403 No\r\nX: " + b"y" * 70_000, "did not answer CONNECT as an HTTP proxy does"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_proxy_that_lets_nothing_through_is_a_network_error_that_says_what_to_do(kind: str, name: str) -> None:
    refusal, words = REFUSALS[name]
    with Receiver() as receiver, proxy(answer=refusal) as running:
        sender = Sender(kind, running.url(LOGIN))
        with pytest.raises(NetworkError, match=words) as raised:
            sender.send(receiver.url.replace("http:", "https:"))
        assert f"127.0.0.1:{running.peer.port}" in raised.value.message
        assert_nothing_shown(raised.value, "secret")
    assert receiver.connections == 0


def test_bytes_behind_the_answer_to_connect_are_refused(kind: str, secure: Receiver, certificate: Path) -> None:
    with proxy(answer=ESTABLISHED + b"HTTP/1.1 200 OK\r\n\r\n") as running:
        sender = Sender(kind, running.url(), tls=trusting(certificate))
        with pytest.raises(NetworkError, match="spoke before the receiver did"):
            sender.send(secure.url)
    assert secure.arrivals == []


def test_a_wrong_password_is_said_without_the_password(kind: str, secure: Receiver) -> None:
    with proxy(login="some.user:another") as running:
        sender = Sender(kind, running.url(LOGIN))
        with pytest.raises(NetworkError, match="wants a user and a password, or other ones") as raised:
            sender.send(secure.url)
        assert_nothing_shown(raised.value, *PASSWORDS)
        assert_nothing_shown(sender.door, *PASSWORDS)


def test_a_proxy_that_is_not_there_is_told_apart_from_a_receiver_that_is_not_there(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Receiver() as receiver:
        for url in (receiver.url, "https://nowhere.invalid"):
            with pytest.raises(NetworkError, match=f"the proxy 127.0.0.1:{port} cannot be reached"):
                Sender(kind, f"http://{LOGIN}127.0.0.1:{port}").send(url)


def test_the_deadline_covers_the_proxy(kind: str) -> None:
    stop = threading.Event()
    with peer(lambda connection: stop.wait(10) and None) as silent:
        started_s = time.monotonic()
        with pytest.raises(NetworkError, match=r"within 0\.3 s"):
            Sender(kind, silent.url).send("https://receiver.invalid", timeout_s=0.3)
        assert 0.25 < time.monotonic() - started_s < 3
        stop.set()


def test_a_proxy_of_the_environment_is_not_used(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver, proxy() as running:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, running.url())
        sender = Sender(kind, "")
        assert sender.send(receiver.url).status == 200
        assert running.peer.connections == []
        sender.door.close()


def test_a_proxy_is_read_from_a_url() -> None:
    assert parsed_proxy("") is None
    assert parsed_proxy("http://proxy.shop.example:3128/") == Proxy(host="proxy.shop.example", port=3128)
    pair = base64.b64encode(b"some.user:p@ss-w0rd").decode()
    assert parsed_proxy(f"http://{LOGIN}[::1]:3128") == Proxy(host="::1", port=3128, authorization=f"Basic {pair}")


@pytest.mark.parametrize(
    "url",
    [
        f"https://{LOGIN}proxy:3128",
        f"socks5://{LOGIN}proxy:3128",
        f"{LOGIN}proxy:3128",
        f"http://{LOGIN}proxy",
        f"http://{LOGIN}proxy:port",
        f"http://{LOGIN}proxy:99999",
        f"http://{LOGIN}:3128",
        f"http://{LOGIN}proxy:3128/path",
        f"http://{LOGIN}proxy:3128?a=b",
        f"http://{LOGIN}pro xy:3128",
        f"http://{LOGIN}[proxy:3128",
    ],
)
def test_what_is_no_proxy_is_refused_at_once_and_not_repeated(kind: str, url: str) -> None:
    with pytest.raises(SettingsError, match="proxy: ") as raised:
        Sender(kind, url)
    assert_nothing_shown(raised.value, *PASSWORDS)


def test_a_proxy_shows_neither_user_nor_password() -> None:
    held = parsed_proxy(f"http://{LOGIN}proxy:3128")
    assert repr(held) == "Proxy('proxy:3128')"
    assert_nothing_shown(held, *PASSWORDS)


def assert_nothing_shown(thing: object, *secrets: str) -> None:
    shown = [repr(thing), str(thing), repr(getattr(thing, "__dict__", ""))]
    if isinstance(thing, BaseException):
        shown += traceback.format_exception(thing, chain=True)
        shown += [repr(thing.__cause__), repr(thing.__context__)]
    for secret in secrets:
        assert [text for text in shown if secret in text] == []
