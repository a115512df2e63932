"""Upkeep of the table: compaction, vacuum, checkpoints and retention, with a log and a table on disk."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from footfall.errors import LakeConflictError, RegistryError
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, EventsTable, new_path, partial_name, position_name
from footfall.lake.upkeep.checkpoints import write_checkpoint
from footfall.lake.upkeep.compaction import plan
from footfall.lake.upkeep.upkeep import Upkeep
from footfall.lake.volume import LocalVolume
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.registry.snapshot import Retention
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, event, record

ONE_EACH = LakeSettings(batch_events_max=1)
"""Each group of records a landing of its own."""
YESTERDAY_MS = NOW_MS - DAY_MS


@contextmanager
def kept_up(stage: Stage, table: EventsTable | None = None, **options: Any) -> Iterator[Upkeep]:
    upkeep = Upkeep(stage.data, table or stage.table(), stage.settings, clock=stage.clock, **options)
    try:
        yield upkeep
    finally:
        upkeep.close()


def land_many(stage: Stage, count: int, *, begin: int = 0, at_ms: int = NOW_MS, **members: Any) -> None:
    append_each(
        stage, "w0", [record(event(id=f"e{n}", timestamp=at_ms - n * 1000, **members)) for n in range(begin, begin + count)]
    )
    stage.land(settings=ONE_EACH)


def append_each(stage: Stage, writer: str, records: Iterable[bytes]) -> None:
    """Each as a group of its own."""
    with SegmentWriter.open(stage.data / "log" / "live", writer=writer, free_bytes_min=0) as opened:
        for each in records:
            opened.write([each])
            opened.sync()


def data_files(stage: Stage) -> set[str]:
    return {path for path, _ in stage.volume.listed()}


def log_lines(stage: Stage, version: int) -> list[Any]:
    entry = stage.data / "lake" / "events" / "_delta_log" / f"{version:020d}.json"
    return [json.loads(line) for line in entry.read_text().splitlines()]


# -- compaction


def test_sixteen_small_files_become_one_with_the_same_rows_in_order_of_time(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    land_many(stage, 15)
    before = stage.rows()
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert len(stage.files()) == 15
    land_many(stage, 1, begin=15)
    with kept_up(stage) as upkeep:
        upkeep.finish()
    (file,) = stage.files()
    assert stage.rows()[:15] == before
    assert (file.rows, file.first_ms, file.last_ms) == (16, NOW_MS - 15_000, NOW_MS)
    times = [row["timestamp"] for row in stage.query("SELECT timestamp FROM events")]
    assert times == sorted(times)
    stage.require_balance()


def test_a_compaction_says_that_no_row_changed(tmp_path: Path) -> None:
    """Whoever follows the table's changes is not given the same rows again."""
    stage = Stage(tmp_path)
    land_many(stage, 16)
    version = stage.table().version
    with kept_up(stage) as upkeep:
        upkeep.finish()
    actions = [line.get("add") or line.get("remove") for line in log_lines(stage, version + 1)]
    assert [action["dataChange"] for action in actions if action] == [False] * 17


def test_partitions_are_merged_apart_and_share_a_commit(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    records = [
        record(event(id=f"e{n}", timestamp=NOW_MS - day * DAY_MS - n), platform=platform)
        for n in range(16)
        for day in (0, 1)
        for platform in ("SHOP", "MALL")
    ]
    append_each(stage, "w0", records)
    stage.land(settings=ONE_EACH)
    version = stage.table().version
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert stage.table().version == version + 1
    assert Counter((file.platform, file.rows) for file in stage.files()) == {("SHOP", 16): 2, ("MALL", 16): 2}
    stage.require_balance()


def test_a_row_of_a_busy_day_is_written_anew_a_few_times_only() -> None:
    """20,000 landings of 60 kB, a plan carried out after each sixteenth: at most five times, once a tier and a little."""
    files: dict[str, DataFile] = {}
    times: dict[str, float] = {}
    for number in range(20_000):
        file = made(60_000, number * 3000, number * 3000 + 2999)
        files[file.path], times[file.path] = file, 0.0
        if number % 16 == 0:
            for merge in plan(files.values(), file_bytes=128 << 20):
                assert merge.files_aimed == 1
                assert merge.bytes_count <= 128 << 20
                merged = made(merge.bytes_count, merge.sources[0].first_ms, merge.sources[-1].last_ms)
                weight = sum(times.pop(source.path) * source.bytes_count for source in merge.sources) / merge.bytes_count
                for source in merge.sources:
                    del files[source.path]
                files[merged.path], times[merged.path] = merged, weight + 1
    assert len(files) < 80
    assert max(times.values()) < 5


def test_a_partition_at_rest_ends_as_few_files_whose_times_do_not_overlap(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(file_bytes=1 << 20))
    chance = random.Random(5)
    for batch in range(6):
        stage.append("w0", *(wordy(f"{batch}-{n}", chance, words=150) for n in range(1500)))
        stage.land()
    before = stage.query("SELECT count(*) AS rows, bit_xor(hash(events)) AS print FROM events")
    total = sum(file.bytes_count for file in stage.files())
    assert total > 3 << 20
    with kept_up(stage) as upkeep:
        upkeep.finish()
        assert len(stage.files()) == 6
        stage.clock.advance(1000)
        upkeep.finish()
    files = stage.files()
    assert len(files) <= -(-total // (1 << 20)) + 1
    assert all(one.last_ms < other.first_ms for one, other in itertools.pairwise(files))
    assert stage.query("SELECT count(*) AS rows, bit_xor(hash(events)) AS print FROM events") == before
    stage.require_balance()
    with kept_up(stage) as upkeep:
        upkeep.finish()
        stage.clock.advance(100_000)
        upkeep.finish()
    assert stage.files() == files, "what is in its last shape is left alone"


@pytest.mark.torture
def test_merging_more_than_is_sorted_at_once_keeps_rows_and_order(tmp_path: Path) -> None:
    """Of 24 MB: several slices of time, one behind the other in one file."""
    stage = Stage(tmp_path, settings=LakeSettings(file_bytes=1 << 26))
    chance = random.Random(6)
    for batch in range(4):
        stage.append("w0", *(wordy(f"{batch}-{n}", chance, words=900) for n in range(1700)))
        stage.land()
    assert sum(file.bytes_count for file in stage.files()) > 13 << 20
    before = stage.query("SELECT count(*) AS rows, bit_xor(hash(events)) AS print FROM events")
    with kept_up(stage) as upkeep:
        upkeep.finish()
        stage.clock.advance(1000)
        upkeep.finish()
    assert len(stage.files()) == 1
    assert stage.query("SELECT count(*) AS rows, bit_xor(hash(events)) AS print FROM events") == before
    times = [row["timestamp"] for row in stage.query("SELECT timestamp FROM events")]
    assert times == sorted(times)


def test_a_single_late_event_does_not_move_a_large_file_before_a_day_of_rest() -> None:
    files = [made(60 << 20, 0, DAY_MS - 1), made(9_000, 5000, 5000)]
    assert plan(files, file_bytes=128 << 20, rest_s=lambda *_: 1000.0) == []
    (merge,) = plan(files, file_bytes=128 << 20, rest_s=lambda *_: 90_000.0)
    assert len(merge.sources) == 2


def test_a_source_that_a_landing_wrote_anew_makes_only_its_own_merge_void(tmp_path: Path) -> None:
    """An earlier receipt of an event that landed already takes that row's place while its file is being merged."""
    stage = Stage(tmp_path)
    append_each(stage, "w1", (record(event(id=f"e{n}", timestamp=NOW_MS - n), platform="MALL") for n in range(16)))
    land_many(stage, 16)
    table = stage.table()
    with stage.lander(table=table) as lander, kept_up(stage, table) as upkeep:
        upkeep.tick()  # begins
        stage.append("a", record(event(id="e3", timestamp=NOW_MS - 3000, user_id="first"), received_at=NOW_MS - 9))
        assert lander.land().repeated == 1
        upkeep.finish()
    assert {(file.platform, file.rows) for file in stage.files()} == {("MALL", 16), ("SHOP", 16)}
    assert stage.query("SELECT writer, user_id FROM events WHERE platform = 'SHOP' AND id = 'e3'") == [
        {"writer": "a", "user_id": "first"}
    ]
    assert data_files(stage) >= {file.path for file in stage.files()}
    stage.require_balance()


def test_landing_goes_on_while_files_are_merged(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    table = stage.table()
    with stage.lander(table=table, settings=ONE_EACH) as lander, kept_up(stage, table) as upkeep:
        for n in range(40):
            stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - n)))
            assert lander.land().landed == 1
            upkeep.tick()
        upkeep.finish()
    assert len(stage.files()) < 16
    stage.require_balance()


def test_an_overtaken_commit_changes_nothing_and_its_files_are_vacuumed(tmp_path: Path) -> None:
    """Not at once: on an object store a conflict may be the echo of a commit that was made."""
    stage = Stage(tmp_path, settings=LakeSettings(vacuum_hours=1))
    table = stage.table()
    with stage.lander(table=table) as lander, kept_up(stage, table) as upkeep:
        for n in range(16):
            upkeep.finish()
            stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - n)))
            lander.land()
        upkeep.tick()  # begins
        stage.table().commit(transactions={position_name("w9"): 1})
        with pytest.raises(LakeConflictError):
            upkeep.finish()
    assert len(stage.files()) == 16
    assert len(data_files(stage)) == 17
    with kept_up(stage) as upkeep:
        upkeep.finish()
        stage.clock.advance(3601)
        upkeep.finish()
    assert len(stage.files()) == 1
    stage.require_balance()


def test_what_cannot_be_merged_is_said_once_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(tmp_path)
    land_many(stage, 16)
    spoilt = stage.data / "lake" / "events" / stage.files()[0].path
    spoilt.write_bytes(b"PAR1" + bytes(100))
    with caplog.at_level(logging.WARNING), kept_up(stage) as upkeep:
        for _ in range(5):
            upkeep.finish()
            stage.clock.advance(65)
    assert len([line for line in caplog.messages if "compacting" in line]) == 1
    assert len(stage.files()) == 16


def test_closing_leaves_nothing_of_a_merge_under_way(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    land_many(stage, 16)
    with kept_up(stage) as upkeep:
        upkeep.tick()
    assert data_files(stage) == {file.path for file in stage.files()}
    assert len(stage.files()) == 16
    assert not (stage.data / "lake-upkeep").exists()


# -- vacuum


def test_a_file_stays_for_its_hours_after_the_table_let_it_go_and_no_longer(tmp_path: Path) -> None:
    """Even where lander after lander starts anew."""
    stage = Stage(tmp_path, settings=LakeSettings(vacuum_hours=2))
    land_many(stage, 16)
    old = {file.path for file in stage.files()}
    with kept_up(stage) as upkeep:
        upkeep.finish()
    for _ in range(3):
        with kept_up(stage) as upkeep:
            upkeep.finish()
        assert data_files(stage) > old
        stage.clock.advance(2300)
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert data_files(stage) > old
    stage.clock.advance(3601)
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert data_files(stage) == {file.path for file in stage.files()}
    stage.require_balance()


def test_what_a_lander_placed_and_died_before_committing_is_removed_after_its_hours(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(vacuum_hours=1))
    stage.append("w0", record(event(id="a")))

    def die(step: str) -> None:
        if step == "commit":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.land(at=die)
    (orphan,) = data_files(stage)
    with kept_up(stage) as upkeep:
        upkeep.finish()
        assert orphan in data_files(stage)
        stage.clock.advance(3601)
        upkeep.finish()
    assert data_files(stage) == set()
    assert list((stage.data / "lake" / "events").glob("platform=*")) == [], "nor are there empty directories"
    stage.land()
    stage.require_balance()


def test_a_file_being_placed_is_never_taken_for_needless(tmp_path: Path) -> None:
    """The look happens beside landing, the verdict between landings; with no hours to wait."""
    stage = Stage(tmp_path, settings=LakeSettings(vacuum_hours=0))
    table = stage.table()
    with kept_up(stage, table) as upkeep:

        def tick(step: str) -> None:
            if step == "commit":
                upkeep.tick()  # begins the look, with the file there and nobody's

        with stage.lander(table=table, at=tick, settings=ONE_EACH) as lander:
            for n in range(8):
                stage.append("w0", record(event(id=f"e{n}", timestamp=NOW_MS - n)))
                stage.clock.advance(3601)
                assert lander.land().landed == 1
                upkeep.finish()
    assert data_files(stage) == {file.path for file in stage.files()}
    stage.require_balance()


def test_an_erasure_has_its_files_removed_at_once_and_what_was_being_made_of_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    land_many(stage, 16)
    table = stage.table()
    with kept_up(stage, table) as upkeep:
        upkeep.tick()
        erased = stage.files()[3]
        table.commit(remove=[erased], transactions={})
        needed = stage.files()[0]
        assert upkeep.vacuum_now([erased.path, needed.path]) == 1
        assert data_files(stage) == {file.path for file in stage.files()}
        assert list((stage.data / "lake-upkeep").glob("*")) == []
        upkeep.finish()
    assert sum(file.rows for file in stage.files()) == 15


def test_an_erasure_may_have_everything_needless_removed_at_once(tmp_path: Path) -> None:
    """What compaction replaced, and what a died lander left, hold the same people."""
    stage = Stage(tmp_path)
    land_many(stage, 16)
    (stage.data / "lake" / "events" / stage.files()[0].path).with_name("1-orphan.parquet").write_bytes(b"PAR1")
    with kept_up(stage) as upkeep:
        upkeep.finish()
        assert upkeep.vacuum_now() == 17
        assert upkeep.vacuum_now() == 0
    assert data_files(stage) == {file.path for file in stage.files()}
    stage.require_balance()


# -- checkpoints


def test_a_checkpoint_each_fifty_commits_and_a_log_that_does_not_grow(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    table = stage.table()
    old_reader = stage.table()
    with kept_up(stage, table, versions_kept=60) as upkeep:
        for n in range(1, 311):
            table.commit(transactions={position_name("w0"): n})
            upkeep.tick()
        upkeep.finish()
    names = stage.volume.log_names()
    assert len(names) < 60 + 2 * 50 + 20
    assert len([name for name in names if name.endswith(".checkpoint.parquet")]) >= 2
    opened = stage.table()
    assert (opened.version, opened.position("w0")) == (310, 310)
    old_reader.refresh()
    assert old_reader.position("w0") == 310, "who opened the table before may go on"


def test_a_checkpoint_each_ten_minutes_at_least(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="a")))
    stage.land()
    with kept_up(stage) as upkeep:
        upkeep.finish()
        assert "_last_checkpoint" not in stage.volume.log_names()
        stage.clock.advance(601)
        upkeep.finish()
    assert "_last_checkpoint" in stage.volume.log_names()


def test_no_identifier_is_in_a_checkpoint(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    land_many(stage, 16, user_id="somebody-1", custom_id="somebody-2")
    with kept_up(stage) as upkeep:
        upkeep.finish()
    write_checkpoint(stage.volume)
    log = stage.data / "lake" / "events" / "_delta_log"
    assert len(list(log.glob("*.parquet"))) == 1
    assert not [path.name for path in log.iterdir() if b"somebody" in path.read_bytes()]


# -- retention


def test_partitions_leave_when_their_youngest_event_is_too_old_and_are_counted_by_source(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(retention_days=30))
    old, young = NOW_MS - 31 * DAY_MS, NOW_MS - 29 * DAY_MS
    stage.append(
        "w0",
        *(record(event(id=f"o{n}", timestamp=old - n), source="import") for n in range(3)),
        record(event(id="o3", timestamp=old), source="batch"),
        record(event(id="y", timestamp=young)),
        *(record(event(id=f"m{n}", timestamp=old), platform="MALL") for n in range(2)),
        record(event(id="k", timestamp=old), platform="KIOSK"),
    )  # fmt: skip
    stage.land()
    own = {"MALL": Retention(lake_days=40), "KIOSK": Retention(lake_days=2)}
    with kept_up(stage, retentions=lambda: own) as upkeep:
        upkeep.finish()
    assert {row["id"] for row in stage.rows("id")} == {"y", "m0", "m1"}
    expired = {name[:2]: count for name, count in stage.counts_by_source().items() if name[2] == "expired"}
    assert expired == {("SHOP", "import"): 3, ("SHOP", "batch"): 1, ("KIOSK", "api"): 1}
    stage.require_balance()
    stage.clock.advance(10 * 86_400)
    with kept_up(stage, retentions=lambda: own) as upkeep:
        upkeep.finish()
    assert stage.rows("id") == []
    assert stage.counts()["expired"] == 8
    stage.require_balance()


def test_without_days_events_stay_for_ever(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="a", timestamp=1)))
    stage.land()
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert [row["id"] for row in stage.rows("id")] == ["a"]


def test_rows_of_an_interrupted_batch_do_not_leave_before_it_has_landed(tmp_path: Path) -> None:
    """They would land, and be counted, once more."""
    stage = Stage(tmp_path, settings=LakeSettings(retention_days=1))
    stage.append("w0", *(record(event(id=f"e{n}", timestamp=NOW_MS - (n + 2) * DAY_MS)) for n in range(450)))

    def die(step: str) -> None:
        if step == "keep" or (step == "commit" and stage.table().transaction(partial_name("w0"))):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.land(at=die)
    assert 0 < len(stage.rows("id")) < 450
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert stage.counts()["expired"] == 0
    stage.land()
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert stage.counts()["expired"] == 450
    stage.require_balance()


def fill_log(stage: Stage, writer: str, *, segments: int, begin: int = 0) -> None:
    """Each opening ends the segment before."""
    for n in range(begin, begin + segments):
        stage.append(writer, *(record(event(id=f"{writer}-{n}-{k}", timestamp=NOW_MS - n)) for k in range(3)))


def held(stage: Stage) -> Mapping[str, int]:
    return Counter(found.writer for found in SegmentReader(stage.data / "log" / "live").scan())


def age_log(stage: Stage, *, days: float) -> None:
    """Segments are sealed by the system's clock: the stage's is set that far behind now, and then moved on."""
    stage.clock.advance(max(0.0, days * 86_400 + time.time() - stage.clock.now_ms() / 1000))


def test_landed_segments_leave_the_log_after_their_days_and_unlanded_ones_never(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(log_retention_days=1))
    fill_log(stage, "w0", segments=4)
    stage.land()
    fill_log(stage, "w0", segments=4, begin=4)
    fill_log(stage, "w1", segments=3)
    with kept_up(stage) as upkeep:
        upkeep.finish()
        assert held(stage) == {"w0": 24, "w1": 9}
        age_log(stage, days=100)
        upkeep.finish()
        first = next(iter(SegmentReader(stage.data / "log" / "live").scan_writer("w0"))).sequence
        assert 1 < first <= 13
        assert held(stage)["w1"] == 9
    stage.land()
    assert sorted(row["sequence"] for row in stage.rows("writer", "sequence") if row["writer"] == "w0") == list(range(1, 25))
    with kept_up(stage) as upkeep:
        upkeep.finish()
    assert all(count <= 3 for count in held(stage).values()), "but for the newest segment all has left"


def test_the_longest_days_of_any_platform_hold_for_the_log(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(log_retention_days=1))
    fill_log(stage, "w0", segments=4)
    stage.land()
    own = {"MALL": Retention(log_days=10), "SHOP": Retention(log_days=0.1)}
    with kept_up(stage, retentions=lambda: own) as upkeep:
        age_log(stage, days=9)
        upkeep.finish()
        assert held(stage) == {"w0": 12}
        stage.clock.advance(2 * 86_400)
        upkeep.finish()
        assert held(stage)["w0"] <= 3


def test_a_registry_that_cannot_be_asked_keeps_everything(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(retention_days=1))
    stage.append("w0", record(event(id="a", timestamp=1)))
    stage.land()

    def unreachable() -> Mapping[str, Retention]:
        raise RegistryError("the registry cannot be reached")

    with caplog.at_level(logging.WARNING), kept_up(stage, retentions=unreachable) as upkeep:
        for _ in range(3):
            upkeep.tick()
            stage.clock.advance(3700)
    assert "the registry cannot be reached" in caplog.text
    assert [row["id"] for row in stage.rows("id")] == ["a"]


# -- the volume


def test_a_table_on_another_volume_than_its_data_directory(tmp_path: Path) -> None:
    """Where a rename cannot reach, files are copied; whole, or not there."""
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second volume to write to")
    place = other / f"footfall-{os.getpid()}-{random.getrandbits(32):08x}"
    try:
        stage = Stage(tmp_path, settings=LakeSettings(table=str(place / "events")))
        land_many(stage, 16)
        with kept_up(stage) as upkeep:
            upkeep.finish()
        assert [file.rows for file in stage.files()] == [16]
        assert isinstance(stage.volume, LocalVolume)
        assert not list(stage.volume.root.rglob(".*"))
        stage.require_balance()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def made(size: int, first_ms: int, last_ms: int) -> DataFile:
    return DataFile(
        path=new_path("SHOP", "2026-09-20"), bytes_count=size, rows=1, platform="SHOP", event_date="2026-09-20",
        first_ms=first_ms, last_ms=last_ms,
    )  # fmt: skip


def wordy(name: str, chance: random.Random, *, words: int = 60) -> bytes:
    """Of yesterday, somewhere, with much in it that does not compress."""
    query = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=words * 4))
    moment = YESTERDAY_MS // DAY_MS * DAY_MS + chance.randrange(DAY_MS)
    return record(event(id=name, timestamp=moment, search_query=query))
