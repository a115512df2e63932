"""The ledger: it balances whatever happens to events, and does not where one is lost or doubled."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from footfall.errors import LakeError
from footfall.lake.books import Counted, Pair, Terms, pairs_in
from footfall.lake.ledger import Ledger, take_ledger
from footfall.lake.quarantine import Quarantine, envelope_of
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, count_name, new_path, partial_name, position_name
from footfall.log.retention import remove_sealed
from footfall.log.segments import SegmentWriter
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, erased_record, event, record

API: Pair = ("SHOP", "api")
POISON = record(b'{"id":"poison","event_type":"PURCHASE","timestamp":"x"}')


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield Stage(tmp_path)


def look(stage: Stage, *, counted: Mapping[Pair, Counted] | None = None, verify: bool = True) -> Ledger:
    return take_ledger(stage.data, stage.settings, platforms=["SHOP"], counted=counted or {}, verify=verify)


def broken(ledger: Ledger) -> dict[str, str]:
    """The checks that do not hold: name → detail."""
    return {check.check: check.detail for check in ledger.checks or () if not check.ok}


def landed_five(stage: Stage) -> None:
    stage.append("w0", *(record(event(id=f"e{number}", timestamp=NOW_MS - number)) for number in range(5)))
    stage.land()


# -- where events are


def test_a_data_directory_without_a_log_balances_with_a_line_of_zeros_for_each_source(stage: Stage) -> None:
    ledger = look(stage)
    assert ledger.balanced
    assert ledger.version is None
    assert list(ledger.lines) == [("SHOP", source) for source in ("api", "batch", "import", "segment")]
    assert all(terms.is_empty for terms in ledger.lines.values())


def test_before_anything_landed_every_durable_record_waits_under_its_platform_and_source(stage: Stage) -> None:
    stage.append("w0", record(event(id="a")), record(event(id="b"), source="batch"), record(event(id="c"), platform="OTHER"))
    stage.append("w1", record(event(id="d")))
    ledger = look(stage)
    assert {pair: terms for pair, terms in ledger.lines.items() if not terms.is_empty} == {
        ("SHOP", "api"): Terms(accepted=2, waiting=2),
        ("SHOP", "batch"): Terms(accepted=1, waiting=1),
        ("OTHER", "api"): Terms(accepted=1, waiting=1),
    }
    assert ledger.balanced


def test_every_way_an_event_can_go_has_its_number(stage: Stage) -> None:
    same = event(id="twice")
    stage.append("w0", record(event(id="a")), record(same), record(same, received_at=NOW_MS + 1), POISON, erased_record())
    stage.land()
    stage.append("w0", record(event(id="late"), source="segment"), record(event(id="later")))
    ledger = look(stage, counted={API: Counted(accepted=5, rejected=7, throttled=8, unavailable=9)})
    assert ledger.lines[API] == Terms(
        accepted=6, rejected=7, throttled=8, unavailable=9, landed=2, repeated=1, quarantined=1, erased=1, waiting=1
    )
    assert ledger.lines[API].received == 6 + 7 + 8 + 9
    assert ledger.lines["SHOP", "segment"] == Terms(accepted=1, waiting=1)
    assert ledger.totals.accepted == 7
    assert (ledger.balanced, broken(ledger)) == (True, {})


def test_a_row_that_loses_against_an_earlier_receipt_counts_as_a_repeat_of_its_own_source(stage: Stage) -> None:
    stage.append("w0", record(event(), source="api", received_at=NOW_MS + 5))
    stage.land()
    stage.append("w1", record(event(), source="batch", received_at=NOW_MS))
    stage.land()
    ledger = look(stage)
    assert ledger.lines[API] == Terms(accepted=1, repeated=1)
    assert ledger.lines["SHOP", "batch"] == Terms(accepted=1, landed=1)
    assert ledger.balanced


def test_a_record_that_does_not_say_whose_it_is_counts_under_no_platform(stage: Stage) -> None:
    stage.append("w0", b"not JSON at all", record(event()))
    waiting = look(stage)
    stage.land()
    landed = look(stage)
    assert waiting.lines["", ""] == Terms(accepted=1, waiting=1)
    assert landed.lines["", ""] == Terms(accepted=1, quarantined=1)
    assert waiting.balanced and landed.balanced


def test_rows_that_retention_dropped_have_landed(stage: Stage) -> None:
    landed_five(stage)
    table = stage.table()
    table.commit(remove=stage.files(), transactions={count_name("SHOP", "api", "expired"): 5})
    ledger = look(stage)
    assert ledger.lines[API] == Terms(accepted=5, landed=5, expired=5)
    assert ledger.balanced


def test_rows_of_an_interrupted_batch_wait_until_its_checkpoint_moves(stage: Stage, tmp_path: Path) -> None:
    """The table as a lander leaves it that dies between the two commits of a batch with too many partitions for one."""
    records = [record(event(id=f"d{day}", timestamp=NOW_MS - day * DAY_MS)) for day in range(3)]
    whole = Stage(tmp_path / "whole")
    for other in (stage, whole):
        other.append("w0", *records)
    whole.land()
    first = [copied(file, whole, into=stage) for file in whole.files()[:2]]
    stage.table().commit(add=first, transactions={partial_name("w0"): 3})
    interrupted = look(stage)
    assert sum(file.rows for file in stage.files()) == 2
    assert interrupted.lines[API] == Terms(accepted=3, waiting=3)
    assert (interrupted.balanced, broken(interrupted)) == (True, {})
    stage.land()
    assert look(stage).lines[API] == Terms(accepted=3, landed=3)
    assert look(stage).balanced


def test_it_balances_after_old_segments_of_the_log_are_gone(stage: Stage) -> None:
    with SegmentWriter.open(stage.data / "log" / "live", writer="w0", free_bytes_min=0, segment_bytes=4096) as writer:
        for number in range(60):
            writer.write([record(event(id=f"e{number}"))])
            writer.sync()
    stage.land()
    removed = remove_sealed(stage.data / "log" / "live" / "w0", sealed_before_ms=1 << 60, passed=60)
    assert removed.segments > 0
    ledger = look(stage, counted={API: Counted(accepted=60)})
    assert ledger.lines[API] == Terms(accepted=60, landed=60)
    assert (ledger.balanced, broken(ledger)) == (True, {})


def test_a_table_without_its_log_balances(stage: Stage) -> None:
    """As somebody has it who restored the table alone."""
    landed_five(stage)
    shutil.rmtree(stage.data / "log")
    ledger = look(stage)
    assert ledger.lines[API] == Terms(accepted=5, landed=5)
    assert (ledger.balanced, broken(ledger)) == (True, {})


# -- what must not go unnoticed


def test_a_lost_file_is_a_difference_of_as_many_events(stage: Stage) -> None:
    landed_five(stage)
    stage.table().commit(remove=stage.files(), transactions={})
    ledger = look(stage, verify=False)
    assert ledger.lines[API].difference == 5
    assert not ledger.balanced


def test_a_file_that_is_in_the_table_twice_is_a_difference_below_zero_and_told_by_positions(stage: Stage) -> None:
    landed_five(stage)
    (file,) = stage.files()
    copy = copied(file, stage, into=stage)
    stage.table().commit(add=[copy], transactions={})
    ledger = look(stage)
    assert ledger.lines[API].difference == -5
    assert broken(ledger) == {
        "positions_once": "5 records are several rows, such as w0/1, w0/2, w0/3",
        "keys_once": "5 events with an id are several rows, such as w0/1, w0/2, w0/3",
    }


def test_one_event_in_two_rows_is_found_though_every_number_agrees(stage: Stage, tmp_path: Path) -> None:
    """A lander that forgets to compare would leave books that balance: only the rows' keys tell."""
    forgetful = Stage(tmp_path / "forgetful")
    forgetful.append("w1", record(event()))
    forgetful.land()
    stage.append("w0", record(event()))
    stage.land()
    stage.append("w1", record(event()))
    (file,) = forgetful.files()
    copy = copied(file, forgetful, into=stage)
    stage.table().commit(add=[copy], transactions={position_name("w1"): 1, count_name("SHOP", "api", "read"): 2})
    ledger = look(stage)
    assert ledger.lines[API].difference == 0
    assert broken(ledger) == {"keys_once": "1 events with an id are several rows, such as w0/1"}
    assert not ledger.balanced


def test_two_events_without_an_id_are_no_repeat(stage: Stage) -> None:
    stage.append("w0", record(event(id=None)), record(event(id=None)))
    stage.land()
    assert look(stage).lines[API] == Terms(accepted=2, landed=2)
    assert look(stage).balanced


def test_a_row_from_behind_its_checkpoint_is_found(stage: Stage, tmp_path: Path) -> None:
    further = Stage(tmp_path / "further")
    further.append("w0", *(record(event(id=f"e{number}")) for number in range(5)))
    further.land()
    (file,) = further.files()
    stage.append("w0", record(event(id="mine")))
    stage.land()
    stage.table().commit(add=[copied(file, further, into=stage)], transactions={})
    ledger = look(stage)
    assert broken(ledger)["rows_within_positions"] == "rows ahead of their checkpoint: 4 of w0"


def test_a_log_that_is_behind_its_checkpoint_is_found(stage: Stage) -> None:
    """Someone put an old log in the place of the one that landed: what comes next would never land."""
    landed_five(stage)
    shutil.rmtree(stage.data / "log")
    stage.append("w0", record(event(id="new")))
    ledger = look(stage)
    assert broken(ledger) == {"positions_within_log": "checkpoints ahead of their log: w0 (5 landed, 1 durable)"}


def test_a_running_count_that_is_not_what_the_log_holds_is_found(stage: Stage) -> None:
    landed_five(stage)
    stage.table().commit(transactions={count_name("SHOP", "api", "read"): 6, count_name("SHOP", "api", "repeated"): 1})
    ledger = look(stage)
    assert ledger.lines[API].difference == 0
    assert broken(ledger) == {"read_as_logged": "6 records read, 5 in the log up to there"}


def test_an_answer_without_a_record_is_found(stage: Stage) -> None:
    landed_five(stage)
    assert look(stage, counted={API: Counted(accepted=5)}).balanced
    assert look(stage, counted={API: Counted(accepted=3)}).balanced  # kill -9 takes the last counts, never the records
    ledger = look(stage, counted={API: Counted(accepted=6)})
    assert broken(ledger) == {"counters_within_accepted": "more was answered than is there: SHOP api (6 answered, 5 in the log)"}


def test_a_quarantined_record_that_is_gone_is_found(stage: Stage) -> None:
    stage.append("w0", POISON)
    stage.land()
    for file in Quarantine(stage.data).files():
        file.unlink()
    assert broken(look(stage)) == {"quarantine_kept": "0 kept, 1 counted"}


def test_a_data_file_that_is_not_there_is_said_in_one_line(stage: Stage) -> None:
    landed_five(stage)
    (file,) = stage.files()
    Path(stage.volume.locate(file.path)).unlink()
    with pytest.raises(LakeError, match="rows of the table cannot be read"):
        look(stage)


# -- how it is told


def test_the_document_has_every_term_of_every_line_and_the_total(stage: Stage) -> None:
    landed_five(stage)
    document = look(stage).document()
    terms = (
        "received", "accepted", "rejected", "throttled", "unavailable", "landed", "expired", "repeated", "quarantined",
        "erased", "waiting", "difference", "balanced",
    )  # fmt: skip
    assert tuple(document["totals"]) == terms
    assert all(tuple(line) == ("platform", "source", *terms) for line in document["platforms"])
    assert document["balanced"] is True
    assert "checks" not in look(stage, verify=False).document()


def test_nothing_of_an_event_is_told(stage: Stage) -> None:
    told = event(id="id-9d1f", user_id="person-77", search_query="pregnancy test")
    stage.append("w0", record(told), record(told), POISON)
    stage.land()
    (file,) = stage.files()
    stage.table().commit(add=[copied(file, stage, into=stage)], transactions={})
    text = str(look(stage).document())
    assert not any(word in text for word in ("id-9d1f", "person-77", "pregnancy", "poison"))


ODD_LINES = (
    record(event()),
    record(event(), platform="A_1", source="import"),
    erased_record(),
    b"{}",
    b"[]",
    b"",
    b'{"platform":"SHOP"}',
    b'{"source":"api","platform":"SHOP"}',
    record(event(search_query='\\n{"platform":"OTHER","mode":"live","received_at":1,"source":"api","event":')),
    b"\xff\xfe",
)


@pytest.mark.parametrize("count", range(1, len(ODD_LINES) + 1))
def test_platform_and_source_are_read_from_the_bytes_as_from_the_meaning(count: int) -> None:
    lines = ODD_LINES[:count]
    expected: dict[Pair, int] = {}
    for line in lines:
        expected[envelope_of(line)] = expected.get(envelope_of(line), 0) + 1
    assert pairs_in(b"".join(line + b"\n" for line in lines), count=count) == expected


def test_a_table_of_its_own_is_looked_at_where_the_setting_says(tmp_path: Path) -> None:
    stage = Stage(tmp_path, settings=LakeSettings(table=str(tmp_path / "elsewhere")))
    landed_five(stage)
    assert look(stage).lines[API] == Terms(accepted=5, landed=5)


def copied(file: DataFile, source: Stage, *, into: Stage) -> DataFile:
    """The same rows in a file of another name, in place but not committed."""
    path = new_path(file.platform, file.event_date)
    target = Path(into.volume.locate(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.volume.locate(file.path), target)
    return DataFile(
        path=path, bytes_count=file.bytes_count, rows=file.rows, platform=file.platform, event_date=file.event_date,
        first_ms=file.first_ms, last_ms=file.last_ms,
    )  # fmt: skip
