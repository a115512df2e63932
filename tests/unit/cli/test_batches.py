"""Batches: every line gets exactly one outcome, whatever the receiver does with the batch it was in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from footfall.cli.batches import BatchSender, NoBatchesError, batched
from footfall.cli.lines import LINE_BYTES_MAX, EventLine
from footfall.cli.sender import Accepted, Outcome, Refused, Stopped
from tests.unit.cli.batch_receiver import FOOTFALL, FOOTFALL_WITHOUT_BATCHES, BatchReceiver, Told, batch_answer


def lines_of(*bodies: bytes) -> list[EventLine]:
    return [EventLine(index=index, number=index + 1, body=body) for index, body in enumerate(bodies)]


def numbered(count: int) -> list[EventLine]:
    return lines_of(*(b'{"id":"e%d"}' % number for number in range(count)))


class Patience:
    """Waits of no length, remembered."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []

    def __call__(self, seconds: float) -> bool:
        self.pauses_s.append(seconds)
        return False


def sent(
    answer: Callable[[list[bytes]], Told],
    lines: list[EventLine],
    *,
    events_max: int = 10,
    patience: Patience | None = None,
    openapi: Mapping[str, Any] | None = FOOTFALL,
) -> tuple[list[Outcome], list[tuple[str, str, list[bytes]]]]:
    with BatchReceiver(answer, openapi=openapi) as receiver:
        sender = BatchSender(receiver.settings, events_max=events_max, wait=patience or Patience())
        return list(sender.send_all(lines)), receiver.posts


def test_a_batch_is_ndjson_to_the_batch_route() -> None:
    outcomes, posts = sent(lambda lines: batch_answer(len(lines)), numbered(3))
    path, content_type, lines = posts[0]
    assert path == "/rmp/event/v1/platforms/SHOP/userevents:batch"
    assert content_type == "application/x-ndjson"
    assert lines == [b'{"id":"e0"}', b'{"id":"e1"}', b'{"id":"e2"}']
    assert outcomes == [Accepted(index=index, warnings=0) for index in range(3)]


def test_refusals_are_told_by_the_line_of_the_file_and_in_its_order() -> None:
    def answer(lines: list[bytes]) -> Told:
        detail = {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "field_violations": [{"field": "page_id", "description": "none came", "reason": "missing_page_id"}],
        }
        if b'{"id":"e7"}' not in lines:
            return batch_answer(len(lines))
        return batch_answer(
            len(lines) - 1, {"index": lines.index(b'{"id":"e7"}'), "code": 3, "message": "missing page_id", "details": [detail]}
        )

    outcomes, _ = sent(answer, numbered(10), events_max=3)
    assert [outcome.index for outcome in outcomes] == list(range(10))
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert [(one.index, one.status, one.message) for one in refused] == [(7, 400, "missing page_id")]
    assert refused[0].violations[0].reason == "missing_page_id"


def test_warnings_of_a_test_platform_are_counted_for_their_event() -> None:
    weak = [{"reason": reason, "field": "", "description": "weak"} for reason in ("missing_id", "old_timestamp")]
    event = {"event_type": "HOME", "channel_type": "SITE", "timestamp": 1617870506121}
    reports = [{"index": 1, "test": {"event": event, "warnings": weak}}]
    outcomes, _ = sent(lambda lines: batch_answer(len(lines), reports=reports), numbered(2))
    assert outcomes == [Accepted(index=0, warnings=0), Accepted(index=1, warnings=2)]


def test_throttled_events_go_again_after_the_time_that_was_asked_for() -> None:
    def answer(lines: list[bytes]) -> Told:
        throttled = [{"index": index, "code": 8, "message": "slow"} for index in range(1, len(lines))]
        return batch_answer(1, *throttled, retry_after="3" if throttled else "")

    patience = Patience()
    outcomes, posts = sent(answer, numbered(8), patience=patience)
    assert outcomes == [Accepted(index=index, warnings=0) for index in range(8)]
    assert [len(lines) for _, _, lines in posts] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert patience.pauses_s == [3.0] * 7


def test_events_that_stay_throttled_are_given_up_in_the_end() -> None:
    outcomes, posts = sent(
        lambda lines: batch_answer(0, *({"index": index, "code": 8, "message": "slow"} for index in range(len(lines)))),
        numbered(2),
    )
    assert [(outcome.index, outcome.status) for outcome in outcomes if isinstance(outcome, Refused)] == [(0, 429), (1, 429)]
    assert len(posts) == 5


def test_an_unavailable_receiver_gets_the_same_bytes_again_after_at_least_five_seconds() -> None:
    answers = iter([Told(503), Told(500)])
    patience = Patience()
    outcomes, posts = sent(lambda lines: next(answers, batch_answer(len(lines))), numbered(3), patience=patience)
    assert len(outcomes) == 3
    assert posts[0] == posts[1] == posts[2]
    assert patience.pauses_s == [5.0, 10.0]


def test_a_batch_that_is_too_large_is_halved_until_it_fits() -> None:
    outcomes, posts = sent(lambda lines: Told(413) if len(lines) > 2 else batch_answer(len(lines)), numbered(7))
    assert outcomes == [Accepted(index=index, warnings=0) for index in range(7)]
    assert max(len(lines) for _, _, lines in posts[1:]) <= 4


def test_one_event_that_is_too_large_is_refused_alone() -> None:
    lines = lines_of(b'{"id":"a"}', b'{"id":"' + b"x" * 100 + b'"}', b'{"id":"c"}')
    outcomes, _ = sent(lambda came: Told(413) if any(len(line) > 100 for line in came) else batch_answer(len(came)), lines)
    assert [getattr(outcome, "status", 200) for outcome in outcomes] == [200, 413, 200]


def test_a_line_that_no_receiver_takes_is_not_sent() -> None:
    lines = lines_of(b'{"id":"a"}', b"x" * (LINE_BYTES_MAX + 1))
    outcomes, posts = sent(lambda came: batch_answer(len(came)), lines)
    assert [getattr(outcome, "status", 200) for outcome in outcomes] == [200, 413]
    assert posts[0][2] == [b'{"id":"a"}']


@pytest.mark.parametrize("openapi", [None, FOOTFALL_WITHOUT_BATCHES])
def test_a_receiver_that_does_not_say_it_takes_batches_is_sent_none(openapi: Mapping[str, Any] | None) -> None:
    with BatchReceiver(lambda lines: batch_answer(len(lines)), openapi=openapi) as receiver:
        with pytest.raises(NoBatchesError):
            list(BatchSender(receiver.settings, events_max=10, wait=Patience()).send_all(numbered(2)))
        assert receiver.posts == []


def test_a_404_of_a_receiver_that_has_the_route_is_about_the_platform() -> None:
    with pytest.raises(Stopped) as stopped:
        sent(lambda lines: Told(404, b'{"message":"no platform SHOP"}'), numbered(2), openapi=FOOTFALL)
    assert stopped.value.refused is not None
    assert (stopped.value.line.number, stopped.value.refused.status) == (1, 404)


@pytest.mark.parametrize(
    "body",
    [
        b'{"accepted":1}',
        b'{"accepted":3,"rejected":[{"index":0,"code":3,"message":""}]}',
        b'{"accepted":2,"rejected":[{"index":9,"code":3,"message":""}]}',
        b'{"accepted":1,"rejected":[{"index":1,"code":3,"message":""},{"index":1,"code":3,"message":""}]}',
        b"<html>",
    ],
)
def test_an_answer_that_does_not_speak_of_each_event_once_is_taken_for_none(body: bytes) -> None:
    with pytest.raises(Stopped) as stopped:
        sent(lambda lines: Told(200, body), numbered(3), openapi=FOOTFALL)
    assert stopped.value.refused is None


def test_a_wrong_key_stops_at_the_first_line_of_its_batch_and_the_key_is_not_told() -> None:
    with pytest.raises(Stopped) as stopped:
        sent(lambda lines: Told(403, b'{"message":"the key sesame is unknown"}'), numbered(2))
    assert stopped.value.refused is not None
    assert "sesame" not in stopped.value.refused.message


def test_batches_are_bounded_in_events_and_in_bytes() -> None:
    lines = lines_of(b"a" * 10, b"b" * 10, b"c" * 100, b"d", b"e", b"f")
    assert [[line.index for line in batch] for batch in batched(lines, events_max=2, bytes_max=40)] == [[0, 1], [2], [3, 4], [5]]
    assert list(batched([], events_max=2)) == []
