"""Outages, to the second: when a sender tries, what it keeps, and how it comes back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from footfall.delivery.transport import Response
from footfall.errors import NetworkError
from tests.unit.delivery.rig import OK, Bench, answer, parcel

FAILURES: dict[str, Response | NetworkError] = {
    "503": answer(503),
    "no answer": NetworkError("no answer from 127.0.0.1:1: the connection was refused"),
}
SCHEDULE_S = [0, 5, 15, 35, 75, 155, 315, 1215, 2115, 3015]
"""At once, after 5, 10, 20, 40, 80 and 160 s, and then each quarter of an hour."""


def print_timeline(bench: Bench) -> None:
    """For `pytest -s`: what the outage looked like."""
    per_second = Counter(int(one.at_s) for one in bench.receiver.attempts)
    for second, posts in sorted(per_second.items()):
        print(f"{second:6d} s  {posts:6d} post{'s' if posts > 1 else ''}")
    for at_s, course in bench.told:
        print(f"{at_s:6.0f} s  told: {course.phase} {course.message}")


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_forty_minutes_of_outage_are_ten_attempts_and_then_a_drain_at_a_rising_rate_in_order(
    failure: Response | NetworkError,
) -> None:
    bench = Bench(
        lambda ids, at_s: failure if at_s < 2400 else OK,
        [parcel(number, lane=7) for number in range(500)],
    )
    bench.run(3_600)
    print_timeline(bench)

    assert bench.times_s()[:10] == SCHEDULE_S
    assert bench.shelf.delivered_ids == [f"e{number}" for number in range(500)]
    drained_s = [at_s - 3015 for at_s in bench.times_s()[10:]]
    per_second = Counter(int(at_s) for at_s in drained_s)
    assert per_second[0] in range(9, 12)  # 10 events a second
    for second, after in pairwise(range(5)):
        assert 1.7 < per_second[after] / per_second[second] < 2.4
    assert [course.phase for _, course in bench.told] == ["retrying", "open", "flowing"]
    bench.assert_balance(500)


def test_an_hour_of_outage_costs_a_dozen_posts_and_no_event(outage_s: float = 3600) -> None:
    """W2: little is sent in vain, one probe at a time, and the order of each lane is kept."""
    parcels = [parcel(number, lane=number % 50) for number in range(20_000)]
    bench = Bench(lambda ids, at_s: answer(503) if at_s < outage_s else OK, parcels)
    bench.run(5_000)
    in_vain = [one for one in bench.receiver.attempts if one.at_s < outage_s]
    assert [round(one.at_s) for one in in_vain] == SCHEDULE_S
    assert len(bench.receiver.attempts) == 20_000 + len(in_vain)
    assert bench.times_s()[len(in_vain)] == 3915
    for lane in range(50):
        mine = [event_id for event_id in bench.shelf.delivered_ids if int(event_id[1:]) % 50 == lane]
        assert mine == sorted(mine, key=lambda event_id: int(event_id[1:]))
    # Twenty thousand events are through within a quarter of a minute of the first that was taken.
    assert bench.now_s - 3915 < 15
    bench.assert_balance(20_000)


def test_what_comes_during_an_outage_is_kept_and_read_only_as_far_as_the_bound() -> None:
    bench = Bench(lambda ids, at_s: answer(500), [parcel(number) for number in range(10_000)])
    bench.run(3_000)
    assert bench.pump.loaded == 4_000
    assert bench.shelf.delivered_ids == []
    assert bench.shelf.refusals == {}
    bench.assert_balance(10_000)


def test_every_second_probe_is_of_another_lane() -> None:
    bench = Bench(lambda ids, at_s: answer(503), [parcel(number) for number in range(5)])
    bench.run(100)
    assert [one.ids[0] for one in bench.receiver.attempts] == ["e0", "e0", "e1", "e0", "e2"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_expires_overnight_is_said_once_and_costs_nothing(status: int) -> None:
    night_s = 9 * 3600.0
    parcels = [parcel(number) for number in range(3_000)]
    said = "key expired at 22:00"
    bench = Bench(lambda ids, at_s: answer(status, said) if at_s < night_s else OK, parcels)
    bench.run(night_s + 7_200)

    assert bench.times_s()[:37] == [900 * probe for probe in range(37)]
    assert [course.phase for _, course in bench.told] == ["paused", "flowing"]
    message = bench.told[0][1].message
    assert "key" in message
    assert said in message
    assert "key-of-shop" not in message
    assert bench.told[0][1].status == status
    assert bench.shelf.refusals == {}
    assert len(bench.shelf.delivered_ids) == 3_000
    bench.assert_balance(3_000)


def test_another_reason_to_pause_is_another_message_and_the_same_one_is_not() -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        return answer(401 if at_s < 2_000 else 403 if at_s < 4_000 else 401)

    bench = Bench(judge, [parcel(1)])
    bench.run(9_000)
    assert [(course.phase, course.status) for _, course in bench.told] == [("paused", 401), ("paused", 403)]


def test_a_failure_after_a_pause_begins_the_schedule_anew() -> None:
    bench = Bench(lambda ids, at_s: answer(403) if at_s < 900 else answer(503) if at_s < 920 else OK, [parcel(1)])
    bench.run(10_000)
    assert bench.times_s() == [0, 900, 905, 915, 935]


def test_jitter_only_lengthens_and_by_a_tenth_at_most() -> None:
    bench = Bench(lambda ids, at_s: answer(503), [parcel(1)], random=lambda: 0.999)
    bench.run(320)
    waits_s = [after - before for before, after in pairwise(bench.times_s())]
    for wait_s, published_s in zip(waits_s, (5, 10, 20, 40, 80), strict=False):
        assert published_s < wait_s <= published_s * 1.1


def test_an_idle_pump_waits_as_long_as_it_is_told_and_asks_nobody_anything() -> None:
    bench = Bench(lambda ids, at_s: OK, batch=None)
    assert bench.pump.turn(30) is False
    assert bench.now_s == 30
    assert bench.receiver.attempts == []


def test_one_failure_among_many_that_get_through_holds_its_lane_and_not_the_stream() -> None:
    """The receiver took what was sent after the event that failed: it lives."""
    failing = {"e40"}

    def judge(ids: list[str], at_s: float) -> Response:
        return answer(503) if failing & set(ids) and at_s < 3 else OK

    latencies = iter([0.010 + 0.0001 * (number % 7) for number in range(10_000)])
    bench = Bench(judge, [parcel(number) for number in range(2_000)], latency_s=lambda: next(latencies))
    bench.run(60)
    first, second = bench.times_s("e40")
    assert 5 <= second - first < 5.1
    others = [one.at_s for one in bench.receiver.attempts if "e40" not in one.ids]
    assert max(others) < 2
    bench.assert_balance(2_000)
