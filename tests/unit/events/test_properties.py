"""What holds for every body: nothing but a refusal is raised, the short ways agree with the long one, nothing is lost."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.errors import InvalidEventError
from footfall.events import shortcut
from footfall.events.decode import camel_case, canonical, decode_canonical, decode_event
from footfall.events.identity import cleaned, identify
from footfall.events.intake import Intake, read_batch, read_event, read_stored
from footfall.events.rules import check
from footfall.events.schema import (
    CHANNEL_TYPES,
    CURRENCIES,
    EVENT_TYPES,
    IDENTIFIER_PATHS,
    PERSONALIZATION_MODES,
    Event,
)
from footfall.events.violations import refusal

NOW_MS = 1_790_000_000_000
few = settings(max_examples=150, deadline=None)

names = st.sampled_from(["a", "SKU-1", "é", 'a"\\b', "\u2028"])
people = st.sampled_from(
    ["u-1", "0f3c", "null", " NIL ", "nil-1", "x" * 128, "é" * 129, "", "00000000-0000-0000-0000-000000000000", "nobody"]
)
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
plain_amounts = st.one_of(st.integers(-5, 99999), st.sampled_from(["19.90", "0", "1e3", "007"]), plain_numbers.map(Number))
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
            place[camel_case(name)] = place.pop(name)
        else:
            place[draw(texts | st.sampled_from(["name", "device.colour", "userId", "user_id", "quantity"]))] = draw(any_json)
    return tree


def _containers(place: Any) -> list[Any]:
    children = place if isinstance(place, list) else place.values()
    return [child for child in children if isinstance(child, dict | list) and child]


def in_camel_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {camel_case(name): in_camel_case(child) for name, child in value.items()}
    return [in_camel_case(child) for child in value] if isinstance(value, list) else value


@st.composite
def likely_bodies(draw: st.DrawFn) -> bytes:
    """An event as senders send it, nearly always acceptable, with what is met in the field: unknown members, null, camelCase."""
    prices = st.fixed_dictionaries({"currency": st.just("USD")}, optional={"amount": plain_amounts})
    item = st.fixed_dictionaries(
        {"id": names},
        optional={
            "price": prices,
            "quantity": st.integers(0, 3),
            "name": texts,
            "seller_id": st.none() | names,
            "size": any_json,
        },
    )
    tree: Any = draw(
        st.fixed_dictionaries(
            {
                "event_type": st.sampled_from(sorted(EVENT_TYPES)),
                "timestamp": st.sampled_from([NOW_MS, str(NOW_MS), Number(f"{NOW_MS}.0"), "2026-09-21T14:13:20.5Z"]),
                "channel_type": st.sampled_from(sorted(CHANNEL_TYPES)),
                "search_query": names,
                "page_id": names,
                "items": st.lists(item, min_size=1, max_size=2),
            },
            optional={
                "id": texts, "user_id": people, "session_id": people | st.none(), "custom_id": people, "revenue": prices,
                "device": st.fixed_dictionaries(
                    {"os": st.sampled_from(["IOS", "android 14"])},
                    optional={"persistent_id": people, "unique_device_id": people, "advertising_id": people, "colour": any_json,
                              "ip": st.none() | names, "osVersion": names},
                ),
                "name": texts, "score": any_json, "extra": any_json, "device.colour": texts,
                "shipping_charge": prices | st.none(),
                "personalization_mode": st.sampled_from(["", *sorted(PERSONALIZATION_MODES), "UNKNOWN_PERSONALIZATION_MODE"]),
            },
        )
    )  # fmt: skip
    shuffled = {name: tree[name] for name in draw(st.permutations(sorted(tree)))}
    return encoded(in_camel_case(shuffled) if draw(st.booleans()) else shuffled)


def outcome(body: bytes, decode: Any, **options: Any) -> tuple[object, ...]:
    try:
        return ("event", decode(body, **options))
    except InvalidEventError as error:
        return ("refused", error.message, error.violations)


def in_full(body: bytes, *, iso_timestamps: bool = False) -> Intake:
    """The long way: each step by itself, as the rules are defined."""
    event = decode_event(body, iso_timestamps=iso_timestamps)
    violations = check(event, now_ms=NOW_MS, ahead_ms_max=300_000)
    if violations:
        raise refusal(violations)
    clean = cleaned(event)
    return Intake(clean, identify(clean))


def agrees_with_the_long_way(body: bytes, *, iso_timestamps: bool = False) -> None:
    try:
        event, identifier = in_full(body, iso_timestamps=iso_timestamps)
    except InvalidEventError as error:
        for read in (read_stored, read_event):
            found = outcome(body, read, now_ms=NOW_MS, iso_timestamps=iso_timestamps)
            assert found == ("refused", error.message, error.violations)
    else:
        assert read_stored(body, now_ms=NOW_MS, iso_timestamps=iso_timestamps) == (canonical(event), identifier)
        assert read_event(body, now_ms=NOW_MS, iso_timestamps=iso_timestamps) == (event, identifier)


@settings(max_examples=400, deadline=None)
@given(likely_bodies(), st.booleans())
def test_the_short_ways_agree_with_the_long_one_on_likely_bodies(body: bytes, iso_timestamps: bool) -> None:
    agrees_with_the_long_way(body, iso_timestamps=iso_timestamps)


@few
@given(mutated_events(), st.booleans())
def test_the_short_ways_agree_with_the_long_one_on_strange_events(tree: Any, iso_timestamps: bool) -> None:
    agrees_with_the_long_way(encoded(tree), iso_timestamps=iso_timestamps)


@few
@given(likely_bodies(), st.data())
def test_the_short_ways_agree_with_the_long_one_on_bodies_with_bytes_changed(likely: bytes, data: st.DataObject) -> None:
    body = bytearray(likely)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body)))
        body[at : at + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b'"', b",", b"1", b"\xff", b"null", b"\\u0061", b"\\ud800"])
        )
    agrees_with_the_long_way(bytes(body))


@few
@given(
    st.lists(likely_bodies() | mutated_events().map(encoded) | st.binary(max_size=20), max_size=6),
    st.sampled_from([b"", b"\n", b"\r\n", b" \n"]),
    st.sampled_from([100, 65_536]),
)
def test_many_read_at_once_are_what_they_are_one_by_one(bodies: list[bytes], end: bytes, bytes_max: int) -> None:
    """A newline at the end is none of the body's."""
    sent = [body + end for body in bodies]
    found = read_batch(sent, now_ms=NOW_MS, bytes_max=bytes_max)
    assert len(found) == len(sent)
    for body, outcome_of_many in zip(sent, found, strict=True):
        body = body.removesuffix(b"\n")
        if len(body) > bytes_max:
            assert isinstance(outcome_of_many, InvalidEventError)
            assert [violation.reason for violation in outcome_of_many.violations] == ["event_too_large"]
        elif isinstance(outcome_of_many, InvalidEventError):
            refused = ("refused", outcome_of_many.message, outcome_of_many.violations)
            assert outcome(body, read_stored, now_ms=NOW_MS) == refused
        else:
            event, identifier = outcome_of_many
            assert outcome(body, read_stored, now_ms=NOW_MS) == ("event", (msgspec.json.encode(event), identifier))


def test_a_line_of_exactly_the_length_allowed_is_taken_with_its_newline() -> None:
    body = ORDINARY["a home page"].encode()
    taken, refused = read_batch([body + b"\n", body + b" \n"], now_ms=NOW_MS, bytes_max=len(body))
    assert not isinstance(taken, InvalidEventError)
    assert isinstance(refused, InvalidEventError)


GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("name", ["mistakes", "clean_events", "warnings"])
def test_the_short_ways_agree_with_the_long_one_on_the_golden_files(name: str) -> None:
    for line in (GOLDEN / f"{name}.jsonl").read_text("utf-8").split("\n"):
        case = json.loads(line or "{}")
        body = base64.b64decode(case["body_base64"]) if "body_base64" in case else case.get("body", case.get("event", case))
        agrees_with_the_long_way(body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else encoded(body))


ORDINARY = {
    "a home page": """{"event_type": "HOME", "timestamp": 1790000000000, "channel_type": "SITE", "user_id": "u"}""",
    "a cart": """{"id": "e", "event_type": "ADD_TO_CART", "timestamp": "1790000000000", "channel_type": "SITE", "user_id": "u",
        "items": [{"id": "a", "price": {"currency": "USD", "amount": 19.90}, "quantity": 1}], "revenue": {"currency": "USD"}}""",
    "a visitor not signed in, with a price in text": """{"event_type": "ITEM_PAGE_VIEW", "timestamp": 1790000000000,
        "channel_type": "APP", "device": {"os": "iOS", "persistent_id": "nobody"},
        "items": [{"id": "a", "price": {"currency": "KRW", "amount": "5"}}]}""",
    "unknown members": """{"event_type": "HOME", "timestamp": 1790000000000, "channel_type": "SITE",
        "session_id": "s", "name": 1.50,        "device": {"colour": [1e2]}, "items": [{"size": {"a": null}, "id": "b"}]}""",
    "camelCase": """{"eventType": "SEARCH", "searchQuery": "q", "timestamp": "1790000000000", "channelType": "SITE",
        "name": "x",        "device": {"uniqueDeviceId": "d"}, "items": [{"itemGroupId": "g", "priceSeller": {"amount": 5}}]}""",
    "null": """{"event_type": "HOME", "timestamp": 1790000000000, "channel_type": "SITE", "user_id": "u", "session_id": null,
        "items": [{"quantity": null}], "device": {"ip": null}, "revenue": null, "name": null}""",
}


@pytest.mark.parametrize("body", [body.encode() for body in ORDINARY.values()], ids=ORDINARY)
def test_a_short_way_is_taken_by_the_bodies_of_ordinary_senders(body: bytes) -> None:
    event, identifier = in_full(body)
    assert shortcut.stored_or_none(body, latest_ms=NOW_MS, iso_timestamps=False) == (canonical(event), identifier)


@pytest.mark.parametrize(
    "members",
    [
        '"device": {"x": 1}, "device": {"os": "ios"}', '"device.x": 1, "device": {"x": 2}', '"name": 1, "name": 2',
        '"user_id": "a", "userId": null', '"user_id": 5', '"items": [{}, null]', '"items": null, "x": null',
        f'"x": {"[" * 31}{"]" * 31}', f'"x": {"[" * 32}{"]" * 32}', f'"items": [{{"x": {"[" * 30}{"]" * 30}}}]',
        '"x": {' + ",".join(f'"{number}": 1' for number in range(257)) + "}",
        ", ".join(f'"x{number}": 1' for number in range(252)), ", ".join(f'"x{number}": 1' for number in range(253)),
        '"device": {' + ", ".join(f'"x{number}": 1' for number in range(257)) + "}",
        '"timestamp": "01790000000000"', '"timestamp": "١٧٩٠٠٠٠٠٠٠٠٠٠"', '"timestamp": "+1790000000000"', '"timestamp": ""',
        *(f'"timestamp": "{text}"' for text in (
            "1_79000000000", "+179000000000", " 179000000000", "-179000000000", "0179000000000", "179000000000\\n",
            "1790000000000\\n", "١790000000000", "179000000000x",
        )),
        '"domain": "' + "a" * 65_537 + '"', f'"timestamp": "{"9" * 5000}"',
        '"revenue": {"name": "x"}', '"revenue": {"amount": -0}', '"extra": {"a": 1}', '"x": "\\ud83d"', f'"x": {"9" * 5000}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", [("event_type", "channel_type"), ("eventType", "channelType")])
def test_the_short_ways_agree_with_the_long_one_at_the_edges(members: str, names: tuple[str, str]) -> None:
    event_type, channel_type = names
    body = f'{{"{event_type}": "HOME", "timestamp": {NOW_MS}, "{channel_type}": "SITE", "custom_id": "c", {members}}}'
    agrees_with_the_long_way(body.encode())


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
