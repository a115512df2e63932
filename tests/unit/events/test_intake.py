"""The one door: what a compatible server must swallow (the checklist of protocol notes 17.9), and what comes out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from footfall.errors import InvalidEventError
from footfall.events.intake import read_event, read_stored
from footfall.events.schema import Device, Event, Identifier, Item, Money

NOW_MS = 1_790_000_000_000


def body(**members: Any) -> bytes:
    full = {"id": "e", "event_type": "HOME", "timestamp": NOW_MS, "channel_type": "SITE", "user_id": "u", **members}
    return json.dumps({name: value for name, value in full.items() if value is not None}).encode()


CHECKLIST: dict[str, dict[str, Any]] = {
    "an empty session_id next to a good user_id": {"session_id": ""},
    "a member nobody knows": {"name": "home page"},
    "device.ip": {"device": {"ip": "192.0.2.1"}},
    "a timestamp as a string": {"timestamp": str(NOW_MS)},
    "a timestamp of 2021": {"timestamp": 1617870506121},
    "a longer name of the os": {"channel_type": "APP", "device": {"os": "GOOGLE ANDROID"}},
    "numeric strings": {"items": [{"id": "a", "quantity": "2", "price": {"currency": "USD", "amount": "12.34"}}]},
    "a price without amount": {"event_type": "PURCHASE", "items": [{"id": "a", "price": {"currency": "USD"}}]},
    "an item with only an id": {"event_type": "ADD_TO_CART", "items": [{"id": "a"}]},
    "amount 0": {"shipping_charge": {"currency": "USD", "amount": 0}},
    "a negative amount": {"revenue": {"currency": "USD", "amount": -3.5}},
    "no id": {"id": None},
    "items on HOME": {"items": [{"id": "a"}]},
    "revenue on ADD_TO_WISHLIST": {
        "event_type": "ADD_TO_WISHLIST", "items": [{"id": "a"}], "revenue": {"currency": "USD", "amount": 1},
    },
    "the former currency of Venezuela": {"revenue": {"currency": "VEF", "amount": 1}},
    "an unknown currency": {"revenue": {"currency": "UNKNOWN_CURRENCY", "amount": 1}},
    "LAND without a referrer": {"event_type": "LAND"},
    "PURCHASE without revenue": {"event_type": "PURCHASE", "items": [{"item_group_id": "g"}]},
}  # fmt: skip


@pytest.mark.parametrize("members", CHECKLIST.values(), ids=CHECKLIST)
def test_what_real_senders_send_is_accepted(members: dict[str, Any]) -> None:
    assert read_event(body(**members), now_ms=NOW_MS).identifier == Identifier("user_id", "u")


def test_a_pretty_printed_camel_case_body_is_accepted() -> None:
    text = f"""
    {{
        "eventType": "SEARCH",\r\n\t"searchQuery": "shoe",
        "channelType": "SITE", "timestamp": {NOW_MS}, "userId": "u"
    }}
    """
    event, identifier = read_event(text.encode(), now_ms=NOW_MS)
    assert (event.search_query, identifier) == ("shoe", Identifier("user_id", "u"))


@pytest.mark.parametrize("path", ["session_id", "custom_id"])
def test_one_weak_identifier_is_enough(path: str) -> None:
    assert read_event(body(user_id="", **{path: "x"}), now_ms=NOW_MS).identifier == Identifier(path, "x")


def test_the_event_that_comes_out_is_clean() -> None:
    event, identifier = read_event(body(user_id="NULL", custom_id="c", device={"persistent_id": "nil", "os": "x"}), now_ms=NOW_MS)
    assert event == Event(
        id="e", event_type="HOME", timestamp=NOW_MS, channel_type="SITE", custom_id="c", device=Device(os="x")
    )  # fmt: skip
    assert identifier == Identifier("custom_id", "c")


def test_id_less_comes_out_without_anybody() -> None:
    sent = body(personalization_mode="ID_LESS", device={"ip": "192.0.2.1", "persistent_id": "p"}, email="jane@example.com")
    event, identifier = read_event(sent, now_ms=NOW_MS)
    assert identifier is None
    assert event == Event(
        id="e", event_type="HOME", timestamp=NOW_MS, channel_type="SITE", personalization_mode="ID_LESS", device=Device()
    )


def test_the_unknown_personalization_mode_is_not_stored() -> None:
    sent = body(personalization_mode="UNKNOWN_PERSONALIZATION_MODE")
    assert read_stored(sent, now_ms=NOW_MS) == read_stored(body(), now_ms=NOW_MS)
    assert read_event(sent, now_ms=NOW_MS).event.personalization_mode == ""


def test_what_is_stored_is_one_line_of_canonical_json() -> None:
    sent = body(items=[{"id": "a", "quantity": 0, "price": {"currency": "USD", "amount": 19.90}}], name="x")
    assert read_stored(sent, now_ms=NOW_MS) == (
        b'{"id":"e","event_type":"HOME","timestamp":1790000000000,"channel_type":"SITE","user_id":"u",'
        b'"items":[{"id":"a","price":{"currency":"USD","amount":"19.9"}}],"extra":{"name":"x"}}',
        Identifier("user_id", "u"),
    )


def test_a_segment_event_is_read_on_its_path_only() -> None:
    sent = body(
        event_type="ADD_TO_CART", timestamp="2026-09-21T14:13:20.000Z", user_id=None, session_id="anonymous",
        items=[{"id": "a", "price": {"currency": "USD", "amount": 5}, "quantity": 1}],
    )  # fmt: skip
    event, identifier = read_event(sent, now_ms=NOW_MS, iso_timestamps=True)
    assert event.timestamp == NOW_MS
    assert event.items == (Item(id="a", price=Money("USD", "5"), quantity=1),)
    assert identifier == Identifier("session_id", "anonymous")
    with pytest.raises(InvalidEventError, match="invalid value for timestamp"):
        read_event(sent, now_ms=NOW_MS)


def test_the_allowed_lead_can_be_set() -> None:
    ahead = body(timestamp=NOW_MS + 1000)
    read_event(ahead, now_ms=NOW_MS)
    with pytest.raises(InvalidEventError, match=r"^invalid timestamp$"):
        read_event(ahead, now_ms=NOW_MS, ahead_ms_max=999)
