"""The power is cut under a server that lands: nothing that was answered is lost, nothing lands twice, the table opens."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from footfall.lake.healing import heal
from footfall.lake.settings import LakeSettings
from footfall.log.segments import SegmentWriter
from tests.contract.lake.stage import Stage
from tests.load import Load
from tests.serving import Footfall, until
from tests.torture.power_cut import CYCLES, CutVolume, cut_volume

pytestmark = pytest.mark.torture

PROGRAM = [sys.executable, "-m", "tests.torture.cut_lander"]
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[CutVolume]:
    with cut_volume(tmp_path) as mounted:
        yield mounted


def ids_of(stage: Stage) -> list[str]:
    return [row["id"] for row in stage.query("SELECT id FROM events")]


def test_a_server_that_lands_loses_nothing_of_what_it_answered(volume: CutVolume) -> None:
    """Log, registry and table on the volume; after each cut the server lands what is left by itself."""
    chance = random.Random(4)
    sent: set[str] = set()
    answered: set[str] = set()
    with Footfall(volume.path / "data", settings={"FOOTFALL_LAKE__INTERVAL_S": "0.1"}) as server:
        stage = Stage(volume.path)
        for generation in range(CYCLES):
            load = Load(server, generation)
            assert until(lambda load=load: len(load.answered) > 50, seconds=30)  # type: ignore[misc]
            time.sleep(chance.uniform(0.2, 2.5))  # the moment of the cut is what is being varied
            server.kill()
            load.stop()
            sent |= load.sent
            answered |= load.answered
            volume.cut()
            heal(stage.volume, log=stage.data / "log" / "live")
            before = ids_of(stage)
            assert len(before) == len(set(before))
            assert set(before) <= sent
            server.start()
            assert until(lambda: stage.waiting() == 0, seconds=60), server.output()
            found = ids_of(stage)
            assert len(found) == len(set(found)), "an event landed twice"
            assert answered <= set(found) <= sent
            stage.require_balance()
            server.check_ledger()
    assert len(answered) > CYCLES * 50


def test_a_lander_and_its_upkeep_survive_cuts_at_any_moment(volume: CutVolume) -> None:
    """With repeats, merges, checkpoints, vacuum, and a log that keeps nothing it need not keep."""
    chance = random.Random(7)
    stage = Stage(volume.path, settings=LakeSettings(batch_events_max=60))
    confirmed = 0
    healed = 0
    for _ in range(CYCLES):
        serial = confirmed + 1
        with subprocess.Popen([*PROGRAM, str(stage.data), str(serial)], cwd=PROJECT, stdout=subprocess.PIPE) as program:
            assert program.stdout is not None
            confirmed = followed(program.stdout, seconds=chance.uniform(1, 5))
            program.kill()
            rest = [line for line in program.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
            confirmed = int(rest[-1]) if rest else confirmed
        assert confirmed >= serial, "nothing was confirmed in this cycle"
        volume.cut()
        SegmentWriter.open(stage.data / "log" / "live", free_bytes_min=0).close()  # says what of its end is durable
        healed += heal(stage.volume, log=stage.data / "log" / "live").entries
        stage.land()
        last = stage.table().position("w0")
        assert last >= confirmed
        confirmed = last
        expected = {serial for serial in range(1, last + 1) if serial % 10}
        found = [int(name[1:]) for name in ids_of(stage)]
        assert len(found) == len(set(found)), "an event landed twice"
        assert set(found) == expected
        counts = stage.counts()
        assert counts["read"] == last == len(found) + counts["repeated"]
        assert {path for path, _ in stage.volume.listed()} >= {file.path for file in stage.files()}
    print(f"{CYCLES} cuts, {confirmed} events, {healed} log entries of the table put aside")


def followed(lines: IO[bytes], *, seconds: float) -> int:
    """The last serial told within so long after the first."""
    deadline_s = None
    while deadline_s is None or time.monotonic() < deadline_s:
        line = lines.readline()
        assert line, "the program ended"
        deadline_s = deadline_s or time.monotonic() + seconds
    return int(line)
