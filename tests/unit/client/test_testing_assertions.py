"""What a test may say of the events that arrived, and what a failed assertion tells the engineer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from footfall.client.testing.book import Arrival, Book
from footfall.client.testing.events import Events
from footfall.errors import Violation
from footfall.events.schema import Device, Event, Item, Money

NOW_MS = 1_790_000_000_000

HOME = Event(id="1", event_type="HOME", timestamp=NOW_MS, channel_type="SITE", user_id="u-1")
CART = Event(
    id="2", event_type="ADD_TO_CART", timestamp=NOW_MS, channel_type="SITE", user_id="u-1", items=(Item(id="sku-1", quantity=2),)
)
PURCHASE = Event(
    id="3",
    event_type="PURCHASE",
    timestamp=NOW_MS,
    channel_type="APP",
    user_id="u-1",
    device=Device(os="iOS", persistent_id="p-1"),
    items=(Item(id="sku-1", price=Money("USD", "19.99"), quantity=2), Item(item_group_id="shoes")),
    revenue=Money("USD", "39.98"),
    extra={"loyalty": "gold", "device.colour": "red", "score": msgspec.Raw(b"0.10")},
)


def arrived(*events: Event, others: tuple[Arrival, ...] = (), wait_s: float = 0.0) -> Events:
    book = Book()
    book.enter(Arrival(outcome="accepted", status=200, event=event) for event in events)
    book.enter(others)
    return Events(book, wait_s=wait_s)


def failure(check: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        check()
    return str(caught.value)


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"user_id": "u-1"},
        {"items": 2},
        {"items": [{"id": "sku-1"}, {"item_group_id": "shoes"}]},
        {"items": [Item(id="sku-1", quantity=2), ...]},
        {"items": ["sku-1", {"id": None}]},
        {"revenue": "39.98"},
        {"revenue": 39.98},
        {"revenue": Decimal("39.980")},
        {"revenue": Money("USD", "39.980")},
        {"revenue": {"currency": "USD"}},
        {"device": {"os": "iOS"}},
        {"device": Device(persistent_id="p-1")},
        {"timestamp": NOW_MS},
        {"timestamp": datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)},
        {"page_id": None, "search_query": ""},
        {"user_id": ..., "items": ...},
        {"user_id": str.islower, "items": lambda items: len(items) > 1},
        {"items[0].price": "19.99", "device.os": "iOS", "items[0].price.currency": "USD"},
        {"extra": {"loyalty": "gold", "score": 0.1}},
        {"device.colour": "red"},
    ],
)
def test_an_event_that_is_as_expected_is_found(expected: dict[str, Any]) -> None:
    assert arrived(HOME, CART, PURCHASE).assert_one("PURCHASE", **expected) is PURCHASE


@pytest.mark.parametrize(
    ("expected", "difference"),
    [
        ({"user_id": "u-2"}, 'user_id is "u-1", not "u-2"'),
        ({"items": 3}, "items are 2 (sku-1 ×2, shoes), not 3"),
        ({"items": ["sku-1"]}, "items are 2 (sku-1 ×2, shoes), not 1"),
        ({"items": ["sku-2", ...]}, 'items[0].id is "sku-1", not "sku-2"'),
        ({"items": [Item(id="sku-1", quantity=1), ...]}, "items[0].quantity is 2, not 1"),
        ({"revenue": "39.97"}, 'revenue is USD 39.98, not "39.97"'),
        ({"revenue": "a lot"}, 'revenue is USD 39.98, not "a lot"'),
        ({"revenue": Money("EUR", "39.98")}, 'revenue.currency is "USD", not "EUR"'),
        ({"revenue": None}, "revenue is USD 39.98, not absent"),
        ({"shipping_charge": Money("USD", "5")}, "shipping_charge is absent"),
        ({"shipping_charge": "5"}, 'shipping_charge is absent, not "5"'),
        ({"device": {"os": "Android"}}, 'device.os is "iOS", not "Android"'),
        ({"page_id": ...}, "page_id is absent"),
        ({"user_id": str.isupper}, 'user_id is "u-1", which is not isupper'),
        ({"timestamp": datetime(2026, 9, 21, tzinfo=UTC)}, f"timestamp is {NOW_MS}, not datetime.datetime(2026, 9, 21"),
        ({"items[5].id": "sku-1"}, 'items[5].id is absent, not "sku-1"'),
        ({"extra": {"score": 0.2}}, "extra.score is 0.10, not 0.2"),
    ],
)
def test_an_event_that_is_other_than_expected_is_told_member_by_member(expected: dict[str, Any], difference: str) -> None:
    events = arrived(HOME, PURCHASE)
    message = failure(lambda: events.assert_one("PURCHASE", **expected))
    assert f"^ {difference}" in message
    assert message.startswith("one PURCHASE with "), message


def test_a_misspelt_name_is_the_tests_mistake_and_no_failed_assertion() -> None:
    events = arrived(PURCHASE)
    with pytest.raises(TypeError, match="did you mean 'user_id'"):
        events.assert_one("PURCHASE", user_di="u-1")
    with pytest.raises(TypeError, match="did you mean 'PURCHASE'"):
        events.assert_one("PURCHASES")
    with pytest.raises(TypeError, match="did you mean 'persistent_id'"):
        events.assert_one("PURCHASE", device={"persistant_id": "p-1"})
    with pytest.raises(TypeError, match="number of items"):
        events.assert_one("PURCHASE", items="sku-1")


def test_the_message_is_a_table_of_what_came_with_the_differences_and_the_refusals() -> None:
    violation = Violation("search_query", "nothing came, where what was searched for is expected", "missing_search_query")
    search = Event(event_type="SEARCH")
    refused = Arrival(outcome="refused", status=400, event=search, message="missing search_query", violations=(violation,))
    throttled = Arrival(outcome="throttled", status=429, event=HOME)
    failed = Arrival(outcome="failed", status=0, event=HOME)
    events = arrived(HOME, PURCHASE, others=(refused, throttled, failed, failed))
    assert failure(lambda: events.assert_one("PURCHASE", items=3, revenue="39.97")) == (
        'one PURCHASE with items=3, revenue="39.97" expected, none came\n'
        "accepted: 2\n"
        "  1  HOME      user_id=u-1\n"
        "  2  PURCHASE  user_id=u-1  items=2 (sku-1 ×2, shoes)  revenue=USD 39.98\n"
        '     ^ items are 2 (sku-1 ×2, shoes), not 3; revenue is USD 39.98, not "39.97"\n'
        "refused: 1\n"
        "  400  SEARCH  missing search_query\n"
        "       search_query: nothing came, where what was searched for is expected (missing_search_query)\n"
        "throttled with 429: 1\n"
        "failed: 2"
    )


def test_a_long_table_shows_the_newest() -> None:
    events = arrived(*[msgspec.structs.replace(HOME, id=str(number)) for number in range(50)])
    message = failure(lambda: events.assert_one("PURCHASE"))
    assert "accepted: 50, the last 20 of them\n  31  HOME" in message
    assert message.count("HOME") == 20


def test_one_means_exactly_one() -> None:
    twice = arrived(HOME, msgspec.structs.replace(HOME, id="9"))
    assert "one HOME expected, 2 came" in failure(lambda: twice.assert_one("HOME"))
    assert len(twice.assert_count("HOME", 2)) == 2
    assert "3 HOME expected, 2 came" in failure(lambda: twice.assert_count("HOME", 3))
    assert twice.assert_count("PURCHASE", 0) == ()
    assert "no HOME expected, 2 came" in failure(lambda: twice.assert_count("HOME", 0))


def test_none_means_none_with_these_values() -> None:
    events = arrived(HOME)
    events.assert_none("PURCHASE")
    events.assert_none("HOME", user_id="u-2")
    assert "no HOME with user_id=" in failure(lambda: events.assert_none("HOME", user_id="u-1"))
    assert "no event expected, 1 came" in failure(lambda: events.assert_none())
    assert "nothing was accepted" in failure(lambda: arrived().assert_one("HOME"))


def test_order_allows_for_others_in_between_and_can_be_that_of_one_shopper() -> None:
    stranger = msgspec.structs.replace(HOME, id="9", user_id="u-2")
    events = arrived(CART, stranger, HOME, PURCHASE)
    assert events.assert_order(["ADD_TO_CART", "PURCHASE"]) == (CART, PURCHASE)
    assert events.assert_order(["HOME", "PURCHASE"], user_id="u-1") == (HOME, PURCHASE)
    message = failure(lambda: events.assert_order(["HOME", "ADD_TO_CART"]))
    assert "HOME → ADD_TO_CART expected in this order; no ADD_TO_CART came after 1 of them" in message


def test_the_same_event_counts_once_and_one_without_id_each_time() -> None:
    nameless = msgspec.structs.replace(HOME, id="")
    later = msgspec.structs.replace(HOME, timestamp=NOW_MS + 1)
    events = arrived(HOME, HOME, later, nameless, nameless)
    assert list(events) == [HOME, later, nameless, nameless]
    assert (len(events), events[0], events[2:], events[-1]) == (4, HOME, (nameless, nameless), nameless)
    assert repr(arrived(HOME, CART)) == "Events(HOME, ADD_TO_CART)"


def test_clean_means_neither_refused_nor_warned_of() -> None:
    clean = msgspec.structs.replace(HOME, device=Device(persistent_id="p-90aa"))
    arrived(clean).assert_clean()
    assert "device.persistent_id" in failure(arrived(HOME).assert_clean)
    refused = Arrival(outcome="refused", status=400, event=None, message="proto: the body is empty")
    assert "400  unreadable  proto: the body is empty" in failure(arrived(clean, others=(refused,)).assert_clean)


def test_what_is_expected_is_waited_for_and_what_is_not_is_watched_for() -> None:
    book = Book()
    events = Events(book, wait_s=30)

    def deliver(event: Event) -> None:
        book.enter([Arrival(outcome="accepted", status=200, event=event)])

    for event in (HOME, CART, PURCHASE):
        threading.Timer(0.02, deliver, [event]).start()
    assert events.assert_one("PURCHASE") is PURCHASE
    assert len(events.wait_for(3, timeout=30)) == 3
    assert "5 events were expected within 0.01 s" in failure(lambda: events.wait_for(5, timeout=0.01))
    late = msgspec.structs.replace(CART, id="9")
    threading.Timer(0.02, deliver, [late]).start()
    assert "no ADD_TO_CART with id=" in failure(lambda: events.within(30).assert_none("ADD_TO_CART", id="9"))
