"""Where records go that cannot become rows: one file a landing, one JSON object a line, each with its reason.

    <data>/quarantine/1790000000000-5f0c….ndjson
    {"position":"w0/123","reason":"…","quarantined_at":1790000000000,"record":"{\\"platform\\":…"}

The file is durable before the commit that moves the checkpoint past its records. A lander that died in between writes them again,
so a position may come twice: it counts once. `record` is text, because its JSON may be what is wrong; it is personal data.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from footfall.log.disk import Disk, make_durable_directory, write_all

DIRECTORY_NAME: Final = "quarantine"


class Poison(msgspec.Struct, frozen=True, kw_only=True):
    """One record that is no row."""

    position: str
    reason: str
    quarantined_at: int
    record: str

    @property
    def writer(self) -> str:
        return self.position.rpartition("/")[0]

    @property
    def sequence(self) -> int:
        return int(self.position.rpartition("/")[2])


class _Envelope(msgspec.Struct):
    platform: str = ""
    source: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Poison).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def envelope_of(record: bytes | str) -> tuple[str, str]:
    """Platform and source of a record, `""` where it does not say."""
    try:
        envelope = _decode_envelope(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return "", ""
    return envelope.platform, envelope.source


class Quarantine:
    """The files of one data directory."""

    def __init__(self, data: Path, *, disk: Disk | None = None) -> None:
        self.directory = data / DIRECTORY_NAME
        self._disk = disk or Disk()

    def keep(self, poisons: Sequence[Poison], *, now_ms: int) -> None:
        """Writes them down, durably."""
        make_durable_directory(self._disk, self.directory)
        name = f"{now_ms}-{uuid4().hex}.ndjson"
        descriptor = self._disk.create(self.directory / f"{name}.new")
        try:
            write_all(self._disk, descriptor, b"".join(_encode(poison) + b"\n" for poison in poisons))
            self._disk.sync_file(descriptor)
        finally:
            self._disk.close(descriptor)
        self._disk.rename(self.directory / f"{name}.new", self.directory / name)
        self._disk.sync_directory(self.directory)

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.directory.glob("*.ndjson"))

    def poisons(self, *, upto: Mapping[str, int] | None = None) -> Iterator[Poison]:
        """Every one once, oldest first; with `upto` (writer → checkpoint) only those the table has moved past."""
        seen: set[str] = set()
        for path in self.files():
            with path.open("rb") as lines:
                for line in lines:
                    poison = _decode(line)
                    if poison.position in seen or (upto is not None and poison.sequence > upto.get(poison.writer, 0)):
                        continue
                    seen.add(poison.position)
                    yield poison


def remove_leftovers(directory: Path) -> None:
    """What a writer that died left half done."""
    for leftover in directory.glob("*.new"):
        os.unlink(leftover)  # noqa: PTH108
