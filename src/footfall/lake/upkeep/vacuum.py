"""Vacuum: which data files nobody needs, since when, and so which may be removed.

A file that compaction, an erasure or retention took out of the table stays for `vacuum_hours`, for readers that opened the table
before; one that a lander placed and died before committing was never anybody's and is treated alike. Time is counted from when
the file was first seen to be needless, and written down beside the log so that a lander which starts anew does not begin again:

    <data>/lake-needless.json      {"table":"/…/lake/events","since":{"platform=SHOP/…/1-0198….parquet":1790000000000}}

The note may be lost: then files stay longer. It never makes one go sooner, for a file that the table has is never needless.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

import msgspec

NOTE_NAME: Final = "lake-needless.json"


class _Note(msgspec.Struct):
    table: str
    since: dict[str, int] = {}


_decode: Final = msgspec.json.Decoder(_Note).decode


class Needless:
    """The files of one table that are known to be needless."""

    def __init__(self, data: Path, *, table: str) -> None:
        self._path = data / NOTE_NAME
        self._note = _read(self._path, table)

    def see(self, listed: Iterable[str], *, needed: Collection[str], now_ms: int) -> None:
        """Takes in what lies there now and what of it the table has."""
        since = {path: min(self._note.since.get(path, now_ms), now_ms) for path in listed if path not in needed}
        if since != self._note.since:
            self._note.since = since
            self._write()

    def due(self, *, hours: float, now_ms: int) -> list[str]:
        """Those that have been needless for so long."""
        return [path for path, since_ms in self._note.since.items() if now_ms - since_ms >= hours * 3_600_000]

    def forget(self, paths: Iterable[str]) -> None:
        """They are gone."""
        for path in paths:
            self._note.since.pop(path, None)
        self._write()

    def _write(self) -> None:
        """Whole or not at all; not waited for, since losing it costs only time."""
        unfinished = self._path.with_name(f"{NOTE_NAME}.new")
        unfinished.write_bytes(msgspec.json.encode(self._note))
        os.replace(unfinished, self._path)  # noqa: PTH105


def _read(path: Path, table: str) -> _Note:
    try:
        note = _decode(path.read_bytes())
    except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
        return _Note(table)
    return note if note.table == table else _Note(table)
