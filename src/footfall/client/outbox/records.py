"""A waiting event as the log keeps it: one line that a person can read.

    {"to":"https://…/userevents","n":17,"at":1790000000000,"lane":40312,"event":{…}}

`to` holds the platform and the host, never the key; only an outbox that sends to the same place takes the record up. `n` runs
through all worths of a process and gives back the order in which events were tracked. `lane` stands for the identifier without
telling it. A refused event is kept as

    {"to":…,"n":17,"at":…,"lane":…,"position":"cart/12","status":400,"message":"…","event":{…}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec

from footfall.events.schema import IDENTIFIER_PATHS

_LATER_PATHS: Final = tuple(path.rpartition(".")[::2] for path in IDENTIFIER_PATHS[1:])


class Waiting(msgspec.Struct, frozen=True):
    """A record of a worth's log. `repr` leaves the event out."""

    to: str
    n: int
    at: int
    lane: int
    event: msgspec.Raw

    def __repr__(self) -> str:
        return f"Waiting(n={self.n}, at={self.at}, {len(bytes(self.event))} bytes)"


class Refused(msgspec.Struct, frozen=True):
    """A record of the log of refused events. `repr` leaves the event out."""

    to: str
    n: int
    at: int
    lane: int
    position: str
    status: int
    message: str
    event: msgspec.Raw

    def __repr__(self) -> str:
        return f"Refused(position={self.position!r}, status={self.status}, message={self.message!r})"


class Entry(NamedTuple):
    """A waiting event in memory; `sequence` is its number in the log of its worth."""

    n: int
    sequence: int
    at: int
    lane: int
    body: bytes

    def __repr__(self) -> str:
        return f"Entry(n={self.n}, sequence={self.sequence})"


decode_waiting: Final = msgspec.json.Decoder(Waiting).decode
decode_refused: Final = msgspec.json.Decoder(Refused).decode
encode: Final = msgspec.json.Encoder().encode
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def head_of(to: str) -> bytes:
    """What every record to one place begins with."""
    return b'{"to":%b,"n":' % encode(to)


def line_of(head: bytes, n: int, at: int, lane: int, event: bytes) -> bytes:
    """The whole record; `event` is JSON already."""
    return b'%b%d,"at":%d,"lane":%d,"event":%b}\n' % (head, n, at, lane, event)


def lane_of(members: Mapping[str, Any], *, otherwise: int) -> int:
    """Events of one identifier share a lane, where they stay in order; an event without any has a lane by itself."""
    first = members.get("user_id")
    if first.__class__ is str and first:
        return crc32(first.encode()) & 0xFFFF
    for part, name in _LATER_PATHS:
        value = (members.get(part) or {} if part else members).get(name)
        if isinstance(value, str) and value:
            return crc32(value.encode("utf-8", "replace")) & 0xFFFF
    return otherwise & 0xFFFF
