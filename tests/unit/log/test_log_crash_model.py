"""The log under power cuts in a model of a mean file system (module `crash_disk`)."""

from __future__ import annotations

from copy import deepcopy

import pytest

from footfall.log.reader import SegmentReader
from footfall.log.verify import verify
from tests.unit.log.crash_disk import CrashDisk, Death
from tests.unit.log.crash_run import TREE, Life, open_writer

LIVES = 2500
LIVES_TORTURE = 200_000


@pytest.mark.parametrize("part", range(10))
def test_no_acknowledged_record_is_lost_and_no_phantom_shown_in_any_life(part: int) -> None:
    for seed in range(part, LIVES, 10):
        try:
            Life(seed).run()
        except BaseException as error:
            raise AssertionError(f"life {seed}: {error!r}") from error


def test_an_opening_that_mends_an_older_seal_may_die_at_any_call_and_lose_power_after_the_next() -> None:
    disk = CrashDisk()
    writer = open_writer(disk)
    bodies = [b"%d:" % number + b"x" * 900 for number in range(9)]
    for body in bodies:
        writer.write([body])
    writer.close()
    descriptor = disk.open_append(TREE / "w0" / min(disk.names(TREE / "w0")))
    disk.truncate(descriptor, disk.size(descriptor) - 5)
    disk.sync_file(descriptor)
    for calls in range(40):
        for seed in range(8):
            dying = deepcopy(disk).kill()
            dying.calls_left = calls
            try:
                open_writer(dying)
            except Death:
                pass
            again = dying.kill()
            open_writer(again)
            survivor = again.kill().lose_power(seed)
            open_writer(survivor)
            assert [record.body for record in SegmentReader(TREE, disk=survivor).scan()] == bodies, f"died at call {calls}"
            assert verify(TREE, disk=survivor).is_sound


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_no_record_is_lost_in_many_lives() -> None:
    for seed in range(LIVES, LIVES_TORTURE):
        try:
            Life(seed).run(deaths=6)
        except BaseException as error:
            raise AssertionError(f"life {seed}: {error!r}") from error
