"""The engine: takes parcels from a source, sends them as the course allows, and tells the source what became of each.

    turn():  send what may go ─▶ take more (reading ahead while answers are due) ─▶ wait ─▶ settle what came

One thread, no lock, no clock of its own. Invariants:
- Every parcel taken is told as delivered or refused exactly once, or is still in hand (`loaded`) and thus still the source's.
- Parcels of one lane arrive one after another: in single mode one request of a lane is on its way at a time, in batch mode two
  batches on their way share no lane, and a parcel that comes back goes first in its lane. (Within a batch the receiver keeps the
  order; one that throttles an identifier throttles the rest of it in that batch too, as Footfall does.)
- Out of "flowing" one single event is on its way, as a probe, and in a post of its own, which every receiver takes. What was sent
  before trouble began says nothing about it: such failures do not count again, such successes do not end it. One exception: when
  one event failed and one that was sent after it was taken, the receiver lives, and the stream goes on without that lane.
- What is in hand is bounded by the policy: in bytes, and in parcels but for those that stand behind a blocked lane. These do not
  count, for one lane that waits must not keep the others from being taken.
- A turn that is slow to send (a receiver that swallows connections) looks at what came before it sends more.

An event that fails by itself (troubles.py says when) is no reason to hold the others: its lane alone waits, by the schedule of
the failure protocol, and when it has failed so more than `failures_max` times it is set aside. So that this can be known in time,
every second probe is of another lane. A batch that fails by itself is halved until the event is found, as is one of 413. Where
somebody would have to mend something (401, 403, 404, 405, 407, redirects and the like) such an event is tried once in a quarter
of an hour, and set aside after an hour and a half in which others got through: a firewall dislikes its search query, say, and it
would hold its lane, and the disk of its source, for ever. While nobody gets through, that is while it is the stream's fault,
nothing is set aside, however long it lasts.
"""

from __future__ import annotations

import math
import random as randomness
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.delivery.address import Address
from footfall.delivery.answers import read_batch_answer
from footfall.delivery.api import Done, Exchanges, Parcel, Source
from footfall.delivery.inquiry import ABOUT_THE_ROUTE, Inquiry
from footfall.delivery.lanes import Item, Lanes
from footfall.delivery.pace import Pace
from footfall.delivery.problems import Problem, problem_of, problems_in
from footfall.delivery.protocol import (
    Course,
    Policy,
    Verdict,
    after,
    backoff_s,
    lengthened,
    throttle_wait_s,
    verdict_of,
)
from footfall.delivery.transport import Response
from footfall.delivery.troubles import Troubles
from footfall.errors import NetworkError

_TAKE_MAX: Final = 100
"""Parcels asked for at once. Between two helpings there is a look at the network, and the threads of a shop get their turn."""
_LONG_S: Final = 0.1
"""Sending for longer than this, a turn looks at what came first: the next connection may fail as slowly as this one did."""
_SOON_S: Final = 1e-6
"""Less than this is now: adding what is left until a moment to the time does not always reach the moment."""
_SLOW_AGAIN_S: Final = 1.0
"""The stream is slowed down once in this time: until a slower rate shows, answers speak of the one before."""
_UNREADABLE: Final = NetworkError(
    "the answer to a batch does not say what became of each event; some may be stored, so they go again with the same ids"
)


class _Flight:
    """One request on its way; `number` counts them. Without items it is the question of the inquiry."""

    __slots__ = ("is_batch", "items", "lanes", "number")

    def __init__(self, number: int, items: list[Item], *, is_batch: bool) -> None:
        self.number = number
        self.items = items
        self.lanes = {item[1].lane for item in items}
        self.is_batch = is_batch


class Pump:
    """Moves parcels from one source to one address. `turn` is called again and again, by one thread."""

    def __init__(
        self,
        source: Source,
        *,
        exchanges: Exchanges,
        address: Address,
        policy: Policy = Policy(),  # noqa: B008  frozen
        clock: Clock,
        random: Callable[[], float] = randomness.random,
        tell: Callable[[Course], None] | None = None,
    ) -> None:
        """`tell` is called from within `turn`: once when the phase changes, not for each probe, and never twice the same while
        trouble lasts."""
        self._source = source
        self._exchanges = exchanges
        self._address = address
        self._policy = policy
        self._clock = clock
        self._random = random
        self._tell = tell
        self._told: set[tuple[str, int]] = set()
        self._single, self._batched = address.form(batch=False), address.form(batch=True)
        self._inquiry = Inquiry(address.batch)
        self._lanes = Lanes()
        self._troubles = Troubles()
        self._pace = Pace(policy)
        self._delivered: list[Parcel] = []
        self._loaded_bytes = 0
        self._event_bytes = 1024
        self._flying = 0
        self._flying_events = 0
        self._window = 1
        self._started_s = self._slowed_s = -math.inf
        self._probes = 0
        self._course = Course()
        self._course_before = self._course
        # What follows are numbers of requests: the newest that was sent, the newest that was taken, the newest that was sent
        # before the course changed, the one whose failure changed it, and the newest sent before the stream was slowed down.
        self._started = self._accepted = self._since = self._failed = self._slowed = 0

    @property
    def course(self) -> Course:
        """Where the stream stands. May be read from any thread."""
        return self._course

    @property
    def loaded(self) -> int:
        """Parcels taken from the source that are neither delivered nor refused yet, those on their way included."""
        return self._lanes.count + self._flying_events

    def turn(self, timeout_s: float) -> bool:
        """One step, waiting `timeout_s` at most. Whether anything happened: then call again at once. Raises what the source
        raises, and nothing for the network."""
        began_s = self._clock.monotonic_s()
        moved = self._send()
        if self._load():
            moved = True
            if not self._is_long_since(began_s):
                self._send()
        done = self._exchanges.wait(0.0 if moved else self._pause_s(timeout_s))
        for one in done:
            self._settle(one)
        self._tell_source()
        self._tell_change()
        return moved or bool(done)

    # -- taking and sending

    def _load(self) -> bool:
        room = self._policy.loaded_max - self.loaded
        if room < _TAKE_MAX:
            room = min(_TAKE_MAX, room + self._lanes.count_held())
        left = self._policy.loaded_bytes_max - self._loaded_bytes
        room = min(room, _TAKE_MAX, max(left // self._event_bytes, 0 if self._loaded_bytes else 1))
        parcels = self._source.take(parcels_max=room) if room > 0 else ()
        if not parcels:
            return False
        size = sum([len(parcel.body) for parcel in parcels])
        self._loaded_bytes += size
        self._event_bytes = max(1, size // len(parcels))
        self._lanes.load(parcels)
        return True

    def _send(self) -> bool:
        now_s = self._clock.monotonic_s()
        self._lanes.ripen(now_s + _SOON_S)
        if not self._lanes.can_pick:
            return False
        if self._course.phase != "flowing":
            return self._probe(now_s)
        inquiry = self._inquiry
        asked = inquiry.is_due(now_s)
        if asked:
            self._ask()
            if self._is_long_since(now_s):
                return True
        return asked if inquiry.blocks else self._stream(now_s) or asked

    def _ask(self) -> None:
        self._inquiry.asked()
        self._started += 1
        self._flying += 1
        self._exchanges.start(self._address.question(), token=_Flight(self._started, [], is_batch=False))

    def _probe(self, now_s: float) -> bool:
        """One event, alone, when its time has come: in turns the oldest, and one of another lane."""
        if now_s + _SOON_S < self._course.not_before_s or self._flying:
            return False
        items: list[Item] = []
        oldest = self._lanes.first_ready_lane
        self._probes += 1
        if self._probes % 2 == 0 and oldest is not None:
            items = self._lanes.pick_other(oldest, failures=self._troubles.failures())
        if not items:
            items = self._lanes.pick(events_max=1, bytes_max=self._policy.batch_bytes_max, shares={})
        if items:
            self._start(items, is_batch=False)
        return bool(items)

    def _stream(self, now_s: float) -> bool:
        moved = False
        while self._lanes.can_pick and (events := self._room(now_s)) > 0:
            shares = self._troubles.shares()
            items = self._lanes.pick(events_max=events, bytes_max=self._policy.batch_bytes_max, shares=shares)
            if not items:
                break
            self._start(items, is_batch=self._inquiry.batches and not (len(items) == 1 and items[0][0] in shares))
            self._started_s = now_s
            moved = True
            if self._is_long_since(now_s):
                break
        return moved

    def _is_long_since(self, began_s: float) -> bool:
        return self._clock.monotonic_s() - began_s > _LONG_S

    def _room(self, now_s: float) -> int:
        """How many events may go in the next request."""
        policy, batches = self._policy, self._inquiry.batches
        at_once = policy.batches_in_flight_max if batches else policy.in_flight_max
        if self._flying - self._inquiry.is_asking >= at_once:
            return 0
        free = min(self._window - self._flying_events, self._pace.room(self._course, now_s=now_s))
        if not batches:
            return min(1, free)
        events = min(policy.batch_events_max, -(-self._window // at_once), free)
        lingers = events > self._lanes.count and now_s + _SOON_S < self._started_s + policy.linger_s
        return 0 if lingers else events

    def _start(self, items: list[Item], *, is_batch: bool) -> None:
        form = self._batched if is_batch else self._single
        self._started += 1
        self._flying += 1
        self._flying_events += len(items)
        self._pace.spend(len(items))
        flight = _Flight(self._started, items, is_batch=is_batch)
        self._exchanges.start(form.request([item[1].body for item in items]), token=flight)

    def _pause_s(self, timeout_s: float) -> float:
        """Until something may go that may not go now."""
        now_s = self._clock.monotonic_s()
        moments = [now_s + timeout_s]
        if self._lanes.ripe_s is not None:
            moments.append(self._lanes.ripe_s)
        if self._lanes.can_pick and self._course.phase != "flowing":
            moments += [] if self._flying else [self._course.not_before_s]
        elif self._lanes.can_pick and not self._inquiry.blocks:
            if self._pace.room(self._course, now_s=now_s) < 1:
                moments.append(self._pace.next_s(self._course, now_s=now_s))
            elif self._inquiry.batches and self._started_s + self._policy.linger_s > now_s:
                moments.append(self._started_s + self._policy.linger_s)
        return max(0.0, min(moments) - now_s)

    # -- settling

    def _settle(self, done: Done) -> None:
        flight: _Flight = done.token
        now_s = self._clock.monotonic_s()
        self._flying -= 1
        if not flight.items:
            self._settle_inquiry(flight, done.result, now_s)
            return
        self._flying_events -= len(flight.items)
        verdict = verdict_of(done.result)
        if verdict is not Verdict.ACCEPTED:
            self._settle_all(flight, self._problem(done.result, verdict), now_s)
        elif not flight.is_batch:
            self._deliver(flight.items, now_s)
            self._lives(flight, now_s)
        else:
            self._settle_each(flight, done.result, now_s)
        self._lanes.release(flight.lanes)

    def _settle_inquiry(self, flight: _Flight, result: Response | NetworkError, now_s: float) -> None:
        held = self._inquiry.holds
        understood = self._inquiry.heard(result, again_s=now_s + self._policy.probe_s)
        if held and not understood and flight.number > self._since:
            self._course_before, self._failed = self._course, self._started
            self._steer(self._problem(result, Verdict.FAILED), now_s, about=())

    def _settle_all(self, flight: _Flight, problem: Problem, now_s: float) -> None:
        """One verdict, which is not yes, for the whole request."""
        items = flight.items
        if flight.is_batch and problem.status in ABOUT_THE_ROUTE:
            self._settle_without_route(flight, problem, now_s)
        elif problem.verdict is Verdict.REFUSED:
            self._lives(flight, now_s)
            if flight.is_batch:
                self._halve(items)
            else:
                self._refuse(items[0], problem)
        elif problem.verdict is Verdict.THROTTLED:
            self._throttle(flight, items, problem, now_s)
        elif not self._troubles.is_own(items, accepted=self._accepted):
            self._fail(flight, problem, now_s)
        elif len(items) > 1:
            self._troubles.failed(items, newest=self._started)
            self._halve(items)
        else:
            self._fail_alone(items[0], problem, now_s)

    def _settle_without_route(self, flight: _Flight, problem: Problem, now_s: float) -> None:
        """The batch route is none, or answers what no Footfall would."""
        if self._inquiry.asks:
            self._inquiry.distrust()
            self._lanes.put_back(flight.items)
        elif problem.verdict is Verdict.REFUSED:  # 415, of which no single event of a batch is guilty
            self._fail(flight, msgspec.structs.replace(problem, verdict=Verdict.BARRED), now_s)
        else:
            self._fail(flight, problem, now_s)

    def _settle_each(self, flight: _Flight, result: Response | NetworkError, now_s: float) -> None:
        """A 2xx to a batch: each event by itself."""
        items = flight.items
        answer = read_batch_answer(result.body, events=len(items)) if isinstance(result, Response) else None
        if answer is None or not isinstance(result, Response):
            self._settle_without_route(flight, self._problem(_UNREADABLE, Verdict.FAILED), now_s)
        elif not answer.rejected:
            self._deliver(items, now_s)
            self._lives(flight, now_s)
        else:
            self._settle_rejected(flight, problems_in(answer, result, now_ms=self._clock.now_ms()), now_s)

    def _settle_rejected(self, flight: _Flight, problems: dict[int, Problem], now_s: float) -> None:
        items = flight.items
        kinds = {problem.verdict for problem in problems.values()}
        if len(problems) == len(items) and kinds <= {Verdict.FAILED, Verdict.BARRED}:
            self._settle_all(flight, problems[0], now_s)
            return
        self._deliver([item for index, item in enumerate(items) if index not in problems], now_s)
        if kinds != {Verdict.THROTTLED} or len(problems) < len(items):
            self._lives(flight, now_s)
        for index in sorted(problems):
            if problems[index].verdict is Verdict.REFUSED:
                self._refuse(items[index], problems[index])
            elif problems[index].verdict is not Verdict.THROTTLED:
                self._fail_alone(items[index], problems[index], now_s)
        throttled = [index for index in sorted(problems) if problems[index].verdict is Verdict.THROTTLED]
        if throttled:
            self._throttle(flight, [items[index] for index in throttled], problems[throttled[0]], now_s)

    # -- what an answer means for its events

    def _deliver(self, items: Sequence[Item], now_s: float) -> None:
        self._delivered += [item[1] for item in items]
        self._pace.accepted(len(items), now_s=now_s)
        self._forget(items)

    def _refuse(self, item: Item, problem: Problem) -> None:
        self._forget([item])
        self._source.refused(item[1], problem.refusal(item[1].body, key=self._address.api_key))

    def _forget(self, items: Sequence[Item]) -> None:
        self._loaded_bytes -= sum([len(item[1].body) for item in items])
        self._troubles.forget(items)

    def _halve(self, items: Sequence[Item]) -> None:
        self._troubles.halve(items)
        self._lanes.put_back(items)

    def _throttle(self, flight: _Flight, items: Sequence[Item], problem: Problem, now_s: float) -> None:
        wait_s = throttle_wait_s(self._troubles.throttled(items), policy=self._policy)
        self._lanes.put_back(items, until_s=now_s + self._lengthened(wait_s, problem))
        self._pace.throttled({item[1].lane for item in items}, events=len(items), now_s=now_s)
        if flight.number <= self._since:
            return
        is_probe = self._course.phase != "flowing"
        is_news = flight.number > self._slowed and now_s + _SOON_S >= self._slowed_s + _SLOW_AGAIN_S
        if is_probe or (is_news and self._pace.many_are_throttled):
            self._steer(problem, now_s, about=items)
            self._slowed, self._slowed_s = self._started, now_s
            self._pace.slowed()

    def _fail(self, flight: _Flight, problem: Problem, now_s: float) -> None:
        """The stream's trouble: the beginning of it, one more probe, or known already."""
        items = flight.items
        asked_s = now_s + self._lengthened(0.0, problem)
        self._troubles.failed(items, newest=self._started, not_before_s=asked_s)
        if flight.number <= self._since and self._course.phase == "flowing":
            self._lanes.put_back(items, until_s=now_s + self._lengthened(self._policy.first_wait_s, problem))
            return
        self._lanes.put_back(items)
        if flight.number > self._since:
            if self._course.phase == "flowing":
                self._course_before, self._failed = self._course, flight.number
            self._steer(problem, now_s, about=items)

    def _fail_alone(self, item: Item, problem: Problem, now_s: float) -> None:
        alone, in_a_row = self._troubles.failed_alone(item, newest=self._started, accepted=self._accepted)
        if alone > self._policy.failures_max:
            self._refuse(item, problem)
            return
        is_long = problem.verdict is Verdict.BARRED or in_a_row > self._policy.failures_max + 1
        wait_s = self._policy.probe_s if is_long else backoff_s(in_a_row, policy=self._policy)
        self._lanes.put_back([item], until_s=now_s + self._lengthened(wait_s, problem))

    # -- what an answer means for the stream

    def _lives(self, flight: _Flight, now_s: float) -> None:
        """The receiver judged what was sent with this request."""
        self._accepted = max(self._accepted, flight.number)
        policy, course = self._policy, self._course
        at_once = policy.batches_in_flight_max * policy.batch_events_max if self._inquiry.batches else policy.in_flight_max
        self._window = min(at_once, self._window + len(flight.items))
        if course.phase == "flowing":
            return
        if flight.number > self._since:
            self._turn_to(after(course, Verdict.ACCEPTED, now_s=now_s, hint_s=None, policy=policy, random=self._random))
        elif course.failures == 1 and flight.number > self._failed:
            # The lanes of events that seemed to be the stream's trouble wait, as long as their answers asked for at least, and
            # the stream goes on as it was.
            wait_s = policy.first_wait_s if course.phase == "retrying" else policy.probe_s
            self._lanes.delay(self._troubles.not_before_s(), until_s=now_s + wait_s)
            self._turn_to(self._course_before)

    def _steer(self, problem: Problem, now_s: float, *, about: Sequence[Item]) -> None:
        """One more answer that changes the course; it was about these events."""
        course = after(
            self._course,
            problem.verdict,
            now_s=now_s,
            hint_s=problem.hint_s,
            policy=self._policy,
            random=self._random,
            status=problem.status,
            message=problem.remedy([item[1].body for item in about], key=self._address.api_key),
            rate_seen=self._pace.seen(now_s=now_s),
        )
        if course.phase != "flowing":
            self._window = 1
        self._turn_to(course)

    def _turn_to(self, course: Course) -> None:
        if course.phase == "flowing" and self._course.phase != "flowing":
            self._probes = 0
            self._inquiry.recovered()
        self._course = course
        self._since = self._started

    def _problem(self, result: Response | NetworkError, verdict: Verdict) -> Problem:
        return problem_of(result, verdict, now_ms=self._clock.now_ms())

    def _lengthened(self, wait_s: float, problem: Problem) -> float:
        return lengthened(wait_s, hint_s=problem.hint_s, policy=self._policy, random=self._random)

    # -- telling

    def _tell_source(self) -> None:
        if self._delivered:
            self._source.delivered(self._delivered)
            self._delivered = []

    def _tell_change(self) -> None:
        course = self._course
        news = (course.phase, course.status if course.phase == "paused" else 0)
        if course.phase == "flowing":
            if not self._told:
                return
            self._told.clear()
        elif news in self._told:
            return
        else:
            self._told.add(news)
        if self._tell is not None:
            self._tell(course)
