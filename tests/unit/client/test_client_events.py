"""What goes over the wire for what a caller passes, and what is refused in the caller's face."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import footfall
from footfall import AddToCart, Client, Device, Event, Item, Money, PageView, Purchase, Search
from footfall.client.ids import new_id
from footfall.clock import ManualClock
from footfall.delivery.transport import ScriptedTransport

NOW_MS = 1_790_000_000_000


class Shop:
    """A client over a transport in memory at a fixed time, and a look at what it sent."""

    def __init__(self, currency: str | None = None) -> None:
        self.transport = ScriptedTransport()
        self.client = Client(
            platform_name="shop",
            platform_id="SHOP",
            api_key="key",
            currency=currency,
            transport=self.transport,
            clock=ManualClock(NOW_MS),
        )

    def sent(self, event: Any = None, /, **fields: Any) -> Any:
        return msgspec.json.decode(self.text(event, **fields))

    def text(self, event: Any = None, /, **fields: Any) -> str:
        if event is None:
            self.client.insert_event(**fields)
        else:
            self.client.insert_event(event, **fields)
        return self.transport.requests[-1].body.decode()


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_absent_id_and_timestamp_are_filled_in_and_given_ones_kept(shop: Shop) -> None:
    made = shop.sent(event_type="HOME")
    assert uuid.UUID(made["id"]).version == 7
    assert made["timestamp"] == str(NOW_MS)
    assert shop.sent(event_type="HOME", id="e-1", timestamp=1) == {"id": "e-1", "event_type": "HOME", "timestamp": "1"}


@pytest.mark.parametrize("nothing", [None, "", 0])
def test_an_empty_timestamp_counts_as_absent(shop: Shop, nothing: Any) -> None:
    assert shop.sent(event_type="HOME", timestamp=nothing)["timestamp"] == str(NOW_MS)


def test_absent_members_are_left_out(shop: Shop) -> None:
    sent = shop.sent(event_type="HOME", id="1", timestamp=1, user_id="", device=None, items=[], page_id=None, revenue=None)
    assert sent == {"event_type": "HOME", "id": "1", "timestamp": "1"}


def test_keywords_event_and_mapping_say_the_same(shop: Shop) -> None:
    device = Device(os="iOS", persistent_id="p-1")
    items = [Item(id="sku-1", price=Money("USD", "19.99"), quantity=2)]
    keywords = shop.sent(id="1", timestamp=5, event_type="ADD_TO_CART", channel_type="SITE", device=device, items=items)
    constructed = shop.sent(AddToCart(id="1", timestamp=5, channel_type="SITE", device=device, items=items))
    pasted = shop.sent(
        {
            "id": "1",
            "timestamp": 5,
            "eventType": "ADD_TO_CART",
            "channelType": "SITE",
            "device": {"os": "iOS", "persistentId": "p-1"},
            "items": [{"id": "sku-1", "price": {"currency": "USD", "amount": 19.99}, "quantity": 2}],
        }
    )
    assert keywords == constructed == pasted
    assert keywords["items"][0]["price"] == {"currency": "USD", "amount": 19.99}
    assert keywords["device"] == {"os": "iOS", "persistent_id": "p-1"}


def test_every_camel_case_name_of_the_schema_is_sent_in_snake_case(shop: Shop) -> None:
    sent = shop.sent(
        MappingProxyType(
            {
                "eventType": "PURCHASE", "channelType": "APP", "userId": "u", "searchQuery": "q", "sessionId": "s",
                "customId": "c", "pageId": "p", "referrerPageId": "r", "decisionTrackId": "d", "personalizationMode": "STANDARD",
                "shippingCharge": {"currency": "USD", "amount": 1}, "id": "1", "timestamp": "7",
                "device": {"osVersion": "1", "persistentId": "p", "uniqueDeviceId": "u", "advertisingId": "a"},
                "items": [{"itemGroupId": "g", "sellerId": "s", "priceSeller": {"currency": "USD", "amount": "2.50"}}],
            }
        )
    )  # fmt: skip
    assert sent == {
        "event_type": "PURCHASE", "channel_type": "APP", "user_id": "u", "search_query": "q", "session_id": "s", "custom_id": "c",
        "page_id": "p", "referrer_page_id": "r", "decision_track_id": "d", "personalization_mode": "STANDARD",
        "shipping_charge": {"currency": "USD", "amount": 1}, "id": "1", "timestamp": "7",
        "device": {"os_version": "1", "persistent_id": "p", "unique_device_id": "u", "advertising_id": "a"},
        "items": [{"item_group_id": "g", "seller_id": "s", "price_seller": {"currency": "USD", "amount": 2.5}}],
    }  # fmt: skip


def test_members_nobody_knows_are_sent_as_they_are_and_where_they_are(shop: Shop) -> None:
    odd = {
        "id": "1",
        "timestamp": 1,
        "loyaltyTier": None,
        "quantity": 0,
        "price": "",
        "device": {"colourDepth": 24, "quantity": ""},
        "items": [{"id": "a", "warrantyYears": [1, {"b": None}], "user_id": ""}],
    }
    assert shop.sent(odd) == odd | {"timestamp": "1"}


def test_extra_members_of_an_event_go_back_to_their_place(shop: Shop) -> None:
    extra = {"tier": "gold", "device.colour": "red", "items[0].size": 42, "items[0].price.net": True, "a.b": 1}
    items = [{"id": "a", "price": {"currency": "USD", "amount": 1}}]
    sent = shop.sent(id="1", timestamp=1, device=Device(os="iOS"), items=items, extra=extra)
    assert sent["device"] == {"os": "iOS", "colour": "red"}
    assert sent["items"] == [{"id": "a", "price": {"currency": "USD", "amount": 1, "net": True}, "size": 42}]
    assert (sent["tier"], sent["a.b"]) == ("gold", 1)
    assert shop.sent(Event(event_type="HOME", extra={"tier": "gold"}))["tier"] == "gold"
    with pytest.raises(ValueError, match="nothing there"):
        shop.sent(event_type="HOME", extra={"items[3].size": 1})


@pytest.mark.parametrize("event", [{"userId": "a", "user_id": "b"}, {"items": [{"sellerId": "a", "seller_id": "b"}]}])
def test_a_name_in_both_spellings_is_refused(shop: Shop, event: Any) -> None:
    with pytest.raises(ValueError, match="both spellings"):
        shop.sent(event)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("userid", "user_id"),
        ("userId", "user_id"),
        ("channel", "channel_type"),
        ("search_qeury", "search_query"),
        ("zzz", "extra"),
    ],
)
def test_a_misspelt_keyword_is_a_type_error_that_names_the_near_one(shop: Shop, name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=rf"no member '{name}'.*{hint}"):
        shop.sent(**{"event_type": "HOME", name: "x"})
    assert shop.transport.requests == []


def test_an_event_is_given_in_one_way_only(shop: Shop) -> None:
    with pytest.raises(TypeError, match="an event is needed"):
        shop.client.insert_event()
    with pytest.raises(TypeError, match="not both"):
        shop.sent({"event_type": "HOME"}, user_id="u")
    with pytest.raises(TypeError, match="not list"):
        shop.sent([{"event_type": "HOME"}])


class TestTime:
    def test_a_datetime_with_a_zone_is_taken_in_milliseconds(self, shop: Shop) -> None:
        moment = datetime(2026, 9, 21, 12, 0, 0, 123_999, tzinfo=UTC)
        assert shop.sent(timestamp=moment)["timestamp"] == "1789992000123"
        assert shop.sent(timestamp=moment.astimezone(timezone(timedelta(hours=9))))["timestamp"] == "1789992000123"

    def test_a_naive_datetime_is_refused_with_the_cure(self, shop: Shop) -> None:
        with pytest.raises(ValueError, match=r"timezone\.utc"):
            shop.sent(timestamp=datetime(2026, 9, 21))
        with pytest.raises(ValueError, match=r"timezone\.utc"):
            PageView(channel_type="SITE", page_id="p", timestamp=datetime(2026, 9, 21))

    @pytest.mark.parametrize("value", [math.nan, math.inf, 1.5, True, "soon", "2024-02-05T23:37:42Z", b"1", [1]])
    def test_what_is_no_time_is_refused(self, shop: Shop, value: Any) -> None:
        with pytest.raises(ValueError, match="milliseconds"):
            shop.sent(timestamp=value)

    @pytest.mark.parametrize("value", [1_790_000_000, "1790000000", 1_790_000_000.0, -5])
    def test_seconds_are_left_to_the_receiver_to_refuse(self, shop: Shop, value: Any) -> None:
        assert shop.sent(timestamp=value)["timestamp"] == str(int(value))


class TestMoney:
    @pytest.mark.parametrize(
        ("amount", "digits"),
        [
            ("19.90", "19.90"),
            ("0.1", "0.1"),
            ("123456789012345.123456789", "123456789012345.123456789"),
            ("007.50", "7.50"),
            ("-0.5", "-0.5"),
            ("00", "0"),
            (Decimal("1.10"), "1.10"),
            (19.99, "19.99"),
            (3, "3"),
            ("1e3", "1000"),
        ],
    )
    @pytest.mark.parametrize("form", ["struct", "mapping", "bare"])
    def test_amounts_are_json_numbers_with_exactly_their_digits(self, amount: Any, digits: str, form: str) -> None:
        values = {"struct": Money("USD", amount), "mapping": {"currency": "USD", "amount": amount}, "bare": amount}
        text = Shop("USD").text(event_type="PURCHASE", revenue=values[form])
        assert f'"revenue":{{"currency":"USD","amount":{digits}}}' in text

    @given(st.decimals(min_value="-1e14", max_value="1e14", places=9))
    def test_any_amount_arrives_as_the_number_it_was(self, amount: Decimal) -> None:
        text = Shop().text(event_type="PURCHASE", revenue=Money("USD", amount))
        sent = msgspec.json.decode(text, type=dict[str, msgspec.Raw])["revenue"]
        assert Decimal(bytes(msgspec.json.decode(sent, type=dict[str, msgspec.Raw])["amount"]).decode()) == amount

    def test_bare_prices_get_the_clients_currency_in_every_place(self) -> None:
        sent = Shop("KRW").sent(
            items=[Item(id="a", price=1900, price_seller=Decimal("1.5")), {"id": "b", "price": "2"}],  # type: ignore[arg-type]
            revenue=3.5,
            shipping_charge=0,
        )
        assert [item["price"]["currency"] for item in sent["items"]] == ["KRW", "KRW"]
        assert sent["items"][0]["price_seller"] == {"currency": "KRW", "amount": 1.5}
        assert (sent["revenue"]["amount"], sent["shipping_charge"]["amount"]) == (3.5, 0)

    @pytest.mark.parametrize("price", [19.99, "19.99", Decimal("19.99"), 0])
    def test_a_bare_price_without_a_currency_is_refused_with_the_cure(self, shop: Shop, price: Any) -> None:
        with pytest.raises(TypeError, match=r'items\[0\]\.price .*Money\("USD", …\).*currency="USD"'):
            shop.sent(items=[{"id": "a", "price": price}])

    @pytest.mark.parametrize("amount", [math.nan, math.inf, Decimal("NaN"), "NaN", "19,99", "abc", 10**15])
    def test_what_is_no_amount_is_refused_without_showing_it(self, amount: Any) -> None:
        for revenue in (amount, {"currency": "USD", "amount": amount}):
            with pytest.raises(ValueError, match=r"revenue\.amount: an amount must be"):
                Shop("USD").sent(revenue=revenue)

    @pytest.mark.parametrize("price", [True, [1], b"1"])
    def test_a_price_of_another_kind_is_a_type_error(self, price: Any) -> None:
        with pytest.raises(TypeError, match="revenue"):
            Shop("USD").sent(revenue=price)

    def test_money_without_amount_or_currency_goes_as_it_is(self, shop: Shop) -> None:
        assert shop.sent(revenue=Money("USD"))["revenue"] == {"currency": "USD"}
        assert shop.sent(revenue={"currency": "USD", "amount": "", "tax": 1})["revenue"] == {"currency": "USD", "tax": 1}
        assert shop.sent(revenue={})["revenue"] == {}


@pytest.mark.parametrize(
    "fields",
    [
        {"items": [{"id": "a", "quantity": math.nan}]},
        {"extra": {"score": math.inf}},
        {"extra": {"scores": {"a": [Decimal("sNaN")]}}},
        {"user_id": math.nan},
    ],
)
def test_nan_is_refused_wherever_it_hides(shop: Shop, fields: Any) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        shop.sent(**fields)


@pytest.mark.parametrize("items", ["abc", {"id": "a"}, Item(id="a"), 7])
def test_items_are_a_list(shop: Shop, items: Any) -> None:
    with pytest.raises(TypeError, match="items is a list of Item"):
        shop.sent(items=items)


@pytest.mark.parametrize("fields", [{"items": ["sku-1"]}, {"items": [None]}, {"device": "iPhone"}, {"device": Item(id="a")}])
def test_parts_are_structs_or_mappings(shop: Shop, fields: Any) -> None:
    with pytest.raises(TypeError, match=r"(items\[0\] is a Item|device is a Device) or a mapping"):
        shop.sent(**fields)


def test_text_that_json_cannot_carry_is_refused_and_not_shown(shop: Shop) -> None:
    with pytest.raises(ValueError, match="lone surrogate") as raised:
        shop.sent(user_id="secret\ud800")
    assert "secret" not in repr(raised.value)
    assert raised.value.__cause__ is None
    with pytest.raises(TypeError, match="object"):
        shop.sent(user_id=object())


class TestConstructors:
    ITEMS = (Item(id="a"),)

    @pytest.mark.parametrize("event_type", sorted(footfall.events.schema.EVENT_TYPES))
    def test_each_event_type_has_one_that_gives_a_plain_event(self, event_type: str) -> None:
        make = getattr(footfall, "".join(word.capitalize() for word in event_type.split("_")))
        own: dict[str, Any] = {"SEARCH": {"search_query": "q"}, "PAGE_VIEW": {"page_id": "p"}}.get(event_type, {})
        if event_type in footfall.events.schema.ITEM_EVENT_TYPES:
            own = {"items": list(self.ITEMS)}
        event = make(channel_type="SITE", user_id="u", **own)
        assert type(event) is Event
        assert (event.event_type, event.channel_type, event.user_id) == (event_type, "SITE", "u")
        for name in ("channel_type", *own):
            missing = {"channel_type": "SITE", **own}
            del missing[name]
            with pytest.raises(TypeError, match=name):
                make(**missing)

    def test_a_misspelt_keyword_gets_a_hint(self) -> None:
        with pytest.raises(TypeError, match="user_id"):
            Search(channel_type="SITE", search_query="q", userid="u")  # type: ignore[call-arg]

    def test_a_datetime_becomes_milliseconds(self) -> None:
        moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
        purchase = Purchase(channel_type="SITE", items=self.ITEMS, revenue=Money("USD", 1), timestamp=moment)
        assert purchase.timestamp == 1000


class TestIds:
    def test_ids_are_uuids_of_version_7_with_their_millisecond_in_front(self) -> None:
        made = uuid.UUID(new_id(NOW_MS))
        assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, NOW_MS)

    def test_ids_sort_by_time_and_differ_within_a_millisecond(self) -> None:
        assert new_id(NOW_MS) < new_id(NOW_MS + 1)
        assert len({new_id(NOW_MS) for _ in range(1000)}) == 1000
