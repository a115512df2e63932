"""What a transport promises, on the network and in memory."""

from __future__ import annotations

import gc
import http.client
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall import NetworkError
from footfall.delivery.transport import (
    ANSWER_BYTES_MAX,
    HttpTransport,
    Request,
    Response,
    ScriptedTransport,
    Transport,
    dial,
)
from tests.contract.delivery.certificates import made_certificate, serving, trusting
from tests.contract.delivery.receiver import Receiver, answer, drip, raw, reset_after


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    made = HttpTransport()
    yield made
    made.close()


def request_to(receiver: Receiver, *, body: bytes = b'{"id":"1"}', timeout_s: float = 5.0) -> Request:
    return Request(url=f"{receiver.url}/path", headers=(("X-API-Key", "secret-key"),), body=body, timeout_s=timeout_s)


class TransportContract:
    """Run for every transport. `serve` makes one whose receiver answers 201 with a body, then 503 for ever."""

    def serve(self) -> Iterator[tuple[Transport, str]]:
        raise NotImplementedError

    @pytest.fixture
    def served(self) -> Iterator[tuple[Transport, str]]:
        yield from self.serve()

    def test_every_status_is_an_answer_and_none_an_exception(self, served: tuple[Transport, str]) -> None:
        transport, url = served
        request = Request(url=url, headers=(), body=b"{}", timeout_s=5)
        first, second, third = (transport.send(request) for _ in range(3))
        assert (first.status, first.body, first.headers["x-made-by"]) == (201, b'{"a":1}', "test")
        assert (second.status, third.status) == (503, 503)

    def test_closing_twice_is_allowed_and_sending_afterwards_is_not(self, served: tuple[Transport, str]) -> None:
        transport, url = served
        transport.close()
        transport.close()
        with pytest.raises(RuntimeError, match="closed"):
            transport.send(Request(url=url, headers=(), body=b"{}", timeout_s=5))

    def test_a_request_and_an_answer_show_neither_key_nor_body(self, served: tuple[Transport, str]) -> None:
        transport, url = served
        request = Request(url=url, headers=(("X-API-Key", "secret-key"),), body=b"person", timeout_s=5)
        assert "secret-key" not in repr(request)
        assert "person" not in repr(request)
        assert '"a"' not in repr(transport.send(request))


class TestHttpTransport(TransportContract):
    def serve(self) -> Iterator[tuple[Transport, str]]:
        script = [answer(201, b'{"a":1}', {"X-Made-By": "test"}), answer(503)]
        with Receiver(script) as receiver:
            transport = HttpTransport()
            yield transport, receiver.url
            transport.close()


class TestScriptedTransport(TransportContract):
    def serve(self) -> Iterator[tuple[Transport, str]]:
        yield (
            ScriptedTransport([Response(status=201, headers={"x-made-by": "test"}, body=b'{"a":1}'), Response(status=503)]),
            "http://nowhere",
        )

    def test_it_remembers_what_was_sent_and_raises_what_is_scripted(self) -> None:
        transport = ScriptedTransport([NetworkError("gone"), Response(status=200)])
        request = Request(url="http://nowhere", headers=(), body=b"{}", timeout_s=5)
        with pytest.raises(NetworkError, match="gone"):
            transport.send(request)
        assert transport.send(request).status == 200
        assert transport.requests == [request, request]

    def test_without_a_script_it_answers_like_the_original_service(self) -> None:
        response = ScriptedTransport().send(Request(url="http://nowhere", headers=(), body=b"{}", timeout_s=5))
        assert (response.status, response.body) == (200, b"{}")


def test_the_request_arrives_whole_and_the_connection_is_used_again(receiver: Receiver, transport: HttpTransport) -> None:
    for number in range(3):
        transport.send(request_to(receiver, body=f'{{"id":"{number}"}}'.encode()))
    assert [arrival.body for arrival in receiver.arrivals] == [b'{"id":"0"}', b'{"id":"1"}', b'{"id":"2"}']
    assert receiver.arrivals[0].line == "POST /path HTTP/1.1"
    assert receiver.arrivals[0].headers["host"] == f"127.0.0.1:{receiver.port}"
    assert receiver.connections == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(receiver: Receiver, transport: HttpTransport) -> None:
    transport.send(request_to(receiver))
    receiver.drop_connections()
    assert transport.send(request_to(receiver)).status == 200
    assert (receiver.connections, len(receiver.arrivals)) == (2, 2)


def test_a_kept_connection_that_dies_under_the_request_costs_one_resend(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(answer(200), raw(b""), answer(202))
    transport.send(request_to(receiver))
    assert transport.send(request_to(receiver)).status == 202
    assert len(receiver.arrivals) == 3


def test_a_fresh_connection_that_dies_is_a_network_error_and_not_resent(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(raw(b""))
    with pytest.raises(NetworkError, match="cut before the answer"):
        transport.send(request_to(receiver))
    assert len(receiver.arrivals) == 1


def test_a_kept_connection_that_dies_within_the_answer_is_not_resent(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(answer(200), reset_after(b"HTTP/1.1 200 OK\r\nContent-Le"))
    transport.send(request_to(receiver))
    with pytest.raises(NetworkError):
        transport.send(request_to(receiver))
    assert len(receiver.arrivals) == 2


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"secret-answer\r\n\r\n",
        b"HTTP/9.9 banana\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
    ids=["short", "short chunk", "no chunk size", "not HTTP", "strange version", "interim", "long header", "many headers"],
)
def test_an_answer_that_is_cut_or_is_none_is_a_network_error_without_a_byte_of_it(
    receiver: Receiver, transport: HttpTransport, data: bytes
) -> None:
    receiver.script(raw(data))
    with pytest.raises(NetworkError) as raised:
        transport.send(request_to(receiver))
    assert "secret" not in f"{raised.value} {raised.value.__cause__!r} {raised.value.__cause__}"


def test_a_reset_within_the_body_is_a_network_error(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(reset_after(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"))
    with pytest.raises(NetworkError, match=str(receiver.port)):
        transport.send(request_to(receiver))


def test_the_deadline_covers_an_answer_that_drips(receiver: Receiver, transport: HttpTransport) -> None:
    stop = threading.Event()
    receiver.script(drip(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" * 10, every_s=0.05, stop=stop))
    started_s = time.monotonic()
    with pytest.raises(NetworkError, match=r"within 0\.3 s"):
        transport.send(request_to(receiver, timeout_s=0.3))
    assert 0.25 < time.monotonic() - started_s < 3
    stop.set()


def test_of_a_huge_answer_the_status_counts_and_the_rest_is_dropped(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(answer(200, b"x" * (ANSWER_BYTES_MAX + 5)), answer(202))
    response = transport.send(request_to(receiver))
    assert (response.status, len(response.body)) == (200, ANSWER_BYTES_MAX)
    assert transport.send(request_to(receiver)).status == 202
    assert receiver.connections == 2


def test_a_chunked_answer_is_read_and_its_connection_kept(receiver: Receiver, transport: HttpTransport) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    receiver.script(raw(chunked, keep=True), answer(204, b""))
    assert transport.send(request_to(receiver)).body == b"{}"
    assert transport.send(request_to(receiver)).status == 204
    assert receiver.connections == 1


def test_connection_close_is_obeyed(receiver: Receiver, transport: HttpTransport) -> None:
    receiver.script(answer(200, b"{}", {"Connection": "close"}))
    transport.send(request_to(receiver))
    transport.send(request_to(receiver))
    assert receiver.connections == 2


def test_a_redirect_is_an_answer_and_nobody_follows_it(receiver: Receiver, transport: HttpTransport) -> None:
    with Receiver() as elsewhere:
        receiver.script(answer(307, b"", {"Location": f"{elsewhere.url}/"}))
        assert transport.send(request_to(receiver)).status == 307
        assert elsewhere.arrivals == []


def test_a_proxy_named_in_the_environment_is_not_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        transport = HttpTransport()
        transport.send(request_to(receiver))
        transport.close()
        assert (len(receiver.arrivals), proxy.connections) == (1, 0)


def test_a_refused_connection_says_so(transport: HttpTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(NetworkError, match="refused; is the receiver running"):
        transport.send(Request(url=f"http://127.0.0.1:{port}/", headers=(), body=b"", timeout_s=5))


def test_https_to_something_else_is_a_network_error(receiver: Receiver, transport: HttpTransport) -> None:
    url = receiver.url.replace("http://", "https://")
    with pytest.raises(NetworkError, match=r"TLS failed|cut|within"):
        transport.send(Request(url=url, headers=(), body=b"", timeout_s=1))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure_receiver(certificate: Path) -> Iterator[Receiver]:
    with Receiver(tls=serving(certificate)) as running:
        yield running


def test_a_certificate_nobody_vouches_for_is_refused_before_anything_is_sent(
    secure_receiver: Receiver, transport: HttpTransport
) -> None:
    with pytest.raises(NetworkError, match="certificate is not trusted here"):
        transport.send(request_to(secure_receiver))
    assert secure_receiver.arrivals == []


def test_a_trusted_certificate_for_another_host_is_refused(secure_receiver: Receiver, certificate: Path) -> None:
    transport = HttpTransport(tls=trusting(certificate))
    url = secure_receiver.url.replace("127.0.0.1", "localhost")
    with pytest.raises(NetworkError, match="certificate is not trusted here"):
        transport.send(Request(url=url, headers=(), body=b"{}", timeout_s=5))
    transport.close()


def test_tls_connections_are_kept_and_replaced_like_plain_ones(secure_receiver: Receiver, certificate: Path) -> None:
    transport = HttpTransport(tls=trusting(certificate))
    for _ in range(3):
        assert transport.send(request_to(secure_receiver)).status == 200
    assert secure_receiver.connections == 1
    secure_receiver.script(answer(200), raw(b""), answer(200))
    transport.send(request_to(secure_receiver))
    assert transport.send(request_to(secure_receiver)).status == 200
    transport.close()


def _tree(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def _made(kind: type[BaseException]) -> BaseException:
    candidates: list[tuple[object, ...]] = [(), ("secret",), ("utf-8", b"secret", 0, 1, "bad"), ("utf-8", "secret", 0, 1, "bad")]
    for arguments in [*candidates, ("secret", 0, 1, "bad")]:
        try:
            return kind(*arguments)
        except TypeError:
            continue
    raise AssertionError(f"{kind} cannot be made")


LIBRARY_ERRORS = sorted(
    {
        kind
        for root in (OSError, http.client.HTTPException, UnicodeError)
        for kind in _tree(root)
        if kind.__module__ in ("builtins", "socket", "ssl", "http.client", "_socket", "_ssl")
    },
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_libraries_below_becomes_a_network_error(kind: type[BaseException]) -> None:
    failure = _made(kind)

    def failing_dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
        raise failure

    transport = HttpTransport(dial=failing_dial)
    with pytest.raises(NetworkError, match="no answer from 127") as raised:
        transport.send(Request(url="http://127.0.0.1:1/", headers=(), body=b"{}", timeout_s=5))
    assert raised.value.__cause__ is failure
    assert "secret" not in str(raised.value)


def test_the_exceptions_walked_above_include_the_ones_that_matter() -> None:
    assert {TimeoutError, ssl.SSLCertVerificationError, socket.gaierror, http.client.IncompleteRead} <= set(LIBRARY_ERRORS)


def test_a_bug_of_ours_is_not_dressed_up_as_a_network_error() -> None:
    def failing_dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        HttpTransport(dial=failing_dial).send(Request(url="http://127.0.0.1:1/", headers=(), body=b"{}", timeout_s=5))


def test_many_threads_share_a_transport_and_each_gets_its_own_answer(receiver: Receiver, transport: HttpTransport) -> None:
    failures: list[BaseException] = []

    def send(number: int) -> None:
        try:
            for _ in range(20):
                assert transport.send(request_to(receiver, body=str(number).encode())).status == 200
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert sorted(int(arrival.body) for arrival in receiver.arrivals) == sorted(list(range(8)) * 20)
    assert receiver.connections <= 8


def test_a_transport_nobody_closed_warns_of_nothing_and_leaks_no_socket(receiver: Receiver) -> None:
    opened: list[socket.socket] = []

    def counting_dial(host: str, port: int, timeout_s: float, /) -> socket.socket:
        opened.append(dial(host, port, timeout_s))
        return opened[-1]

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        transport = HttpTransport(dial=counting_dial)
        transport.send(request_to(receiver))
        del transport
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    assert [connection.fileno() for connection in opened] == [-1]
