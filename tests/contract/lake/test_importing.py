"""An import: what the rules accept is in the table, each row once, whatever ends the process and whoever lands."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.clock import SystemClock
from footfall.errors import LakeError, LogLockedError
from footfall.lake.importing.books import held, states
from footfall.lake.importing.sources import SourceError
from footfall.lake.landing import Persons
from footfall.lake.ownership import owned_lake
from footfall.lake.running import RunningLander
from footfall.lake.settings import LakeSettings
from footfall.log.reader import SegmentReader
from footfall.log.restoring import GAP, leave_gap
from footfall.registry.erasures import Erasure, erasure_mac
from tests.contract.lake.imports import Ended, ImportStage, lines_of, sent
from tests.contract.lake.stage import NOW_MS

BAD = {"event_type": "PAGE_VIEW", "timestamp": "1", "channel_type": "SITE", "user_id": "u"}
SMALL = LakeSettings(batch_events_max=1_000, interval_s=0.1)


@pytest.fixture
def stage(tmp_path: Path) -> ImportStage:
    return ImportStage(tmp_path, settings=SMALL)


def many(count: int, **members: Any) -> bytes:
    """Rows without ids, of several slices: nothing but their place in the file tells repeats."""
    return lines_of(sent(number, search_query="x" * 800, **members) for number in range(count))


def test_what_the_rules_accept_lands_as_if_it_had_been_sent(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", lines_of([sent(1, id="a"), sent(2, id="b")]))
    imported = stage.take(path)
    tally = imported.tally
    assert (tally.rows, tally.accepted, tally.refused, tally.landed, tally.repeated) == (2, 2, 0, 2, 0)
    first, second = stage.rows()
    assert (first["platform"], first["id"], first["identifier"], first["source"]) == ("SHOP", "a", "u1", "import")
    assert (first["timestamp"], first["received_at"], first["sequence"]) == (NOW_MS - 1001, NOW_MS, 1)
    assert second["writer"] == first["writer"] == stage.state().writer
    assert first["writer"].startswith("import-")
    stage.require_balance()


def test_a_refused_row_is_written_down_with_its_place_and_reasons_and_the_rest_lands(stage: ImportStage) -> None:
    good = lines_of([sent(1)])
    path = stage.write("events.ndjson", good + b"\n" + lines_of([BAD]) + b"{not json\n" + good + b'{"event_type":"PAGE')
    imported = stage.take(path)
    assert (imported.tally.rows, imported.tally.accepted, imported.tally.refused, imported.tally.landed) == (5, 2, 3, 2)
    refused = stage.refused()
    assert [row["row"] for row in refused] == [3, 4, 6], "lines are counted from 1, blank ones too; the torn one is refused"
    assert refused[0]["errors"][0] == {"field": "timestamp", "reason": "timestamp_in_seconds"} | {
        "description": refused[0]["errors"][0]["description"]
    }
    assert json.loads(refused[0]["event"]) == BAD
    assert refused[1]["event"] == "{not json"
    assert imported.refused_file == str(stage.directory / "refused.ndjson")


def test_refused_rows_go_where_they_are_wanted_and_nowhere_else(stage: ImportStage, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.ndjson"
    imported = stage.take(stage.write("events.ndjson", lines_of([BAD])), refused_file=wanted)
    assert imported.refused_file == str(wanted)
    assert len(wanted.read_bytes().splitlines()) == 1
    assert not (stage.directory / "refused.ndjson").exists()


def test_a_file_without_a_good_row_makes_no_table(stage: ImportStage) -> None:
    assert stage.take(stage.write("events.ndjson", lines_of([BAD]))).tally.refused == 1
    assert not (stage.data / "lake").exists()


def test_a_file_that_was_imported_is_not_imported_again_unless_asked_to(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", lines_of([sent(1, id="a"), sent(2), BAD]))
    first = stage.take(path)
    records = stage.records()
    repeated = stage.take(stage.write("copy of it.ndjson", path.read_bytes()))
    assert (repeated.tally, repeated.finished_before, stage.records()) == (first.tally, NOW_MS, records)
    stage.clock.advance(60)
    again = stage.take(path, again=True)
    assert (again.tally.landed, again.tally.repeated, again.tally.refused) == (1, 1, 1), "what has an id counts once"
    assert stage.users() == ["u1", "u2", "u2"]
    assert len({state.writer for state in states(stage.data)}) == 2
    assert stage.take(path).finished_before == NOW_MS
    stage.require_balance()


def test_the_same_file_for_another_platform_is_another_import(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", lines_of([sent(1)]))
    stage.take(path)
    assert stage.take(path, platform="STORE").tally.landed == 1
    assert {row["platform"] for row in stage.rows("platform")} == {"SHOP", "STORE"}


def test_what_the_table_has_already_is_counted_as_a_repeat(stage: ImportStage) -> None:
    stage.take(stage.write("first.ndjson", lines_of([sent(1, id="a")])))
    imported = stage.take(stage.write("second.ndjson", lines_of([sent(1, id="a"), sent(2, id="b"), sent(2, id="b")])))
    assert (imported.tally.landed, imported.tally.repeated) == (1, 2)


@pytest.mark.parametrize("error", [Ended, KeyboardInterrupt])
@pytest.mark.parametrize("rows", [1, 2_000, 3_000])
def test_an_import_that_was_ended_goes_on_where_it_stopped(stage: ImportStage, rows: int, error: type[BaseException]) -> None:
    """Rows without an id, which nothing else could tell from repeats."""
    path = stage.write("events.ndjson", many(4_000))
    assert stage.take_until(path, lambda progress: progress.rows >= rows, error=error)
    kept = stage.records()
    assert 0 < kept < 4_000
    imported = stage.take(path)
    assert (imported.tally.rows, imported.tally.accepted, imported.tally.landed) == (4_000, 4_000, 4_000)
    assert stage.records() == 4_000
    assert stage.users() == sorted(f"u{number}" for number in range(4_000))
    stage.require_balance()


def test_it_goes_on_after_the_landing_was_interrupted(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", many(3_000))
    assert stage.take_until(path, lambda progress: progress.is_read)
    assert stage.records() == 3_000
    assert stage.take(path).tally.landed == 3_000
    stage.require_balance()


def test_refused_rows_are_written_down_once_though_the_import_was_ended(stage: ImportStage) -> None:
    rows = [sent(number, search_query="x" * 800) if number % 3 else BAD for number in range(4_000)]
    path = stage.write("events.ndjson", lines_of(rows))
    assert stage.take_until(path, lambda progress: progress.rows > 1_000)
    imported = stage.take(path)
    assert [row["row"] for row in stage.refused()] == [number + 1 for number in range(0, 4_000, 3)]
    assert imported.tally.refused == len(range(0, 4_000, 3))


@pytest.mark.parametrize("lost", ["progress.ndjson", "refused.ndjson", "both"])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.99])
def test_a_power_cut_that_takes_the_tail_of_the_books_doubles_nothing(stage: ImportStage, lost: str, share: float) -> None:
    rows = [sent(number, search_query="x" * 800) if number % 3 else BAD for number in range(4_000)]
    path = stage.write("events.ndjson", lines_of(rows))
    assert stage.take_until(path, lambda progress: progress.rows > 3_000)
    for book in ("progress.ndjson", "refused.ndjson"):
        if lost in (book, "both"):
            content = (stage.directory / book).read_bytes()
            (stage.directory / book).write_bytes(content[: int(len(content) * share)])
    imported = stage.take(path)
    assert imported.tally.accepted == imported.tally.landed == stage.records() == 4_000 - len(range(0, 4_000, 3))
    assert [row["row"] for row in stage.refused()] == [number + 1 for number in range(0, 4_000, 3)]
    stage.require_balance()


def test_the_clock_of_the_first_start_judges_the_rest(stage: ImportStage) -> None:
    """An event of the future is refused whenever the import goes on, and all rows have one `received_at`."""
    rows = [sent(number, search_query="x" * 800) for number in range(2_000)]
    path = stage.write("events.ndjson", lines_of([*rows, sent(9_999, timestamp=str(NOW_MS + 3_600_000))]))
    assert stage.take_until(path, lambda progress: progress.rows > 1_000)
    stage.clock.advance(86_400)
    imported = stage.take(path)
    assert (imported.tally.accepted, imported.tally.refused) == (2_000, 1)
    assert {row["received_at"] for row in stage.rows("received_at")} == {NOW_MS}


def test_an_import_goes_on_after_a_restore_without_issuing_a_sequence_twice(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", many(4_000))
    assert stage.take_until(path, lambda progress: progress.rows > 2_000)
    kept = stage.records()
    leave_gap(stage.data / "log" / "live")
    assert stage.take(path).tally.landed == 4_000
    sequences = [record.sequence for record in SegmentReader(stage.data / "log" / "live").scan()]
    assert len(sequences) == len(set(sequences)) == 4_000
    assert sum(sequence > GAP for sequence in sequences) == 4_000 - kept
    assert stage.users() == sorted(f"u{number}" for number in range(4_000))


def test_a_new_import_into_a_restored_log_begins_above_its_floor(stage: ImportStage) -> None:
    leave_gap(stage.data / "log" / "live")
    assert stage.take(stage.write("events.ndjson", many(10))).tally.landed == 10
    assert min(row["sequence"] for row in stage.rows("sequence")) > GAP


def test_an_import_whose_records_left_the_log_is_not_gone_on_with(stage: ImportStage) -> None:
    """Its next sequences would be taken for landed ones."""
    path = stage.write("events.ndjson", many(4_000))
    assert stage.take_until(path, lambda progress: progress.rows > 3_000)
    stage.land()
    directory = stage.data / "log" / "live" / stage.state().writer
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
    for _ in range(2):
        with pytest.raises(LakeError, match="--again"):
            stage.take(path)
    imported = stage.take(path, again=True)
    assert imported.tally.accepted == imported.tally.landed == 4_000


def test_two_imports_of_one_file_at_a_time_are_one_too_many(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", many(3_000))
    assert stage.take_until(path, lambda progress: progress.rows > 1_000)
    with held(stage.directory, name="x"), pytest.raises(LogLockedError, match=r"events\.ndjson is being imported"):
        stage.take(path)


# -- whoever lands


def test_a_running_lander_lands_what_is_imported(stage: ImportStage) -> None:
    stop, landed = Event(), Event()
    running = RunningLander(stage.parts(), stop=stop, tell=lambda _: landed.set())
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        assert landed.wait(30)
        assert stage.take(stage.write("events.ndjson", many(2_500))).tally.landed == 2_500
    finally:
        stop.set()
        thread.join()
    stage.require_balance()


def test_the_import_lands_by_itself_when_the_owner_of_the_lake_goes(stage: ImportStage) -> None:
    gone = Event()
    looks = 0

    def look(_: object) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            gone.set()

    def own() -> None:
        with owned_lake(stage.data, stage.volume):
            owning.set()
            gone.wait(30)

    owning = Event()
    thread = threading.Thread(target=own)
    thread.start()
    assert owning.wait(30)
    try:
        assert stage.take(stage.write("events.ndjson", many(10)), tell=look).tally.landed == 10
    finally:
        gone.set()
        thread.join()


def test_where_nothing_lands_the_import_says_so_and_its_records_wait(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", many(10))
    with owned_lake(stage.data, stage.volume), pytest.raises(LakeError, match="has landed nothing"):
        stage.take(path, clock=SystemClock(), stall_s=0.5)
    assert stage.records() == 10
    assert stage.take(path).tally.landed == 10


def test_rows_of_erased_persons_do_not_land(stage: ImportStage) -> None:
    pepper = b"p" * 32
    mac = erasure_mac(pepper, platform="SHOP", kind="user_id", identifier="u1")
    erasure = Erasure(id="e", platform="SHOP", kind="user_id", mac=mac, requested_at=NOW_MS)
    stage.persons = Persons([erasure], pepper)
    imported = stage.take(stage.write("events.ndjson", lines_of([sent(1), sent(2), sent(1)])))
    assert (imported.tally.accepted, imported.tally.landed, imported.tally.erased, imported.tally.repeated) == (3, 1, 2, 0)
    assert stage.users() == ["u2"]


def test_a_file_that_changes_meanwhile_is_said_to(stage: ImportStage) -> None:
    path = stage.write("events.ndjson", many(3_000))
    changed = False

    def change(_: object) -> None:
        nonlocal changed
        if not changed:
            changed = True
            path.write_bytes(many(2_000))

    with pytest.raises(SourceError, match="was changed"):
        stage.take(path, tell=change)


# -- all of it together


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.sampled_from(["id", "twice", "none", "bad", "blank"]), min_size=1, max_size=60),
    ends=st.lists(st.integers(0, 12), max_size=4),
)
def test_every_row_ends_in_exactly_one_way(tmp_path_factory: pytest.TempPathFactory, rows: list[str], ends: list[int]) -> None:
    """Whatever a file holds and however often its import is ended: what has an id is there once, what has none as often as it
    stands in the file, and the counts add up."""
    stage = ImportStage(tmp_path_factory.mktemp("import"), settings=LakeSettings(batch_events_max=10))
    wide = "x" * 60_000  # seventeen rows a slice
    kinds = {
        "id": lambda number: sent(number, id=f"e{number}", search_query=wide),
        "twice": lambda _: sent(0, id="same", search_query=wide),
        "none": lambda number: sent(number % 3, search_query=wide),
        "bad": lambda _: {**BAD, "search_query": wide},
    }
    content = b"".join(b" \n" if kind == "blank" else lines_of([kinds[kind](number)]) for number, kind in enumerate(rows))
    path = stage.write("events.ndjson", content)
    for end in ends:
        looks = 0

        def is_over(_: object, end: int = end) -> bool:
            nonlocal looks
            looks += 1
            return looks > end

        stage.take_until(path, is_over)
    tally = stage.take(path).tally
    count = Counter(rows)
    assert tally.rows == len(rows) - count["blank"]
    assert tally.refused == count["bad"]
    assert tally.landed == count["id"] + count["none"] + bool(count["twice"])
    assert tally.repeated == count["twice"] - bool(count["twice"])
    assert tally.accepted == tally.landed + tally.repeated
    if tally.accepted:
        stage.require_balance()
