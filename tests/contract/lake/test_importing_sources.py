"""What files hold becomes events as they were meant, exactly; a file that is not whole, or lacks a column, is not begun."""

from __future__ import annotations

import datetime
import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard

from footfall.lake.engine import connected
from footfall.lake.importing.sources import SourceError, format_of
from footfall.lake.scan import select_events
from tests.contract.lake.imports import ImportStage, lines_of, sent
from tests.contract.lake.stage import NOW_MS, event, record

PURCHASE = {
    "id": "p1",
    "event_type": "PURCHASE",
    "timestamp": str(NOW_MS - 5_000),
    "channel_type": "APP",
    "user_id": "u1",
    "device": {"os": "iOS", "colour": "red", "persistent_id": "d1"},
    "items": [
        {"id": "sku-1", "price": {"currency": "USD", "amount": "19.990000001"}, "quantity": 2, "size": 1.1},
        {"id": "sku-2"},
    ],
    "revenue": {"currency": "USD", "amount": "123456789012345.123456789"},
    "nobody": {"knows": [1, 2.50]},
}
EVENT_COLUMNS = "* EXCLUDE (platform, source, received_at, landed_at, writer, sequence)"


@pytest.fixture
def stage(tmp_path: Path) -> ImportStage:
    return ImportStage(tmp_path)


def parquet(path: Path, query: str) -> Path:
    with connected(temporary=None) as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
    return path


def one_row(stage: ImportStage, path: Path, **options: Any) -> dict[str, Any]:
    tally = stage.take(path, **options).tally
    assert (tally.accepted, tally.refused) == (1, 0), stage.refused()
    [row] = stage.rows()
    return row


def own_rows(stage: ImportStage) -> str:
    table = stage.table()
    return select_events(table.files().values(), locate=table.volume.locate)


# -- lines


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compressed_lines_are_the_same_lines(stage: ImportStage, compress: Callable[[bytes], bytes]) -> None:
    """Two members or frames one after the other, as parallel writers make them, are one text."""
    parts = [
        lines_of(sent(number, search_query="y" * 500) for number in range(1_000 * part, 1_000 * part + 1_000)) for part in (0, 1)
    ]
    name = "events.ndjson.gz" if compress is gzip.compress else "events.jsonl.zst"
    path = stage.write(name, b"".join(compress(part) for part in parts))
    assert stage.take_until(path, lambda progress: progress.rows >= 500)
    assert stage.take(path).tally.landed == 2_000
    assert stage.users() == sorted(f"u{number}" for number in range(2_000))


@pytest.mark.parametrize("spoil", [lambda whole: whole[:-5], lambda whole: whole[: len(whole) // 2], lambda whole: whole + b"xx"])
@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_damaged_compressed_file_is_not_begun(
    stage: ImportStage, compress: Callable[[bytes], bytes], spoil: Callable[[bytes], bytes]
) -> None:
    whole = compress(lines_of(sent(number) for number in range(2_000)))
    path = stage.write("events.json.gz" if compress is gzip.compress else "events.json.zst", spoil(whole))
    with pytest.raises(SourceError, match=r"damaged|ends in the middle"):
        stage.take(path)
    assert not (stage.data / "log").exists()


def test_a_file_that_is_not_compressed_as_its_name_says_is_not_begun(stage: ImportStage) -> None:
    with pytest.raises(SourceError, match="not compressed as its name says"):
        stage.take(stage.write("events.ndjson.gz", lines_of([sent(1)])))


@pytest.mark.parametrize("content", [b"[\n", b"[{", b"{\n  ", b'\xef\xbb\xbf [{"a":1}]'])
def test_one_json_document_is_told_apart_from_lines(stage: ImportStage, content: bytes) -> None:
    with pytest.raises(SourceError, match="one JSON document"):
        stage.take(stage.write("events.json", content))


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(stage: ImportStage) -> None:
    content = b"\xef\xbb\xbf" + lines_of([sent(1), sent(2)]).replace(b"\n", b"\r\n") + b"\r\n"
    assert stage.take(stage.write("events.ndjson", content)).tally.landed == 2


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_line_without_an_end_is_one_refused_row(stage: ImportStage, where: str) -> None:
    """Five megabytes without a line break are not kept in memory, and the lines around them are found."""
    endless = b'{"a":"' + b"x" * 5_000_000
    good = lines_of([sent(1)])
    content = {"first": endless + b"\n" + good, "middle": good + endless + b"\n" + good, "last": good + endless}[where]
    tally = stage.take(stage.write("events.ndjson", content)).tally
    assert (tally.refused, tally.landed) == (1, content.count(b"user_id"))
    [refused] = stage.refused()
    assert (refused["errors"][0]["reason"], refused["row"]) == ("event_too_large", 1 if where == "first" else 2)
    assert len(refused["event"]) <= 1 << 20


def test_an_empty_file_is_an_import_of_nothing(stage: ImportStage) -> None:
    assert stage.take(stage.write("events.ndjson", b"")).tally.rows == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.ndjson", "ndjson"), ("a.b.jsonl", "ndjson"), ("a.json", "ndjson"), ("a.jsonl.zst", "ndjson"),
        ("a.parquet", "parquet"), ("a.csv", "csv"), ("a.csv.gz", None), ("a.gz", None), ("events", None), ("a.txt", None),
    ],
)  # fmt: skip
def test_a_name_tells_the_format_or_nothing(name: str, kind: str | None) -> None:
    assert format_of(name) == kind


def test_a_name_that_tells_nothing_needs_the_format_said(stage: ImportStage) -> None:
    with pytest.raises(SourceError, match="--format ndjson"):
        stage.take(stage.write("events", lines_of([sent(1)])))


# -- rows of the table


def test_what_was_exported_comes_back_as_it_was(stage: ImportStage) -> None:
    """Parquet of the table, and its rows as lines: every member, exact amounts, unknown members with their numbers' digits."""
    stage.take(stage.write("events.ndjson", lines_of([PURCHASE]).replace(b'"size": 1.1', b'"size": 1.100')))
    [before] = stage.query(f"SELECT {EVENT_COLUMNS} FROM events")
    assert before["revenue"]["amount"] == Decimal("123456789012345.123456789")
    assert '"items[0].size":1.100' in before["extra"]
    path = parquet(stage.data.parent / "table.parquet", own_rows(stage))
    exported = stage.write("table.ndjson", msgspec.json.encode(as_exported(stage.rows()[0])) + b"\n")
    for platform, file in (("STORE", path), ("MALL", exported)):
        assert stage.take(file, platform=platform).tally.landed == 1
        [after] = stage.query(f"SELECT {EVENT_COLUMNS} FROM events WHERE platform = '{platform}'")
        assert after == before


def as_exported(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a line of `footfall export`: times in ISO, amounts as text, what is null left out."""
    moments = {
        name: datetime.datetime.fromtimestamp(row[name] / 1000, tz=datetime.UTC).isoformat(timespec="milliseconds")
        for name in ("timestamp", "received_at", "landed_at")
    }
    return {name: value for name, value in (row | moments).items() if value is not None}


def test_a_data_file_of_the_table_is_taken_as_it_lies_there(stage: ImportStage) -> None:
    """Its directory's name holds the platform and the day, which are no members of the event."""
    stage.append("w0", record(event(user_id="u", page_id="p")))
    stage.land()
    [file] = stage.files()
    assert stage.take(Path(stage.volume.locate(file.path)), platform="STORE").tally.landed == 1
    [row] = stage.query("SELECT * FROM events WHERE platform = 'STORE'")
    assert (row["user_id"], row["extra"]) == ("u", None)


# -- parquet


def test_parquet_of_others_is_understood_by_its_columns(stage: ImportStage) -> None:
    """Either spelling, dots, structs and lists; decimals exact, floats in their shortest form, a time with or without a zone."""
    path = parquet(
        stage.data.parent / "a[1].parquet",
        f"SELECT 'PURCHASE' AS \"eventType\", make_timestamp({NOW_MS - 7} * 1000) AS timestamp, 'APP'::BLOB AS channel_type,"
        ' \'u1\' AS "userId", \'iOS\' AS "device.os", NULL::VARCHAR AS "device.ip", 19.99::FLOAT AS "revenue.amount",'
        ' \'USD\' AS "revenue.currency", \'EUR\' AS "shipping_charge.currency", 1.50::DOUBLE AS "shipping_charge.amount",'
        " [{'id': 's1', 'price': {'currency': 'USD', 'amount': 12345678901234.123456789::DECIMAL(38,9)}, 'quantity': 2::TINYINT},"
        "  {'id': 's2', 'price': {'currency': 'USD', 'amount': 0.100::DECIMAL(5,3)}, 'quantity': NULL}] AS items,"
        " 'é\"' AS search_query, 1.10::DECIMAL(5,2) AS colour, DATE '2026-01-02' AS day, 0 AS __index_level_0__",
    ).rename(stage.data.parent / "b[1].parquet")
    row = one_row(stage, path)
    assert (row["event_type"], row["timestamp"], row["channel_type"], row["user_id"]) == ("PURCHASE", NOW_MS - 7, "APP", "u1")
    assert (row["device"]["os"], row["device"]["ip"], row["search_query"]) == ("iOS", None, 'é"')
    assert row["revenue"] == {"currency": "USD", "amount": Decimal("19.99")}
    prices = [(item["id"], item["price"]["amount"], item["quantity"]) for item in row["items"]]
    assert prices == [("s1", Decimal("12345678901234.123456789"), 2), ("s2", Decimal("0.1"), None)]
    assert json.loads(row["extra"]) == {"colour": "1.1", "day": "2026-01-02"}
    assert row["shipping_charge"] == {"currency": "EUR", "amount": Decimal("1.5")}


def test_parquet_is_read_in_order_and_gone_on_with_in_the_middle(stage: ImportStage) -> None:
    path = parquet(
        stage.data.parent / "many.parquet",
        f"SELECT 'PAGE_VIEW' AS event_type, {NOW_MS} - i AS timestamp, 'SITE' AS channel_type, 'u' || i AS user_id,"
        " 'p' AS page_id FROM range(7000) AS numbers(i)",
    )
    assert stage.take_until(path, lambda progress: progress.rows >= 3_000)
    assert 0 < stage.records() < 7_000
    assert stage.take(path).tally.landed == 7_000
    assert stage.users() == sorted(f"u{number}" for number in range(7_000))
    assert [row["user_id"] for row in stage.rows("user_id")] == [f"u{number}" for number in range(7_000)]


def test_a_bad_row_of_parquet_is_refused_alone(stage: ImportStage) -> None:
    path = parquet(
        stage.data.parent / "some.parquet",
        f"SELECT 'HOME' AS event_type, CASE WHEN i = 1 THEN 'soon' ELSE '{NOW_MS - 5}' END AS timestamp, 'SITE' AS channel_type,"
        " 'u' || i AS user_id, CASE WHEN i = 2 THEN 'nan'::DOUBLE ELSE 2.5 END AS weight FROM range(4) AS numbers(i)",
    )
    assert stage.take(path).tally.landed == 2
    assert [(row["row"], row["errors"][0]["reason"]) for row in stage.refused()] == [
        (2, "not_an_integer"), (3, "non_finite_literal"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("1 AS a, 2 AS b", "no column for event_type; its columns are a, b"),
        ("'HOME' AS event_type, 1 AS timestamp", "no column for channel_type"),
        ("'HOME' AS event_type, DATE '2026-01-01' AS timestamp, 'SITE' AS channel_type", "timestamp holds dates"),
        (
            "'HOME' AS event_type, 1 AS timestamp, 'SITE' AS channel_type, {'os': 'x'} AS device, 'y' AS \"device.os\"",
            "comes twice",
        ),
    ],
)
def test_parquet_that_cannot_hold_events_is_not_begun(stage: ImportStage, columns: str, told: str) -> None:
    with pytest.raises(SourceError, match=told):
        stage.take(parquet(stage.data.parent / "other.parquet", f"SELECT {columns}"))
    assert not (stage.data / "log").exists()


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_half_written_parquet_file_is_not_begun(stage: ImportStage, share: float) -> None:
    whole = parquet(stage.data.parent / "whole.parquet", "SELECT * FROM range(1000)").read_bytes()
    with pytest.raises(SourceError, match=r"half\.parquet is no whole Parquet file"):
        stage.take(stage.write("half.parquet", whole[: int(len(whole) * share)]))
    assert not (stage.data / "log").exists()


def test_parquet_that_is_damaged_in_the_middle_says_how_far_it_came(stage: ImportStage) -> None:
    path = parquet(
        stage.data.parent / "spoilt.parquet",
        f"SELECT 'HOME' AS event_type, {NOW_MS} - i AS timestamp, 'SITE' AS channel_type, md5(i::VARCHAR) AS user_id"
        " FROM range(300000) AS numbers(i)",
    )
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 100_000] = bytes(100_000)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"damaged somewhere after row [1-9]"):
        stage.take(path)


# -- CSV and mappings


def test_csv_with_members_as_columns(stage: ImportStage) -> None:
    """An empty cell is absent, an item without a cell is none; a time is milliseconds or ISO with its zone."""
    path = stage.write(
        "events.csv",
        b"\xef\xbb\xbfeventType;timestamp;channel_type;user_id;device.os;items[0].id;items[0].price.amount;items[0].price.currency;"
        b'items[1].id;revenue.amount;revenue.currency;note\r\nPURCHASE;2026-09-21T12:00:00.5+02:00;SITE;u1;;"a;b\r\n""c""";19.90;USD'
        b";;0.1;USD;\r\n",
    )
    row = one_row(stage, path)
    assert row["timestamp"] == 1_789_984_800_500
    assert (row["device"], row["extra"]) == (None, None)
    [item] = row["items"]
    assert (item["id"], item["price"]) == ('a;b\r\n"c"', {"currency": "USD", "amount": Decimal("19.9")})
    assert row["revenue"] == {"currency": "USD", "amount": Decimal("0.1")}


MAPPING = """
event_type = "type"
timestamp = "when"
channel_type = { value = "SITE" }
"items[0].id" = "sku"
"items[0].price.currency" = { value = "USD" }
"items[0].price.amount" = "total"
"items[1].id" = "sku2"

[device]
persistent_id = "who"
"""


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_mapping_says_which_column_is_which_member(stage: ImportStage, kind: str) -> None:
    """Constants fill in what no column holds, but make nothing of nothing; columns that are not named are left alone."""
    rows = [("PURCHASE", NOW_MS - 1, "s1", "1.5", "s2", "d1", "x"), ("LAND", NOW_MS - 2, None, None, None, "d2", "x")]
    if kind == "csv":
        head = "type,when,sku,total,sku2,who,other\n"
        text = head + "".join(",".join("" if cell is None else str(cell) for cell in row) + "\n" for row in rows)
        path = stage.write("events.csv", text.encode())
    else:
        values = ", ".join(
            str(tuple(cell if cell is not None else "NULL" for cell in row)).replace("'NULL'", "NULL") for row in rows
        )
        path = parquet(
            stage.data.parent / "events.parquet",
            f'SELECT * FROM (VALUES {values}) AS rows("type", "when", sku, total, sku2, who, other)',
        )
    assert stage.take(path, mapping=MAPPING).tally.landed == 2
    bought, landed = stage.rows()
    assert [(item["id"], item["price"]) for item in bought["items"]] == [
        ("s1", {"currency": "USD", "amount": Decimal("1.5")}),
        ("s2", None),
    ]
    assert (landed["items"], landed["identifier"], landed["channel_type"], landed["extra"]) == (None, "d2", "SITE", None)


@pytest.mark.parametrize(
    ("mapping", "told"),
    [
        (
            MAPPING + 'language = "tongue"',
            "has no column tongue, which the mapping names; it has type, when, sku, total, sku2, who",
        ),
        ("event_type = ", "the mapping is no TOML"),
        ('event_type = "type"\ntimestamp = 5', "says for timestamp neither a column"),
        ('event_type = "type"\ntimestamp = "when"', "no column for channel_type"),
        (MAPPING + '\n[items]\nid = "sku"', "items.id comes twice"),
    ],
)
def test_a_mapping_that_does_not_fit_is_not_begun(stage: ImportStage, mapping: str, told: str) -> None:
    path = stage.write("events.csv", b"type,when,sku,total,sku2,who\nHOME,1,,,,u\n")
    with pytest.raises(SourceError, match=told):
        stage.take(path, mapping=mapping)
    assert not (stage.data / "log").exists()


def test_lines_take_no_mapping(stage: ImportStage) -> None:
    with pytest.raises(SourceError, match="a mapping is for columns"):
        stage.take(stage.write("events.ndjson", b""), mapping=MAPPING)


def test_another_mapping_makes_other_events_of_the_same_file(stage: ImportStage) -> None:
    path = stage.write("events.csv", b"type,when,sku,total,sku2,who\nHOME,%d,,,,u\n" % (NOW_MS - 1))
    for mapping in (MAPPING, 'user_id = { value = "somebody" }' + MAPPING):
        assert stage.take(path, mapping=mapping).tally.landed == 1
    assert sorted(row["identifier"] for row in stage.rows("identifier")) == ["somebody", "u"]


OWN = b"event_type,timestamp,channel_type,received_at,landed_at,writer,sequence\n"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a,,b\n", b"a,b,a\n", b"user_id,note\nu,v\n", OWN])
def test_csv_without_a_proper_header_is_not_begun(stage: ImportStage, content: bytes) -> None:
    with pytest.raises(SourceError, match=r"is empty|without a name|of one name: a|no column for event_type|export of"):
        stage.take(stage.write("events.csv", content))


def test_a_bad_row_of_csv_is_refused_alone(stage: ImportStage) -> None:
    good = b"HOME,%d,SITE,u1\n" % (NOW_MS - 1)
    content = b"event_type,timestamp,channel_type,user_id\n" + good + b"HOME,1\n" + b"HOME,%d,SITE,\xff\n" % NOW_MS + good
    assert stage.take(stage.write("events.csv", content)).tally.landed == 2
    refused = stage.refused()
    assert [(row["row"], row["errors"][0]["reason"]) for row in refused] == [(2, "malformed_row"), (3, "malformed_row")]
    assert "2 cells, the header 4" in refused[0]["errors"][0]["description"]
    assert "not UTF-8" in refused[1]["errors"][0]["description"]


def test_csv_is_gone_on_with_in_the_middle(stage: ImportStage) -> None:
    rows = b"".join(b"HOME,%d,SITE,u%d\n" % (NOW_MS - number, number) for number in range(5_000))
    path = stage.write("events.csv", b"event_type,timestamp,channel_type,user_id\n" + rows)
    assert stage.take_until(path, lambda progress: progress.rows >= 3_000)
    assert stage.take(path).tally.landed == 5_000
    assert stage.users() == sorted(f"u{number}" for number in range(5_000))
