"""Bytes become answers, however they are cut; whatever else comes is an AnswerError and nothing more."""

from __future__ import annotations

import http.client
import io
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.delivery.http1 import HEAD_BYTES_MAX, AnswerError, AnswerReader, Request, Response, message, target_of

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;name=value\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\n{}\r\n000\r\nServer-Timing: 1\r\nX: y\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + LENGTH
BODILESS = b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"
COMPLETE = {"length": LENGTH, "chunked": CHUNKED, "trailers": TRAILERS, "interim": INTERIM, "no body": BODILESS}


def read(data: bytes, *, pieces: int = 1 << 20, ended: bool = False, **options: Any) -> tuple[Response | None, AnswerReader]:
    reader = AnswerReader(**options)
    for start in range(0, len(data), pieces):
        response = reader.feed(data[start : start + pieces])
        if response is not None:
            return response, reader
    return (reader.feed(b"") if ended else None), reader


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
def test_an_answer_is_the_same_however_it_is_cut(name: str, pieces: int) -> None:
    response, reader = read(COMPLETE[name], pieces=pieces)
    assert response is not None
    assert (response.status, response.body) == ((204, b"") if name == "no body" else (200, b"{}"))
    assert (reader.can_be_kept, reader.has_more) == (True, False)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_answer_is_not_complete_one_byte_before_its_end_and_ending_there_is_an_error(name: str) -> None:
    response, reader = read(COMPLETE[name][:-1])
    assert response is None
    with pytest.raises(AnswerError, match="ends too soon"):
        reader.feed(b"")


def test_an_answer_of_no_said_length_ends_with_the_connection() -> None:
    response, reader = read(b"HTTP/1.1 200 OK\r\n\r\n{}", pieces=1, ended=True)
    assert response is not None
    assert (response.body, reader.can_be_kept) == (b"{}", False)


@pytest.mark.parametrize(
    "data",
    [
        LENGTH.replace(b"1.1", b"1.0"),
        LENGTH.replace(b"OK\r\n", b"OK\r\nConnection: Keep-Alive, Close\r\n"),
        LENGTH + b"x",
        LENGTH + LENGTH,
        CHUNKED + b"\r\n",
        CHUNKED.replace(b"OK\r\n", b"OK\r\nContent-Length: 2\r\n"),
    ],
    ids=["HTTP/1.0", "close", "a byte more", "two answers", "a line more", "chunks and a length"],
)
def test_a_connection_is_not_kept_where_the_next_answer_could_be_mistaken(data: bytes) -> None:
    response, reader = read(data)
    assert response is not None
    assert (response.body, reader.can_be_kept) == (b"{}", False)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xc2\xb2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"y" * HEAD_BYTES_MAX,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_BYTES_MAX,
        b"SSH-2.0-OpenSSH",
        b"\r\n",
    ],
)
@pytest.mark.parametrize("pieces", [1, 1 << 20])
def test_what_is_no_answer_is_said_to_be_none_without_waiting_for_its_end(data: bytes, pieces: int) -> None:
    with pytest.raises(AnswerError):
        read(data, pieces=pieces)


def test_fields_said_twice_are_one_list_and_once_when_they_agree() -> None:
    response, _ = read(b"HTTP/1.1 204 No\r\nVia: a\r\nvia:\tb \r\nRetry-After: 5\r\nRetry-After: 5\r\n\r\n")
    assert response is not None
    assert response.headers == {"via": "a, b", "retry-after": "5"}


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"x" * 99,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"8\r\nxxxxxxxx\r\n" * 9,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 99,
    ],
    ids=["length", "chunked", "no length"],
)
@pytest.mark.parametrize("pieces", [1, 1000])
def test_a_body_is_cut_at_the_limit_and_the_connection_ends_there(data: bytes, pieces: int) -> None:
    response, reader = read(data, pieces=pieces, answer_bytes_max=20)
    assert response is not None
    assert (response.body, reader.can_be_kept) == (b"x" * 20, False)


def test_framing_that_goes_on_for_ever_is_no_answer() -> None:
    reader = AnswerReader(answer_bytes_max=1000)
    reader.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(AnswerError, match="framing"):
        for _ in range(1000):
            reader.feed(b"1;" + b"x" * 1000 + b"\r\nx\r\n")


def test_the_answer_to_connect_ends_with_its_head() -> None:
    response, reader = read(b"HTTP/1.0 200 Connection established\r\nContent-Length: 9\r\n\r\n", tunnel=True)
    assert response is not None
    assert (response.status, reader.has_more) == (200, False)


@given(st.lists(st.sampled_from([b"HTTP/1.1 200 OK", b"\r\n", b"Content-Length: 3", b"Transfer-Encoding: chunked", b"3", b"0"])
                | st.binary(max_size=5), max_size=25), st.integers(1, 9))  # fmt: skip
def test_whatever_comes_ends_as_an_answer_an_error_or_the_wish_for_more(parts: list[bytes], pieces: int) -> None:
    outcomes = []
    for size in (pieces, 1 << 20):
        try:
            response, _ = read(b"".join(parts), pieces=size, ended=True)
            outcomes.append(response and (response.status, response.headers, response.body))
        except AnswerError as error:
            outcomes.append(str(error))
    assert [kind for kind in map(type, outcomes) if kind not in (tuple, str)] == []
    assert type(outcomes[0]) is type(outcomes[1])


BODIES = st.binary(max_size=300)
VALUES = st.text("abc 01;,=é", max_size=12)
FIELDS = st.lists(st.tuples(st.from_regex(r"x-[a-z]{1,8}", fullmatch=True), VALUES), max_size=6, unique_by=lambda field: field[0])
FRAMINGS = st.sampled_from(["length", "chunked", "end"])
STATUSES = st.sampled_from([200, 201, 204, 304, 400, 413, 429, 503])


@given(STATUSES, FIELDS, BODIES, FRAMINGS, st.integers(1, 50))
def test_well_formed_answers_are_read_as_the_standard_library_reads_them(
    status: int, fields: list[tuple[str, str]], body: bytes, framing: str, pieces: int
) -> None:
    data = rendered(status, fields, body, framing)
    response, _ = read(data, pieces=pieces, ended=framing == "end")
    known = http.client.HTTPResponse(cast("Any", _Wire(data)), method="POST")
    known.begin()
    assert response is not None
    assert (response.status, response.body) == (known.status, known.read())
    assert response.headers == {name.lower(): value.strip() for name, value in known.getheaders()}
    known.close()


def rendered(status: int, fields: list[tuple[str, str]], body: bytes, framing: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Some Reason", *(f"{name}: {value}" for name, value in fields)]
    if status in (204, 304):
        body = b""
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        chunks = [body[start : start + 7] for start in range(0, len(body), 7)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    elif framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class _Wire:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def test_a_get_has_neither_body_nor_length() -> None:
    request = Request(url="http://[::1]:8080/a?b=c", headers=(("Accept", "x"),), timeout_s=1, method="GET")
    assert message(request) == b"GET /a?b=c HTTP/1.1\r\nHost: [::1]:8080\r\nAccept: x\r\n\r\n"
    assert target_of(request.url).origin == ("http", "::1", 8080)


def test_a_user_in_a_url_is_not_sent_to_the_host() -> None:
    request = Request(url="https://user:secret@host/", headers=(), body=b"{}", timeout_s=1)
    assert message(request) == b"POST / HTTP/1.1\r\nHost: host\r\nContent-Length: 2\r\n\r\n{}"
