"""One random life of a log on a `CrashDisk`: write, sync, rotate, close, die, and after each death look at what is left."""

from __future__ import annotations

import random
from pathlib import Path

from footfall.clock import ManualClock
from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.crash_disk import CrashDisk, Death

TREE = Path("/data/log")


def open_writer(disk: Disk) -> SegmentWriter:
    return SegmentWriter.open(TREE, segment_bytes=3000, free_bytes_min=0, clock=ManualClock(), disk=disk)


class Life:
    """Keeps what was promised: `acknowledged` must be readable for ever, `written` is all that may ever be readable."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.disk = CrashDisk()
        self.acknowledged: dict[int, bytes] = {}
        self.shown: dict[int, bytes] = {}
        self.written: set[bytes] = set()
        self.serial = 0

    def run(self, *, deaths: int = 4) -> None:
        for _ in range(deaths):
            if self.chance.random() < 0.5:
                self.disk.calls_left = self.chance.randrange(60)
            try:
                self._serve()
            except Death:
                pass
            self._look(self.disk, "as the machine sees it")
            if self.chance.random() < 0.25:
                self.disk = self.disk.kill()
            else:
                self.disk = self.disk.kill().lose_power(self.chance.randrange(2**32))
            self._look(self.disk, "after death, before recovery")
        writer = open_writer(self.disk)
        self._look(self.disk, "after recovery")
        assert writer.last >= max(self.acknowledged, default=0)
        assert writer.write([b"fresh"]) == writer.last
        writer.close()

    def _serve(self) -> None:
        writer = open_writer(self.disk)
        assert writer.durable == writer.last >= max(self.acknowledged, default=0)
        # what recovery made durable may be shown, and is thereby promised
        self._look(self.disk, "after recovery")
        unsynced: dict[int, bytes] = {}
        for _ in range(self.chance.randrange(12)):
            if self.chance.random() < 0.6:
                bodies = [self._body() for _ in range(self.chance.randrange(1, 5))]
                last = writer.write(bodies)
                unsynced.update(zip(range(last - len(bodies) + 1, last + 1), bodies, strict=True))
            else:
                assert writer.sync() == writer.last
                self.acknowledged.update(unsynced)
                unsynced.clear()
        if self.chance.random() < 0.2:
            writer.close()
            self.acknowledged.update(unsynced)

    def _body(self) -> bytes:
        self.serial += 1
        body = b"%d:" % self.serial + b"x" * self.chance.randrange(400)
        self.written.add(body)
        return body

    def _look(self, disk: CrashDisk, when: str) -> None:
        found = {record.sequence: record.body for record in SegmentReader(TREE, disk=disk).scan()}
        for sequence, body in found.items():
            assert body in self.written or body == b"fresh", f"{when}: a record nobody wrote"
            assert self.shown.get(sequence, body) == body, f"{when}: sequence {sequence} names another record now"
        self.shown.update(found)
        if "recovery" in when and "before" not in when:
            missing = {sequence for sequence, body in self.acknowledged.items() if found.get(sequence) != body}
            assert not missing, f"{when}: acknowledged records are gone"
            assert verify(TREE, disk=disk).is_sound, f"{when}: damage"
            assert len(disk.names(TREE / "w0")) < 40
