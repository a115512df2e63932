"""429: a shopper who is too fast waits alone; a stream that is too fast slows down, and finds its rate again."""

from __future__ import annotations

from collections import Counter

import pytest

from footfall.delivery.transport import Response
from tests.unit.delivery.rig import OK, Bench, answer, batch_answer, parcel


def test_one_throttled_shopper_does_not_hold_the_others() -> None:
    parcels = [parcel(number, lane=0 if number % 10 == 0 else number) for number in range(1_000)]
    bench = Bench(
        lambda ids, at_s: answer(429, retry_after="20") if at_s < 10 and ids[0].endswith("0") else OK,
        parcels,
        latency_s=lambda: 0.005,
    )
    bench.run(1)
    assert len(bench.shelf.delivered_ids) == 900
    assert bench.times_s("e0") == [0]
    bench.run(100)
    throttled = [event_id for event_id in bench.shelf.delivered_ids if event_id.endswith("0")]
    assert throttled == [f"e{number}" for number in range(0, 1_000, 10)]
    assert bench.times_s("e0") == [0, 20.005]
    bench.assert_balance(1_000)


@pytest.mark.parametrize(("hint", "second_s"), [("0", 1), ("", 1), ("7", 7)])
def test_a_throttled_event_goes_again_after_retry_after_or_a_second(hint: str, second_s: float) -> None:
    bench = Bench(lambda ids, at_s: answer(429, retry_after=hint) if at_s < 1 else OK, [parcel(1)])
    bench.run(100)
    assert bench.times_s() == [0, second_s]


def test_a_stream_that_is_too_fast_settles_near_the_rate_that_is_allowed() -> None:
    """The platform allows 200 events a second; nothing is lost and little is sent in vain."""
    allowed = Allowance(200)
    bench = Bench(allowed.judge, [parcel(number) for number in range(20_000)], latency_s=lambda: 0.01)
    bench.run(300)
    in_vain = len(bench.receiver.attempts) - len(bench.shelf.delivered_ids)
    assert len(bench.shelf.delivered_ids) == 20_000
    assert bench.now_s < 200  # 100 s at the rate that is allowed
    assert in_vain / len(bench.receiver.attempts) < 0.05
    bench.assert_balance(20_000)


def test_the_rate_recovers_when_nothing_is_throttled_any_more() -> None:
    allowed = Allowance(50)

    def judge(ids: list[str], at_s: float) -> Response:
        return allowed.judge(ids, at_s) if at_s < 20 else OK

    bench = Bench(judge, [parcel(number) for number in range(30_000)], latency_s=lambda: 0.01)
    bench.run(20)
    slow = len(bench.shelf.delivered_ids)
    bench.run(120)
    assert slow < 50 * 25
    assert len(bench.shelf.delivered_ids) == 30_000


def test_events_of_a_batch_that_were_throttled_go_again_and_the_rest_is_done() -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        throttled = {event_id: 8 for event_id in ids if at_s < 3 and event_id in ("e2", "e5")}
        return batch_answer(ids, throttled, retry_after="4")

    bench = Bench(judge, [parcel(number, lane=number % 3) for number in range(9)], batch=True)
    bench.run(100)
    assert sorted(bench.shelf.delivered_ids) == sorted(f"e{number}" for number in range(9))
    assert bench.times_s("e2")[1] - bench.times_s("e2")[0] == pytest.approx(4, abs=0.1)
    lane = [event_id for event_id in bench.shelf.delivered_ids if event_id in ("e2", "e5", "e8")]
    assert lane.index("e2") < lane.index("e5")
    bench.assert_balance(9)


def test_what_is_throttled_within_a_second_slows_the_stream_down_once() -> None:
    """The receiver refuses for half a second, many round trips long; what the stream did before counts for more."""
    bench = Bench(
        lambda ids, at_s: answer(429) if 2 <= at_s < 2.5 else OK,
        [parcel(number) for number in range(9_000)],
        latency_s=lambda: 0.05,
    )
    bench.run(5)
    posts = Counter(int(at_s) for at_s in bench.times_s())
    assert posts[1] > 600
    assert posts[3] > posts[1] * 0.45


class Allowance:
    """A bucket of a tenth of a second's events, filled at `rate`."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._tokens = rate / 10
        self._at_s = 0.0

    def judge(self, ids: list[str], at_s: float) -> Response:
        self._tokens = min(self._rate / 10, self._tokens + (at_s - self._at_s) * self._rate)
        self._at_s = at_s
        if self._tokens < 1:
            return answer(429)
        self._tokens -= 1
        return OK
