"""An event of our structs goes a short way to its JSON; the same event as a mapping goes the long one. Both say the same."""

from __future__ import annotations

import enum
import math
from datetime import UTC, timedelta, timezone
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from footfall import Client, Device, Event, Item, Money
from footfall.clock import ManualClock
from footfall.delivery.transport import ScriptedTransport

TEXT_NAMES = [
    "event_type", "channel_type", "user_id", "search_query", "session_id", "custom_id", "page_id",
    "referrer_page_id", "decision_track_id", "personalization_mode",
]  # fmt: skip


class Word(enum.StrEnum):
    HOME = "HOME"


class Text(str):
    pass


class ItemOfAShop(Item, frozen=True):
    pass


texts = st.text(max_size=6)
ODD: list[Any] = [
    None, "", 0, 7, -1, 0.0, 1.5, math.nan, True, False, "\ud800", b"x", [], [1], {}, {"a": 1}, (), Text("a"), Word.HOME,
    Decimal("1.50"), Decimal("NaN"), 2**70, Device(), Item(), Money(), Money("USD", "0.5"), ItemOfAShop(id="b"),
]  # fmt: skip
odd = st.sampled_from(ODD)
text_values = texts | odd
amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=2) | st.sampled_from(
    ["", "0", "00", "0.5", "-0.5", "-007.50", "007.50", "19.90", "99999999999999999999", 3, 2.5]
)
money = st.builds(Money, texts | st.sampled_from(["USD", "KRW"]) | odd, amounts)
bare = amounts | odd
items = st.builds(
    Item,
    id=text_values,
    item_group_id=texts,
    price=st.none() | money | bare,
    quantity=st.integers() | odd,
    seller_id=texts,
    price_seller=st.none() | money,
)
devices = st.builds(Device, **dict.fromkeys(("os", "os_version", "model", "ip", "persistent_id"), texts)) | st.builds(
    Device, ua=text_values, language=odd
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=9)), None])
times = st.integers() | st.datetimes(timezones=zones) | texts | odd
extras = st.dictionaries(
    texts | st.sampled_from(["user_id", "device.colour", "items[0].size", "items[0].price.net", "revenue.tax", "items[9].a"]), odd
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXT_NAMES, text_values),
    "timestamp": times,
    "device": devices | odd,
    "items": st.lists(items | odd, max_size=3) | st.lists(items, max_size=3) | st.lists(items, max_size=2).map(tuple) | odd,
    "revenue": money | bare,
    "shipping_charge": money | bare,
}
plain_money = st.builds(Money, st.sampled_from(["USD", "KRW", ""]), amounts)
plain_items = st.builds(
    Item,
    id=texts,
    item_group_id=texts,
    price=st.none() | plain_money,
    quantity=st.integers(-(2**70), 2**70),
    seller_id=texts,
    price_seller=st.none() | plain_money,
)
PLAIN_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXT_NAMES, texts | st.none()),
    "timestamp": st.integers() | st.datetimes(timezones=st.just(UTC)) | st.none(),
    "device": devices | st.none(),
    "items": st.lists(plain_items, max_size=3) | st.none(),
    "revenue": plain_money | st.none(),
    "shipping_charge": plain_money,
}
IDENTIFIED = {"id": st.just("e-1")}
# With many members an odd one is nearly always among them, and then the short way is not taken.
events = st.fixed_dictionaries(IDENTIFIED, optional=PLAIN_FIELDS) | st.fixed_dictionaries(IDENTIFIED, optional=FIELDS)


def sent(event: Any = None, /, *, currency: str | None = None, **fields: Any) -> bytes | tuple[type[Exception], str]:
    """The bytes on the wire, or the refusal."""
    transport = ScriptedTransport()
    client = Client(
        platform_name="shop", platform_id="SHOP", api_key="k", currency=currency, transport=transport, clock=ManualClock()
    )
    try:
        if event is None:
            client.insert_event(**fields)
        else:
            client.insert_event(event)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        assert "Uncommon" not in repr(error.__context__)  # whoever prints it sees one error, not two
        return type(error), str(error)
    return transport.requests[0].body


@given(events, st.sampled_from([None, "USD"]))
@example({"id": "e-1", "timestamp": 5, "items": [Item(id="a", price=Money("USD", "0.99"), quantity=2)], "device": Device()}, None)
@example({"id": "e-1", "user_id": None, "timestamp": None, "device": None, "items": None, "revenue": None}, None)
@example({"id": "e-1", "items": [Item(id="a", price=Money("USD", "007.50")), ItemOfAShop(id="b")]}, None)
@example({"id": "e-1", "device": Device(os=None, ua="x")}, None)  # type: ignore[arg-type]
def test_keywords_and_mapping_make_the_same_bytes_or_the_same_refusal(fields: dict[str, Any], currency: str | None) -> None:
    assert sent(**fields, currency=currency) == sent(fields, currency=currency)


@given(events)
def test_event_and_mapping_make_the_same_bytes_or_the_same_refusal(fields: dict[str, Any]) -> None:
    event = Event(**fields)
    assert sent(event) == sent({name: getattr(event, name) for name in Event.__struct_fields__ if name != "extra"})


@given(events, extras)
def test_extra_members_find_the_same_place_either_way(fields: dict[str, Any], extra: dict[str, Any]) -> None:
    """A word of an enumeration is nothing the short way knows, so it takes the whole event the long way."""
    short = sent(domain="HOME", **fields, extra=extra)
    long = sent(domain=Word.HOME, **fields, extra=extra)
    assert short == long


@pytest.mark.parametrize(
    ("part", "member"),
    [
        (part, member)
        for part in (Event, Device, Item, Money)
        for member in part.__struct_fields__
        if (part, member) not in {(Event, "id"), (Event, "extra"), (Money, "amount")}
    ],
)
def test_one_odd_value_in_an_event_of_plain_ones_is_treated_as_ever(part: type[msgspec.Struct], member: str) -> None:
    """Each struct, each member, each value that is not of its type. A Money refuses an odd amount by itself."""
    for value in ODD:
        price = Money("USD", "19.90") if part is not Money else Money(**{"amount": "19.90", member: value})
        item = Item(id="sku-1", price=price, quantity=2)
        device = Device(os="iOS", persistent_id="p-1")
        if part is Item:
            item = msgspec.structs.replace(item, **{member: value})
        elif part is Device:
            device = msgspec.structs.replace(device, **{member: value})
        fields: dict[str, Any] = {"id": "e-1", "event_type": "HOME", "device": device, "items": [item]}
        if part is Event:
            fields[member] = value
        assert sent(**fields) == sent(fields)
        assert sent(Event(**fields)) == sent({name: getattr(Event(**fields), name) for name in Event.__struct_fields__[:-1]})


def test_what_the_caller_passed_is_left_as_it_was() -> None:
    device, item = Device(os="iOS"), Item(id="a", price=Money("USD", "1"))
    extra = {"device.colour": "red", "items[0].size": 4, "items[0].price.net": True}
    fields: dict[str, Any] = {"event_type": "HOME", "device": device, "items": [item], "extra": extra}
    body = sent(**fields)
    assert isinstance(body, bytes)
    assert msgspec.json.decode(body)["items"] == [{"id": "a", "price": {"currency": "USD", "amount": 1, "net": True}, "size": 4}]
    assert (device, item) == (Device(os="iOS"), Item(id="a", price=Money("USD", "1")))
    assert fields["items"] == [item]
    assert extra == {"device.colour": "red", "items[0].size": 4, "items[0].price.net": True}


def test_a_misspelt_keyword_is_found_before_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="user_id"):
        Client(platform_name="shop", platform_id="SHOP", api_key="k").insert_event(timestamp=math.nan, userid="u")  # type: ignore[call-arg,arg-type]
