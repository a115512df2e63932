"""The bytes on disk are a contract: files written by an earlier version open for ever, and today's are the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

from footfall.clock import ManualClock
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify

GOLDEN = Path(__file__).parent / "tree"
BODIES = [[b'{"event":"one"}', b'{"event":2}'], ['{"event":"dréi €"}'.encode()], [b""]]


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path, clock=ManualClock(), free_bytes_min=0, new_id=lambda: "0123456789abcdef" * 2) as writer:
        for bodies in BODIES:
            writer.write(bodies)
            writer.sync()
    for golden in sorted((GOLDEN / "w0").iterdir()):
        assert (tmp_path / "w0" / golden.name).read_bytes() == golden.read_bytes()


def test_the_golden_tree_is_read_verified_and_gone_on_with(tmp_path: Path) -> None:
    assert [record.body for record in SegmentReader(GOLDEN).scan()] == [body for bodies in BODIES for body in bodies]
    assert verify(GOLDEN).is_sound
    shutil.copytree(GOLDEN, tmp_path / "copy")
    with SegmentWriter.open(tmp_path / "copy", free_bytes_min=0) as writer:
        assert writer.write([b"five"]) == 5


def test_records_are_found_with_ordinary_tools() -> None:
    (segment,) = (GOLDEN / "w0").glob("*.log")
    lines = segment.read_bytes().splitlines()
    assert [line for line in lines if line.startswith(b"{")] == [
        b'{"event":"one"}',
        b'{"event":2}',
        '{"event":"dréi €"}'.encode(),
    ]
