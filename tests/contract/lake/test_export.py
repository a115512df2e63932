"""Exports: the same events in every form, exact, and harmless to a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars
import pytest

from footfall.lake.export import Form, Selection, export_lines, export_parquet, rows_at_most
from footfall.lake.reading import open_lake
from footfall.lake.schema import NAMES
from tests.contract.lake.stage import DAY_MS, NOW_MS, Stage, event, record

EVERYTHING = event(
    id="e1", event_type="PURCHASE", user_id='quote"d, \u20ac\n\ud55c\u2028', session_id="",
    device={"os": "iOS", "persistent_id": "p"}, revenue={"currency": "KRW", "amount": "100"},
    shipping_charge={"amount": "-0.000000001"},
    items=[{"id": "a", "price": {"currency": "USD", "amount": "19.90"}, "quantity": 2}, {"id": "b"}],
    extra={"big": 123456789012345678901234567890, "device.x": 1.10},
)  # fmt: skip


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def landed(stage: Stage, *events: dict[str, Any], platform: str = "SHOP") -> None:
    stage.append("w0", *(record(each, platform=platform) for each in events))
    stage.land()


def exported(stage: Stage, form: Form, **options: Any) -> bytes:
    with open_lake(stage.data) as lake:
        selection = Selection(**{"platform": "SHOP", **options})
        pieces = list(export_lines(lake, selection, form))
    text = b"".join(lines for _, lines in pieces)
    assert sum(count for count, _ in pieces) == text.count(b"\n") - (form is Form.CSV) or form is Form.CSV
    return text


def objects(stage: Stage, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(stage, Form.NDJSON, **options).splitlines()]


def cells(stage: Stage, **options: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(exported(stage, Form.CSV, **options).decode(), newline="")))


# -- forms


def test_a_line_of_ndjson_is_the_row_without_its_nulls(stage: Stage) -> None:
    landed(stage, EVERYTHING)
    (line,) = objects(stage)
    assert line == {
        "platform": "SHOP", "event_date": "2026-09-21", "timestamp": "2026-09-21T14:13:19.000Z", "id": "e1",
        "event_type": "PURCHASE", "channel_type": "SITE", "identifier": EVERYTHING["user_id"], "identifier_kind": "user_id",
        "user_id": EVERYTHING["user_id"], "session_id": "", "device": EVERYTHING["device"],
        "items": [{"id": "a", "price": {"currency": "USD", "amount": "19.9"}, "quantity": 2}, {"id": "b"}],
        "revenue": {"currency": "KRW", "amount": "100"}, "shipping_charge": {"amount": "-0.000000001"},
        "extra": EVERYTHING["extra"], "source": "api", "received_at": "2026-09-21T14:13:20.000Z",
        "landed_at": "2026-09-21T14:13:20.000Z", "writer": "w0", "sequence": 1,
    }  # fmt: skip


def test_unknown_members_keep_their_very_digits(stage: Stage) -> None:
    landed(stage, EVERYTHING)
    assert b'"extra":{"big":123456789012345678901234567890,"device.x":1.1}' in exported(stage, Form.NDJSON)


def test_csv_has_every_column_and_nested_values_as_json(stage: Stage) -> None:
    landed(stage, EVERYTHING)
    (row,) = cells(stage)
    assert list(row) == list(NAMES)
    assert (row["user_id"], row["timestamp"], row["sequence"]) == (EVERYTHING["user_id"], "2026-09-21T14:13:19.000Z", "1")
    assert json.loads(row["items"])[0]["price"] == {"currency": "USD", "amount": "19.9"}
    assert (row["search_query"], row["custom_id"]) == ("", "")


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_text_of_a_csv_is_a_formula_and_no_other_is_changed(stage: Stage, first: str) -> None:
    landed(stage, event(search_query=f'{first}cmd("x")', page_id=f"a{first}"))
    (row,) = cells(stage)
    assert row["search_query"] == f'\'{first}cmd("x")'
    assert row["page_id"] == f"a{first}"


def test_parquet_has_the_tables_columns_and_types(stage: Stage, tmp_path: Path) -> None:
    landed(stage, EVERYTHING, event(id="e2", timestamp=NOW_MS - DAY_MS))
    with open_lake(stage.data) as lake:
        written = export_parquet(lake, Selection(platform="SHOP"), tmp_path / "out.parquet")
        expected = lake.polars().sort("timestamp").collect()
    frame = polars.read_parquet(tmp_path / "out.parquet").sort("timestamp")
    assert written == 2
    assert frame.equals(expected)
    assert frame.schema == expected.schema


@pytest.mark.parametrize("form", [Form.CSV, Form.NDJSON])
def test_no_events_are_a_header_or_nothing(stage: Stage, form: Form) -> None:
    landed(stage, event(id="e1"))
    header = f"{','.join(NAMES)}\n".encode() if form is Form.CSV else b""
    assert exported(stage, form, platform="OTHER") == header
    assert exported(stage, form, since_ms=NOW_MS) == header


# -- which events


def test_since_is_in_it_and_until_is_not(stage: Stage) -> None:
    times = [NOW_MS - 3000, NOW_MS - 2000, NOW_MS - 1000]
    landed(stage, *(event(id=str(index), timestamp=time) for index, time in enumerate(times)))
    chosen = objects(stage, since_ms=times[1], until_ms=times[2])
    assert [line["id"] for line in chosen] == ["1"]


def test_old_events_are_found_in_the_partitions_they_share(stage: Stage) -> None:
    old = NOW_MS - 3000 * DAY_MS
    landed(stage, event(id="old", timestamp=old), event(id="older", timestamp=old - 1), event(id="new"))
    assert [line["id"] for line in objects(stage, since_ms=old, until_ms=old + 1)] == ["old"]


def test_only_files_that_can_hold_such_events_are_read(stage: Stage) -> None:
    landed(stage, event(id="a"), event(id="b", timestamp=NOW_MS - 5 * DAY_MS))
    with open_lake(stage.data) as lake:
        assert rows_at_most(lake, Selection(platform="SHOP")) == 2
        assert rows_at_most(lake, Selection(platform="SHOP", since_ms=NOW_MS - DAY_MS)) == 1
        assert rows_at_most(lake, Selection(platform="SHOPPE")) == 0


def test_one_platform_never_gets_anothers_events(stage: Stage) -> None:
    landed(stage, event(id="mine"))
    landed(stage, event(id="theirs"), platform="OTHER")
    assert [line["id"] for line in objects(stage)] == ["mine"]
    assert [line["id"] for line in objects(stage, platform="OTHER")] == ["theirs"]


def test_for_training_what_may_only_be_counted_is_left_out(stage: Stage) -> None:
    modes = (None, "STANDARD", "METRIC_ONLY", "ID_LESS")
    landed(stage, *(event(id=str(mode), personalization_mode=mode) for mode in modes))
    assert {line["id"] for line in objects(stage, training=True)} == {"None", "STANDARD"}
    assert len(objects(stage)) == 4


@pytest.mark.parametrize("platform", ["' OR true --", 'a"b'])
def test_a_platform_is_a_value_not_sql(stage: Stage, platform: str) -> None:
    landed(stage, event())
    assert objects(stage, platform=platform) == []
