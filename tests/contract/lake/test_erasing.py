"""A person's events go from everywhere, others' stay, and the books balance to the unit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from footfall.errors import LakeError
from footfall.lake.erasing.erasing import erase_steps
from footfall.lake.erasing.receipts import Account
from footfall.lake.upkeep.upkeep import Upkeep
from footfall.log.disk import Disk
from footfall.log.verify import verify
from tests.contract.lake.erasing_stage import ErasingStage, at_each, found_in, place_of
from tests.contract.lake.stage import DAY_MS, NOW_MS, event, record

ANNA = "anna-5d0c3f6e8a12"
BERT = "bert-77b1c0ffee44"
STRANGE = "o'neil\0\"\\ \U0001f600\n\u00e9 7c41"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[ErasingStage]:
    with ErasingStage(tmp_path) as made:
        yield made


def of(person: str, *, id: str, days: float = 0.0, **members: object) -> bytes:  # noqa: A002 - the name on the wire
    return record(event(id=id, user_id=person, timestamp=NOW_MS - 1000 - round(days * DAY_MS), **members))


def test_rows_records_and_test_events_of_a_person_go_and_nothing_else(stage: ErasingStage) -> None:
    stage.append("w0", *(of(ANNA if n % 3 == 0 else f"u{n}", id=f"e{n}", days=n / 7) for n in range(90)))
    stage.append("w1", of(BERT, id="b1"), record(event(id="a1", user_id=ANNA), source="batch"))
    stage.append_tests(of(ANNA, id="t1").replace(b'"SHOP"', b'"SHOP_TEST"'), of("u", id="t2").replace(b'"SHOP"', b'"SHOP_TEST"'))
    stage.land()
    before = {row["id"]: row for row in stage.rows() if row["user_id"] != ANNA}
    stage.ask(ANNA)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert {row["id"]: row for row in stage.rows()} == before
    assert stage.counts_by_source()["SHOP", "api", "erased"] == 30
    assert stage.counts_by_source()["SHOP", "batch", "erased"] == 1
    stage.require_balance()
    live, test = stage.receipts()["SHOP", "user_id"], stage.receipts()["SHOP_TEST", "user_id"]
    assert place_of(live, "lake")["rows"] == live.rows == 31
    assert place_of(live, "log/live") == {"records": 31, "segments": 2}
    assert place_of(test, "log/test") == {"records": 1, "segments": 1}
    assert found_in(stage.data, BERT) != [], "the search finds what is there"
    for mode in ("live", "test"):
        assert verify(stage.data / "log" / mode).is_sound
    stage.land()
    stage.require_balance()


@pytest.mark.parametrize("kind", ["user_id", "persistent_id", "custom_id"])
@pytest.mark.parametrize("person", [ANNA, STRANGE])
def test_each_kind_of_identifier_is_found_exactly_as_it_was_sent(stage: ErasingStage, kind: str, person: str) -> None:
    def one(identifier: str, number: int) -> bytes:
        member = {"device": {"persistent_id": identifier}} if kind == "persistent_id" else {kind: identifier}
        return record(event(id=f"e{number}", **member))

    others = [person + "x", person.upper() + " ", "x" + person]
    stage.append("w0", one(person, 0), *(one(other, number) for number, other in enumerate(others, 1)))
    stage.land()
    stage.append("w0", one(person, 5))  # waits
    stage.ask(person, kind=kind)  # type: ignore[arg-type]
    stage.erase()
    assert [row["id"] for row in stage.rows("id")] == ["e1", "e2", "e3"]
    stage.land()
    assert [row["id"] for row in stage.rows("id")] == ["e1", "e2", "e3"]
    assert stage.counts()["erased"] == 2
    stage.require_balance()


def test_only_what_happened_before_the_request_goes_and_only_on_that_platform(stage: ErasingStage) -> None:
    stage.append(
        "w0",
        record(event(id="before", user_id=ANNA, timestamp=NOW_MS - 1)),
        record(event(id="at", user_id=ANNA, timestamp=NOW_MS)),
        record(event(id="after", user_id=ANNA, timestamp=NOW_MS + 1)),
        record(event(id="elsewhere", user_id=ANNA, timestamp=NOW_MS - 1), platform="OTHER"),
        record(event(id="as-custom", custom_id=ANNA)),
    )
    stage.land()
    stage.ask(ANNA)
    stage.erase()
    assert [row["id"] for row in stage.rows("id")] == ["at", "after", "elsewhere", "as-custom"]
    stage.require_balance()


def test_two_people_one_of_them_by_two_identifiers_are_counted_each_and_removed_once(stage: ErasingStage) -> None:
    stage.append(
        "w0",
        record(event(id="1", user_id=ANNA, custom_id="c-anna-91")),
        record(event(id="2", custom_id="c-anna-91")),
        record(event(id="3", user_id=BERT)),
        record(event(id="4", user_id="carl")),
    )
    stage.land()
    stage.ask(ANNA, BERT)
    stage.ask("c-anna-91", kind="custom_id")
    stage.erase()
    stage.require_nowhere(ANNA, BERT, "c-anna-91")
    assert stage.counts()["erased"] == 3
    rows = sorted(
        (receipt["kind"], receipt["places"][0]["rows"], receipt["places"][1]["records"])
        for receipt in (json.loads(erasure.receipt or "") for erasure in stage.registry.erasures(pending=False))
        if receipt["platform"] == "SHOP"
    )
    assert rows == [("custom_id", 2, 2), ("user_id", 1, 1), ("user_id", 1, 1)]
    stage.require_balance()


def test_what_arrives_later_stays_out_when_it_is_older_and_comes_in_when_it_is_newer(stage: ErasingStage) -> None:
    stage.append("w0", of(ANNA, id="old"))
    stage.land()
    stage.ask(ANNA)
    stage.erase()
    stage.append(
        "w0", of(ANNA, id="old"), of(ANNA, id="older", days=3), record(event(id="new", user_id=ANNA, timestamp=NOW_MS + 5))
    )
    stage.land()
    assert [row["id"] for row in stage.rows("id")] == ["new"]
    assert stage.counts()["erased"] == 3
    stage.require_balance()
    stage.ask(ANNA, at=NOW_MS + 1000)  # again: from now on
    stage.erase()
    stage.require_nowhere(ANNA)
    assert stage.receipts()["SHOP", "user_id"].rows == 1
    stage.require_balance()


def test_a_pass_that_finds_nothing_changes_nothing_and_still_gives_a_receipt(stage: ErasingStage) -> None:
    stage.append("w0", of(BERT, id="b"))
    stage.land()
    version = stage.table().version
    stage.ask(ANNA)
    stage.erase()
    stage.erase()
    assert stage.table().version == version
    assert stage.receipts()["SHOP", "user_id"].rows == 0
    assert stage.receipts()["SHOP", "user_id"].requested_at == NOW_MS


def test_no_receipt_and_no_note_of_the_registry_tells_who_it_was(stage: ErasingStage) -> None:
    stage.append("w0", of(ANNA, id="a"))
    stage.land()
    stage.ask(ANNA)
    mac = stage.registry.erasures()[0].mac
    stage.erase()
    text = "".join(erasure.receipt or "" for erasure in stage.registry.erasures())
    assert ANNA not in text
    assert mac.hex() not in text
    for log in (stage.data / "lake").rglob("*.json"):
        assert mac.hex() not in log.read_text()


def test_a_line_in_quarantine_keeps_its_place_and_loses_what_it_held(stage: ErasingStage) -> None:
    stage.append("w0", of(BERT, id="b"), record(event(id="p", user_id=ANNA, timestamp="x")), record(event(id="q", timestamp="x")))
    stage.land()
    assert [poison.position for poison in stage.poisons()] == ["w0/2", "w0/3"]
    (stage.data / "quarantine" / "1-x.ndjson.new").write_text(ANNA)  # of a lander that died
    stage.ask(ANNA)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert [(poison.position, poison.reason == "erased") for poison in stage.poisons()] == [("w0/2", True), ("w0/3", False)]
    assert json.loads(stage.poisons()[0].record) == {"platform": "SHOP", "source": "api", "event": {"erased": True}}
    assert place_of(stage.receipts()["SHOP", "user_id"], "quarantine") == {"records": 1, "files": 1}
    stage.require_balance()


def refuse(stage: ErasingStage, name: str, *events: str, platform: str = "SHOP") -> Path:
    directory = stage.data / "imports" / name
    directory.mkdir(parents=True)
    (directory / "state.json").write_text(json.dumps({"platform": platform, "writer": f"import-{name}"}))
    lines = [json.dumps({"row": row, "errors": [{"field": "x"}], "event": text}) + "\n" for row, text in enumerate(events, 1)]
    (directory / "refused.ndjson").write_text("".join(lines))
    return directory / "refused.ndjson"


def test_rows_that_an_import_refused_are_emptied_whatever_their_form(stage: ErasingStage) -> None:
    refused = refuse(
        stage,
        "a1",
        json.dumps({"userId": ANNA, "timestamp": 1}),
        f"{ANNA},PURCHASE,,",
        f'{{"user_id":"{ANNA}","torn',
        '{"userId":"bert"}',
    )
    other = refuse(stage, "b2", json.dumps({"userId": ANNA}), platform="OTHER")
    kept = other.read_bytes()
    stage.ask(ANNA)
    stage.erase()
    rows = [json.loads(line) for line in refused.read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4]
    assert [row["event"] for row in rows] == ["", "", "", '{"userId":"bert"}']
    assert other.read_bytes() == kept
    assert place_of(stage.receipts()["SHOP", "user_id"], "imports") == {"rows": 3, "files": 1}


def test_what_the_table_no_longer_has_goes_too_where_it_holds_the_person_or_cannot_be_read(stage: ErasingStage) -> None:
    stage.append("w0", of(ANNA, id="a"), of(BERT, id="b"))
    stage.land()
    stage.append("w1", record(event(id="b", user_id=BERT, timestamp=NOW_MS - 1000), received_at=NOW_MS - 9))
    stage.land()  # b is left out of the first file, which is kept for readers
    table = stage.table()
    (old,) = {path for path, _ in table.volume.listed()} - set(table.files())
    partition = stage.data / "lake" / "events" / old.rpartition("/")[0]
    (partition / "1-torn.parquet").write_bytes(b"PAR1" + ANNA.encode())
    stage.append("w0", of("carl", id="c", days=1))
    stage.land()
    (clean,) = (path for path in stage.table().files() if path.rpartition("/")[0] != old.rpartition("/")[0])
    orphan = stage.data / "lake" / "events" / clean.replace("/1-", "/1-0")
    orphan.write_bytes((stage.data / "lake" / "events" / clean).read_bytes())
    stage.ask(ANNA)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert not (partition / "1-torn.parquet").exists()
    assert orphan.exists(), "what others may still read, or place, stays"
    stage.require_balance()


def test_a_file_of_nothing_else_goes_without_a_successor(stage: ErasingStage) -> None:
    stage.append("w0", of(ANNA, id="a", days=2), of(BERT, id="b"))
    stage.land()
    stage.ask(ANNA)
    stage.erase()
    assert [file.rows for file in stage.files()] == [1]
    assert len(list((stage.data / "lake" / "events").glob("platform=*/*"))) == 1, "the empty partition is gone"


def test_an_interrupted_batch_counts_its_erased_rows_once(stage: ErasingStage) -> None:
    """Rows that landed ahead of their checkpoint are removed now and counted when their records are read again."""
    stage.append("w0", *(of(ANNA if n % 2 else f"u{n}", id=f"e{n}", days=n) for n in range(430)))

    class DiedError(Exception):
        pass

    writes = 0

    def at(step: str) -> None:
        nonlocal writes
        writes += step == "write"
        if writes == 2:
            raise DiedError

    with pytest.raises(DiedError):
        stage.land(at=at)
    rows = len(stage.rows("id"))
    assert 0 < rows < 430
    stage.ask(ANNA)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert len(stage.rows("id")) < rows
    assert stage.counts()["erased"] == 0
    stage.land()
    assert stage.counts()["erased"] == 215
    stage.require_balance()


def test_landing_and_compaction_between_the_steps_of_a_pass_bring_nothing_back(stage: ErasingStage) -> None:
    for n in range(20):  # more than a tier of small files
        stage.append("w0", of(ANNA, id=f"a{n}"), of(BERT, id=f"b{n}"))
        stage.land()
    stage.append("w1", of(ANNA, id="waits"))
    table = stage.table()
    upkeep = Upkeep(stage.data, table, stage.settings, clock=stage.clock)
    compacted = 0
    with stage.lander(table=table) as lander:
        number = 0

        def between() -> None:
            nonlocal number, compacted
            number += 1
            stage.append("w1", of(ANNA, id=f"late{number}"), of(BERT, id=f"c{number}"))
            lander.land()
            upkeep.tick()
            compacted += any(file.rows > 2 for file in table.files().values())

        with stage.reach(give_up=upkeep.give_up) as reach:
            stage.ask(ANNA)
            upkeep.tick()  # compaction of what is still there begins
            at_each(erase_steps(replace(reach, table=table), Account()), between)
        assert found_in(stage.data / "lake", ANNA) == []
        upkeep.finish()
        while lander.land().read:
            pass
    upkeep.close()
    assert number
    assert found_in(stage.data / "lake", ANNA) == []
    assert all(row["user_id"] == BERT for row in stage.rows("user_id"))
    stage.require_balance()


def test_where_one_place_cannot_be_done_the_others_are_and_all_stays_pending(stage: ErasingStage) -> None:
    stage.append("w0", of(ANNA, id="a"), of(BERT, id="b"))
    stage.append("w0", of(ANNA, id="c"))
    stage.land()
    refused = refuse(stage, "a1", json.dumps({"userId": ANNA}))
    segment = min((stage.data / "log" / "live" / "w0").glob("*.log"))
    whole = segment.read_bytes()
    segment.write_bytes(whole.replace(b"bert", b"bart"))
    lock = Disk().lock_directory(refused.parent)
    stage.ask(ANNA)
    with pytest.raises(LakeError, match=r"the sum|damaged|verify") as raised:
        stage.erase()
    assert ANNA not in str(raised.value)
    assert "an import is at work (a1)" in str(raised.value)
    assert [row["id"] for row in stage.rows("id")] == ["b"]
    assert len(stage.registry.erasures(pending=True)) == 2
    segment.write_bytes(whole)
    Disk().unlock(lock)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert stage.registry.erasures(pending=True) == []
    stage.require_balance()


def test_a_person_of_many_rows_over_many_days_goes_with_bounded_commits(stage: ErasingStage) -> None:
    def body(n: int) -> bytes:
        person = ANNA if n % 6 else f"u{n}"
        return (
            b'{"platform":"SHOP","mode":"live","received_at":%d,"source":"api","event":{"id":"e%d","event_type":"PAGE_VIEW",'
            b'"timestamp":%d,"channel_type":"SITE","user_id":"%b"}}' % (NOW_MS, n, NOW_MS - 1000 - n * 86_400, person.encode())
        )

    stage.append("w0", *map(body, range(60_000)))
    stage.land()
    version = stage.table().version
    stage.ask(ANNA)
    stage.erase()
    stage.require_nowhere(ANNA)
    assert stage.receipts()["SHOP", "user_id"].rows == stage.counts()["erased"] == 50_000
    assert stage.table().version - version <= 2
    stage.require_balance()
