"""Who waits hinders nobody: not the lanes beside it, and not the look at what came."""

from __future__ import annotations

import pytest

from footfall.delivery.lanes import Lanes
from footfall.delivery.protocol import Policy
from footfall.delivery.transport import Response
from footfall.errors import NetworkError
from tests.unit.delivery.rig import OK, Bench, answer, parcel


@pytest.mark.parametrize("status", [429, 403, 503])
def test_a_lane_that_waits_with_more_than_the_bound_behind_it_does_not_starve_the_others(status: int) -> None:
    """Every second event is of one shopper, whose first one is never taken; alone they are five times the bound."""
    bench = Bench(
        lambda ids, at_s: answer(status) if "e51" in ids else OK,
        [parcel(number, lane=1 if number % 2 else number) for number in range(51, 1_051)],
        policy=Policy(loaded_max=100),
        latency_s=lambda: 0.01,
    )
    bench.shelf.stock.extendleft(parcel(number) for number in range(50))
    bench.run(899)
    others = [event_id for event_id in bench.shelf.delivered_ids if int(event_id[1:]) > 50 and int(event_id[1:]) % 2 == 0]
    assert len(others) == 500
    bench.assert_balance(1_050)


def test_what_stands_behind_a_blocked_lane_is_bounded_in_bytes() -> None:
    bench = Bench(
        lambda ids, at_s: answer(429),
        [parcel(number, lane=1, size=1_000) for number in range(1_000)],
        policy=Policy(loaded_max=10, loaded_bytes_max=100_000),
    )
    bench.run(100)
    assert 10 < bench.pump.loaded < 200


def test_parcels_are_held_while_their_lane_is_on_its_way_or_waits() -> None:
    lanes = Lanes()
    lanes.load([parcel(0, lane=1), parcel(1, lane=1), parcel(2, lane=1), parcel(3, lane=2)])
    first = lanes.pick(events_max=1, bytes_max=1_000, shares={})
    assert lanes.count_held() == 0
    lanes.pick(events_max=1, bytes_max=1_000, shares={})
    assert (lanes.count, lanes.count_held()) == (2, 2)
    lanes.put_back(first, until_s=10.0)
    lanes.release({1})
    assert (lanes.count, lanes.count_held()) == (3, 3)
    lanes.ripen(10.0)
    assert (lanes.count, lanes.count_held()) == (3, 0)
    assert len(lanes.pick(events_max=9, bytes_max=1_000, shares={})) == 3
    assert (lanes.count, lanes.count_held()) == (0, 0)


def test_a_turn_that_is_slow_to_send_looks_at_the_failure_before_it_sends_more() -> None:
    """A receiver that swallows connections: each attempt blocks for as long as a connection may take."""

    def judge(ids: list[str], at_s: float) -> Response | NetworkError:
        if at_s < 10:
            return OK
        bench.clock.advance(5.0)
        return NetworkError("no answer from 127.0.0.1:1: nothing complete within 5 s")

    bench = Bench(judge, [parcel(number) for number in range(100)])
    bench.run(9)
    bench.clock.advance(20.0)
    bench.shelf.stock.extend(parcel(number) for number in range(100, 4_000))
    while bench.pump.course.phase == "flowing":
        began_s = bench.now_s
        bench.pump.turn(1.0)
        assert bench.now_s - began_s <= 5
    assert bench.pump.course.phase == "retrying"
    assert len([one for one in bench.receiver.attempts if one.at_s > 10]) == 1
