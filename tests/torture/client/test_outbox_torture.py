"""A thousand kills of a shop that tracks (test P3 of the catalogue)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.contract.client.outbox_kills import kill_shops


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_kills_lose_nothing_that_was_promised(seed: int, tmp_path: Path) -> None:
    report = kill_shops(tmp_path, kills=50, random=random.Random(seed))
    assert report.lost == set()
    assert report.damaged == 0
