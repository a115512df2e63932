"""Warnings: every golden weakness is named exactly, no clean event is nagged, and no warning repeats who the shopper is."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.events.intake import read_event
from footfall.events.quality import LOCAL_TIME_SLACK_MS, OLD_AFTER_MS, REASONS, is_default_word, warnings
from footfall.events.schema import IDENTIFIER_PATHS, Device, Event, Item, Money, QualityWarning

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
GOLDEN = Path(__file__).parents[2] / "golden"
WEAK = [json.loads(line) for line in (GOLDEN / "warnings.jsonl").read_text("utf-8").splitlines()]
CLEAN = [json.loads(line) for line in (GOLDEN / "clean_events.jsonl").read_text("utf-8").splitlines()]


def accepted(event: dict[str, Any]) -> Event:
    """The event as the door lets it in; raises where it is refused."""
    return read_event(json.dumps(event).encode(), now_ms=NOW_MS).event


def clean_event(**changed: Any) -> Event:
    members: dict[str, Any] = {
        "id": "e-1",
        "event_type": "HOME",
        "timestamp": NOW_MS - 500,
        "channel_type": "SITE",
        "user_id": "a" * 64,
        "device": Device(persistent_id="b" * 64),
    }
    return Event(**{**members, **changed})


def only(found: tuple[QualityWarning, ...]) -> QualityWarning:
    assert len(found) == 1, found
    return found[0]


def reasons(event: Event, *, now_ms: int = NOW_MS) -> list[str]:
    return [warning.reason for warning in warnings(event, now_ms=now_ms)]


@pytest.mark.parametrize("case", WEAK, ids=lambda case: case["fact"])
def test_each_golden_weakness_is_named_exactly(case: dict[str, Any]) -> None:
    found = warnings(accepted(case["event"]), now_ms=NOW_MS)
    assert [[warning.field, warning.reason] for warning in found] == case["warnings"]


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case["fact"])
def test_a_clean_event_is_accepted_and_raises_no_warning(case: dict[str, Any]) -> None:
    assert warnings(accepted(case["event"]), now_ms=NOW_MS) == ()


def test_the_golden_weaknesses_cover_every_reason() -> None:
    assert {reason for case in WEAK for _field, reason in case["warnings"]} == set(REASONS)


def test_the_clean_events_cover_every_type_channel_and_mode() -> None:
    events = [accepted(case["event"]) for case in CLEAN]
    assert len({event.event_type for event in events}) == 8
    assert {event.channel_type for event in events} == {"APP", "SITE", "DESKTOP_SITE", "MOBILE_SITE"}
    assert {"METRIC_ONLY", "ID_LESS", "STANDARD"} <= {event.personalization_mode for event in events}
    assert {"KRW", "JPY", "USD", "EUR"} <= {item.price.currency for event in events for item in event.items if item.price}


def test_warnings_come_in_the_order_of_the_reasons() -> None:
    order = list(REASONS)
    for case in WEAK:
        places = [order.index(reason) for _field, reason in case["warnings"]]
        assert places == sorted(places), case["fact"]


def test_descriptions_are_one_to_three_sentences_and_never_empty() -> None:
    for case in WEAK:
        for warning in warnings(accepted(case["event"]), now_ms=NOW_MS):
            assert 40 < len(warning.description) < 360, warning
            assert warning.description.endswith("."), warning


@pytest.mark.parametrize("path", IDENTIFIER_PATHS)
@pytest.mark.parametrize("value", ["secret.shopper@example.com", "+44 7911 123456", "anonymous", "x" * 200])
def test_no_warning_repeats_the_value_of_an_identifier(path: str, value: str) -> None:
    member = path.removeprefix("device.")
    device = Device(**{member: value}) if path.startswith("device.") else Device()
    outer = {} if path.startswith("device.") else {member: value}
    found = warnings(Event(event_type="LAND", timestamp=1, device=device, **outer), now_ms=NOW_MS)
    assert found
    for warning in found:
        if value == "anonymous":  # a word of the fixed prose of that one warning
            assert warning.description.count(value) == (1 if warning.reason == "default_identifier" else 0)
        else:
            assert value not in warning.description


def test_an_email_in_a_place_for_a_currency_or_language_is_not_repeated_either() -> None:
    event = clean_event(revenue=Money("kim@example.com", 5), device=Device(persistent_id="b", language="kim@example.com"))
    found = warnings(event, now_ms=NOW_MS)
    assert {warning.reason for warning in found} == {"unknown_currency", "unknown_language"}
    assert not any("kim" in warning.description for warning in found)


def test_money_is_shown_exactly() -> None:
    """Sums come from decimals: 0.1 + 0.2 is 0.30, and fifteen digits before the point survive."""
    event = clean_event(
        event_type="PURCHASE",
        items=(Item(id="a", price=Money("USD", "0.1"), quantity=1), Item(id="b", price=Money("USD", "0.2"), quantity=1)),
        revenue=Money("USD", "999999999999999.123456789"),
    )
    found = only(warnings(event, now_ms=NOW_MS))
    assert "999999999999999.123456789 USD" in found.description
    assert "0.30 USD" in found.description


@settings(deadline=None)  # a busy machine is no failure
@given(
    prices=st.lists(st.decimals(min_value=0, max_value=10**6, places=2), min_size=1, max_size=5),
    quantity=st.integers(1, 10**6),
    shipping=st.decimals(min_value=0, max_value=100, places=2),
    way=st.sampled_from([-1, 0, 1]),
)
def test_a_revenue_that_adds_up_exactly_is_never_a_mismatch(
    prices: list[Decimal], quantity: int, shipping: Decimal, way: int
) -> None:
    items = tuple(Item(id="a", price=Money("USD", price), quantity=quantity) for price in prices)
    revenue = Money("USD", sum(prices) * quantity + way * shipping)
    event = clean_event(event_type="PURCHASE", items=items, revenue=revenue, shipping_charge=Money("USD", shipping))
    assert reasons(event) == []


@settings(deadline=None)  # a busy machine is no failure
@given(price=st.integers(1, 10**6), quantity=st.integers(1, 1000), away=st.integers(1, 10**6))
def test_a_revenue_a_minor_unit_or_more_away_is_always_a_mismatch(price: int, quantity: int, away: int) -> None:
    items = (Item(id="a", price=Money("EUR", Decimal(price) / 100), quantity=quantity),)
    revenue = Money("EUR", Decimal(price * quantity + away) / 100)
    assert "revenue_mismatch" in reasons(clean_event(event_type="PURCHASE", items=items, revenue=revenue))


def test_several_weak_items_are_one_warning_that_counts_them() -> None:
    items = tuple(Item(id=f"sku-{index}", quantity=1) for index in range(1000))
    found = only(warnings(clean_event(event_type="ADD_TO_CART", items=items), now_ms=NOW_MS))
    assert (found.reason, found.field) == ("missing_price", "items[0].price")
    assert "999 more" in found.description


def test_the_cents_warning_names_the_amount_to_send() -> None:
    items = (Item(id="a", price=Money("USD", "19.99"), quantity=2),)
    found = warnings(clean_event(event_type="PURCHASE", items=items, revenue=Money("USD", 3998)), now_ms=NOW_MS)
    assert found[-1].reason == "cents_as_units"
    assert found[-1].description.endswith("send 39.98 USD.")


@pytest.mark.parametrize(
    ("language", "cure"), [("en-US", "Send en."), ("EN", "Send en."), ("ko_KR", "Send ko."), ("kor", "Send two letters")]
)
def test_a_language_with_a_region_or_in_capitals_is_told_what_to_send(language: str, cure: str) -> None:
    found = only(warnings(clean_event(device=Device(persistent_id="b", language=language)), now_ms=NOW_MS))
    assert found.reason == "unknown_language"
    assert cure in found.description


@pytest.mark.parametrize("offset_hours", [-14, -9, -5.5, -1, 1, 2, 3.5, 5, 5.75, 8, 9, 12.75, 14])
@pytest.mark.parametrize("lag_ms", [-LOCAL_TIME_SLACK_MS, 0, 900, LOCAL_TIME_SLACK_MS])
def test_a_timestamp_off_by_a_time_zone_is_seen_within_the_slack(offset_hours: float, lag_ms: int) -> None:
    age_ms = int(offset_hours * HOUR_MS) + lag_ms
    assert reasons(clean_event(timestamp=NOW_MS - age_ms)) == ["local_timestamp"]


@pytest.mark.parametrize(
    "age_ms", [0, 1, 900_000, 1_800_000, 45 * 60_000, HOUR_MS + 5_001, HOUR_MS - 5_001, 7 * HOUR_MS + 30 * 60_000, 15 * HOUR_MS]
)
def test_other_ages_are_not_taken_for_a_time_zone(age_ms: int) -> None:
    assert reasons(clean_event(timestamp=NOW_MS - age_ms)) == []


def test_events_late_at_random_are_seldom_taken_for_local_time() -> None:
    """Every age from 40 minutes to 14 hours in steps of a prime number of milliseconds: under 1 in 200 fall into a window."""
    ages = range(40 * 60_000, 14 * HOUR_MS, 9_973)
    flagged = sum("local_timestamp" in reasons(clean_event(timestamp=NOW_MS - age)) for age in ages)
    assert 0 < flagged / len(ages) < 1 / 200


def test_an_event_is_old_from_seven_days_on() -> None:
    assert reasons(clean_event(timestamp=NOW_MS - OLD_AFTER_MS)) == []
    assert reasons(clean_event(timestamp=NOW_MS - OLD_AFTER_MS - 1)) == ["old_timestamp"]


def test_modes_without_personalisation_are_not_nagged_about_identifiers() -> None:
    guest = {"user_id": "guest", "device": None}
    assert reasons(clean_event(**guest)) == ["default_identifier", "missing_persistent_id"]
    assert reasons(clean_event(**guest, personalization_mode="METRIC_ONLY")) == []
    assert reasons(clean_event(user_id="kim@example.com", device=None, personalization_mode="ID_LESS")) == []


@pytest.mark.parametrize(
    "word",
    ["guest", "GUEST", " Guest ", "guest_user", "Anonymous", "unknown", "none", "0", "000", "test", "Test User", "N/A", "-",
     "(not set)", "NaN", "[object Object]", "default", "00000000-0000-0000-0000-000000000000"],
)  # fmt: skip
def test_default_words_are_known_in_any_case_and_spelling(word: str) -> None:
    assert is_default_word(word)


@pytest.mark.parametrize(
    "identifier", ["1", "42", "guest-4711", "u-1", "testa", "김민지", "a" * 64, "0b1", "00000000-0000-0000-0000-000000000001"]
)
def test_identifiers_of_one_shopper_are_no_default_words(identifier: str) -> None:
    assert not is_default_word(identifier)


@pytest.mark.parametrize(
    "identifier",
    ["12345678", "123456789012", "1790000000000", "0000012345", "2024-01-02", "550e8400-e29b-41d4-a716-446655440000", "1-2-3",
     "GA1.2.1234567890.1693456789", "user@home", "@handle", "a@b", "u:7@shop", "+1", "d41d8cd98f00b204e9800998ecf8427e"],
)  # fmt: skip
def test_customer_numbers_and_technical_ids_are_neither_email_nor_phone(identifier: str) -> None:
    assert reasons(clean_event(user_id=identifier)) == []


@pytest.mark.parametrize(
    "phone", ["+821012345678", "+1 (212) 555-0134", "tel:+4915112345678", "010-1234-5678", "(02) 123-4567", "212-555-0134",
              "07911123456", "821012345678", "+44 7911 123456"],
)  # fmt: skip
def test_phone_numbers_are_seen_in_their_usual_spellings(phone: str) -> None:
    assert reasons(clean_event(user_id=phone)) == ["unhashed_phone"]


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.builds(
        Event,
        id=st.text(max_size=3),
        event_type=st.sampled_from(["PURCHASE", "LAND", "ADD_TO_CART", "?"]),
        timestamp=st.integers(-(2**63), 2**63 - 1),
        user_id=st.text(max_size=40),
        device=st.none() | st.builds(Device, language=st.text(max_size=20), persistent_id=st.text(max_size=40)),
        items=st.lists(
            st.builds(
                Item,
                quantity=st.integers(-(2**63), 2**63 - 1),
                price=st.none() | st.builds(Money, st.text(max_size=20), st.decimals(-(10**14), 10**14, places=9) | st.just("")),
            ),
            max_size=3,
        ).map(tuple),
        revenue=st.none() | st.builds(Money, st.sampled_from(["USD", "KRW", ""]), st.integers(-(10**14), 10**14) | st.just("")),
    )
)
def test_nothing_an_event_can_hold_makes_the_checks_raise(event: Event) -> None:
    found = warnings(event, now_ms=NOW_MS)
    assert {warning.reason for warning in found} <= set(REASONS)
