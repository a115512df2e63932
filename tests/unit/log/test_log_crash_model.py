"""The log under power cuts in a model of a mean file system (module `crash_disk`)."""

from __future__ import annotations

import pytest

from tests.unit.log.crash_run import Life

LIVES = 2500
LIVES_TORTURE = 200_000


@pytest.mark.parametrize("part", range(10))
def test_no_acknowledged_record_is_lost_and_no_phantom_shown_in_any_life(part: int) -> None:
    for seed in range(part, LIVES, 10):
        try:
            Life(seed).run()
        except BaseException as error:
            raise AssertionError(f"life {seed}: {error!r}") from error


@pytest.mark.torture
@pytest.mark.timeout(3600)
def test_no_record_is_lost_in_many_lives() -> None:
    for seed in range(LIVES, LIVES_TORTURE):
        try:
            Life(seed).run(deaths=6)
        except BaseException as error:
            raise AssertionError(f"life {seed}: {error!r}") from error
