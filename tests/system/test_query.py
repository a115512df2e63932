"""`footfall query`, `export` and `find` as a person or a script runs them, on a directory where events have landed."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars
import psutil
import pytest

from footfall.lake.landing import Persons
from footfall.registry.store import Registry
from tests.contract.lake.stage import NOW_MS, Stage, event, record
from tests.serving import COMMAND, Footfall, home, run_cli, until

EVENTS = (
    event(id="e1", event_type="PURCHASE", user_id="u-private", revenue={"currency": "KRW", "amount": "-12.50"}),
    event(id="e2", search_query="=cmd()", items=[{"id": "sku", "price": {"currency": "KRW", "amount": "0"}, "quantity": 1}]),
    event(id="e2", search_query="again"),
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = Stage(tmp_path_factory.mktemp("shop"))
    with Registry.in_directory(stage.data) as registry:
        registry.add_platform("SHOP")
        registry.add_platform("QUIET")
    stage.append("w0", *(record(each, received_at=NOW_MS + index) for index, each in enumerate(EVENTS)))
    stage.land()
    stage.append("w0", record(event(id="e3")))
    return stage.data


def asked(data: Path, sql: str, form: str = "json") -> Any:
    done = run_cli("query", sql, "--format", form, data=data)
    assert (done.returncode, done.stderr) == (0, b""), done
    return json.loads(done.stdout) if form == "json" else done.stdout.decode()


# -- query


def test_json_is_one_array_of_exact_values(shop: Path) -> None:
    sql = "SELECT id, revenue, items, timestamp, event_date, sequence FROM events ORDER BY id"
    assert asked(shop, sql) == [
        {
            "id": "e1", "revenue": {"currency": "KRW", "amount": "-12.5"}, "items": None,
            "timestamp": "2026-09-21T14:13:19.000Z", "event_date": "2026-09-21", "sequence": 1,
        },
        {
            "id": "e2", "revenue": None, "timestamp": "2026-09-21T14:13:19.000Z", "event_date": "2026-09-21", "sequence": 2,
            "items": [{
                "id": "sku", "item_group_id": None, "price": {"currency": "KRW", "amount": "0"}, "quantity": 1,
                "seller_id": None, "price_seller": None,
            }],
        },
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0::DECIMAL(38,9)", "0"), ("'1e20'::DECIMAL(38,9)", "100000000000000000000"),
        ("'nan'::DOUBLE", None), ("'-inf'::FLOAT", None),
        ("sum(9223372036854775807::BIGINT) * 2", 18446744073709551614),
        ("TIMESTAMP '2026-11-23 18:00:00.1239'", "2026-11-23T18:00:00.123Z"),
        ("[TIMESTAMPTZ '2026-11-23 19:00:00+01']", ["2026-11-23T18:00:00.000Z"]), ("DATE '0044-03-15'", "0044-03-15"),
        ("MAP {'a': 1.5::DECIMAL(3,1)}", {"a": "1.5"}), ("MAP {DATE '2026-01-01': 1}", {"2026-01-01": 1}), ("'a\nb'", "a\nb"),
        ("true", True), ("TIMESTAMP '290000-01-01'", "290000-01-01 00:00:00"), ("(1, 'x')", [1, "x"]), ("NULL", None),
    ],
)  # fmt: skip
def test_every_kind_of_value_has_a_form_in_json(shop: Path, expression: str, expected: object) -> None:
    assert asked(shop, f"SELECT {expression} AS value") == [{"value": expected}]


def test_an_answer_of_many_batches_is_one_array_and_no_rows_are_an_empty_one(shop: Path) -> None:
    rows = asked(shop, "SELECT range AS n FROM range(10001)")
    assert [row["n"] for row in rows] == list(range(10_001))
    assert asked(shop, "FROM events WHERE false") == []
    assert asked(shop, "SELECT 1 AS a, 2 AS a") == [{"a": 1, "a_1": 2}]


def test_csv_neutralises_texts_and_leaves_numbers_alone(shop: Path) -> None:
    text = asked(shop, "SELECT id, search_query, revenue.amount, items, -1 AS \"=n\", '-1' AS t FROM events ORDER BY id", "csv")
    head, first, second = csv.reader(io.StringIO(text))
    assert head == ["id", "search_query", "amount", "items", "'=n", "t"]
    assert first == ["e1", "", "-12.5", "", "-1", "'-1"]
    assert (second[1], json.loads(second[3])[0]["price"]["amount"]) == ("'=cmd()", "0")


def test_a_table_is_readable_cut_and_says_how_much_more_there_is(shop: Path) -> None:
    done = run_cli("query", "SELECT range AS n, repeat('x', 500) AS wide, now() AS t FROM range(345)", data=shop)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 101
    assert max(map(len, lines)) < 120
    assert b"245 more" in done.stderr


def test_a_wide_row_on_a_narrow_terminal_is_shown_member_by_member(shop: Path) -> None:
    done = run_cli("query", "SELECT * FROM events WHERE id = 'e1'", data=shop, env={"COLUMNS": "60"})
    lines = [line.split(None, 1) for line in done.stdout.decode().splitlines()]
    assert ["id", "e1"] in lines
    assert ["timestamp", "2026-09-21 14:13:19.000"] in lines


def test_what_would_steer_a_terminal_is_not_printed(shop: Path) -> None:
    done = run_cli("query", "SELECT chr(27) || '[31m' AS x, '[red]' AS y", data=shop)
    assert b"\x1b" not in done.stdout
    assert b"[red]" in done.stdout


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("SELEKT 1", b"syntax error"), ("SELECT nope FROM events", b"nope"), ("SELECT 1; SELECT 2", b"one statement"),
        ("COPY events TO 'stolen.csv'", b"only one statement that reads"), ("SELECT error('boom')", b"boom"),
        ("", b"no statement"),
        ("FROM read_text('pyproject.toml')", b"Cannot access file"),
    ],
)  # fmt: skip
def test_wrong_sql_is_exit_2_in_a_few_plain_lines(shop: Path, sql: str, told: bytes) -> None:
    for form in ("json", "table"):
        done = run_cli("query", sql, "--format", form, data=shop)
        assert (done.returncode, done.stdout) == (2, b"")
        assert told in done.stderr
        assert b"Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) < 9


def test_without_a_data_directory_the_view_is_empty_and_that_is_said(tmp_path: Path) -> None:
    done = run_cli("query", "SELECT count(*) AS n FROM events", "--format", "json", data=tmp_path / "none")
    assert (done.returncode, json.loads(done.stdout)) == (0, [{"n": 0}])
    assert b"there is no data directory" in done.stderr
    assert not (tmp_path / "none").exists()


def test_ctrl_c_ends_a_long_query(shop: Path) -> None:
    sql = "SELECT count(*) FROM range(3000000) a, range(3000000) b WHERE a.range * b.range % 7 = 3"
    ready = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # as at a terminal, wherever this runs
    program = f"{ready}; from footfall.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "query", sql, "--data", str(shop)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert until(lambda: _seconds_of_work(process.pid) > 1.5, seconds=40)  # it is over its imports, and at it
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out) == (130, b""), err
    assert b"Traceback" not in err


def _seconds_of_work(pid: int) -> float:
    return float(psutil.Process(pid).cpu_times().user)


def test_a_reader_that_goes_away_ends_it_in_silence(shop: Path) -> None:
    sql = "SELECT range AS n, repeat('x', 1000) AS x FROM range(100000)"
    environment = {**os.environ, "FOOTFALL_DATA": str(shop)}
    process = subprocess.Popen(
        [*COMMAND, "query", sql, "--format", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert (process.wait(timeout=40), process.stderr.read()) == (141, b"")
    process.stderr.close()


# -- export


def export(data: Path, *options: str, platform: str = "SHOP") -> subprocess.CompletedProcess[bytes]:
    return run_cli("export", "--platform", platform, *options, data=data)


@pytest.mark.parametrize("form", ["parquet", "csv", "ndjson"])
def test_an_export_is_whole_private_and_counted(shop: Path, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"out.{form}"
    done = export(shop, "--format", form, "--out", str(out), "--json")
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert (told["platform"], told["rows"], told["bytes"]) == ("SHOP", 2, out.stat().st_size)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == [out.name]
    readers: dict[str, Any] = {"parquet": polars.read_parquet, "csv": polars.read_csv, "ndjson": polars.read_ndjson}
    assert sorted(readers[form](out)["id"].to_list()) == ["e1", "e2"]


def test_a_file_that_is_there_stays_without_force(shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    refused = export(shop, "--format", "csv", "--out", str(out))
    assert (refused.returncode, out.read_text()) == (1, "mine")
    assert b"--force" in refused.stderr
    assert export(shop, "--format", "csv", "--out", str(out), "--force").returncode == 0
    assert out.read_text().startswith("platform,")


def test_an_export_that_fails_leaves_nothing(shop: Path, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="a")))
    stage.land()
    (file,) = (stage.data / "lake" / "events").rglob("*.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:8] + b"\0" * (len(whole) - 60) + whole[-52:])
    out = tmp_path / "out.csv"
    done = export(stage.data, "--format", "csv", "--out", str(out))
    assert done.returncode == 3, done
    assert b"Traceback" not in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_stdout_takes_lines_and_nothing_else(shop: Path) -> None:
    done = export(shop, "--format", "ndjson", "--out", "-", "--since", "2026-09-21", "--until", "2026-09-21T23:59:59+09:00")
    assert sorted(json.loads(line)["id"] for line in done.stdout.splitlines()) == ["e1", "e2"]
    assert export(shop, "--format", "parquet", "--out", "-").returncode == 2


@pytest.mark.parametrize(
    ("options", "status", "told"),
    [
        (("--since", "yesterday"), 2, b"2026-11-23T18:00:00Z"),
        (("--since", "2026-09-22", "--until", "2026-09-22"), 2, b"--since"),
        (("--until", "2020-01-01"), 0, b"exported 0 events"),
    ],
)
def test_a_time_that_is_none_is_told_and_an_empty_span_is_an_empty_file(
    shop: Path, tmp_path: Path, options: tuple[str, ...], status: int, told: bytes
) -> None:
    done = export(shop, "--format", "csv", "--out", str(tmp_path / "out.csv"), *options)
    assert done.returncode == status
    assert told in done.stderr


@pytest.mark.parametrize(
    ("platform", "status", "told"),
    [("SHOPP", 1, b"QUIET, SHOP"), ("SHOP_TEST", 2, b"test events never land"), ("QUIET", 0, b"0 events")],
)
def test_a_platform_must_be_known_and_live(shop: Path, tmp_path: Path, platform: str, status: int, told: bytes) -> None:
    done = export(shop, "--format", "ndjson", "--out", str(tmp_path / "out"), platform=platform)
    assert done.returncode == status
    assert told in done.stderr
    assert (tmp_path / "out").exists() == (status == 0)


# -- find


def found(data: Path, event_id: str) -> list[dict[str, Any]]:
    done = run_cli("find", event_id, "--json", data=data)
    assert done.returncode == 0, done
    return list(json.loads(done.stdout)["found"])


def test_find_says_what_landed_what_was_a_repeat_and_what_waits(shop: Path) -> None:
    (first, again), (waiting,) = found(shop, "e2"), found(shop, "e3")
    assert (first["landing"], first["row"], first["event_date"], first["landed_at"]) == ("landed", "w0/2", "2026-09-21", NOW_MS)
    assert (again["state"], again["landing"], again["row"]) == ("repeat", "repeat", "w0/2")
    assert (waiting["state"], waiting["landing"], waiting["row"]) == ("accepted", "waits", None)
    for event_id in ("e1", "e2", "e3"):
        assert b"u-private" not in run_cli("find", event_id, data=shop).stdout


def test_find_tells_a_row_without_its_record_and_a_record_in_quarantine(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="e1")), record(event(id="odd", timestamp="u-private")))
    stage.land()
    (odd,) = found(stage.data, "odd")
    assert (odd["place"], odd["position"], odd["state"]) == ("quarantine", "w0/2", "quarantined")
    assert "u-private" not in odd["why"]
    for segment in (stage.data / "log" / "live" / "w0").iterdir():
        segment.unlink()
    (row,) = found(stage.data, "e1")
    assert (row["place"], row["state"], row["row"], row["timestamp"]) == ("lake", "landed", "w0/1", NOW_MS - 1000)


def test_find_tells_an_erased_person_by_the_request_alone(tmp_path: Path) -> None:
    """The record of an event that came after the request is in the log for a while; the row never was."""
    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="e1", user_id="u-private")), record(event(id="e2", user_id="other")))
    with Registry.in_directory(stage.data) as registry:
        registry.add_platform("SHOP")
        erasures = registry.request_erasures("SHOP", "user_id", ["u-private"], now_ms=NOW_MS)
        stage.persons = Persons(erasures, registry.pepper())
    stage.land()
    assert [found(stage.data, event_id)[0]["landing"] for event_id in ("e1", "e2")] == ["erased", "landed"]


def test_an_event_sent_to_a_server_can_be_asked_for(footfall: Footfall) -> None:
    """The whole way: sent, landed by the server itself, found, queried, exported."""
    assert footfall.send(home(id="whole-way")).status == 200
    assert until(lambda: found(footfall.data, "whole-way")[0]["landing"] == "landed", seconds=30)
    assert asked(footfall.data, "SELECT id, platform, source FROM events") == [
        {"id": "whole-way", "platform": "SHOP", "source": "api"}
    ]
    assert b'"id":"whole-way"' in export(footfall.data, "--format", "ndjson", "--out", "-").stdout
