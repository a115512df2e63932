"""What `footfall doctor` sees on this machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from footfall.cli.findings import Finding
from footfall.cli.machine import examine_machine, flush_p50_us
from footfall.cli.settings import Settings
from footfall.log.segments import SegmentWriter


def checks(data: Path, **durability: object) -> dict[str, Finding]:
    server = msgspec.structs.replace(Settings().server, port=0, ops_port=0)
    settings = Settings(server=server, durability=msgspec.structs.replace(Settings().durability, **durability))
    return {finding.check: finding for finding in examine_machine(data, settings)}


def test_a_flush_is_measured_and_its_file_is_gone(tmp_path: Path) -> None:
    assert flush_p50_us(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_room_is_judged_by_the_floor_that_is_set(tmp_path: Path) -> None:
    assert checks(tmp_path, free_bytes_min=1)["room"].state == "ok"
    short = checks(tmp_path, free_bytes_min=1 << 60)["room"]
    assert (short.state, "free_bytes_min" in short.cure) == ("fail", True)


def test_records_of_the_log_are_counted(tmp_path: Path) -> None:
    writer = SegmentWriter.open(tmp_path / "log" / "live", accept_tmpfs=True, segment_bytes=64 * 1024)
    writer.write([b'{"a":1}', b'{"b":2}'])
    writer.close()
    told = checks(tmp_path)["live log"]
    assert (told.state, "2 durable records" in told.finding, "at rest" in told.finding) == ("ok", True, True)


def test_memory_is_no_disk() -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir():
        pytest.skip("this machine has no directory in memory")
    told = checks(memory)["file system"]
    if "tmpfs" not in told.finding:
        pytest.skip("its /dev/shm is none")
    assert told.state == "fail"
    assert checks(memory, accept_tmpfs=True)["file system"].state == "warn"
