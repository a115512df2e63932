"""The acceptance table: which event turns which case green, and what the red ones say."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from footfall.events.golive import CASES, DESCRIPTIONS, VISITORS_MAX, Acceptance, CaseResult, cases_of
from footfall.events.schema import Device, Event, Item, Money

ITEMS = (Item(id="sku-1", price=Money("USD", "5"), quantity=1),)
SATISFYING: dict[str, Event] = {
    "home": Event(event_type="HOME"),
    "page_view": Event(event_type="PAGE_VIEW", page_id="CATEGORY:1"),
    "item_page_view": Event(event_type="ITEM_PAGE_VIEW", items=ITEMS),
    "item_page_view_with_referrer": Event(event_type="ITEM_PAGE_VIEW", items=ITEMS, referrer_page_id="https://www.google.com/"),
    "add_to_cart": Event(event_type="ADD_TO_CART", items=ITEMS),
    "add_to_wishlist": Event(event_type="ADD_TO_WISHLIST", items=(Item(item_group_id="group-1"),)),
    "search": Event(event_type="SEARCH", search_query="tea"),
    "search_in_category": Event(event_type="SEARCH", search_query="tea", page_id="CATEGORY:1"),
    "purchase": Event(event_type="PURCHASE", items=ITEMS, revenue=Money("USD", "5")),
    "land": Event(event_type="LAND"),
}


def shopper(persistent_id: str, user_id: str = "") -> Event:
    return Event(event_type="HOME", user_id=user_id, device=Device(persistent_id=persistent_id))


def table(*events: Event) -> dict[str, CaseResult]:
    """The results after these events, known as e0, e1, … and received at 1000, 1001, …"""
    acceptance = Acceptance()
    for number, event in enumerate(events):
        acceptance.add(event, event_id=f"e{number}", received_at=1000 + number)
    return {result.case: result for result in acceptance.results()}


def test_the_eleven_cases_stand_in_the_documented_order() -> None:
    assert CASES == (
        "home", "page_view", "item_page_view", "item_page_view_with_referrer", "add_to_cart", "add_to_wishlist", "search",
        "search_in_category", "purchase", "land", "identity_across_login",
    )  # fmt: skip
    assert tuple(DESCRIPTIONS) == CASES


@pytest.mark.parametrize(("name", "event"), SATISFYING.items(), ids=list(SATISFYING))
def test_an_event_satisfies_its_case(name: str, event: Event) -> None:
    assert name in cases_of(event)


def test_the_stricter_case_of_a_type_implies_the_plain_one() -> None:
    assert cases_of(SATISFYING["item_page_view_with_referrer"]) == ("item_page_view", "item_page_view_with_referrer")
    assert cases_of(SATISFYING["search_in_category"]) == ("search", "search_in_category")
    assert cases_of(Event(event_type="SEARCH", search_query="tea", referrer_page_id="HOME")) == ("search", "search_in_category")
    assert cases_of(SATISFYING["search"]) == ("search",)


@pytest.mark.parametrize(
    "event",
    [
        Event(event_type="PAGE_VIEW"),
        Event(event_type="SEARCH", page_id="CATEGORY:1"),
        Event(event_type="ADD_TO_CART"),
        Event(event_type="ADD_TO_CART", items=(*ITEMS, Item(quantity=1))),
        Event(event_type="PURCHASE", items=ITEMS),
        Event(event_type="PURCHASE", items=ITEMS, revenue=Money("USD", "")),
        Event(event_type="PURCHASE", items=ITEMS, revenue=Money("", "5")),
        Event(event_type="PURCHASE", revenue=Money("USD", "5")),
        Event(event_type="CHECKOUT"),
    ],
)
def test_an_event_that_lacks_something_satisfies_nothing(event: Event) -> None:
    assert cases_of(event) == ()


def test_without_events_every_case_is_red_and_says_what_to_send() -> None:
    results = table()
    assert not any(result.green for result in results.values())
    assert results["search"].missing == ("no SEARCH event yet",)
    assert results["item_page_view_with_referrer"].missing == ("no ITEM_PAGE_VIEW event yet",)
    assert all(result.missing and result.event_id is None and result.received_at is None for result in results.values())


def test_the_first_event_that_satisfied_a_case_stays() -> None:
    home = SATISFYING["home"]
    result = table(SATISFYING["land"], home, home)["home"]
    assert result == CaseResult(case="home", green=True, event_id="e1", received_at=1001, missing=())


def test_a_near_miss_says_what_the_event_lacked() -> None:
    results = table(Event(event_type="PURCHASE", items=ITEMS), Event(event_type="ITEM_PAGE_VIEW"), SATISFYING["search"])
    assert results["purchase"].missing == ("a PURCHASE arrived without revenue (an amount and its currency)",)
    assert results["item_page_view"].missing == ("an ITEM_PAGE_VIEW arrived without item id",)
    assert results["item_page_view_with_referrer"].missing == (
        "an ITEM_PAGE_VIEW arrived without item id",
        "an ITEM_PAGE_VIEW arrived without referrer_page_id",
    )
    assert results["search"].green
    assert results["search_in_category"].missing == ("a SEARCH arrived without page_id and referrer_page_id",)


def test_a_near_miss_is_forgotten_once_the_case_is_green_and_never_reddens_it() -> None:
    lacking = Event(event_type="PURCHASE", items=ITEMS)
    assert table(lacking, SATISFYING["purchase"], lacking)["purchase"].missing == ()


def test_identity_across_login_takes_the_same_browser_without_and_then_with_a_user() -> None:
    result = table(shopper("browser"), shopper("browser", "user"), shopper("browser", "user"))["identity_across_login"]
    assert result == CaseResult(case="identity_across_login", green=True, event_id="e1", received_at=1001)


@pytest.mark.parametrize(
    ("events", "word"),
    [
        ((shopper("browser", "user"), shopper("browser")), "sign in"),
        ((shopper("browser"), shopper("other", "user")), "sign in"),
        ((shopper("browser", "user"),), "browse before"),
        ((Event(event_type="HOME", user_id="user"),), "without a device.persistent_id"),
        (
            (Event(event_type="HOME", custom_id="random"), Event(event_type="HOME", user_id="user")),
            "without a device.persistent_id",
        ),
        ((shopper("browser", "guest"), shopper("browser", "user")), "default word"),
        ((shopper("browser"), shopper("browser", "guest")), "default word"),
        ((shopper("unknown"), shopper("unknown", "user")), "without a device.persistent_id"),
    ],
)
def test_identity_across_login_stays_red_and_says_why(events: tuple[Event, ...], word: str) -> None:
    result = table(*events)["identity_across_login"]
    assert not result.green
    assert any(word in line for line in result.missing), result.missing


def test_visitors_are_remembered_up_to_a_bound_and_the_latest_are_kept() -> None:
    acceptance = Acceptance()
    for number in range(VISITORS_MAX + 1):
        acceptance.add(shopper(f"browser {number}"), event_id="", received_at=0)
    acceptance.add(shopper("browser 0", "user"), event_id="first", received_at=1)
    assert not acceptance.results()[-1].green, "the oldest visitor was let go"
    acceptance.add(shopper(f"browser {VISITORS_MAX}", "user"), event_id="last", received_at=2)
    assert acceptance.results()[-1].event_id == "last"


def test_one_good_run_through_the_shop_turns_the_table_green() -> None:
    results = table(*SATISFYING.values(), shopper("browser"), shopper("browser", "user"))
    assert all(result.green and not result.missing for result in results.values())


def test_a_result_is_encoded_as_golive_json_prints_it() -> None:
    acceptance = Acceptance()
    acceptance.add(SATISFYING["home"], event_id="e-1", received_at=1_790_000_000_000)
    cases: list[dict[str, Any]] = json.loads(msgspec.json.encode(acceptance.results()))
    assert cases[0] == {"case": "home", "green": True, "event_id": "e-1", "received_at": 1_790_000_000_000, "missing": []}
    assert cases[6] == {
        "case": "search",
        "green": False,
        "event_id": None,
        "received_at": None,
        "missing": ["no SEARCH event yet"],
    }


def test_an_event_without_id_or_time_of_arrival_turns_its_case_green_too() -> None:
    """Recorded files say neither."""
    acceptance = Acceptance()
    acceptance.add(SATISFYING["home"], event_id=None, received_at=None)
    assert acceptance.results()[0] == CaseResult(case="home", green=True)


def test_no_identifier_appears_in_the_table() -> None:
    results = table(shopper("browser-secret"), shopper("browser-secret", "user-secret"), shopper("browser-secret", "guest"))
    assert "secret" not in repr(results)
