"""What `footfall doctor` makes of an answer: the same door, asked by a clock and a receiver of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from footfall.cli.consultation import Question, consult
from footfall.cli.findings import Finding, Unreachable
from footfall.clock import ManualClock, SystemClock
from tests.unit.cli.batch_receiver import FOOTFALL, BatchReceiver, Told


def asked(status: int, *, openapi: Mapping[str, Any] | None = None, ahead_s: float = 0.0) -> dict[str, Finding]:
    """Every finding by its check, with a clock that is `ahead_s` of the receiver's."""
    clock = ManualClock(SystemClock().now_ms() + round(ahead_s * 1000))
    with BatchReceiver(lambda lines: Told(status, b'{"message":"so"}'), openapi=openapi) as receiver:
        question = Question(settings=receiver.settings, tries_key=True, sends=False)
        return {finding.check: finding for finding in consult(question, clock=clock)}


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (400, "ok", "opens SHOP"),
        (429, "warn", "too much"),
        (200, "warn", "User Event API"),
        (401, "fail", "X-API-Key"),
        (403, "fail", "exactly this platform id"),
        (404, "fail", "--platform"),
        (405, "fail", "POST"),
        (302, "fail", "--url"),
        (415, "fail", "Content-Type"),
    ],
)
def test_each_answer_to_no_event_is_explained(status: int, state: str, words: str) -> None:
    finding = asked(status)["key"]
    assert finding.state == state
    assert words in f"{finding.finding} {finding.cure}"


@pytest.mark.parametrize("status", [500, 503])
def test_a_receiver_that_fails_is_unreachable(status: int) -> None:
    with pytest.raises(Unreachable) as end:
        asked(status)
    assert (end.value.finding.check, end.value.finding.state) == ("key", "fail")


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0, "ok"), (20, "ok"), (120, "warn"), (400, "fail"), (-20, "ok"), (-120, "warn"), (-4_000, "warn")]
)
def test_a_clock_too_far_ahead_must_be_mended_for_its_events_are_refused(ahead_s: float, state: str) -> None:
    finding = asked(400, ahead_s=ahead_s)["clock"]
    assert finding.state == state
    assert state != "fail" or "invalid timestamp" in finding.cure


def test_a_footfall_is_told_from_the_original_by_its_document() -> None:
    assert asked(400, openapi=FOOTFALL)["service"].finding == "Footfall 9, which takes batches"
    original = asked(400)["service"]
    assert (original.state, "no Footfall" in original.finding) == ("ok", True)
    assert asked(400, openapi={"info": {}})["service"].state == "warn"


def test_the_key_stays_out_of_reprs() -> None:
    with BatchReceiver(lambda lines: Told(400)) as receiver:
        assert "sesame" not in repr(Question(settings=receiver.settings, tries_key=True, sends=True))
