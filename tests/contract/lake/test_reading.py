"""`footfall.lake.open`: one snapshot of the table for DuckDB and Polars, and SQL that can only read."""

from __future__ import annotations

import decimal
import subprocess
import sys
from functools import partial
from pathlib import Path

import boto3
import polars
import pytest

import footfall.lake
from footfall.errors import LakeError
from footfall.lake.asking import QueryError, answered
from footfall.lake.lookup import Lookup
from footfall.lake.reading import Lake, open_lake
from footfall.lake.schema import COLUMNS, NAMES, duckdb_type
from footfall.lake.settings import LakeSettings
from tests.contract.lake.object_store import BUCKET, running_store
from tests.contract.lake.stage import NOW_MS, Stage, erased_record, event, record

PURCHASE = event(
    id="p1", event_type="PURCHASE", user_id="u1", revenue={"currency": "KRW", "amount": "0.100000001"},
    items=[{"id": "sku", "price": {"currency": "KRW", "amount": "-5"}, "quantity": 2}],
)  # fmt: skip


def landed(root: Path, *records: bytes) -> Stage:
    stage = Stage(root)
    stage.append("w0", *records)
    stage.land()
    return stage


def asked(stage: Stage, sql: str) -> list[tuple[object, ...]]:
    with answered(partial(open_lake, stage.data), sql) as answer:
        return [row for batch in answer.batches() for row in batch]


# -- the snapshot


@pytest.mark.parametrize("exists", [True, False])
def test_the_view_has_every_column_in_order_with_and_without_a_table(tmp_path: Path, exists: bool) -> None:
    data = landed(tmp_path, record(event())).data if exists else tmp_path / "nowhere"
    with footfall.lake.open(data) as lake:
        described = lake.duckdb().execute("DESCRIBE events").fetchall()
    assert [row[0] for row in described] == list(NAMES)
    assert [row[1].replace('"', "") for row in described] == [duckdb_type(column.type).replace('"', "") for column in COLUMNS]


def test_asking_leaves_no_trace_where_nothing_is(tmp_path: Path) -> None:
    with footfall.lake.open(tmp_path / "nowhere") as lake:
        assert (lake.version, lake.files) == (None, ())
    assert list(tmp_path.iterdir()) == []


def test_a_lake_does_not_see_what_lands_after_it_was_opened(tmp_path: Path) -> None:
    stage = landed(tmp_path, record(event(id="a")))
    with footfall.lake.open(stage.data) as before:
        stage.append("w0", record(event(id="b")))
        stage.land()
        assert before.duckdb().execute("SELECT id FROM events").fetchall() == [("a",)]
        assert before.polars().collect()["id"].to_list() == ["a"]
    with footfall.lake.open(stage.data) as after:
        assert sorted(after.duckdb().execute("SELECT id FROM events").fetchall()) == [("a",), ("b",)]


def test_the_files_are_the_table_for_readers_that_know_nothing_of_delta(tmp_path: Path) -> None:
    stage = landed(tmp_path, record(PURCHASE), record(event(id="e", timestamp=NOW_MS - 86_400_000)))
    with footfall.lake.open(table=str(stage.data / "lake" / "events")) as lake:
        assert polars.read_parquet(list(lake.files), hive_partitioning=False)["id"].to_list() == ["e", "p1"]
        assert all(Path(file).is_file() for file in lake.files)


def test_polars_sees_the_same_rows_and_types_as_duckdb(tmp_path: Path) -> None:
    stage = landed(tmp_path, record(PURCHASE))
    with footfall.lake.open(stage.data) as lake, footfall.lake.open(tmp_path / "nowhere") as empty:
        frame = lake.polars().collect()
        assert frame.columns == list(NAMES)
        assert frame["revenue"].to_list() == [{"currency": "KRW", "amount": decimal.Decimal("0.100000001")}]
        assert empty.polars().collect_schema() == frame.schema


def test_a_table_that_is_none_of_ours_to_read_is_told(tmp_path: Path) -> None:
    log = tmp_path / "table" / "_delta_log"
    log.mkdir(parents=True)
    (log / f"{0:020d}.json").write_text("no json\n")
    with pytest.raises(LakeError, match="cannot be"):
        footfall.lake.open(table=str(tmp_path / "table"))


def test_importing_the_package_loads_no_engine() -> None:
    program = "import sys, footfall.lake; print(sorted({'duckdb', 'deltalake', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


# -- only reading


READING = (
    "SELECT 1", "WITH a AS (SELECT 1) FROM a", "FROM events", "VALUES (1)", "TABLE events", "DESCRIBE events", "SHOW TABLES",
    "SUMMARIZE events", "EXPLAIN SELECT 1", "explain analyze select 1", "PIVOT events ON event_type USING count(*)", "SELECT 1;",
    "SELECT 1 -- not; another",
)  # fmt: skip
OTHER = (
    "", ";", "SELECT 1; SELECT 2", "SET threads = 1", "RESET threads", "CREATE TABLE a (i INT)", "CREATE MACRO a() AS 1",
    "DROP VIEW events", "INSTALL httpfs", "LOAD httpfs", "ATTACH 'x.db'", "USE memory", "BEGIN", "CHECKPOINT", "PRAGMA version",
    "CALL pragma_version()", "EXPORT DATABASE 'x'", "INSERT INTO events SELECT * FROM events", "DELETE FROM events",
    "WITH a AS (INSERT INTO events FROM events RETURNING *) FROM a", "EXPLAIN CREATE TABLE a (i INT)", "SELEKT",
)  # fmt: skip


@pytest.mark.parametrize("sql", READING)
def test_a_statement_that_reads_is_answered(tmp_path: Path, sql: str) -> None:
    assert asked(landed(tmp_path, record(event())), sql)


@pytest.mark.parametrize("sql", OTHER)
def test_any_other_statement_is_refused(tmp_path: Path, sql: str) -> None:
    with pytest.raises(QueryError):
        asked(Stage(tmp_path), sql)


@pytest.mark.parametrize("head", ["", "EXPLAIN ANALYZE ", "EXPLAIN (ANALYZE) ", "EXPLAIN /* */ ANALYZE "])
@pytest.mark.parametrize("body", ["SELECT 1", "PIVOT events ON event_type USING count(*)"])
def test_nothing_is_written_not_even_by_a_statement_inside_another(tmp_path: Path, head: str, body: str) -> None:
    stage = landed(tmp_path, record(event()))
    target = stage.data / "lake" / "events" / "written.csv"  # where DuckDB itself would let it
    with pytest.raises(QueryError):
        asked(stage, f"{head}COPY ({body}) TO '{target}'")
    assert not target.exists()


@pytest.mark.parametrize(
    "sql",
    ["FROM '{}'", "FROM read_csv('{}')", "FROM read_text('{}')", "FROM read_csv('{inside}/../../../secret.csv')",
     "FROM glob('{}*')"],
)  # fmt: skip
def test_no_file_but_the_tables_can_be_opened(tmp_path: Path, sql: str) -> None:
    stage = landed(tmp_path, record(event()))
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nhush\n")
    with pytest.raises(QueryError):
        asked(stage, sql.format(secret, inside=stage.data / "lake" / "events"))


def test_variables_of_the_process_are_no_tables(tmp_path: Path) -> None:
    secret = polars.DataFrame({"word": ["hush"]})
    with pytest.raises(QueryError, match="does not exist"):
        asked(landed(tmp_path, record(event())), "FROM secret")
    assert len(secret) == 1


def test_a_file_that_went_is_looked_for_in_a_fresh_snapshot_once(tmp_path: Path) -> None:
    """What an erasure does under a reader: the first snapshot names a file that is no more."""
    stage = landed(tmp_path, record(event(id="a"), received_at=NOW_MS))
    stale = open_lake(stage.data)
    stage.append("w1", record(event(id="a", user_id="u1"), received_at=NOW_MS - 1))  # wins: the file is written anew
    stage.land()
    (gone,) = stale.files
    Path(gone).unlink()
    lakes = [stale, open_lake(stage.data)]
    with answered(lambda: lakes.pop(0), "SELECT user_id FROM events") as answer:
        assert [row for batch in answer.batches() for row in batch] == [("u1",)]
    assert lakes == []


def test_the_fresh_snapshot_is_asked_no_more_than_the_first(tmp_path: Path) -> None:
    """A statement that writes is refused there, too."""
    stage = landed(tmp_path, record(event()))
    stale, fresh = open_lake(stage.data), open_lake(stage.data)
    (file,) = stale.files
    Path(file).rename(moved := Path(f"{file}.moved"))
    lakes = [stale, fresh]

    def opened() -> Lake:
        if len(lakes) == 1:
            moved.rename(file)
        return lakes.pop(0)

    target = stage.data / "lake" / "events" / "written.csv"
    with pytest.raises(QueryError), answered(opened, f"COPY (SELECT 1) TO '{target}'"):
        pass
    assert (lakes, target.exists()) == ([], False)


def test_a_file_that_is_lost_is_an_error_not_an_answer(tmp_path: Path) -> None:
    stage = landed(tmp_path, record(event()))
    (file,) = open_lake(stage.data).files
    Path(file).unlink()
    with pytest.raises(LakeError, match="cannot be read") as raised:
        asked(stage, "FROM events")
    assert not isinstance(raised.value, QueryError)


# -- an object store


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the S3 server
def test_a_table_in_an_object_store_is_read_and_nothing_beside_it(tmp_path: Path) -> None:
    with running_store():
        store = boto3.client("s3")
        store.put_object(Bucket=BUCKET, Key="secret.csv", Body=b"word\nhush\n")
        store.close()
        settings = LakeSettings(table=f"s3://{BUCKET}/lake/events")
        stage = Stage(tmp_path, settings=settings)
        stage.append("w0", record(PURCHASE))
        stage.land()
        opened = partial(open_lake, stage.data, settings=settings)
        with answered(opened, "SELECT id FROM events") as answer:
            assert list(answer.batches()) == [[("p1",)]]
        with pytest.raises(QueryError), answered(opened, f"FROM read_csv('s3://{BUCKET}/secret.csv')"):
            pass
        with opened() as lake:
            assert lake.polars().collect()["id"].to_list() == ["p1"]


# -- what became of an event


def test_the_fate_of_a_record_is_told_from_table_checkpoint_and_quarantine(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="e")), record(event(id="e")), record(event(id="e", timestamp="x")))
    stage.append("w0", erased_record())  # what it was is not to be told
    stage.land()
    stage.append("w0", record(event(id="e", timestamp=NOW_MS - 9)))
    with open_lake(stage.data) as lake:
        lookup = Lookup(lake, stage.data, event_id="e")
        first, second, third, passed, waiting = (
            lookup.fate("w0", sequence, platform="SHOP", event_type="PAGE_VIEW", timestamp=timestamp)
            for sequence, timestamp in ((1, NOW_MS - 1000), (2, NOW_MS - 1000), (3, 0), (4, NOW_MS - 7), (5, NOW_MS - 9))
        )
    assert first.landing == "landed"
    assert first.row is not None
    assert (first.row.position, first.row.event_date, first.row.landed_at) == ("w0/1", "2026-09-21", NOW_MS)
    assert (second.landing, second.row) == ("repeat", first.row)
    assert third.landing == "quarantined"
    assert third.poisoned is not None
    assert '"x"' not in third.poisoned.reason
    assert waiting.landing == "waits"
    assert (passed.landing, passed.row) == ("gone", None)
