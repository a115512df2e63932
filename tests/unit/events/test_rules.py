"""What the rules let pass, and the advice they give; what they refuse is mostly in the corpus of mistakes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from footfall.errors import Violation
from footfall.events.identity import cleaned
from footfall.events.rules import check
from footfall.events.schema import CHANNEL_TYPES, EVENT_TYPES, Device, Event, Item, Money

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def event(**members: Any) -> Event:
    return msgspec.structs.replace(
        Event(event_type="HOME", timestamp=NOW_MS, channel_type="SITE", user_id="u"), **members
    )  # fmt: skip


def checked(**members: Any) -> tuple[Violation, ...]:
    return check(event(**members), now_ms=NOW_MS, ahead_ms_max=300_000)


def only(violations: tuple[Violation, ...]) -> Violation:
    assert len(violations) == 1, violations
    return violations[0]


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
@pytest.mark.parametrize("channel_type", sorted(CHANNEL_TYPES))
def test_every_type_passes_on_every_channel_with_what_it_needs(event_type: str, channel_type: str) -> None:
    needed = {"items": (Item(id="a"),), "search_query": "q", "page_id": "p", "device": Device(os="Android")}
    assert checked(event_type=event_type, channel_type=channel_type, **needed) == ()


@pytest.mark.parametrize("os", ["iOS", "ios", "IOS", "Android", "GOOGLE ANDROID", "android 14"])
def test_the_os_of_an_app_is_found_in_any_case_and_in_longer_names(os: str) -> None:
    assert checked(channel_type="APP", device=Device(os=os)) == ()


@pytest.mark.parametrize("timestamp", [10**10, 1_617_870_506_121, NOW_MS, NOW_MS + 300_000])
def test_old_times_and_five_minutes_ahead_pass(timestamp: int) -> None:
    assert checked(timestamp=timestamp) == ()


@pytest.mark.parametrize("timestamp", [-(2**63), -1, 0, 1, 10**10 - 1, NOW_MS + 300_001, 2**63 - 1])
def test_times_outside_have_one_message_and_their_own_reason(timestamp: int) -> None:
    violation = only(checked(timestamp=timestamp))
    assert violation.field == "timestamp"
    assert "timestamp" in violation.reason


def test_the_allowed_lead_is_a_setting() -> None:
    assert only(check(event(timestamp=NOW_MS + 1), now_ms=NOW_MS, ahead_ms_max=0)).reason == "timestamp_in_future"


@pytest.mark.parametrize(
    ("ahead_ms", "told"),
    [(9 * HOUR_MS, "9 h 0 min ahead"), (9 * HOUR_MS, "local time"), (6 * 60_000, "6 min ahead"), (72 * HOUR_MS, "3 days ahead")],
)
def test_a_time_ahead_is_told_by_how_much_and_why(ahead_ms: int, told: str) -> None:
    assert told in only(checked(timestamp=NOW_MS + ahead_ms)).description


def test_a_clock_days_ahead_is_not_put_down_to_local_time() -> None:
    assert "local time" not in only(checked(timestamp=NOW_MS + 72 * HOUR_MS)).description


@pytest.mark.parametrize(
    ("sent", "advice"),
    [
        ("VIEW_ITEM", "ITEM_PAGE_VIEW"), ("add-to-cart", "ADD_TO_CART"), ("Page View", "PAGE_VIEW"), ("PURHCASE", "PURCHASE"),
        ("Product Viewed", "ITEM_PAGE_VIEW"), ("ITEM_SEARCH_VIEW", "SEARCH"), ("xyz", "ADD_TO_CART, ADD_TO_WISHLIST, HOME"),
    ],
)  # fmt: skip
def test_an_unknown_event_type_is_answered_with_the_one_meant(sent: str, advice: str) -> None:
    assert advice in only(checked(event_type=sent)).description


@pytest.mark.parametrize(("sent", "advice"), [("web", "SITE"), ("ios", "APP"), ("desktop", "DESKTOP_SITE"), ("Site", "SITE")])
def test_an_unknown_channel_is_answered_with_the_one_meant(sent: str, advice: str) -> None:
    assert only(checked(channel_type=sent)).description.endswith(f"send {advice}")


def test_a_value_in_the_wrong_member_is_not_repeated() -> None:
    violations = checked(event_type="jane@example.com", channel_type="jane@example.com", personalization_mode="jane@example.com")
    assert len(violations) == 3
    assert "jane" not in repr(violations)


@pytest.mark.parametrize("path", ["user_id", "custom_id", "session_id"])
def test_one_identifier_of_128_characters_is_enough(path: str) -> None:
    assert checked(**{"user_id": "", path: "é" * 128}) == ()


@pytest.mark.parametrize("path", ["persistent_id", "unique_device_id", "advertising_id"])
def test_an_identifier_of_the_device_is_enough(path: str) -> None:
    assert checked(user_id="null", device=Device(**{path: "x"})) == ()


def test_id_less_needs_no_identifier_and_none_can_be_too_long() -> None:
    assert checked(personalization_mode="ID_LESS", user_id="") == ()
    assert checked(personalization_mode="ID_LESS", user_id="u" * 129) == ()


def test_id_less_still_checks_the_length_of_the_event_id() -> None:
    assert only(checked(personalization_mode="ID_LESS", id="i" * 129)).field == "id"


def test_default_words_are_missing_not_too_long() -> None:
    padded = event(user_id="null".center(200), custom_id="c")
    assert check(padded, now_ms=NOW_MS, ahead_ms_max=0) == check(cleaned(padded), now_ms=NOW_MS, ahead_ms_max=0) == ()


def test_the_members_that_held_default_words_are_named() -> None:
    description = only(checked(user_id="undefined", session_id="nil")).description
    assert "user_id, session_id" in description


@pytest.mark.parametrize("mode", ["", "STANDARD", "METRIC_ONLY", "ID_LESS", "UNKNOWN_PERSONALIZATION_MODE"])
def test_every_personalization_mode_passes(mode: str) -> None:
    assert checked(personalization_mode=mode) == ()


@pytest.mark.parametrize("event_type", ["HOME", "LAND"])
def test_items_elsewhere_are_not_looked_at(event_type: str) -> None:
    assert checked(event_type=event_type, items=(Item(),)) == ()


def test_page_ids_over_128_characters_are_no_error() -> None:
    assert checked(event_type="PAGE_VIEW", page_id="p" * 500, referrer_page_id="r" * 500) == ()


@pytest.mark.parametrize("price", [None, Money(), Money("USD"), Money("VEF", "-1"), Money("USD", "0")])
def test_a_purchase_needs_neither_revenue_nor_a_good_price(price: Money | None) -> None:
    assert checked(event_type="PURCHASE", items=(Item(item_group_id="g", price=price),)) == ()
