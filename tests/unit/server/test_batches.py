"""A batch, however it is laid out: each event has the answer and the bytes in the log that it would have alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.clock import ManualClock
from footfall.errors import InvalidEventError
from footfall.events.intake import read_event, read_stored
from footfall.log.group_commit import GroupCommit
from footfall.log.memory import MemoryReader, MemoryTree, MemoryWriter
from footfall.registry.keys import Mode
from footfall.registry.snapshot import Rate
from footfall.server import answers
from footfall.server.answers import Refusal
from footfall.server.batches import BatchAnswer, Batches
from footfall.server.report import reported
from footfall.server.settings import LimitSettings
from footfall.server.state import Door
from footfall.server.status import Counters, Tally
from footfall.server.throttle import Throttle

NOW_MS = 1_790_000_000_000
EVENT_BYTES_MAX = 400
NOBODY_WAITS = Rate(per_s=1000, burst=100_000)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    answer: BatchAnswer | Refusal
    records: list[bytes]
    tally: Tally


def door(mode: Mode) -> Door:
    head = b'{"platform":"SHOP-1_x","mode":"%b","received_at":' % mode.encode()
    return Door(platform="SHOP-1_x", mode=mode, disabled=False, record_head=head)


def take(body: bytes, *, ndjson: bool, mode: Mode = "live", rate: Rate = NOBODY_WAITS, room_bytes: int = 1 << 30) -> Outcome:
    """What one batch alone leads to, in a server of its own."""
    tree, counters = MemoryTree(bytes_max=room_bytes), Counters()
    clock = ManualClock(now_ms=NOW_MS)

    async def main() -> BatchAnswer | Refusal:
        with MemoryWriter.open(tree) as writer:
            log = GroupCommit(writer, on_poisoned=print)
            batches = Batches(
                logs={mode: log},
                throttle=Throttle(default=rate, workers=1, buckets_max=1000),
                counters=counters,
                clock=clock,
                limits=LimitSettings(),
                event_bytes_max=EVENT_BYTES_MAX,
            )
            try:
                return await batches.take(body, door(mode), key_id="k", ndjson=ndjson)
            finally:
                await log.close()

    answer = asyncio.run(main())
    records = [record.body for record in MemoryReader(tree).scan()]
    return Outcome(answer=answer, records=records, tally=counters.tally("SHOP-1_x", "batch"))


def expected(bodies: Sequence[bytes], mode: Mode = "live") -> tuple[dict[str, Any], list[bytes]]:
    """The answer and the records, put together from what each event is alone."""
    records: list[bytes] = []
    rejected: list[dict[str, Any]] = []
    reports: list[dict[str, Any]] = []
    for index, body in enumerate(bodies):
        try:
            if len(body) > EVENT_BYTES_MAX:
                rejected.append({"index": index, "reason": "event_too_large"})
                continue
            stored = read_stored(body, now_ms=NOW_MS)
        except InvalidEventError as error:
            details = answers.details(error.violations)
            rejected.append({"index": index, "code": 3, "message": error.message, "details": details})
            continue
        records.append(b'%b%d,"source":"batch","event":%b}' % (door(mode).record_head, NOW_MS, stored.canonical))
        report = reported(read_event(body, now_ms=NOW_MS), now_ms=NOW_MS)
        reports.append({"index": index, "test": report})
    answer: dict[str, Any] = {"accepted": len(records), "rejected": rejected}
    if mode == "test":
        answer["reports"] = reports
    parsed: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return parsed, records


def answered(outcome: Outcome) -> dict[str, Any]:
    """The answer of a 200; of events that were too large, the reason only."""
    assert isinstance(outcome.answer, BatchAnswer)
    answer: dict[str, Any] = json.loads(outcome.answer.body)
    for index, each in enumerate(answer["rejected"]):
        if each["message"] == "the event is too large":
            answer["rejected"][index] = {"index": each["index"], "reason": reason(each)}
    return answer


def reason(rejected: dict[str, Any]) -> str:
    found: str = rejected["details"][0]["field_violations"][0]["reason"]
    return found


def event(**members: Any) -> bytes:
    full = {"event_type": "HOME", "timestamp": NOW_MS, "channel_type": "SITE", "user_id": "u", **members}
    return json.dumps(full, ensure_ascii=False, separators=(",", ":")).encode()


EVENTS = (
    event(), event(id="é\u2028\x7f\\\"\n"), event(timestamp=str(NOW_MS)), event(name="x", user_id=None, session_id="s"),
    event(device={"os": "iOS", "colour": [1, {}]}), event(user_id="null", custom_id="c"), event(user_id="nil"),
    event(event_type="NONE", timestamp=5), event(personalization_mode="ID_LESS"), event(id=None, items=[]),
    event(event_type="PURCHASE", items=[{"id": "a", "price": {"currency": "USD", "amount": 19.90}}], revenue={"amount": 10**14}),
    event(revenue={"amount": "1e2"}), b'{"eventType":"HOME","timestamp":1790000000000,"channelType":"SITE","userId":"v"}',
    event(page_id="p" * 400), event(items=[{}] * 30), b"7", b"null", b'"x"', b"[]", b"{}", event() + b" ",
    event().replace(b",", b"\t,\r"),
)  # fmt: skip
BROKEN_LINES = (
    b'{"a":', b"}", b"{", b'{"event_type":"HOME",', b'"timestamp":1}', event() * 2, event() + b" " + event(),
    event() + b"," + event(),
    event()[:-1], b"\xff", event().replace(b'"u"', b'"\xff"'), b'{"user_id":"\\ud800"}', b"\xef\xbb\xbf" + event(), b"[" * 300,
    b"\x0b" + event(), b"\x0b", b"[{}],[{}]", b"],[", b"\x00", event() + b"\x00",
)  # fmt: skip
BLANKS = st.sampled_from([b"", b"", b" ", b"\t", b"\r", b" \r"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS + BROKEN_LINES), BLANKS, BLANKS), max_size=12), st.booleans(), st.booleans())
def test_lines_are_judged_and_stored_as_each_would_be_alone(
    parts: list[tuple[bytes, bytes, bytes]], ends: bool, is_test: bool
) -> None:
    """A value over two lines, two on one line, blank lines, line ends of Windows: a line is a line, and what is wrong with it
    touches no other."""
    mode: Mode = "test" if is_test else "live"
    sent = [line for body, end, blank in parts for line in (body + end, blank)]
    body = b"\n".join(sent) + b"\n" * ends
    answer, records = expected([line for line in body.split(b"\n") if line.strip()], mode)
    outcome = take(body, ndjson=True, mode=mode)
    assert answered(outcome) == answer
    assert outcome.records == records
    assert (outcome.tally.accepted, outcome.tally.rejected) == (len(records), len(answer["rejected"]))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from([b"", b" ", b"\r\n"])), max_size=12), st.booleans(), st.booleans()
)
def test_elements_are_judged_and_stored_as_each_would_be_alone(
    parts: list[tuple[bytes, bytes]], wrapped: bool, is_test: bool
) -> None:
    mode: Mode = "test" if is_test else "live"
    array = b"[" + b",".join(body + blank for body, blank in parts) + b"]"
    answer, records = expected([body.strip() for body, _ in parts], mode)
    outcome = take(b'{"events":%b,"x":[]}' % array if wrapped else array, ndjson=False, mode=mode)
    assert answered(outcome) == answer
    assert outcome.records == records


@pytest.mark.parametrize("count", [99, 100, 101, 250])
def test_indexes_and_records_run_on_over_the_slices(count: int) -> None:
    bodies = [event(id=f"e-{index}") if index % 7 else b"{" for index in range(count)]
    answer, records = expected(bodies)
    outcome = take(b"\n".join(bodies), ndjson=True)
    assert answered(outcome) == answer
    assert outcome.records == records


def test_a_throttled_event_is_left_out_and_the_others_are_stored() -> None:
    bodies = [event(id=str(index), user_id="often" if index % 2 else f"u-{index}") for index in range(8)]
    outcome = take(b"\n".join(bodies), ndjson=True, rate=Rate(per_s=0.5, burst=2))
    answer = answered(outcome)
    assert (answer["accepted"], [each["index"] for each in answer["rejected"]]) == (6, [5, 7])
    assert {each["code"] for each in answer["rejected"]} == {8}
    assert isinstance(outcome.answer, BatchAnswer)
    assert ("retry-after", "2") in outcome.answer.headers
    assert [json.loads(record)["event"]["id"] for record in outcome.records] == ["0", "1", "2", "3", "4", "6"]
    assert (outcome.tally.accepted, outcome.tally.throttled, outcome.tally.rejected) == (6, 2, 0)


def test_where_the_log_has_no_room_for_all_nothing_is_stored_and_all_is_told_to_come_again() -> None:
    outcome = take(b"\n".join([event(), b"{", event()]), ndjson=True, room_bytes=300)
    assert isinstance(outcome.answer, Refusal)
    assert outcome.answer.status == 503
    assert outcome.records == []
    assert (outcome.tally.accepted, outcome.tally.unavailable, outcome.tally.rejected) == (0, 3, 0)


def test_others_are_served_between_the_slices() -> None:
    """A batch of 1,000 lets a task beside it have at least nine turns before it is done."""
    body = b"\n".join([event()] * 1000)

    async def main() -> int:
        with MemoryWriter.open(MemoryTree()) as writer:
            log = GroupCommit(writer, on_poisoned=print)
            throttle = Throttle(default=NOBODY_WAITS, workers=1, buckets_max=1000)
            batches = Batches(
                logs={"live": log},
                throttle=throttle,
                counters=Counters(),
                clock=ManualClock(now_ms=NOW_MS),
                limits=LimitSettings(),
            )
            taking = asyncio.create_task(batches.take(body, door("live"), key_id="k", ndjson=True))
            turns = 0
            while log.waiting_bytes == 0 and not taking.done():
                turns += 1
                await asyncio.sleep(0)
            await taking
            await log.close()
            return turns

    assert asyncio.run(main()) >= 9
