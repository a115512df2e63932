"""A shop is killed at any moment: every id that `track` returned is delivered after the restart (test P3 of the catalogue)."""

from __future__ import annotations

import random
from pathlib import Path

from tests.contract.client.outbox_kills import kill_shops


def test_ten_kills_lose_nothing_that_was_promised(tmp_path: Path) -> None:
    report = kill_shops(tmp_path, kills=10, random=random.Random(20261123))
    assert report.lost == set()
    assert report.damaged == 0
    assert report.promised > 100
