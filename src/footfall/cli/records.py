"""Records of the log as commands print and read them. The log itself holds opaque bytes; this is where they get their meaning."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from footfall.cli.data import TREES, tree
from footfall.errors import LogError
from footfall.events.schema import Event
from footfall.log.api import Record
from footfall.log.reader import SegmentReader, merge_by

_FIRST_WINDOW: Final = 1_000
"""Records that `newest` looks at first, from the end; ten times as many each time they were not enough."""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a server writes down of one accepted event. `received_at` is Unix milliseconds."""

    platform: str
    mode: str
    received_at: int
    source: str
    event: Event


class _Head(msgspec.Struct):
    platform: str
    received_at: int


_Form = TypeVar("_Form", EventRecord, _Head)
_EVENT_RECORD: Final = msgspec.json.Decoder(EventRecord, float_hook=msgspec.Raw)
_HEAD: Final = msgspec.json.Decoder(_Head)


def readers(data: Path) -> list[SegmentReader]:
    """A reader for each tree."""
    return [SegmentReader(tree(data, mode)) for mode in TREES]


def records(data: Path, *, platform: str | None = None) -> Iterator[Record]:
    """All durable records: exact in order within a writer, by `received_at` across writers and trees."""
    for record in merge_by(readers(data), key=received_at):
        if is_of(record, platform):
            yield record


def newest(reader: SegmentReader, *, upto: Mapping[str, int], platform: str | None, count: int) -> list[Record]:
    """The last `count` records of each writer at or before `upto`, looked for from the end: ten lines of a long log are cheap."""
    found: list[Record] = []
    for writer, last in upto.items():
        window, after = _FIRST_WINDOW, last
        kept: deque[Record] = deque(maxlen=count)
        while after > 0 and len(kept) < count:
            after, window = max(0, last - window), window * 10
            seen = (record for record in reader.scan_writer(writer, after=after) if record.sequence <= last)
            kept = deque((record for record in seen if is_of(record, platform)), maxlen=count)
        found += kept
    return found


def understood(record: Record) -> EventRecord:
    """The record's meaning."""
    return _decoded(_EVENT_RECORD, record)


def received_at(record: Record) -> int:
    return _decoded(_HEAD, record).received_at


def is_of(record: Record, platform: str | None) -> bool:
    return platform is None or _decoded(_HEAD, record).platform == platform


def printed(record: Record) -> bytes:
    """One line: the position, then the record as it lies in the log."""
    return b'{"position":"%b",%b' % (record.position.encode(), record.body[1:])


def _decoded(decoder: msgspec.json.Decoder[_Form], record: Record) -> _Form:
    try:
        return decoder.decode(record.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # whole by its sums, so it was written so
        raise LogError(f"record {record.position} is none of this version's; was the log written by a newer one?") from None
