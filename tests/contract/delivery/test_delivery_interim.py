"""Interim answers are passed over, and no exception that reaches a logger carries what was sent or came."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from footfall.delivery.transport import HttpTransport, Request
from footfall.errors import NetworkError
from tests.contract.delivery.receiver import Receiver, raw

FINAL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def request_to(receiver: Receiver, *headers: tuple[str, str]) -> Request:
    return Request(url=f"{receiver.url}/", headers=headers, body=b"{}", timeout_s=5)


@pytest.mark.parametrize(
    "interim", [HINTS, HINTS * 3, b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS, b"HTTP/1.1 102 Processing\r\n\r\n"]
)
def test_interim_answers_are_passed_over_and_the_connection_is_kept(receiver: Receiver, interim: bytes) -> None:
    receiver.script(raw(interim + FINAL, keep=True))
    transport = HttpTransport()
    for _ in range(2):
        response = transport.send(request_to(receiver))
        assert (response.status, response.body, response.headers.get("link")) == (200, b"{}", None)
    assert receiver.connections == 1
    transport.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + FINAL, HINTS * 50 + FINAL])
def test_what_never_becomes_a_final_answer_is_a_network_error(receiver: Receiver, answer: bytes) -> None:
    receiver.script(raw(answer))
    with pytest.raises(NetworkError):
        HttpTransport().send(request_to(receiver))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 u-secret OK\r\n\r\n", b"u-secret\r\n\r\n", b"HTTP/1.1 999999u-secret\r\n\r\n"])
def test_no_exception_in_the_chain_holds_what_came(receiver: Receiver, answer: bytes) -> None:
    receiver.script(raw(answer))
    with pytest.raises(NetworkError) as raised:
        HttpTransport().send(request_to(receiver))
    assert "u-secret" not in repr(chain(raised.value))


def test_no_exception_in_the_chain_holds_the_key(receiver: Receiver) -> None:
    with pytest.raises(NetworkError) as raised:
        HttpTransport().send(request_to(receiver, ("X-API-Key", "sésame")))
    assert "sésame" not in repr(chain(raised.value))


def chain(error: BaseException | None) -> list[tuple[object, ...]]:
    """Every exception that hangs on `error`, with its arguments and members."""
    found: list[tuple[object, ...]] = []
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None:
            found.append((type(one), str(one), one.args, vars(one), getattr(one, "object", None), getattr(one, "line", None)))
            waiting += [one.__cause__, one.__context__]
    return found
