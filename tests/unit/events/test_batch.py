"""How a batch comes apart: every event's bytes as sent and in order, bounded work whatever comes, refused only as a whole."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.errors import InvalidEventError
from footfall.events.batch import TooManyEventsError, is_ndjson, split_batch
from footfall.events.intake import read_stored

NOW_MS = 1_790_000_000_000
EVENT = b'{"event_type": "HOME", "timestamp": 1790000000000, "channel_type": "SITE", "user_id": "u"}'
any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=6,
)
blanks = st.text(" \t\r\n", max_size=3).map(str.encode)


def split(body: bytes, *, events_max: int = 100) -> list[bytes]:
    return split_batch(body, ndjson=False, events_max=events_max)


def lines(body: bytes, *, events_max: int = 100) -> list[bytes]:
    """Each without the newline that ended it, which must be there, or not, as it was."""
    found = split_batch(body, ndjson=True, events_max=events_max)
    assert all(line.count(b"\n") == line.endswith(b"\n") for line in found)
    return [line.removesuffix(b"\n") for line in found]


def reason_of(body: bytes, *, events_max: int = 100) -> tuple[str, str]:
    with pytest.raises(InvalidEventError) as caught:
        split(body, events_max=events_max)
    violation = caught.value.violations[0]
    assert 20 < len(violation.description) < 200
    return violation.field, violation.reason


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
        "Application/X-NDJSON; charset=utf-8",
        " application/jsonl ;",
    ],
)
def test_ndjson_is_known_by_its_content_type(content_type: str) -> None:
    assert is_ndjson(content_type)


@pytest.mark.parametrize(
    "content_type", [None, "", "application/json", "text/plain", "x; application/x-ndjson", "application/json-seq"]
)
def test_every_other_content_type_is_not_ndjson(content_type: str | None) -> None:
    assert not is_ndjson(content_type)


@settings(deadline=None)
@given(st.lists(any_json, max_size=8), st.lists(blanks, min_size=9, max_size=9), st.booleans(), st.sampled_from([8, 1000]))
def test_elements_of_an_array_come_out_as_they_were_sent(
    values: list[object], around: list[bytes], is_ascii: bool, events_max: int
) -> None:
    sent = [json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass") for value in values]
    array = b"[" + b",".join(blank + text + blank for text, blank in zip(sent, around, strict=False)) + b"]"
    assert split(around[8] + array + around[0], events_max=events_max) == sent
    wrapped = b'{"sent_at": [1, {}], "events":' + around[8] + array + b', "x": {"events": 5}}'
    assert split(wrapped, events_max=events_max) == sent


@settings(deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=6).map(str.encode), max_size=12)
)
def test_lines_come_out_as_they_were_sent_without_the_blank_ones(sent: list[bytes]) -> None:
    kept = [line for line in sent if line.strip()]
    assert lines(b"\n".join(sent)) == kept
    few = lines(b"\n \n" * 99 + b"\n".join(sent), events_max=max(len(kept), 1))
    assert [line.lstrip() for line in few] == [line.lstrip() for line in kept]


def test_lines_may_end_as_on_windows() -> None:
    assert [read_stored(line, now_ms=NOW_MS) for line in lines(EVENT + b"\r\n\r\n" + EVENT + b"\r\n")] == [
        read_stored(EVENT, now_ms=NOW_MS)
    ] * 2


def test_a_bad_line_is_left_to_whoever_reads_it() -> None:
    assert lines(b'{"a": \n\xff\n[1]\n') == [b'{"a": ', b"\xff", b"[1]"]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b'{"events": []}', b'{"x": 1, "events":[ ]}'])
def test_a_batch_of_none_is_fine(body: bytes) -> None:
    assert split(body) == []
    assert split(body, events_max=0) == []


def test_no_lines_are_a_batch_of_none() -> None:
    assert lines(b"") == lines(b"\n \r\n") == []


def test_elements_that_are_no_events_come_out_and_are_refused_one_by_one() -> None:
    bodies = split(b'[1, null, "x", [], [[1]], ' + EVENT + b', {"timestamp": "\\u00e9"}]')
    assert bodies == [b"1", b"null", b'"x"', b"[]", b"[[1]]", EVENT, b'{"timestamp": "\\u00e9"}']
    for body in bodies:
        if body != EVENT:
            with pytest.raises(InvalidEventError):
                read_stored(body, now_ms=NOW_MS)
    assert read_stored(bodies[5], now_ms=NOW_MS).identifier is not None


def test_the_last_events_counts() -> None:
    assert split(b'{"events": [1], "events": [2, 3]}') == [b"2", b"3"]
    assert split(b'{"events": 1, "events": [2]}') == [b"2"]
    assert reason_of(b'{"events": [1], "events": 2}') == ("events", "batch_not_a_list")
    assert reason_of(b'{"events": [1], "events": null}') == ("events", "missing_events")


@pytest.mark.parametrize("events_max", [0, 100])
@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"{}", "events", "missing_events"),
        (b'{"events": null}', "events", "missing_events"),
        (EVENT, "events", "missing_events"),
        (b'{"events": {"0": {}}}', "events", "batch_not_a_list"),
        (b'{"events": "[]"}', "events", "batch_not_a_list"),
        (b'{"events": 5}', "events", "batch_not_a_list"),
        (b"5", "", "batch_not_a_list"),
        (b'"[]"', "", "batch_not_a_list"),
        (b"null", "", "batch_not_a_list"),
        (b"", "", "empty_body"),
        (b" \n", "", "empty_body"),
        (b"[{}", "", "truncated_json"),
        (b'{"events": [{}]', "", "truncated_json"),
        (b"[{},]", "", "trailing_comma"),
        (b'{"events": [{},]}', "", "trailing_comma"),
        (b"[{}]]", "", "trailing_text"),
        (EVENT + b"\n" + EVENT, "", "trailing_text"),
        (b"[NaN]", "", "non_finite_literal"),
        (b'[{"revenue": Infinity}]', "", "non_finite_literal"),
        (b"\xef\xbb\xbf[]", "", "byte_order_mark"),
        (b"[{'a': 1}]", "", "single_quotes"),
        (b"a=1&b=2", "", "form_body"),
        (b'[{"user_id": "\xff"}]', "", "invalid_utf8"),
        (b'[{"user_id": "\xc3"}]', "", "invalid_utf8"),
        (b'[{"user_id": "\xed\xa0\x80"}]', "", "invalid_utf8"),
        (b'{"x": "\xff", "events": []}', "", "invalid_utf8"),
        (b'[{"user_id": "\\ud83d"}]', "", "lone_surrogate"),
        (b'[{"user_id": "\\udc00"}]', "", "lone_surrogate"),
        (b"[" * 100_000, "", "nesting_too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "", "nesting_too_deep"),
        (b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "", "nesting_too_deep"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused_with_the_reason(body: bytes, field: str, reason: str, events_max: int) -> None:
    assert reason_of(body, events_max=events_max) == (field, reason)


@pytest.mark.parametrize(
    ("body", "advice"),
    [
        (EVENT, "without :batch"),
        (b'{"eventType": "HOME"}', "without :batch"),
        (EVENT + b"\n" + EVENT, "Content-Type: application/x-ndjson"),
        (b"", "an array of events"),
        (b'{"events": "[]"}', "encoded twice"),
    ],
)
def test_a_refusal_says_what_to_do(body: bytes, advice: str) -> None:
    with pytest.raises(InvalidEventError) as caught:
        split(body)
    assert advice in caught.value.violations[0].description


def test_the_place_of_a_second_body_is_told() -> None:
    with pytest.raises(InvalidEventError) as caught:
        split(b"{}\n{}")
    assert caught.value.violations[0].description.startswith("line 2:1: ")
    assert caught.value.message == "proto: syntax error (line 2:1)"


def test_characters_at_the_borders_of_the_pieces_are_whole() -> None:
    text = '["' + "é" * 70_000 + '"]'
    for shift in range(3):
        assert split(b" " * shift + text.encode()) == [text[1:-1].encode()]


@pytest.mark.parametrize("events_max", [1, 2, 1000])
def test_as_many_events_as_allowed_pass_and_one_more_does_not(events_max: int) -> None:
    most = [EVENT] * events_max
    bodies = [b"[" + b",".join(most) + b"]", b'{"events":[' + b",".join(most) + b"]}"]
    for body in bodies:
        assert split(body, events_max=events_max) == most
        with pytest.raises(TooManyEventsError) as caught:
            split(body.replace(b"]", b"," + EVENT + b"]"), events_max=events_max)
        assert (caught.value.count, caught.value.status) == (events_max + 1, 413)
        assert caught.value.violations[0].reason == "too_many_events"
    assert lines(b"\n".join(most), events_max=events_max) == most
    with pytest.raises(TooManyEventsError):
        lines(b"\n".join([*most, EVENT]), events_max=events_max)


@pytest.mark.parametrize(
    ("body", "ndjson"),
    [
        (b"[" + b"1," * 1_000_000 + b"1]", False),
        (b'{"events":[' + b"1," * 1_000_000 + b"1]}", False),
        (b'{"events":0,"events":[' + b"1," * 1_000_000 + b"1]}", False),
        (b"10\n" * 1_000_000, True),
    ],
    ids=["array", "object", "second array", "lines"],
)
def test_a_million_small_elements_are_refused_before_they_fill_memory(body: bytes, ndjson: bool) -> None:
    split_batch(b"[]", ndjson=False, events_max=1000)
    tracemalloc.start()
    try:
        with pytest.raises(TooManyEventsError):
            split_batch(body, ndjson=ndjson, events_max=1000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < len(body) + 4_000_000  # at most one copy of the body; as objects they would take 50 MB and more


def test_a_million_blank_lines_are_skipped() -> None:
    assert lines(b"\n" * 1_000_000 + EVENT + b"\n \n", events_max=10) == [EVENT]


def test_a_hundred_thousand_members_beside_the_events_are_ignored() -> None:
    members = ",".join(f'"{number}":{number}' for number in range(100_000))
    assert split(f'{{{members},"events":[{{}}]}}'.encode()) == [b"{}"]
    assert reason_of(f"{{{members}}}".encode()) == ("events", "missing_events")


def test_no_refusal_repeats_what_came() -> None:
    for body in (b'["s3cret', b'{"events": "s3cret"}', b"s3cret=1", b'{"s3cret": 1}', b'[{"a": "s3cret\xff"}]'):
        with pytest.raises(InvalidEventError) as caught:
            split(body)
        assert "s3cret" not in repr((caught.value, caught.value.message, caught.value.violations, caught.value.__cause__))
