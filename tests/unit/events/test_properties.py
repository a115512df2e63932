"""What holds for every body: nothing but a refusal is raised, the shortcut agrees with the full walk, nothing is lost."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.errors import InvalidEventError
from footfall.events import shortcut
from footfall.events.decode import canonical, decode_canonical, decode_event, decode_in_full
from footfall.events.identity import cleaned, identify
from footfall.events.intake import read_event
from footfall.events.rules import check
from footfall.events.schema import (
    CHANNEL_TYPES,
    CURRENCIES,
    EVENT_TYPES,
    IDENTIFIER_PATHS,
    PERSONALIZATION_MODES,
    Event,
)

NOW_MS = 1_790_000_000_000
few = settings(max_examples=150, deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
identifiers = st.one_of(texts, st.sampled_from(["null", " NIL ", "u-1", "x" * 129, "00000000-0000-0000-0000-000000000000"]))
plain_numbers = st.decimals(min_value=-(10**15) + 1, max_value=10**15 - 1, places=2).map(str)
number_texts = st.one_of(
    plain_numbers,
    st.from_regex(r"\A-?(0|[1-9][0-9]{0,16})(\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?\Z").filter(str.isascii),
    st.integers(-(2**70), 2**70).map(str),
)


class Number(str):
    """Number text that goes into a body as it stands."""


numbers = st.one_of(number_texts.map(Number), number_texts)
moneys = st.fixed_dictionaries({}, optional={"currency": st.sampled_from([*sorted(CURRENCIES), "VEF", ""]), "amount": numbers})
items = st.fixed_dictionaries(
    {},
    optional={
        "id": texts, "item_group_id": texts, "price": moneys, "quantity": st.integers(-3, 3) | numbers,
        "seller_id": texts, "price_seller": moneys,
    },
)  # fmt: skip
devices = st.fixed_dictionaries(
    {},
    optional={
        "os": st.sampled_from(["ios", "Android", "x", ""]), "os_version": texts, "model": texts, "ua": texts, "language": texts,
        "ip": texts, "persistent_id": identifiers, "unique_device_id": identifiers, "advertising_id": identifiers,
    },
)  # fmt: skip
events = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(sorted(EVENT_TYPES)),
        "timestamp": st.one_of(st.just(NOW_MS), st.integers(-(2**64), 2**64), numbers),
        "channel_type": st.sampled_from(sorted(CHANNEL_TYPES)),
    },
    optional={
        "id": texts, "domain": texts, "user_id": identifiers, "device": devices, "items": st.lists(items, max_size=3),
        "revenue": moneys, "search_query": texts, "session_id": identifiers, "custom_id": identifiers, "page_id": texts,
        "referrer_page_id": texts, "shipping_charge": moneys, "decision_track_id": texts,
        "personalization_mode": st.sampled_from(sorted(PERSONALIZATION_MODES)),
    },
)  # fmt: skip
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | texts | number_texts.map(Number),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=8,
)


def encoded(value: Any) -> bytes:
    """JSON in which `Number` is a bare number, exact as written."""
    if isinstance(value, Number):
        return str(value).encode()
    if isinstance(value, dict):
        return b"{" + b", ".join(json.dumps(name).encode() + b": " + encoded(child) for name, child in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(encoded, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode()


@st.composite
def mutated_events(draw: st.DrawFn) -> Any:
    """An event of which up to three members, anywhere, were renamed, replaced or added."""
    tree: Any = draw(events)
    for _ in range(draw(st.integers(0, 3))):
        place: Any = tree
        while (inner := _containers(place)) and bool(draw(st.booleans())):
            place = draw(st.sampled_from(inner))
        if isinstance(place, list):
            place[draw(st.integers(0, len(place) - 1))] = draw(any_json)
        elif place and draw(st.booleans()):
            place[draw(st.sampled_from(sorted(place)))] = draw(any_json)
        elif place and draw(st.booleans()):
            name = draw(st.sampled_from(sorted(place)))
            place[camel(name)] = place.pop(name)
        else:
            place[draw(texts | st.sampled_from(["name", "device.colour", "userId", "user_id", "quantity"]))] = draw(any_json)
    return tree


def _containers(place: Any) -> list[Any]:
    children = place if isinstance(place, list) else place.values()
    return [child for child in children if isinstance(child, dict | list) and child]


def camel(name: str) -> str:
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def in_camel_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {camel(name): in_camel_case(child) for name, child in value.items()}
    return [in_camel_case(child) for child in value] if isinstance(value, list) else value


def outcome(body: bytes, decode: Any, **options: bool) -> tuple[object, ...]:
    try:
        return ("event", decode(body, **options))
    except InvalidEventError as error:
        return ("refused", error.message, error.violations)


@few
@given(mutated_events(), st.booleans())
def test_the_shortcut_agrees_with_the_full_walk(tree: Any, iso_timestamps: bool) -> None:
    body = encoded(tree)
    found = outcome(body, decode_event, iso_timestamps=iso_timestamps)
    assert found == outcome(body, decode_in_full, iso_timestamps=iso_timestamps)


@few
@given(events, st.data())
def test_the_shortcut_agrees_on_bodies_with_bytes_changed(tree: Any, data: st.DataObject) -> None:
    body = bytearray(encoded(tree))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b'"', b",", b"1", b"\xff", b"null", b"\\u0061"])
        )
    assert outcome(bytes(body), decode_event) == outcome(bytes(body), decode_in_full)


def test_the_shortcut_is_taken_by_the_bodies_of_ordinary_senders() -> None:
    body = b"""{"id": "e", "event_type": "ADD_TO_CART", "timestamp": "1790000000000", "channel_type": "SITE", "user_id": "u",
        "items": [{"id": "a", "price": {"currency": "USD", "amount": 19.90}, "quantity": 1}], "revenue": {"currency": "USD"}}"""
    found = shortcut.event_or_none(body)
    assert found is not None
    assert found == decode_in_full(body)


@few
@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_raise_nothing_but_a_refusal(body: bytes) -> None:
    outcome(body, decode_event)
    outcome(body, decode_canonical)


@few
@given(any_json)
def test_arbitrary_json_raises_nothing_but_a_refusal(tree: Any) -> None:
    try:
        read_event(encoded(tree), now_ms=NOW_MS)
    except InvalidEventError as error:
        assert error.message
        assert error.violations


@few
@given(events)
def test_both_spellings_give_equal_outcomes(tree: Any) -> None:
    snake, camelled = outcome(encoded(tree), decode_event), outcome(encoded(in_camel_case(tree)), decode_event)
    assert snake == camelled


@few
@given(mutated_events())
def test_a_stored_event_is_read_back_the_same(tree: Any) -> None:
    found = outcome(encoded(tree), decode_event)
    if found[0] == "event" and isinstance(found[1], Event):
        record = canonical(found[1])
        assert decode_canonical(record) == found[1]
        assert canonical(decode_canonical(record)) == record
        assert b"\n" not in record


@few
@given(st.dictionaries(texts.map("x".__add__), any_json.filter(lambda value: value is not None), max_size=4))
def test_unknown_members_keep_the_very_text_of_their_numbers(members: dict[str, Any]) -> None:
    event = decode_event(encoded(members))
    assert exact(canonical(event)).get("extra", {}) == exact(encoded(members))


def exact(body: bytes) -> Any:
    # 0 for -0: an integer has no sign of zero, and Python's reader drops it too.
    return json.loads(body, parse_float=lambda text: ("float", text), parse_int=int)


@few
@given(events)
def test_cleaning_changes_nothing_the_rules_look_at(tree: Any) -> None:
    found = outcome(encoded(tree), decode_event)
    if isinstance(found[1], Event):
        event = found[1]
        clean = cleaned(event)
        assert cleaned(clean) == clean
        assert identify(clean) == identify(event)
        assert check(clean, now_ms=NOW_MS, ahead_ms_max=0) == check_without_words(event)


def check_without_words(event: Event) -> object:
    """The rules' answer, with the one description that names default words reduced to that of a clean event."""
    identifier = identify(event)
    violations = check(event, now_ms=NOW_MS, ahead_ms_max=0)
    if identifier is not None or event.personalization_mode == "ID_LESS":
        return violations
    clean = check(cleaned(event), now_ms=NOW_MS, ahead_ms_max=0)
    assert [(violation.field, violation.reason) for violation in clean] == [
        (violation.field, violation.reason) for violation in violations
    ]
    return clean


@few
@given(mutated_events())
def test_an_accepted_event_has_an_identifier_or_is_id_less(tree: Any) -> None:
    try:
        event, identifier = read_event(encoded(tree), now_ms=NOW_MS)
    except InvalidEventError:
        return
    assert (identifier is None) == (event.personalization_mode == "ID_LESS")
    assert identifier is None or identifier.kind in IDENTIFIER_PATHS
