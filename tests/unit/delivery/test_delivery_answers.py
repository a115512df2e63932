"""What is read out of answers, and what never is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.delivery.address import Address
from footfall.delivery.answers import read_batch_answer, retry_after, safe, values_in
from footfall.delivery.document import read_document
from footfall.delivery.lanes import Lanes
from footfall.delivery.transport import Response
from tests.unit.delivery.rig import parcel

ADDRESS = Address(base_url="https://shop-evt.mcm-api.moloco.com", platform_id="SHOP/TEST", api_key="key-of-shop")


def test_an_address_is_the_documented_url_and_hides_its_key() -> None:
    assert ADDRESS.url == "https://shop-evt.mcm-api.moloco.com/rmp/event/v1/platforms/SHOP%2FTEST/userevents"
    assert "key-of-shop" not in repr(ADDRESS)
    assert "key-of-shop" not in repr(ADDRESS.form(batch=True))
    assert ADDRESS.question().method == "GET"
    assert "key-of-shop" not in str(ADDRESS.question().headers)


def test_a_batch_has_more_time_than_an_event() -> None:
    assert ADDRESS.form(batch=False).timeout_s == 10
    assert ADDRESS.form(batch=True).timeout_s == 60


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), (" 120 ", 120), ("0", 0), ("", None), ("soon", None), ("-1", None), ("9" * 40, 999_999_999),
     ("Thu, 01 Jan 1970 00:01:40 GMT", 90), ("Thu, 01 Jan 1970 00:00:00 GMT", 0)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after(header, now_ms=10_000) == seconds


@given(st.text())
def test_no_retry_after_breaks_a_sender(header: str) -> None:
    found = retry_after(header, now_ms=0)
    assert found is None or found >= 0


@given(st.binary(max_size=200), st.integers(1, 5))
def test_no_body_breaks_the_reader_of_batch_answers_or_documents(body: bytes, events: int) -> None:
    answer = read_batch_answer(body, events=events)
    assert answer is None or answer.accepted + len(answer.rejected) == events
    assert not read_document(Response(status=200, body=body)).takes_batches


@pytest.mark.parametrize("body", [b'{"info":{"x-footfall":"yes"}}', b'{"info":null}', b"{", b"[[[[" * 10_000])
def test_a_document_that_only_looks_like_ours_is_none(body: bytes) -> None:
    assert not read_document(Response(status=200, body=body)).is_footfall


def test_every_value_of_an_event_is_struck_out_the_longest_first() -> None:
    event = b'{"event_type":"PURCHASE","user_id":"anna","items":[{"id":"anna-bag"}],"revenue":{"amount":12345.5},"custom_id":"x"}'
    values = values_in(event)
    assert values is not None
    assert values == ["anna-bag", "12345.5", "anna"]
    assert safe("anna bought anna-bag for 12345.5 in a PURCHASE", values) == "… bought … for … in a PURCHASE"


def test_of_an_event_with_too_many_values_or_none_that_can_be_read_nothing_may_be_quoted() -> None:
    assert values_in(b'{"items":[' + b",".join(b'"item-%d"' % number for number in range(501)) + b'],"user_id":"anna"}') is None
    assert values_in(b'{"user_id":"an') is None
    at_most = values_in(b'{"items":[' + b",".join(b'"item-%d"' % number for number in range(499)) + b'],"user_id":"anna"}')
    assert at_most is not None
    assert "anna" in at_most


def test_a_message_is_one_bounded_printable_line() -> None:
    assert safe("a\r\nb\x1b[31m" + "c" * 5_000, ())[:8] == "a  b [31"
    assert len(safe("c" * 5_000, ())) == 1_000


def test_lanes_hand_out_the_oldest_first_and_no_lane_twice() -> None:
    lanes = Lanes()
    lanes.load([parcel(0, lane=1), parcel(1, lane=1), parcel(2, lane=2), parcel(3, lane=1)])
    first = lanes.pick(events_max=1, bytes_max=1_000, shares={})
    second = lanes.pick(events_max=1, bytes_max=1_000, shares={})
    assert [number for number, _ in first + second] == [1, 3]
    assert lanes.pick(events_max=1, bytes_max=1_000, shares={}) == []
    lanes.put_back(first)
    lanes.release({1})
    again = lanes.pick(events_max=10, bytes_max=1_000, shares={})
    assert [number for number, _ in again] == [1, 2, 4]
    assert lanes.count == 0
