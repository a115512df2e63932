"""Erasing people from files of lines: the quarantine's, and those in which imports keep the rows they refused.

A line of the quarantine keeps its position and stays counted; what it held goes. A refused row keeps its number, since an import
that goes on counts by them. Files are replaced as a whole: readers see the old one or the new one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.errors import LogLockedError
from footfall.lake.erasing.people import People, ids_of
from footfall.lake.erasing.receipts import Found
from footfall.lake.quarantine import Poison, Quarantine, envelope_of, remove_leftovers
from footfall.log.disk import Disk, remove_if_there, write_all

IMPORTS_NAME: Final = "imports"
ERASED: Final = "erased"
"""The reason of a line of the quarantine that was emptied."""
_PIECE_BYTES: Final = 1 << 20
_Change = Callable[[bytes], bytes]


class _Row(msgspec.Struct):
    row: int
    event: str = ""


class _State(msgspec.Struct):
    platform: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode_poison: Final = msgspec.json.Decoder(Poison).decode
_decode_row: Final = msgspec.json.Decoder(_Row).decode
_decode_state: Final = msgspec.json.Decoder(_State).decode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def erase_quarantined(data: Path, people: People, *, into: Found) -> Generator[float]:
    """File by file. The caller owns the lake, so nobody writes here meanwhile. Raises OSError."""
    quarantine = Quarantine(data)
    if quarantine.directory.is_dir():
        remove_leftovers(quarantine.directory)
    for path in quarantine.files():
        _erase_in(path, into, lambda line: _poison_without(line, people))
        yield 0.0


def erase_refused(data: Path, people: People, *, into: Found) -> Generator[float]:
    """Import by import. Raises LogLockedError where one is at work, after all others; OSError."""
    disk, busy = Disk(), []
    for directory in sorted((data / IMPORTS_NAME).glob("*/")):
        try:
            lock = disk.lock_directory(directory)
        except BlockingIOError:
            busy.append(directory.name)
            continue
        try:
            _erase_refused_of(directory, people, into)
        finally:
            disk.unlock(lock)
        yield 0.0
    if busy:
        raise LogLockedError(f"an import is at work ({', '.join(busy)}): the rows it refused are looked at when it has ended")


def _erase_refused_of(directory: Path, people: People, into: Found) -> None:
    path = directory / "refused.ndjson"
    remove_if_there(Disk(), path.with_name(f"{path.name}.new"))
    if path.exists():
        platform = _platform_of(directory)
        _erase_in(path, into, lambda line: _row_without(line, people, platform=platform))


def _platform_of(directory: Path) -> str:
    """Empty where it cannot be told: then anybody's counts."""
    try:
        return _decode_state((directory / "state.json").read_bytes()).platform
    except (OSError, *_UNREADABLE):
        return ""


def _poison_without(line: bytes, people: People) -> tuple[bytes, list[str]]:
    try:
        poison = _decode_poison(line)
    except _UNREADABLE:
        found = ids_of(people.named_in(line.decode("utf-8", "replace")))
        return (b"" if found else line), found
    try:
        found = ids_of(people.of_record(poison.record.encode("utf-8", "replace")))
    except (*_UNREADABLE, ValueError):
        found = ids_of(people.named_in(poison.record))
    if not found:
        return line, []
    platform, source = envelope_of(poison.record)
    left: dict[str, Any] = {"platform": platform, "source": source, "event": {"erased": True}}
    emptied = msgspec.structs.replace(poison, reason=ERASED, record=_encode(left).decode())
    return _encode(emptied) + b"\n", found


def _row_without(line: bytes, people: People, *, platform: str) -> tuple[bytes, list[str]]:
    """A refused row was never an event: whatever its time, it goes."""
    try:
        row = _decode_row(line)
    except _UNREADABLE:
        found = ids_of(people.named_in(line.decode("utf-8", "replace"), platform=platform))
        return (b"" if found else line), found
    found = ids_of(people.named_in(row.event, platform=platform))
    if not found:
        return line, []
    return _encode({"row": row.row, "errors": [], "event": "", "erased": True}) + b"\n", found


def _erase_in(path: Path, into: Found, without: Callable[[bytes], tuple[bytes, list[str]]]) -> None:
    found: Counter[str] = Counter()
    with path.open("rb") as lines:
        for line in lines:
            found.update(without(line)[1])
    if found:
        _replace(path, lambda line: without(line)[0])
        into.entries.update(found)
        into.files.update(found.keys())


def _replace(path: Path, change: _Change) -> None:
    disk, unfinished = Disk(), path.with_name(f"{path.name}.new")
    remove_if_there(disk, unfinished)
    descriptor = disk.create(unfinished)
    try:
        with path.open("rb") as lines:
            piece = bytearray()
            for line in lines:
                piece += change(line)
                if len(piece) >= _PIECE_BYTES:
                    write_all(disk, descriptor, bytes(piece))
                    piece.clear()
            write_all(disk, descriptor, bytes(piece))
        disk.sync_file(descriptor)
    except BaseException:
        remove_if_there(disk, unfinished)
        raise
    finally:
        disk.close(descriptor)
    disk.rename(unfinished, path)
    disk.sync_directory(path.parent)
