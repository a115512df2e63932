"""An erasure that dies at any call, and loses power on top, in the model of a mean file system (module `crash_disk`)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest

from footfall.log.directory import list_segments
from footfall.log.reader import SegmentReader
from footfall.log.rewriting import rewrite_records
from footfall.log.verify import verify
from tests.unit.log.crash_disk import CrashDisk, Death
from tests.unit.log.crash_run import TREE, open_writer

BODIES = [b"%d:%b" % (number, b"ann" if number % 4 == 0 else b"bob") + b"x" * 700 for number in range(1, 10)]
ERASED = [b"erased" if b"ann" in body else body for body in BODIES]


def erase_ann(bodies: Sequence[bytes]) -> Sequence[bytes] | None:
    return [b"erased" if b"ann" in body else body for body in bodies]


def shown(disk: CrashDisk) -> list[bytes]:
    return [record.body for record in SegmentReader(TREE, disk=disk).scan()]


def erase(disk: CrashDisk) -> None:
    try:
        rewrite_records(TREE / "w0", change=erase_ann, disk=disk)
    except Death:
        pass


def look(disk: CrashDisk, *, is_finished: bool) -> None:
    """A power cut may take the watermark back, and with it the last records out of sight, until a writer opens."""
    found = shown(disk)
    assert all(body in pair for body, *pair in zip(found, BODIES, ERASED, strict=False))
    assert verify(TREE, disk=disk).is_sound
    if is_finished:
        assert found == ERASED[: len(found)], "what was erased does not come back with the power"
        assert list_segments(disk, TREE / "w0").superseded == (), "not even where nobody would read it"


@pytest.fixture(scope="module")
def filled() -> CrashDisk:
    disk = CrashDisk()
    writer = open_writer(disk)
    for body in BODIES:
        writer.write([body])
        writer.sync()
    writer.close()
    return disk


def test_dying_at_any_call_and_losing_power_leaves_each_record_as_it_was_or_as_it_becomes(filled: CrashDisk) -> None:
    finished_at = 0
    for calls in range(80):
        for seed in range(12):
            dying = deepcopy(filled).kill()
            dying.calls_left = calls
            try:
                rewrite_records(TREE / "w0", change=erase_ann, disk=dying)
                finished_at = finished_at or calls
            except Death:
                pass
            for survivor in (dying.kill(), dying.kill().lose_power(seed)):
                look(survivor, is_finished=finished_at > 0)
                rewrite_records(TREE / "w0", change=erase_ann, disk=survivor)
                again = survivor.kill().lose_power(seed)
                look(again, is_finished=True)
                open_writer(again).close()
                assert shown(again) == ERASED, f"died at call {calls}"
    assert finished_at > 10


def test_the_second_attempt_may_die_too() -> None:
    """It begins by removing what the first one superseded, perhaps without having made the name of the successor durable."""
    filled = CrashDisk()
    with open_writer(filled) as writer:
        writer.write(BODIES[:4])
    for calls in range(16):
        once = deepcopy(filled).kill()
        once.calls_left = calls
        erase(once)
        for calls_again in range(8):
            twice = deepcopy(once).kill()
            twice.calls_left = calls_again
            erase(twice)
            for seed in range(6):
                survivor = twice.kill().lose_power(seed)
                open_writer(survivor).close()
                assert shown(survivor) in (BODIES[:4], ERASED[:4]), f"died at call {calls}, then at {calls_again}"


def test_an_opening_after_any_death_keeps_what_was_reached(filled: CrashDisk) -> None:
    """The opening clears away what the dead attempt left, whichever of two generations that is."""
    for calls in range(40):
        dying = deepcopy(filled).kill()
        dying.calls_left = calls
        erase(dying)
        reached = shown(dying.kill())
        survivor = dying.kill()
        open_writer(survivor).close()
        assert shown(survivor) == reached
        assert sum(name.endswith((".log", ".new")) for name in survivor.names(TREE / "w0")) == 3
