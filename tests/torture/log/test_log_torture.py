"""The log against real processes, real kernels and real small volumes."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.errors import LogFullError
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify

PROGRAM = [sys.executable, str(Path(__file__).with_name("log_writer.py"))]


def kill_and_look(tree: Path, *, kills: int) -> None:
    """Kills a writer without warning, again and again; whatever it had confirmed is there after each."""
    chance = random.Random(11)
    serial = 1
    confirmed = 0
    for _ in range(kills):
        with subprocess.Popen([*PROGRAM, str(tree), str(serial)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(chance.randrange(1, 60))]
            writer.kill()
            lines += writer.stdout.read().splitlines(keepends=True)
        told = [line for line in lines if line.endswith(b"\n")]
        assert told
        confirmed = int(told[-1].split()[0])
        before_recovery = [record.sequence for record in SegmentReader(tree).scan()]
        assert len(before_recovery) >= confirmed
        assert verify(tree).is_sound
        SegmentWriter.open(tree, free_bytes_min=0).close()
        numbers = [int(record.body.split(b":")[0]) for record in SegmentReader(tree).scan()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= confirmed
        serial = len(numbers) + 1
    assert verify(tree).is_sound


def test_twenty_kills_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    kill_and_look(tmp_path, kills=20)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_each_answer_comes_after_the_sync_that_came_after_the_write(tmp_path: Path) -> None:
    """Per answer: write(group) < fdatasync = 0 < answer; per segment: fsync(file) < rename < fsync(directory) < first answer."""
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-y", "-s", "80", "-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2", "-o", str(trace)]
    ran = subprocess.run([*strace, *PROGRAM, str(tmp_path / "tree"), "1", "600"], capture_output=True, check=False)
    if ran.returncode != 0:
        pytest.skip("strace may not trace here")
    segments = answers = 0
    state = "new"
    unsynced = renamed = False
    for line in trace.read_text(errors="replace").splitlines():
        if re.search(r"write\(1\D", line):
            answers += 1
            assert state == "named", line
            assert not unsynced, line
        elif re.search(r'write\(\d+<[^>]*\.log\.new>, "footfall-log', line):
            segments += 1
            state, renamed = "written", False
        elif re.search(r"fsync\(\d+<[^>]*\.log\.new>\) += 0", line):
            assert state == "written"
            state = "synced"
        elif "rename" in line and ".log.new" in line:
            assert state == "synced", line
            renamed = True
        elif re.search(r"fsync\(\d+<[^>]*/w0>\) += 0", line) and renamed:
            state = "named"
        elif re.search(r'write\(\d+<[^>]*\.log>, "#group', line):
            unsynced = True
        elif re.search(r"fdatasync\(\d+<[^>]*\.log>\) += 0", line):
            unsynced = False
    assert answers == 600
    assert segments > 2


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 1 MiB, where this user may mount one."""
    volume = tmp_path / "volume"
    volume.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=1m,nr_inodes=64", "footfall-test", str(volume)]
    if mount is None or os.geteuid() != 0 or subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs here")
    try:
        yield volume
    finally:
        subprocess.run(["umount", str(volume)], check=True)


@pytest.mark.torture
def test_a_really_full_volume_refuses_and_recovers(small_volume: Path) -> None:
    tree = small_volume / "tree"
    stored: list[bytes] = []

    def fill(writer: SegmentWriter) -> None:
        for size in (30_000, 3_000, 300, 30, 1):
            while True:
                body = b"%d:" % len(stored) + b"x" * size
                try:
                    writer.write([body])
                except LogFullError:
                    break
                writer.sync()
                stored.append(body)

    writer = SegmentWriter.open(tree, segment_bytes=200_000, free_bytes_min=0, accept_tmpfs=True)
    ballast = small_volume / "ballast"
    ballast.write_bytes(bytes(100_000))
    fill(writer)
    assert [record.body for record in SegmentReader(tree).scan()] == stored
    writer.close()
    with SegmentWriter.open(tree, segment_bytes=200_000, free_bytes_min=0, accept_tmpfs=True) as again:
        assert [record.body for record in SegmentReader(tree).scan()] == stored
        ballast.unlink()
        fill(again)
    assert [record.body for record in SegmentReader(tree).scan()] == stored
    assert verify(tree).is_sound


@pytest.mark.torture
def test_running_out_of_names_is_running_out_of_room(small_volume: Path) -> None:
    for number in range(64):
        try:
            (small_volume / str(number)).touch()
        except OSError:
            break
    for number in range(4):
        (small_volume / str(number)).unlink()
    with SegmentWriter.open(small_volume / "tree", free_bytes_min=0, accept_tmpfs=True) as writer:
        with pytest.raises(LogFullError):
            writer.write([b"a"])
        (small_volume / "5").unlink()
        deadline_s = time.monotonic() + 5
        while time.monotonic() < deadline_s:
            try:
                assert writer.write([b"a"]) == 1
                break
            except LogFullError:
                continue
        assert writer.last == 1
