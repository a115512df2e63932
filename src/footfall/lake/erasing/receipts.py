"""What an erasure came to, as the registry keeps it and `footfall erase` prints it; and why one is not done yet.

<data>/run/erasing.json      {"trouble":"…"}       only while there is some
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

TREES: Final = ("live", "test")
_TROUBLE: Final = Path("run", "erasing.json")


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for one erasure. Times are Unix milliseconds; counts are of this person, and where a process died on the way
    only of what was left to do then."""

    erasure_id: str
    platform: str
    kind: str
    requested_at: int
    finished_at: int
    places: list[dict[str, Any]]
    """{"place":"lake","rows":3,"files":1} and so on; every place is there, however little was found in it"""
    notes: list[str]
    """what is not reached"""

    @property
    def rows(self) -> int:
        """Those of the table."""
        return sum(place["rows"] for place in self.places if place["place"] == "lake")


class Found(msgspec.Struct, kw_only=True):
    """By erasure: what went, and the files it lay in."""

    entries: Counter[str] = msgspec.field(default_factory=Counter)
    files: Counter[str] = msgspec.field(default_factory=Counter)


class Account(msgspec.Struct, kw_only=True):
    """What one attempt, or several, came to, by place."""

    lake: Found = msgspec.field(default_factory=Found)
    log: dict[str, Found] = msgspec.field(default_factory=lambda: {mode: Found() for mode in TREES})
    quarantine: Found = msgspec.field(default_factory=Found)
    imports: Found = msgspec.field(default_factory=Found)
    damaged_files: int = 0
    """of the log, set aside earlier and removed as a whole"""

    def places(self, erasure_id: str) -> list[dict[str, Any]]:
        """As a receipt has them."""

        def place(name: str, found: Found, entries: str, files: str) -> dict[str, Any]:
            return {"place": name, entries: found.entries[erasure_id], files: found.files[erasure_id]}

        return [
            place("lake", self.lake, "rows", "files"),
            *(place(f"log/{mode}", found, "records", "segments") for mode, found in self.log.items()),
            place("quarantine", self.quarantine, "records", "files"),
            place("imports", self.imports, "rows", "files"),
        ]


_decode: Final = msgspec.json.Decoder(Receipt).decode


def read_receipt(text: str | None) -> Receipt | None:
    """The receipt as the registry keeps it; None where there is none (yet)."""
    return None if text is None else _decode(text)


def tell_trouble(data: Path, words: str) -> None:
    """Leaves word of why erasures stay pending; empty words take it away. Without a server there is nobody to leave it for."""
    path = data / _TROUBLE
    try:
        if not words:
            path.unlink(missing_ok=True)
        elif path.parent.is_dir():
            path.write_bytes(msgspec.json.encode({"trouble": words}) + b"\n")
    except OSError:  # it is the volume that is in trouble
        pass


def told_trouble(data: Path) -> str:
    """Empty where there is none, or no word of it."""
    try:
        return str(msgspec.json.decode((data / _TROUBLE).read_bytes(), type=dict[str, str])["trouble"])
    except (OSError, KeyError, msgspec.MsgspecError):
        return ""
