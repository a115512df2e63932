"""What decoding takes, what it makes of it, and what it refuses, beyond the corpus of mistakes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from footfall.errors import InvalidEventError
from footfall.events.decode import canonical, decode_canonical, decode_event
from footfall.events.schema import Device, Event, Item, Money
from footfall.events.violations import REASONS, VIOLATIONS_MAX

SECRET = "s3cret-shopper"


def decoded(**members: Any) -> Event:
    return decode_event(json.dumps(members).encode())


def refusal_of(body: bytes | str, **options: bool) -> InvalidEventError:
    with pytest.raises(InvalidEventError) as caught:
        decode_event(body if isinstance(body, bytes) else body.encode(), **options)
    return caught.value


def reasons_of(body: bytes | str, **options: bool) -> list[tuple[str, str]]:
    return [(violation.field, violation.reason) for violation in refusal_of(body, **options).violations]


def amount_of(text: str) -> str:
    event = decode_event(f'{{"revenue": {{"currency": "USD", "amount": {text}}}}}'.encode())
    assert event.revenue is not None
    return event.revenue.amount


def test_a_full_event_is_read_member_by_member() -> None:
    body = {
        "id": "e-1", "event_type": "PURCHASE", "timestamp": "1790000000000", "channel_type": "APP", "domain": "/home",
        "user_id": "u", "device": {
            "os": "iOS", "os_version": "14.4.1", "model": "iPhone 11 Pro", "ua": "UA", "language": "en", "ip": "192.0.2.1",
            "persistent_id": "p", "unique_device_id": "d", "advertising_id": "a",
        },
        "items": [{
            "id": "i", "item_group_id": "g", "price": {"currency": "USD", "amount": 1.5}, "quantity": 2, "seller_id": "s",
            "price_seller": {"currency": "KRW", "amount": 3},
        }],
        "revenue": {"currency": "USD", "amount": "3.00"}, "search_query": "q", "session_id": "si", "custom_id": "c",
        "page_id": "pg", "referrer_page_id": "r", "shipping_charge": {"currency": "USD", "amount": 0},
        "decision_track_id": "t", "personalization_mode": "STANDARD",
    }  # fmt: skip
    assert decoded(**body) == Event(
        id="e-1", event_type="PURCHASE", timestamp=1_790_000_000_000, channel_type="APP", domain="/home", user_id="u",
        device=Device(
            os="iOS", os_version="14.4.1", model="iPhone 11 Pro", ua="UA", language="en", ip="192.0.2.1",
            persistent_id="p", unique_device_id="d", advertising_id="a",
        ),
        items=(Item(
            id="i", item_group_id="g", price=Money("USD", "1.5"), quantity=2, seller_id="s", price_seller=Money("KRW", "3"),
        ),),
        revenue=Money("USD", "3.00"), search_query="q", session_id="si", custom_id="c", page_id="pg", referrer_page_id="r",
        shipping_charge=Money("USD", "0"), decision_track_id="t", personalization_mode="STANDARD",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["1000", '"1000"', "1000.0", "1e3", "1E+3", '"1e3"', '"1000.000"', "10000e-1"])
def test_a_whole_number_is_read_in_every_spelling_of_proto_json(text: str) -> None:
    assert decode_event(f'{{"timestamp": {text}, "items": [{{"quantity": {text}}}]}}'.encode()) == Event(
        timestamp=1000, items=(Item(quantity=1000),)
    )


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**53 + 1])
@pytest.mark.parametrize("form", ["{}", '"{}"', "{}.0", '"{}.0e0"'])
def test_a_timestamp_is_exact_to_the_ends_of_64_bits(number: int, form: str) -> None:
    assert decode_event(f'{{"timestamp": {form.format(number)}}}'.encode()).timestamp == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**4000])
@pytest.mark.parametrize("form", ["{}", '"{}"', "{}.0"])
def test_a_timestamp_beyond_64_bits_is_refused(number: int, form: str) -> None:
    assert reasons_of(f'{{"timestamp": {form.format(number)}}}') == [("timestamp", "integer_out_of_range")]


@pytest.mark.parametrize("quantity", [2**31 - 1, -(2**31)])
def test_a_quantity_is_read_to_the_ends_of_32_bits_and_not_beyond(quantity: int) -> None:
    assert decoded(items=[{"quantity": quantity}]).items[0].quantity == quantity
    beyond = quantity + (1 if quantity > 0 else -1)
    assert reasons_of(json.dumps({"items": [{"quantity": beyond}]})) == [("items[0].quantity", "integer_out_of_range")]


@pytest.mark.parametrize(
    "text", ["1.5", '"1.5"', "true", '""', '" 1"', '"1 "', '"+1"', '"01"', '"1_0"', '"0x1"', '"1."', '".1"', '"١"', "[]", "{}"]
)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    assert reasons_of(f'{{"timestamp": {text}}}') == [("timestamp", "not_an_integer")]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("19.90", "19.90"), ('"19.90"', "19.90"), ("5", "5"), ("0", "0"), ("-3.5", "-3.5"), ('"-0.00"', "-0.00"),
        ("1e3", "1000"), ('"1.50e1"', "15.0"), ("25E-2", "0.25"), ("1e-9", "0.000000001"), ("0e99", "0"), ("0e-999999999", "0"),
        ("0.1234567890000", "0.123456789"), ("999999999999999.999999999", "999999999999999.999999999"),
        ("123456789012345.123456789", "123456789012345.123456789"),
    ],
)  # fmt: skip
def test_an_amount_is_kept_exact_and_plain(sent: str, kept: str) -> None:
    assert amount_of(sent) == kept


@pytest.mark.parametrize(
    "text",
    ["1e15", "-1e15", "1000000000000000", '"1000000000000000.0"', "1e999999999", "1e-10", "0.0000000001", "1" + "e" + "9" * 20],
)
def test_an_amount_out_of_range_is_refused(text: str) -> None:
    assert reasons_of(f'{{"revenue": {{"amount": {text}}}}}') == [("revenue.amount", "amount_out_of_range")]


def test_both_spellings_of_every_member_mean_the_same() -> None:
    camel = {
        "eventType": "PURCHASE", "channelType": "APP", "userId": "u", "searchQuery": "q", "sessionId": "s", "customId": "c",
        "pageId": "p", "referrerPageId": "r", "decisionTrackId": "t", "personalizationMode": "STANDARD",
        "shippingCharge": {"currency": "USD"},
        "device": {"osVersion": "1", "persistentId": "p", "uniqueDeviceId": "d", "advertisingId": "a"},
        "items": [{"itemGroupId": "g", "sellerId": "s", "priceSeller": {"amount": 1}}],
    }  # fmt: skip
    snake = {
        "event_type": "PURCHASE", "channel_type": "APP", "user_id": "u", "search_query": "q", "session_id": "s",
        "custom_id": "c", "page_id": "p", "referrer_page_id": "r", "decision_track_id": "t",
        "personalization_mode": "STANDARD", "shipping_charge": {"currency": "USD"},
        "device": {"os_version": "1", "persistent_id": "p", "unique_device_id": "d", "advertising_id": "a"},
        "items": [{"item_group_id": "g", "seller_id": "s", "price_seller": {"amount": 1}}],
    }  # fmt: skip
    assert decoded(**camel) == decoded(**snake)
    assert decoded(**camel).extra == {}


def test_the_same_spelling_twice_means_the_last() -> None:
    assert decode_event(b'{"user_id": 5, "user_id": "a", "user_id": "b"}').user_id == "b"


@pytest.mark.parametrize("member", ["user_id", "timestamp", "device", "items", "revenue", "event_type"])
def test_null_is_absent(member: str) -> None:
    assert decoded(**{member: None}) == Event()


def test_an_empty_price_and_one_without_amount_are_taken() -> None:
    event = decoded(items=[{"id": "a", "price": {}}, {"id": "b", "price": {"currency": "USD"}}])
    assert [item.price for item in event.items] == [Money(), Money("USD")]


def test_currency_text_nobody_knows_is_kept() -> None:
    assert decoded(revenue={"currency": "VEF", "amount": 1}).revenue == Money("VEF", "1")


def test_unknown_members_are_kept_by_path_with_their_numbers_exact() -> None:
    body = (
        b'{"name": "x", "score": 1.10, "big": 1e400, "huge": 123456789012345678901234567890, "deep": {"a": [1.50, null]},'
        b' "device": {"colour": "red"}, "items": [{"size": 4}], "revenue": {"x": true}, "shippingCharge": {"y": 0.0}}'
    )
    event = decode_event(body)
    assert canonical(event) == (
        b'{"device":{},"items":[{}],"revenue":{},"shipping_charge":{},"extra":{"name":"x","score":1.10,"big":1e400,'
        b'"huge":123456789012345678901234567890,"deep":{"a":[1.50,null]},"device.colour":"red","items[0].size":4,'
        b'"revenue.x":true,"shipping_charge.y":0.0}}'
    )
    assert decode_canonical(canonical(event)) == event


def test_two_unknown_members_that_meet_at_one_path_are_both_kept() -> None:
    event = decoded(**{"device.colour": "red", "device": {"colour": "blue"}})
    assert event.extra == {"device.colour": "red", "device.colour#2": "blue"}


def test_an_unknown_member_called_extra_is_one_like_any_other() -> None:
    assert decoded(extra={"a": 1}).extra == {"extra": {"a": 1}}


def test_an_unknown_member_of_null_is_absent() -> None:
    assert decoded(name=None).extra == {}


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2024-02-05T23:37:42.848Z", 1707176262848),
        ("2024-02-06T08:37:42.848+09:00", 1707176262848),
        ("2024-02-05T23:37:42Z", 1707176262000),
        ("2024-02-05T23:37:42.8489999Z", 1707176262848),
        ("1707176262848", 1707176262848),
    ],
)
def test_the_segment_path_reads_iso_times_and_numbers(text: str, moment_ms: int) -> None:
    body = json.dumps({"timestamp": text}).encode()
    assert decode_event(body, iso_timestamps=True).timestamp == moment_ms


@pytest.mark.parametrize("text", ["2024-02-05T23:37:42", "2024-02-30T00:00:00Z", "2024-02-05", "yesterday", ""])
def test_the_segment_path_refuses_times_without_a_zone_and_other_text(text: str) -> None:
    assert reasons_of(json.dumps({"timestamp": text}), iso_timestamps=True) == [("timestamp", "not_a_timestamp")]


def test_the_empty_price_of_the_samples_is_answered_with_the_object_to_send() -> None:
    violation = refusal_of('{"items": [{"price": ""}]}').violations[0]
    assert '{"currency": "USD", "amount": 19.99}' in violation.description


@pytest.mark.parametrize(
    "body",
    [
        f'{{"user_id": ["{SECRET}"], "timestamp": "{SECRET}", "revenue": {{"amount": "{SECRET}"}}, "items": "{SECRET}"}}',
        f'{{"device": "{SECRET}", "user_id": "{SECRET}", "userId": "{SECRET}"}}',
        f"{{'user_id': '{SECRET}'}}",
        f'{{"user_id": "{SECRET}',
        f'"{SECRET}"',
        f"user_id={SECRET}",
    ],
)
def test_no_refusal_repeats_a_value(body: str) -> None:
    error = refusal_of(body)
    assert SECRET not in repr((error.message, error.violations, error, error.__cause__))


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (json.dumps({"search_query": "a" * 65_537}), "search_query", "string_too_long"),
        (json.dumps({"search_query": "é" * 32_769}, ensure_ascii=False), "search_query", "string_too_long"),
        (json.dumps({"x": {"y": ["a" * 65_537]}}), "x.y[0]", "string_too_long"),
        (json.dumps({"a" * 65_537: 1}), "", "string_too_long"),
        (json.dumps({"x": {str(number): 1 for number in range(257)}}), "x", "too_many_members"),
        ('{"a":' * 32 + "{}" + "}" * 32, ".".join("a" * 32), "nesting_too_deep"),
        ('{"timestamp": ' + "9" * 5000 + "}", "", "number_too_long"),
    ],
)
def test_a_bound_that_is_passed_is_named(body: str, field: str, reason: str) -> None:
    assert reasons_of(body) == [(field, reason)]


def test_every_bound_can_be_reached() -> None:
    widest = {str(number): 1 for number in range(255)}
    body = json.dumps({**widest, "search_query": "a" * 65_536}).encode()
    assert decode_event(body).extra == widest
    deepest = decode_event(b'{"x":' + b"[" * 31 + b"]" * 31 + b"}")
    assert canonical(deepest) == b'{"extra":{"x":' + b"[" * 31 + b"]" * 31 + b"}}"


def test_a_refusal_lists_a_bounded_number_of_problems_and_counts_the_rest() -> None:
    violations = refusal_of(json.dumps({"items": [1] * 5000})).violations
    assert len(violations) == VIOLATIONS_MAX + 1
    assert violations[-1].reason == "more_violations"
    assert str(5000 - VIOLATIONS_MAX) in violations[-1].description


def test_a_stored_record_is_one_line_in_the_order_of_the_schema() -> None:
    event = decoded(name="a\nb", timestamp="5", user_id="u\n", revenue={"amount": 1.50, "currency": "USD"})
    assert canonical(event) == (
        b'{"timestamp":5,"user_id":"u\\n","revenue":{"currency":"USD","amount":"1.5"},"extra":{"name":"a\\nb"}}'
    )


def test_a_stored_record_may_have_members_of_a_later_version() -> None:
    assert decode_canonical(b'{"user_id":"u","later":{"x":1}}') == Event(user_id="u")


@pytest.mark.parametrize("record", [b"", b"[]", b"{", b'{"timestamp":"5"}', b'{"revenue":{"amount":"abc"}}', b'{"id":"\xff"}'])
def test_a_damaged_record_is_refused(record: bytes) -> None:
    with pytest.raises(InvalidEventError) as caught:
        decode_canonical(record)
    assert caught.value.violations[0].reason == "not_canonical"


def test_every_reason_has_a_line_of_documentation() -> None:
    assert all(doc and "\n" not in doc and reason == reason.lower() for reason, doc in REASONS.items())


def test_numbers_of_unknown_members_can_be_encoded_by_any_json_encoder_of_msgspec() -> None:
    assert msgspec.json.encode(decode_event(b'{"score": 1.10}').extra) == b'{"score":1.10}'
