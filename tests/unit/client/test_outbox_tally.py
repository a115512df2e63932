"""The counts of an outbox on disk: whole after any death, zeros where a power cut made garbage of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.client.outbox.tally import NAME, TallyFile, read_tally
from footfall.log.disk import UnsyncedDisk


def stored(directory: Path, *delivered: int) -> Path:
    file = TallyFile(UnsyncedDisk(), directory)
    for count in delivered:
        file.tally.delivered = count
        file.tally.cursors[3] = count
        file.store()
    file.drop()
    return directory / NAME


def test_what_was_stored_last_is_read_back(tmp_path: Path) -> None:
    stored(tmp_path, 1, 2, 3)
    tally = read_tally(UnsyncedDisk(), tmp_path)
    assert (tally.delivered, tally.cursors) == (3, [0, 0, 0, 3])
    assert TallyFile(UnsyncedDisk(), tmp_path).tally == tally


def test_no_file_and_a_new_file_are_zeros(tmp_path: Path) -> None:
    assert read_tally(UnsyncedDisk(), tmp_path).settled == 0
    stored(tmp_path)
    assert read_tally(UnsyncedDisk(), tmp_path).settled == 0


def test_a_store_cut_short_at_any_byte_leaves_the_one_before_or_itself(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    (tmp_path / "after").mkdir()
    before = stored(tmp_path / "before", 1, 2).read_bytes()
    after = stored(tmp_path / "after", 1, 2, 3).read_bytes()
    changed = [index for index in range(len(before)) if before[index] != after[index]]
    seen = set()
    for cut in range(changed[0], changed[-1] + 2):
        (tmp_path / NAME).write_bytes(after[:cut] + before[cut:])
        seen.add(read_tally(UnsyncedDisk(), tmp_path).delivered)
    assert seen == {2, 3}


@given(garbage=st.binary(max_size=200))
def test_garbage_counts_as_zeros(garbage: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("garbage")
    (directory / NAME).write_bytes(garbage)
    assert read_tally(UnsyncedDisk(), directory).settled == 0
    assert TallyFile(UnsyncedDisk(), directory).tally.settled == 0


def test_nothing_is_written_after_drop(tmp_path: Path) -> None:
    file = TallyFile(UnsyncedDisk(), tmp_path)
    file.drop()
    file.tally.delivered = 9
    file.store()
    assert read_tally(UnsyncedDisk(), tmp_path).delivered == 0
