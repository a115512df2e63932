"""The log gives back the memory of segments behind its newest ones, and no failure of that is anybody's trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from footfall.log.disk import Disk
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter


class ForgettingDisk(Disk):
    """Remembers which files it was told to forget."""

    def __init__(self, *, fails: bool = False) -> None:
        self.forgotten: list[str] = []
        self._fails = fails

    def forget(self, descriptor: int) -> None:
        self.forgotten.append(Path(f"/dev/fd/{descriptor}").resolve().name)
        if self._fails:
            raise OSError(22, "refused")
        super().forget(descriptor)


@pytest.mark.parametrize("fails", [False, True])
def test_a_sealed_segment_is_forgotten_when_the_next_is_sealed(tmp_path: Path, fails: bool) -> None:
    disk = ForgettingDisk(fails=fails)
    with SegmentWriter.open(tmp_path, segment_bytes=65_536, free_bytes_min=0, accept_tmpfs=True, disk=disk) as writer:
        for _ in range(40):
            writer.write([b"x" * 10_000])
            writer.sync()
        segments = sorted(path.name for path in (tmp_path / "w0").glob("*.log"))
        assert len(segments) > 4
        assert disk.forgotten == segments[:-2], "all but the newest and the one before it"
    assert sum(1 for _ in SegmentReader(tmp_path).scan()) == 40
