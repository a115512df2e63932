"""What became of one event on its way into the table, told from the table itself, its checkpoints and the quarantine.

What landed is a row; what is behind the checkpoint of its writer and no row was dropped on the way, and by then only some reasons
can still be seen: a row with the same key says that it was a repeat, the quarantine keeps its own. An erasure, and the end of a
retention, leave nothing to be seen here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias

import duckdb
import msgspec

from footfall.errors import LakeError
from footfall.lake.quarantine import Poison, Quarantine, envelope_of
from footfall.lake.reading import Lake

Landing: TypeAlias = Literal["waits", "landed", "repeat", "quarantined", "gone"]
_QUOTED: Final = re.compile(r'"[^"]*"')


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table, but for what it says of anybody. Times are Unix milliseconds."""

    platform: str
    event_type: str
    timestamp: int
    received_at: int
    source: str
    writer: str
    sequence: int
    event_date: str
    landed_at: int

    @property
    def position(self) -> str:
        return f"{self.writer}/{self.sequence}"


class Poisoned(NamedTuple):
    """A record in quarantine. `reason` without the values it quotes: they may be anybody's."""

    position: str
    platform: str
    source: str
    quarantined_at: int
    reason: str


class Fate(NamedTuple):
    """Of a record of the log. `row` is the row that counts for it."""

    landing: Landing
    row: Row | None = None
    poisoned: Poisoned | None = None


class Lookup:
    """Everything about the events with one id. Raises LakeError and OSError while it is made, not later."""

    def __init__(self, lake: Lake, data: Path, *, event_id: str) -> None:
        self._lake = lake
        self.rows = _rows(lake, event_id)
        self.poisoned = {poison.position: _poisoned(poison) for poison in Quarantine(data).poisons() if _is_of(poison, event_id)}

    def fate(self, writer: str, sequence: int, *, platform: str, event_type: str, timestamp: int) -> Fate:
        """Of the live record with this position and key."""
        if sequence > self._lake.position(writer):
            return Fate("waits")
        position = f"{writer}/{sequence}"
        key = (platform, event_type, timestamp)
        same = [row for row in self.rows if (row.platform, row.event_type, row.timestamp) == key]
        for row in same:
            if row.position == position:
                return Fate("landed", row)
        if position in self.poisoned:
            return Fate("quarantined", poisoned=self.poisoned[position])
        return Fate("repeat", same[0]) if same else Fate("gone")


def _rows(lake: Lake, event_id: str) -> list[Row]:
    names = ", ".join(
        f"epoch_ms({name})" if name in ("timestamp", "received_at", "landed_at") else f"{name}::{_SPELT[name]}"
        for name in Row.__struct_fields__
    )
    try:
        cursor = lake.duckdb().execute(f"SELECT {names} FROM events WHERE id = ? ORDER BY received_at", [event_id])
        found = cursor.fetchall()
    except duckdb.Error as error:
        raise LakeError(f"the table cannot be read: {str(error).splitlines()[0]}") from error
    return [Row(**dict(zip(Row.__struct_fields__, row, strict=True))) for row in found]


_SPELT: Final = {name: "BIGINT" if name == "sequence" else "VARCHAR" for name in Row.__struct_fields__}


def _is_of(poison: Poison, event_id: str) -> bool:
    """Whether the id stands in the record: more cannot be asked of what could not be read."""
    return msgspec.json.encode(event_id).decode() in poison.record


def _poisoned(poison: Poison) -> Poisoned:
    platform, source = envelope_of(poison.record)
    reason = _QUOTED.sub('"…"', poison.reason)
    return Poisoned(poison.position, platform, source, poison.quarantined_at, reason)
