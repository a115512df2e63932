"""Records of the log as commands print and read them. The log itself holds opaque bytes; this is where they get their meaning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from footfall.cli.data import TREES, tree
from footfall.events.schema import Event
from footfall.log.api import Record
from footfall.log.reader import SegmentReader, merge_by


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


decode_record: Final = msgspec.json.Decoder(EventRecord).decode
_decode_head: Final = msgspec.json.Decoder(_Head).decode


def readers(data: Path) -> list[SegmentReader]:
    """A reader for each tree."""
    return [SegmentReader(tree(data, mode)) for mode in TREES]


def records(data: Path, *, platform: str | None = None) -> Iterator[Record]:
    """All durable records: exact in order within a writer, by `received_at` across writers and trees."""
    for record in merge_by(readers(data), key=received_at):
        if is_of(record, platform):
            yield record


def received_at(record: Record) -> int:
    return _decode_head(record.body).received_at


def is_of(record: Record, platform: str | None) -> bool:
    return platform is None or _decode_head(record.body).platform == platform


def printed(record: Record) -> bytes:
    """One line: the position, then the record as it lies in the log."""
    return b'{"position":"%b",%b' % (record.position.encode(), record.body[1:])
