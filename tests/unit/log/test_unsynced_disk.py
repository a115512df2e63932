"""The disks of an outbox write what the real one writes, and fail as it fails."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from footfall.log.disk import KeepingDisk, UnsyncedDisk, unsynced_disk, write_all

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a system call by its C name")


def test_what_is_written_without_letting_go_of_the_interpreter_is_in_the_file(tmp_path: Path) -> None:
    disk = KeepingDisk()
    descriptor = disk.create(tmp_path / "file")
    for part in (b"", b"one\n", bytes(range(256)), b"x" * 3_000_000):
        assert disk.write(descriptor, part) == len(part)
    disk.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"one\n" + bytes(range(256)) + b"x" * 3_000_000


def test_part_of_something_is_written_too(tmp_path: Path) -> None:
    disk = KeepingDisk()
    descriptor = disk.create(tmp_path / "file")
    disk.write(descriptor, memoryview(b"abcdef")[3:])
    disk.close(descriptor)
    assert (tmp_path / "file").read_bytes() == b"def"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_volume_is_the_same_error_as_ever() -> None:
    disk = KeepingDisk()
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space left") as refused:
            write_all(disk, descriptor, b"event\n")
        assert refused.value.errno == errno.ENOSPC
    finally:
        os.close(descriptor)


def test_a_closed_file_is_the_same_error_as_ever(tmp_path: Path) -> None:
    disk = KeepingDisk()
    descriptor = disk.create(tmp_path / "file")
    disk.close(descriptor)
    with pytest.raises(OSError) as refused:
        disk.write(descriptor, b"event\n")
    assert refused.value.errno == errno.EBADF


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="only Linux tells what a path is on")
def test_files_of_a_kind_nobody_knows_are_written_the_ordinary_way(tmp_path: Path) -> None:
    assert type(unsynced_disk(Path("/proc/self"))) is UnsyncedDisk
    assert isinstance(unsynced_disk(tmp_path / "not" / "there" / "yet"), UnsyncedDisk)
