"""A table belongs to one data directory, and a log that was taken from under it is noticed and remembered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from footfall.clock import SystemClock
from footfall.errors import LakeError, SettingsError
from footfall.lake.landing import Landed
from footfall.lake.running import Parts, land_all
from footfall.lake.settings import LakeSettings
from footfall.lake.volume import volume_at
from footfall.log.segments import SegmentWriter
from tests.contract.lake.stage import event, record


def parts(data: Path, table: Path) -> Parts:
    return Parts(data=data, settings=LakeSettings(table=str(table)), clock=SystemClock(), persons=lambda: None)


def write(data: Path, *, events: int) -> None:
    with SegmentWriter.open(data / "log" / "live", accept_tmpfs=True) as writer:
        writer.write([record(event(id=f"{data.name}-{writer.last}-{number}")) for number in range(events)])


def test_the_table_of_another_data_directory_is_refused_however_long_the_log_is(tmp_path: Path) -> None:
    """To a lander of the second, its first events would have the positions of landed ones."""
    table = tmp_path / "table"
    write(tmp_path / "first", events=5)
    assert land_all(parts(tmp_path / "first", table)) == Landed(read=5, landed=5)
    for events in (3, 5):
        write(tmp_path / "second", events=events)
        with pytest.raises(LakeError, match="belongs to another data directory"):
            land_all(parts(tmp_path / "second", table))
    write(tmp_path / "first", events=1)
    assert land_all(parts(tmp_path / "first", table)).landed == 1


def test_a_log_that_was_removed_is_noticed_and_not_forgotten_when_the_new_one_is_longer(tmp_path: Path) -> None:
    data, table = tmp_path / "data", tmp_path / "table"
    write(data, events=5)
    land_all(parts(data, table))
    shutil.rmtree(data / "log")
    for events in (3, 9):
        write(data, events=events)
        with pytest.raises(LakeError, match="the table has its events up to 5"):
            land_all(parts(data, table))
    assert (data / "lake-refused").is_file()


def test_a_table_that_was_removed_is_made_anew_from_the_log(tmp_path: Path) -> None:
    data, table = tmp_path / "data", tmp_path / "table"
    write(data, events=5)
    land_all(parts(data, table))
    shutil.rmtree(table)
    assert land_all(parts(data, table)).landed == 5


@pytest.mark.parametrize("place", ["/x/platform=A/events", "event_date=1/events", "s3://b/platform=A", "/a*b", "/a?b", "/a[b"])
def test_a_place_that_duckdb_would_misread_is_refused(place: str) -> None:
    """Its path would be taken for columns, or for a pattern."""
    with pytest.raises(SettingsError, match="cannot lie at"):
        volume_at(place)


@pytest.mark.parametrize("place", ["/x/env=prod/events", "/a b/c'd,e/events", "s3://bucket/some/path"])
def test_other_places_are_as_good_as_any(place: str) -> None:
    volume_at(place)
