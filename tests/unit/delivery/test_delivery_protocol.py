"""The failure protocol as a function: statuses to verdicts, verdicts to waits and rates."""

from __future__ import annotations

import math

import pytest

from footfall.delivery.protocol import Course, Phase, Policy, Verdict, after, rate_at, verdict_of, verdict_on
from footfall.delivery.transport import Response
from footfall.errors import NetworkError

POLICY = Policy()
OUT_OF_FLOW: tuple[Phase, ...] = ("retrying", "open", "paused")


def fold(*verdicts: Verdict, hint_s: float | None = None, now_s: float = 100.0, course: Course | None = None) -> Course:
    course = course or Course()
    for verdict in verdicts:
        course = after(course, verdict, now_s=now_s, hint_s=hint_s, policy=POLICY, random=lambda: 0.0)
    return course


def test_every_status_there_is_has_one_verdict() -> None:
    refused = {400, 413, 415, 422}
    nobody = {408, 425, 499}
    for status in range(100, 600):
        expected = (
            Verdict.FAILED
            if status < 200 or status >= 500 or status in nobody
            else Verdict.ACCEPTED
            if status < 300
            else Verdict.THROTTLED
            if status == 429
            else Verdict.REFUSED
            if status in refused
            else Verdict.BARRED
        )
        assert verdict_on(status) is expected
        assert verdict_of(Response(status=status)) is expected
    assert verdict_of(NetworkError("no answer")) is Verdict.FAILED


@pytest.mark.parametrize(
    ("failures", "phase", "wait_s"),
    [(1, "retrying", 5), (2, "retrying", 10), (3, "retrying", 20), (4, "retrying", 40), (5, "retrying", 80),
     (6, "retrying", 160), (7, "open", 900), (8, "open", 900), (1_000, "open", 900)],
)  # fmt: skip
def test_the_wait_after_so_many_failures_in_a_row(failures: int, phase: str, wait_s: float) -> None:
    course = fold(*[Verdict.FAILED] * failures)
    assert (course.phase, course.failures, course.not_before_s) == (phase, failures, 100 + wait_s)


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.THROTTLED])
@pytest.mark.parametrize("phase", OUT_OF_FLOW)
def test_a_receiver_that_judges_an_event_is_alive(phase: Phase, verdict: Verdict) -> None:
    course = fold(verdict, course=Course(phase=phase, failures=3, not_before_s=100, status=503, message="down"))
    assert course.phase == "flowing"
    assert (course.failures, course.status, course.message) == (0, 0, "")
    assert rate_at(course, now_s=100, policy=POLICY) == 10


def test_while_all_is_well_nothing_changes() -> None:
    assert fold(Verdict.ACCEPTED, Verdict.REFUSED, Verdict.ACCEPTED) == Course()


@pytest.mark.parametrize("phase", OUT_OF_FLOW)
def test_what_somebody_must_mend_pauses_from_everywhere(phase: Phase) -> None:
    course = fold(Verdict.BARRED, course=Course(phase=phase, failures=4))
    assert (course.phase, course.not_before_s) == ("paused", 1_000)


@pytest.mark.parametrize(("hint_s", "wait_s"), [(None, 5), (0, 5), (4.9, 5), (6, 6), (86_400, 86_400), (1e12, 86_400)])
def test_a_hint_only_lengthens_and_by_a_day_at_most(hint_s: float | None, wait_s: float) -> None:
    assert fold(Verdict.FAILED, hint_s=hint_s).not_before_s == 100 + wait_s
    assert fold(Verdict.BARRED, hint_s=hint_s).not_before_s == 100 + max(wait_s, 900)


def test_the_rate_after_trouble_doubles_each_second_and_ends_without_limit() -> None:
    course = fold(Verdict.FAILED, Verdict.ACCEPTED)
    rates = [rate_at(course, now_s=100 + second, policy=POLICY) for second in range(18)]
    assert rates[:5] == [10, 20, 40, 80, 160]
    assert rates[16] == 655_360
    assert rates[17] == math.inf
    assert rate_at(course, now_s=1e9, policy=POLICY) == math.inf


def test_a_throttled_stream_goes_on_at_half_of_what_went_through_and_recovers_by_a_tenth_a_second() -> None:
    course = after(Course(), Verdict.THROTTLED, now_s=100, hint_s=None, policy=POLICY, random=lambda: 0.0, rate_seen=200)
    assert course.phase == "flowing"
    assert [rate_at(course, now_s=100 + second, policy=POLICY) for second in range(3)] == pytest.approx([100, 110, 121])
    for _ in range(20):
        course = after(course, Verdict.THROTTLED, now_s=100, hint_s=None, policy=POLICY, random=lambda: 0.0, rate_seen=200)
    assert course.rate == 1  # never less
