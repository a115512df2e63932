"""What goes in comes out: every member of an event, every text, every amount to its last digit, as typed columns."""

from __future__ import annotations

import json
import tempfile
import types
import typing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from footfall.errors import InvalidEventError
from footfall.events.decode import canonical, decode_canonical
from footfall.events.identity import identify
from footfall.events.intake import read_stored
from footfall.events.schema import Device, Event, Item, Money
from footfall.lake.schema import COLUMNS
from tests.contract.lake.stage import NOW_MS, Stage, event, record
from tests.unit.events.test_properties import encoded, mutated_events

INT64 = 2**63


def row_of(stage: Stage, body: bytes) -> dict[str, Any]:
    """The row of one event that comes through the real door."""
    stage.append("w0", record(read_stored(body, now_ms=NOW_MS).canonical))
    stage.land()
    assert not stage.poisons()
    return stage.rows()[-1]


def cell_of(value: Any) -> Any:
    """What a member's value is in a row: zero values are absent, amounts are decimals."""
    if isinstance(value, Money):
        return {"currency": value.currency or None, "amount": value.decimal}
    if isinstance(value, msgspec.Struct):
        return {name: cell_of(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, tuple):
        return [cell_of(item) for item in value] or None
    return value or None


def require_row(row: dict[str, Any], stored: bytes) -> None:
    """A row is its event, member by member."""
    sent = decode_canonical(stored)
    expected = {name: cell_of(getattr(sent, name)) for name in Event.__struct_fields__ if name != "extra"}
    assert {name: row[name] for name in expected} == expected
    assert (json.loads(row["extra"]) if row["extra"] else {}) == msgspec.json.decode(stored).get("extra", {})
    identifier = identify(sent)
    told = (identifier.kind, identifier.value) if identifier else (None, None)
    assert (row["identifier_kind"], row["identifier"]) == told


def whole(kind: Any, path: str) -> Any:
    """A value of that type with every member set, each differently, by looking at the type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return whole(next(part for part in arguments if part is not type(None)), path)
    if origin is tuple:
        return (whole(arguments[0], f"{path}[0]"), arguments[0]())
    if origin is dict:
        return {"a.b": 1.5, "c": ["x", None, {"d": True}]}
    if kind is Money:
        return Money("KRW", f"{len(path)}.{len(path):09}")
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind)
        return kind(**{name: whole(hints[name], f"{path}.{name}") for name in kind.__struct_fields__})
    return {str: f"the {path}", int: NOW_MS - len(path)}[kind]


def test_every_member_has_a_column_of_its_name_and_kind() -> None:
    """A member that is added to `Event` and not to the table fails here."""
    columns = {column.name: column.type for column in COLUMNS if column.is_member}
    assert set(columns) == set(Event.__struct_fields__)
    assert set(columns["device"]) == set(Device.__struct_fields__)
    items = columns["items"]
    assert isinstance(items, list)
    assert set(items[0]) == set(Item.__struct_fields__)
    assert set(items[0]["price"]) == set(Money.__struct_fields__)


def test_an_event_with_everything_lands_with_everything(tmp_path: Path) -> None:
    sent = whole(Event, "event")
    stage = Stage(tmp_path)
    stage.append("w0", record(canonical(sent), received_at=NOW_MS + 7, source="segment"))
    stage.clock.advance(60)
    stage.land()
    (row,) = stage.rows()
    require_row(row, canonical(sent))
    assert all(row[name] for name in Event.__struct_fields__)
    assert (row["platform"], row["source"]) == ("SHOP", "segment")
    assert (row["received_at"], row["landed_at"]) == (NOW_MS + 7, NOW_MS + 60_000)
    assert (row["writer"], row["sequence"], row["event_date"].isoformat()) == ("w0", 1, "2026-09-21")


def test_an_event_with_next_to_nothing_lands_with_nulls(tmp_path: Path) -> None:
    sent = Event(event_type="HOME", timestamp=NOW_MS, channel_type="SITE", personalization_mode="ID_LESS")
    stage = Stage(tmp_path)
    stage.append("w0", record(canonical(sent)))
    stage.land()
    require_row(stage.rows()[0], canonical(sent))


@given(st.lists(mutated_events().map(encoded), min_size=1, max_size=60))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_whatever_the_door_accepts_lands_as_it_was_stored(bodies: list[bytes]) -> None:
    """Random events, member by member; none of them is poison, none loses anything."""
    stored = []
    for body in bodies:
        try:
            stored.append(read_stored(body, now_ms=NOW_MS).canonical)
        except InvalidEventError:
            continue
    stored.append(canonical(Event(event_type="HOME", timestamp=NOW_MS, channel_type="SITE")))
    with tempfile.TemporaryDirectory() as directory:
        stage = Stage(Path(directory))
        # by platform, so that no two have one key
        stage.append("w0", *(record(content, platform=f"SHOP_{index}") for index, content in enumerate(stored)))
        stage.land()
        rows = stage.rows()
        assert len(rows) == len(stored)
        for row, content in zip(rows, stored, strict=True):
            require_row(row, content)


@pytest.mark.parametrize(
    "amount",
    ["123456789.123456789", "999999999999999.999999999", "-999999999999999.999999999", "0", "-0", "0.000000001", "1e3"],
)
def test_amounts_are_exact(tmp_path: Path, amount: str) -> None:
    money = b'"price":{"currency":"KRW","amount":%b}}],"revenue":{"currency":"KRW","amount":"%b"}}' % ((amount.encode(),) * 2)
    head = b'{"eventType":"PURCHASE","timestamp":%d,"channelType":"SITE","userId":"u","items":[{"id":"i","quantity":1,' % NOW_MS
    row = row_of(Stage(tmp_path), head + money)
    assert row["revenue"] == row["items"][0]["price"] == {"currency": "KRW", "amount": Decimal(amount)}


def test_a_tenth_and_two_tenths_are_three_tenths(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    for amount in ("0.1", "0.2"):
        stage.append("w0", record(event(id=amount, revenue={"currency": "EUR", "amount": amount})))
    stage.land()
    assert stage.query("SELECT sum(revenue.amount) AS sum FROM events") == [{"sum": Decimal("0.3")}]


@pytest.mark.parametrize("quantity", [-INT64, -1, 1, INT64 - 1])
def test_quantities_reach_to_both_ends_of_64_bits(tmp_path: Path, quantity: int) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(items=[{"id": "a", "quantity": quantity}])))
    stage.land()
    assert [item["quantity"] for item in stage.rows()[0]["items"]] == [quantity]


@pytest.mark.parametrize("moment", [10**10, 10**10 + 999, NOW_MS, 253_402_300_799_999])
def test_times_are_exact_to_the_millisecond_from_1970_to_9999(tmp_path: Path, moment: int) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", record(event(timestamp=moment)))
    stage.land()
    assert stage.rows("timestamp") == [{"timestamp": moment}]


TEXTS = ("\0", "a\0b", "'", '"', "\\", "\n\r\t", "\u2028", "😀", "é", "e\u0301", "%d%b", "{}", "NULL", "x" * 60_000)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_texts_are_what_they_were(tmp_path: Path, text: str) -> None:
    """In an id, in a query, in a member nobody knows: none of them is SQL, a format or an end of text."""
    sent = event(id=text[:128], search_query=text, items=[{"id": text[:128]}], extra={text[:9]: text})
    stage = Stage(tmp_path)
    stage.append("w0", record(sent))
    stage.land()
    (row,) = stage.rows()
    assert (row["id"], row["search_query"], row["items"][0]["id"]) == (text[:128], text, text[:128])
    assert json.loads(row["extra"]) == {text[:9]: text}


def test_ids_that_differ_behind_a_nul_are_two(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.append("w0", *(record(event(id=text)) for text in ("a", "a\0", "a\0b", "a\0c", "a ", "A")))
    stage.land()
    assert len(stage.rows()) == 6


@pytest.mark.parametrize("number", ["1.10", "1e400", "12345678901234567890123", "-0.0", "1E+2", "0.1e-7"])
def test_numbers_in_unknown_members_stay_as_they_were_stored(tmp_path: Path, number: str) -> None:
    """`extra` is the text of the log, character by character: reading it as JSON would round it."""
    content = b'{"event_type":"HOME","timestamp":%d,"channel_type":"SITE","extra":{"size":%b,"in":{"extra":{"x":[%b]}}}}'
    stage = Stage(tmp_path)
    stage.append("w0", record(content % (NOW_MS, number.encode(), number.encode())))
    stage.land()
    assert stage.rows("extra") == [{"extra": f'{{"size":{number},"in":{{"extra":{{"x":[{number}]}}}}}}'}]


def test_unknown_members_with_the_names_of_known_ones_do_not_mix(tmp_path: Path) -> None:
    """A text that looks like the beginning of `extra`, and an unknown member called so."""
    row = row_of(
        Stage(tmp_path),
        b'{"eventType":"HOME","timestamp":%d,"channelType":"SITE","userId":"u","pageId":",\\"extra\\":{","extra":{"extra":{"a":1}},'
        b'"erased":true,"platform":"OTHER","w":"w9","s":99,"x":"y"}' % NOW_MS,
    )
    assert (row["platform"], row["writer"], row["sequence"], row["page_id"]) == ("SHOP", "w0", 1, ',"extra":{')
    unknown = {"extra": {"extra": {"a": 1}}, "erased": True, "platform": "OTHER", "w": "w9", "s": 99, "x": "y"}
    assert json.loads(row["extra"]) == unknown


def test_of_a_key_that_comes_twice_the_last_counts(tmp_path: Path) -> None:
    """As the door decided; a JSON reader of the log would refuse it or choose."""
    body = b'{"eventType":"HOME","timestamp":%d,"channelType":"SITE","userId":"u","id":"first","id":"last"}' % NOW_MS
    assert row_of(Stage(tmp_path), body)["id"] == "last"


def test_modes_of_personalization(tmp_path: Path) -> None:
    """METRIC_ONLY keeps the person, flagged; ID_LESS knows nobody."""
    stage = Stage(tmp_path)
    body = (
        b'{"id":"%b","eventType":"HOME","timestamp":%d,"channelType":"SITE","userId":"u","device":{"ip":"192.0.2.1"},"mine":1,'
        b'"personalizationMode":"%b"}'
    )
    rows = [row_of(stage, body % (mode, NOW_MS, mode)) for mode in (b"METRIC_ONLY", b"ID_LESS")]
    assert [(row["identifier"], row["identifier_kind"], row["personalization_mode"]) for row in rows] == [
        ("u", "user_id", "METRIC_ONLY"), (None, None, "ID_LESS"),
    ]  # fmt: skip
    assert [row["extra"] for row in rows] == ['{"mine":1}', None]
    assert not (rows[1]["device"] or {}).get("ip")
