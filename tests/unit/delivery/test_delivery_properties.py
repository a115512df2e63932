"""Under random faults every event is delivered or refused, exactly once, and each lane in its order."""

from __future__ import annotations

import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.delivery.protocol import Policy
from footfall.delivery.transport import Response
from footfall.errors import NetworkError
from tests.unit.delivery.rig import FOOTFALL, Bench, answer, batch_answer, parcel

STATUSES = [400, 401, 403, 404, 408, 413, 422, 425, 429, 500, 502, 503, 0]
HEALTHY_AFTER_S = 5_000.0


class Fickle:
    """A receiver that fails as the dice fall, first of whole requests, then of single events; sound after a while.

    It writes down what it stored, each event the first time. Some failures come after the storing, as they do. A throttled
    identifier stays throttled for the rest of a batch, and events of a batch are judged in their order.
    """

    def __init__(self, seed: int, *, share: float, lanes: int) -> None:
        self._random = random.Random(seed)
        self._share = share
        self._lanes = lanes
        self.stored: list[str] = []
        self.refused: set[str] = set()

    def judge(self, ids: list[str], at_s: float) -> Response | NetworkError:
        is_batch = bool(self.bench.receiver.attempts[-1].url.endswith(":batch"))
        if at_s >= HEALTHY_AFTER_S or self._random.random() >= self._share:
            return self._each(ids, at_s) if is_batch else self._stored(ids)
        status = self._random.choice(STATUSES)
        if status in (0, 500, 502) and self._random.random() < 0.5:
            self._stored(ids)
        if status in (400, 413, 422) and len(ids) == 1:
            self.refused.update(ids)
        hint = self._random.choice(["", "1", "30"])
        return answer(status, retry_after=hint) if status else NetworkError("no answer")

    def _each(self, ids: list[str], at_s: float) -> Response:
        codes: dict[str, int] = {}
        throttled: set[int] = set()
        for event_id in ids:
            lane = int(event_id[1:]) % self._lanes
            dice = self._random.random() if at_s < HEALTHY_AFTER_S else 1.0
            if lane in throttled or dice < 0.05:
                throttled.add(lane)
                codes[event_id] = 8
            elif dice < 0.08:
                codes[event_id] = 3
                self.refused.add(event_id)
            else:
                self._stored([event_id])
        return batch_answer(ids, codes)

    def _stored(self, ids: list[str]) -> Response:
        self.stored += [event_id for event_id in ids if event_id not in self.stored]
        return batch_answer(ids, {})

    bench: Bench


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 120),
    lanes=st.sampled_from([1, 2, 7, 40, 500]),
    share=st.sampled_from([0.01, 0.1, 0.4, 0.8]),
    batch=st.sampled_from([True, False, None]),
    latency_s=st.sampled_from([0.0, 0.05, 3.0]),
    loaded_max=st.sampled_from([1, 10, 4_000]),
)
def test_every_event_is_settled_once_and_lanes_keep_their_order(
    seed: int, count: int, lanes: int, share: float, batch: bool | None, latency_s: float, loaded_max: int
) -> None:
    receiver = Fickle(seed, share=share, lanes=lanes)
    delays = random.Random(seed + 1)
    bench = receiver.bench = Bench(
        receiver.judge,
        [parcel(number, lane=number % lanes) for number in range(count)],
        batch=batch,
        document=FOOTFALL,
        latency_s=lambda: delays.random() * latency_s,
        policy=Policy(loaded_max=loaded_max, batch_events_max=20),
        random=random.Random(seed + 2).random,
    )
    bench.run(HEALTHY_AFTER_S + 200_000)

    assert bench.pump.loaded == 0
    bench.assert_balance(count)
    delivered, refused = set(bench.shelf.delivered_ids), set(bench.shelf.refusals)
    assert len(bench.shelf.delivered_ids) == len(delivered)
    assert delivered | refused == {f"e{number}" for number in range(count)}
    assert not delivered & refused
    assert delivered <= set(receiver.stored)
    own = {event_id for event_id, refusal in bench.shelf.refusals.items() if refusal.status not in (400, 413, 422)}
    assert refused - own <= receiver.refused
    first: dict[int, list[int]] = defaultdict(list)
    for event_id in receiver.stored:
        first[int(event_id[1:]) % lanes].append(int(event_id[1:]))
    for numbers in first.values():
        assert numbers == sorted(numbers)
