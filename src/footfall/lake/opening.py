"""Which table belongs to a data directory, and how it is opened."""

from __future__ import annotations

from pathlib import Path

from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.volume import Volume, volume_at


def volume_of(data: Path, settings: LakeSettings) -> Volume:
    """Where the table lies, or will."""
    return volume_at(settings.table or str(data / "lake" / "events"))


def open_table(data: Path, settings: LakeSettings) -> EventsTable | None:
    """The table to read; None where nothing has landed yet."""
    return EventsTable.open(volume_of(data, settings))
