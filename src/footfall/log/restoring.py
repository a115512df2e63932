"""What a tree needs that was brought back from a copy: no sequence may ever be issued a second time.

The copy ends somewhere; the writers it was taken from went on, and whoever read them (a table of events, a destination that
events are forwarded to) remembers positions beyond that end. Would the restored writers go on where the copy ends, those readers
would take the first new events for old ones. So every writer goes on far above, and readers step over the gap as they step over
what retention took: each directory gets an empty segment that begins where the copy ends and whose first sequence is above the
new floor of the tree; writers that the copy does not know begin above the floor, too (`floor`).

    <tree>/w0/00000000000000000001-000000.log      as it was copied
              00000000000000004711-000000.log      base=4711 first=1099511632487, no records
           floor                                   1099511632486
"""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import uuid4

from footfall.clock import Clock, SystemClock
from footfall.log.directory import writers_of
from footfall.log.disk import Disk, make_durable_directory
from footfall.log.floor import lift_floor, read_floor
from footfall.log.format import is_writer_name
from footfall.log.recovery import Succession, next_name, require_sound, survey

GAP: Final = 1 << 40
"""More than a writer issues between a backup and its restore: at 200,000 events/s without a pause that is 63 days, at 1,000 it is
34 years. And small enough: 2^53 is reached by the 8,192nd restore, 2^63 by none."""


def leave_gap(tree: Path, *, disk: Disk | None = None, clock: Clock | None = None) -> int:
    """Lifts the floor of `tree`, which nobody uses yet, and lets every writer in it go on above; returns the floor.

    Makes `tree` where it is missing. Doing it twice leaves two gaps, which does no harm. Raises LogCorruptError where a directory
    is damaged, OSError where the volume fails.
    """
    disk, clock = disk or Disk(), clock or SystemClock()
    make_durable_directory(disk, tree)
    found = {writer: survey(disk, tree / writer) for writer in filter(is_writer_name, writers_of(disk, tree))}
    for writer, survey_ in found.items():
        require_sound(tree / writer, survey_)
    floor = max([read_floor(disk, tree), *(survey_.last for survey_ in found.values())]) + GAP
    for writer, survey_ in found.items():
        if not survey_.listing.segments:
            continue  # it begins above the floor by itself
        plan = Succession(
            disk=disk, directory=tree / writer, writer=writer, new_id=lambda: uuid4().hex, now_ms=clock.now_ms
        )  # fmt: skip
        segment = plan.create(next_name(survey_.listing, base=survey_.last + 1), first=floor + 1)
        try:
            segment.publish()
        finally:
            segment.close()
    lift_floor(disk, tree, floor)
    return floor
