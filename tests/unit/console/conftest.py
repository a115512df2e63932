"""The ops listener over a run directory of its own, and who writes into that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.clock import ManualClock
from tests.unit.console.fleets import FleetFiles, OpsListener, ops_listener


@pytest.fixture
def files(tmp_path: Path) -> FleetFiles:
    clock = ManualClock()
    clock.advance(1_000)
    return FleetFiles(tmp_path / "run", clock)


@pytest.fixture
def ops(files: FleetFiles) -> Iterator[OpsListener]:
    with ops_listener(files.run, files.clock) as listener:
        yield listener
