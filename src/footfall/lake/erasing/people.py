"""Whose records and lines an erasure is about, told in Python: for the log, the quarantine and what imports refused.

Rows of the table are told by DuckDB (`erased`); both compute the same keyed hash (`registry.erasures`). An identifier is hashed
once and remembered for as long as the pass lasts, since most of a log is about people who were seen a moment ago.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from footfall.registry.erasures import Erasure, erasure_mac

_REMEMBERED_MAX: Final = 200_000
"""Identifiers, some 30 MB; beyond, all are forgotten and learnt again."""
_MEMBERS: Final = {"user_id": b'"user_id":"', "persistent_id": b'"persistent_id":"', "custom_id": b'"custom_id":"'}
_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_CELL: Final = re.compile(r"[^,;\t\r\n]+")
_WORD: Final = re.compile(r"""[^\s,;:{}\[\]"']+""")


class _Device(msgspec.Struct):
    persistent_id: str = ""


class _Event(msgspec.Struct):
    user_id: str = ""
    custom_id: str = ""
    device: _Device | None = None
    timestamp: Any = 0


class _Record(msgspec.Struct):
    platform: str
    event: _Event


_decode: Final = msgspec.json.Decoder(_Record).decode
_decode_text: Final = msgspec.json.Decoder(str).decode


class People:
    """The people of some erasures. Not thread-safe."""

    def __init__(self, erasures: Sequence[Erasure], *, pepper: bytes) -> None:
        self.erasures = tuple(erasures)
        self._pepper = pepper
        self._wanted = {(erasure.platform, erasure.kind, erasure.mac): erasure for erasure in erasures}
        self._kinds: dict[str, list[Any]] = {}
        for erasure in erasures:
            kinds = self._kinds.setdefault(erasure.platform, [])
            kinds += [erasure.kind] if erasure.kind not in kinds else []
        self._heads = tuple(b'{"platform":"%b",' % platform.encode() for platform in self._kinds)
        self._members = tuple(_MEMBERS[kind] for kind in {erasure.kind for erasure in erasures})
        self._known: dict[tuple[str, str, str], Erasure | None] = {}

    @property
    def platforms(self) -> frozenset[str]:
        return frozenset(self._kinds)

    def of_record(self, body: bytes) -> list[Erasure]:
        """The erasures that this record of the log falls under. Raises msgspec.MsgspecError, UnicodeDecodeError where it is
        none."""
        if not body.startswith(self._heads) or not any(member in body for member in self._members):
            return []
        record = _decode(body)
        event, device = record.event, record.event.device
        values = {
            "user_id": event.user_id,
            "persistent_id": device.persistent_id if device is not None else "",
            "custom_id": event.custom_id,
        }
        found = (self._named(record.platform, kind, values[kind]) for kind in self._kinds.get(record.platform, ()))
        return [erasure for erasure in found if erasure is not None and _is_before(event.timestamp, erasure.requested_at)]

    def named_in(self, text: str, *, platform: str = "") -> list[Erasure]:
        """The erasures of people whose identifier stands anywhere in a text of unknown form, as a JSON string, a cell or a word
        of its own; of one platform id, or of all."""
        found: dict[str, Erasure] = {}
        for candidate in set(_candidates(text)):
            for each in [platform] if platform else self._kinds:
                for kind in self._kinds.get(each, ()):
                    erasure = self._named(each, kind, candidate)
                    if erasure is not None:
                        found[erasure.id] = erasure
        return list(found.values())

    def _named(self, platform: str, kind: Any, identifier: str) -> Erasure | None:
        if not identifier:
            return None
        key = (platform, kind, identifier)
        try:
            return self._known[key]
        except KeyError:
            pass
        mac = erasure_mac(self._pepper, platform=platform, kind=kind, identifier=identifier)
        if len(self._known) >= _REMEMBERED_MAX:
            self._known.clear()
        self._known[key] = found = self._wanted.get((platform, kind, mac))
        return found


def ids_of(erasures: Iterable[Erasure]) -> list[str]:
    return [erasure.id for erasure in erasures]


def _is_before(timestamp: object, requested_at: int) -> bool:
    """What has no time that can be told goes, too."""
    return not isinstance(timestamp, int) or timestamp < requested_at


def _candidates(text: str) -> Iterator[str]:
    for quoted in _QUOTED.findall(text):
        try:
            yield _decode_text(quoted.encode("utf-8", "replace"))
        except msgspec.MsgspecError:
            yield quoted[1:-1]
    encodable = text.encode("utf-8", "replace").decode()
    for cell in _CELL.findall(encodable):
        yield cell.strip().strip('"')
    yield from _WORD.findall(encodable)
