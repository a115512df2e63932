"""A program that writes events to a log, lands them and tends the table, for ever: `cut_lander.py DATA SEED`.

After each sync of the log it prints the serial of the last event that is durable. Everything happens early and often: segments of
20 kB that leave the log after a second, files of which sixteen are merged, a vacuum that waits for nobody.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from footfall.clock import SystemClock
from footfall.lake.healing import heal
from footfall.lake.landing import Lander
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.lake.upkeep.upkeep import Upkeep
from footfall.lake.volume import volume_at
from footfall.log.segments import SegmentWriter
from tests.contract.lake.stage import event, record

SETTINGS = LakeSettings(batch_events_max=60, vacuum_hours=0, log_retention_days=1e-5)


class _HurriedClock(SystemClock):
    """An hour of waiting is a second."""

    def monotonic_s(self) -> float:
        return time.monotonic() * 3600


def main(data: Path, seed: int) -> None:
    chance = random.Random(seed)
    volume = volume_at(str(data / "lake" / "events"))
    heal(volume, log=data / "log" / "live")
    table = EventsTable.open(volume, create=True)
    assert table is not None
    lander = Lander(data, table, SETTINGS, clock=SystemClock())
    upkeep = Upkeep(data, table, SETTINGS, clock=_HurriedClock(), versions_kept=20)
    with SegmentWriter.open(data / "log" / "live", segment_bytes=20_000, free_bytes_min=0) as writer:
        while True:
            serial = writer.last + 1
            writer.write([made(number, chance) for number in range(serial, serial + chance.randrange(1, 40))])
            os.write(1, b"%d\n" % writer.sync())
            lander.land()
            upkeep.tick()


def made(serial: int, chance: random.Random) -> bytes:
    """The event of a serial number, which is its sequence too; every tenth repeats the one before it, sometimes with an earlier
    receipt."""
    of = serial - 1 if serial % 10 == 0 else serial
    received_at = 1_790_000_000_000 + serial - (5_000_000 if serial % 20 == 0 else 0)
    moment = 1_790_000_000_000 + of * 1000 - 86_400_000 * (of % 3)
    return record(event(id=f"e{of}", timestamp=moment, user_id=f"u{chance.randrange(9)}"), received_at=received_at)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
