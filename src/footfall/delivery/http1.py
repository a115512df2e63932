"""HTTP/1.1 as a sender needs it: a request as bytes, and bytes as an answer. Knows no socket, no clock and no TLS.

    Request ──message──▶ bytes          bytes, as they come ──AnswerReader.feed──▶ Response

Why a parser of our own: the one of the standard library reads from a blocking file and costs 40 µs an answer, a third of what an
event may cost on its way; this one takes bytes as they come and costs 4. It is strict where leniency could confuse two answers or
read garbage as a status (RFC 9112): a line ends with CR LF, no line is folded, lengths agree, the only coding is `chunked`. It
takes what real receivers and proxies send: interim answers, chunks, trailers, answers that end with the connection.

Invariants:
- Whatever comes, the outcome is a `Response`, the wish for more, or `AnswerError`; nothing else is raised.
- What is held and what is read have bounds: a head has at most `HEAD_BYTES_MAX`, a body is cut at `answer_bytes_max`, and
  framing around it (chunk sizes, interim answers, trailers) at most eight times as much again.
- `AnswerError` says in fixed words what was wrong and holds no byte of what came, for an answer may repeat what was sent.
"""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

ANSWER_BYTES_MAX: Final = 1 << 20
"""Real answers have 2 bytes, test reports a few kB; what is longer comes from something else on the way."""
HEAD_BYTES_MAX: Final = 1 << 16
FIELDS_MAX: Final = 100
_INTERIM_ANSWERS_MAX: Final = 16
_CHUNK_LINE_BYTES_MAX: Final = 1024
_SWITCHING_PROTOCOLS: Final = 101
_BODILESS: Final = frozenset({204, 304})


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A POST of `body` to `url`, or a GET without one. Safe to repeat. `timeout_s` is for all of it, the answer included."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    timeout_s: float
    method: str = "POST"

    def __repr__(self) -> str:
        return f"Request({self.method} {self.url!r}, {len(self.body)} bytes)"  # headers hold the key, the body holds people


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """An answer of any status. Header names are lower case; `body` is cut at the transport's limit."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""

    def __repr__(self) -> str:
        return f"Response(status={self.status}, {len(self.body)} bytes)"  # a report repeats the event


class AnswerError(http.client.HTTPException):
    """What came is no HTTP answer, or only part of one. The message says what was wrong and holds nothing that came."""


class Origin(NamedTuple):
    """Where a connection leads: requests to the same origin may share it."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """A URL in the parts a request needs."""

    origin: Origin
    authority: str
    """Host and port as the `Host` header says them, without a user."""
    path: str
    """Path and query."""


@lru_cache(maxsize=256)
def target_of(url: str) -> Target:
    """The parts of `url`. ValueError when its port is none."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(Origin(parts.scheme, parts.hostname or "", port), parts.netloc.rpartition("@")[2], path)


def message(request: Request, *, by_proxy: bool = False, extra: Iterable[tuple[str, str]] = ()) -> bytes:
    """The request as it goes over the wire; with its whole URL in the first line when it is a proxy that reads it.

    Names and values were checked for line breaks where they came in. UnicodeError when one of them is not ASCII.
    """
    (scheme, _, _), authority, path = target_of(request.url)
    where = f"{scheme}://{authority}{path}" if by_proxy else path
    lines = [f"{request.method} {where} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += [f"{name}: {value}" for name, value in extra]
    if request.method == "GET":
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
    return ("\r\n".join(lines) + f"\r\nContent-Length: {len(request.body)}\r\n\r\n").encode("ascii") + request.body


_FIELDS: Final = rb"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*"
_HEAD: Final = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}(?: [^\r\n\0]*)?" + _FIELDS)
_TRAILERS: Final = re.compile(_FIELDS)
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n\0]*)?")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")


class AnswerReader:
    """Makes one answer of the bytes that come; made anew for each. `tunnel` is for CONNECT, whose answer ends with its head."""

    __slots__ = (
        "_answer_bytes_max",
        "_body",
        "_buffer",
        "_fields",
        "_interim",
        "_left",
        "_length",
        "_read",
        "_status",
        "_tunnel",
        "can_be_kept",
    )

    def __init__(self, *, answer_bytes_max: int = ANSWER_BYTES_MAX, tunnel: bool = False) -> None:
        self._answer_bytes_max = answer_bytes_max
        self._tunnel = tunnel
        self._buffer = bytearray()
        self._body = bytearray()
        self._left = 8 * answer_bytes_max + 2 * HEAD_BYTES_MAX
        self._read: Callable[[AnswerReader, bool], Response | None] = AnswerReader._read_head  # bound, it would be a cycle
        self._interim = 0
        self._length = 0
        self._status = 0
        self._fields: dict[str, str] = {}
        self.can_be_kept = False
        """Whether another request may follow on the connection; to be asked when the answer is complete."""

    @property
    def has_more(self) -> bool:
        """Whether bytes came after the end of the answer, which nobody asked for."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Response | None:
        """The answer once it is complete, else None for the wish for more. Empty `data` is the end of the connection."""
        self._left -= len(data)
        if self._left < 0:
            raise AnswerError("more framing than answer")
        self._buffer += data
        response = self._read(self, not data)
        if response is not None:
            self.can_be_kept = self.can_be_kept and not self._buffer
        elif not data:
            raise AnswerError("it ends too soon")
        return response

    def _read_head(self, ended: bool) -> Response | None:
        while (head := self._taken_head()) is not None:
            self._status, self._fields = _parsed_head(head)
            if self._status >= 200:
                return self._begin_body(ended, is_recent=head.startswith(b"HTTP/1.1"))
            self._interim += 1
            if self._interim > _INTERIM_ANSWERS_MAX or self._status == _SWITCHING_PROTOCOLS:
                raise AnswerError("an interim answer where a final one was due")
        return None

    def _taken_head(self) -> bytes | None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        if end >= 0:
            head = bytes(buffer[:end])
            del buffer[: end + 4]
            return head
        if len(buffer) >= HEAD_BYTES_MAX:
            raise AnswerError("its head is too long")
        if not b"HTTP/1.".startswith(bytes(buffer[:7])):  # said at once, not when the deadline has passed
            raise AnswerError("it does not begin like one")
        return None

    def _begin_body(self, ended: bool, *, is_recent: bool) -> Response | None:
        """Decides where the answer ends (RFC 9112, 6.3)."""
        coding = self._fields.get("transfer-encoding")
        length = self._fields.get("content-length")
        self.can_be_kept = is_recent and "close" not in self._fields.get("connection", "").lower()
        if self._tunnel or self._status in _BODILESS:
            return self._response()
        if coding is not None:
            if coding.lower() != "chunked":
                raise AnswerError("a transfer coding that nobody offered")
            self.can_be_kept = self.can_be_kept and length is None  # whoever says both cannot be trusted with the next answer
            self._read = AnswerReader._read_chunks
        elif length is not None:
            if _LENGTH.fullmatch(length) is None:
                raise AnswerError("a length that is none, or two of them")
            self._length = int(length)
            self._read = AnswerReader._read_length
        else:
            self._read = AnswerReader._read_to_the_end
        return self._read(self, ended)

    def _read_length(self, ended: bool) -> Response | None:
        wanted = min(self._length, self._answer_bytes_max)
        if len(self._buffer) < wanted:
            return None
        self._take_body(wanted)
        return self._cut() if wanted < self._length else self._response()

    def _read_to_the_end(self, ended: bool) -> Response | None:
        self._take_body(min(len(self._buffer), self._answer_bytes_max - len(self._body)))
        self.can_be_kept = False
        return self._response() if ended or len(self._body) == self._answer_bytes_max else None

    def _read_chunks(self, ended: bool) -> Response | None:
        buffer = self._buffer
        while (line := self._chunk_line()) is not None:
            size = _chunk_size(line)
            if size == 0:
                del buffer[: len(line)]  # the line break that is left begins the trailers, or says that there are none
                self._read = AnswerReader._read_trailers
                return self._read_trailers(ended)
            start = len(line) + 2
            room = self._answer_bytes_max - len(self._body)
            if len(buffer) < start + (room if size > room else size + 2):
                return None
            del buffer[:start]
            self._take_body(min(size, room))
            if size > room:
                return self._cut()
            if buffer[:2] != b"\r\n":
                raise AnswerError("a chunk longer than it says")
            del buffer[:2]
        return None

    def _chunk_line(self) -> bytes | None:
        end = self._buffer.find(b"\r\n", 0, _CHUNK_LINE_BYTES_MAX)
        if end < 0 and len(self._buffer) >= _CHUNK_LINE_BYTES_MAX:
            raise AnswerError("a chunk of no size")
        return None if end < 0 else bytes(self._buffer[:end])

    def _read_trailers(self, ended: bool) -> Response | None:
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
        if end < 0:
            if len(self._buffer) >= HEAD_BYTES_MAX:
                raise AnswerError("its trailers are too long")
            return None
        if _TRAILERS.fullmatch(self._buffer, 0, end) is None:
            raise AnswerError("its trailers are malformed")
        del self._buffer[: end + 4]
        return self._response()

    def _take_body(self, count: int) -> None:
        self._body += self._buffer[:count]
        del self._buffer[:count]

    def _cut(self) -> Response:
        self.can_be_kept = False
        return self._response()

    def _response(self) -> Response:
        return Response(status=self._status, headers=self._fields, body=bytes(self._body))


def _parsed_head(head: bytes) -> tuple[int, dict[str, str]]:
    """Status and fields. Repeated fields are one list (RFC 9110, 5.3); what is said twice in the same words is said once."""
    if _HEAD.fullmatch(head) is None:
        raise AnswerError("its head is malformed")
    lines = head.decode("latin-1").split("\r\n")
    if len(lines) > FIELDS_MAX + 1:
        raise AnswerError("its head has too many fields")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        if name in fields and fields[name] != value:
            value = f"{fields[name]}, {value}"
        fields[name] = value
    return int(head[9:12]), fields


def _chunk_size(line: bytes) -> int:
    matched = _CHUNK.fullmatch(line)
    if matched is None:
        raise AnswerError("a chunk of no size")
    return int(matched[1], 16)
