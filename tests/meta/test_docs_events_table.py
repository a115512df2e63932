"""docs/events-table.md is the table that is made: every column, in order, with its types; and its promises hold of the list."""

from __future__ import annotations

import re

import duckdb
import pytest

from footfall.lake.schema import COLUMNS, NAMES, VERSION, Column, delta_schema, duckdb_type
from tests.meta.pages import ROOT, spans

PAGE = (ROOT / "docs/events-table.md").read_text(encoding="utf-8")


def test_the_page_lists_every_column_in_the_order_of_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \| .* \| .+ \| (\d+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in rows] == list(NAMES) == [field["name"] for field in delta_schema()["fields"]]
    assert [int(since) for _, since in rows] == [column.since for column in COLUMNS]


def test_columns_are_only_added_at_the_end() -> None:
    versions = [column.since for column in COLUMNS]
    assert versions == sorted(versions)
    assert versions[-1] == VERSION


def test_every_member_of_a_struct_stands_on_the_page() -> None:
    for column in COLUMNS:
        kind = column.type[0] if isinstance(column.type, list) else column.type
        for member in kind if isinstance(kind, dict) else ():
            assert f"| `{member}` | " in PAGE


def test_what_is_said_to_be_personal_is_a_column_or_a_member_of_one() -> None:
    section = PAGE.partition("## Personal data")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([a-z_.]+)`", section)) - {"footfall"}
    device = next(column.type for column in COLUMNS if column.name == "device")
    assert isinstance(device, dict)
    known = {*NAMES, *(f"device.{name}" for name in device)}
    assert told <= known
    assert {"user_id", "custom_id", "session_id", "device.persistent_id", "device.ip", "identifier"} <= told
    described = {column.name for column in COLUMNS if "personal data" in column.description}
    assert described <= told | {"device"}


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_the_types_are_ones_duckdb_knows(column: Column) -> None:
    kind = duckdb_type(column.type)
    with duckdb.connect() as connection:
        assert connection.execute(f"SELECT NULL::{kind}").fetchall() == [(None,)]


def test_the_condition_for_training_stands_on_the_page_as_sql() -> None:
    assert {"METRIC_ONLY", "ID_LESS"} <= set(spans(ROOT / "docs/events-table.md"))
