"""Which identifier an event counts under, and which values never stay in it."""

from __future__ import annotations

import msgspec
import pytest

from footfall.events.identity import cleaned, identifiers, identify
from footfall.events.schema import IDENTIFIER_PATHS, Device, Event, Identifier

ZERO_UUID = "00000000-0000-0000-0000-000000000000"
ABSENT = ["", "  ", "null", "undefined", "invalid", "nil", "NULL", " Undefined ", "\tnil\n", ZERO_UUID]


def event_with(values: list[str]) -> Event:
    user_id, persistent_id, unique_device_id, advertising_id, custom_id, session_id = values
    device = Device(persistent_id=persistent_id, unique_device_id=unique_device_id, advertising_id=advertising_id)
    return Event(user_id=user_id, device=device, custom_id=custom_id, session_id=session_id)


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("absent", ABSENT)
def test_the_first_valid_identifier_in_the_order_is_taken(first: int, absent: str) -> None:
    values = [absent] * first + [f"value-{index}" for index in range(first, 6)]
    assert identify(event_with(values)) == Identifier(IDENTIFIER_PATHS[first], f"value-{first}")


@pytest.mark.parametrize("absent", ABSENT)
def test_words_for_nothing_leave_all_six_members(absent: str) -> None:
    event = cleaned(event_with([absent] * 6))
    assert identifiers(event) == ("",) * 6
    assert identify(event) is None


@pytest.mark.parametrize("value", ["nullable", "nil-1", "0", "00000000", "guest", "undefined undefined"])
def test_other_words_are_identifiers_and_stay_as_sent(value: str) -> None:
    event = event_with([value] * 6)
    assert cleaned(event) is event
    assert identify(event) == Identifier("user_id", value)


def test_a_kept_identifier_is_not_trimmed() -> None:
    event = event_with([" a ", "null", "", "", "", ""])
    assert cleaned(event).user_id == " a "


def test_an_event_without_a_device_can_be_cleaned() -> None:
    assert cleaned(Event(user_id="nil", session_id="s")) == Event(session_id="s")


def test_id_less_keeps_nothing_that_could_name_a_person() -> None:
    event = msgspec.structs.replace(
        event_with(["a", "b", "c", "d", "e", "f"]),
        personalization_mode="ID_LESS",
        extra={"email": "x"},
        page_id="/p",
        device=Device(os="ios", ip="192.0.2.1", persistent_id="b", unique_device_id="c", advertising_id="d"),
    )
    assert cleaned(event) == Event(personalization_mode="ID_LESS", page_id="/p", device=Device(os="ios"))
    assert identify(event) is None


@pytest.mark.parametrize("mode", ["METRIC_ONLY", "STANDARD", ""])
def test_every_other_mode_keeps_identifiers_and_extra(mode: str) -> None:
    event = Event(user_id="u", personalization_mode=mode, device=Device(ip="192.0.2.1"), extra={"name": "x"})
    assert cleaned(event) is event
    assert identify(event) == Identifier("user_id", "u")


def test_the_unknown_personalization_mode_is_absent_from_the_clean_event() -> None:
    event = Event(user_id="u", personalization_mode="UNKNOWN_PERSONALIZATION_MODE", custom_id="null", extra={"name": "x"})
    assert cleaned(event) == Event(user_id="u", extra={"name": "x"})


def test_an_identifier_does_not_print_its_value() -> None:
    assert "value-0" not in repr(identify(event_with(["value-0"] * 6)))
