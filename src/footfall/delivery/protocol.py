"""The failure protocol: what an answer means for the stream of events, as a pure function of history and time.

    ┌─────────┐  408, 425, 5xx, no answer   ┌──────────┐  a sixth retry failed   ┌──────┐
    │ flowing │ ──────────────────────────▶ │ retrying │ ──────────────────────▶ │ open │
    └─────────┘                             └──────────┘                         └──────┘
       ▲    │  401, 403, 404, 405, a redirect, any 4xx we do not know  ┌────────┐    │
       │    └──────────────────────────(from everywhere)─────────────▶ │ paused │    │
       └─────────────── the receiver takes, refuses or throttles an event ──────────┘

Out of "flowing" one single request goes out after each wait, as a probe. The waits are those of the protocol notes, section 12:
5, 10, 20, 40, 80 and 160 s after failures in a row, so retries at 5, 15, 35, 75, 155 and 315 s; when that sixth one ("more than
five") has failed too, one probe each 900 s, for as long as it takes. Nothing is ever given up here: whatever was not taken is
kept. (An event that fails all by itself while others get through is another matter, and the engine's.) `Retry-After` lengthens
any of these waits, up to a day, and shortens none. Jitter lengthens too, by a tenth at most: the published numbers are lower
bounds.

Decided here, where the documents are silent:
- 499 is a gateway's word for a caller that went away: nobody is to blame, so it counts as no answer. So does an answer that is no
  final one (1xx), or of no known class.
- A refused or throttled probe closes the circuit: a receiver that judges events is alive. After 429 it closes at a low rate.
- A failure while paused begins the failure schedule anew. The receiver said something new, and after a key was mended nobody
  should wait a quarter of an hour because the next answer was a 503.
- After trouble the rate starts low and doubles each second, also after a short one: who comes back is weak. After 429 it starts
  at half of what went through lately and grows by a tenth each second while nothing is refused.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from footfall.delivery.transport import Response
from footfall.errors import NetworkError

Phase = Literal["flowing", "retrying", "open", "paused"]


class Verdict(enum.Enum):
    """Whose turn it is after an answer."""

    ACCEPTED = "accepted"
    """Nobody's: the receiver has the event."""
    REFUSED = "refused"
    """This event will never be taken: it is set aside, and the rest goes on."""
    THROTTLED = "throttled"
    """Too fast: this event goes again, later, and so does the stream when many are throttled."""
    BARRED = "barred"
    """Somebody must mend key, address or platform id; until then nothing can be delivered."""
    FAILED = "failed"
    """Nobody is to blame; try again later."""


REFUSED_STATUSES: Final = frozenset({400, 413, 415, 422})
FAILED_STATUSES: Final = frozenset({408, 425, 499})


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of the protocol, and the bounds of what the engine holds. Rates are events a second."""

    first_wait_s: float = 5.0
    failures_max: int = 5
    """Retries in a row that may fail; the next one opens the circuit."""
    probe_s: float = 900.0
    jitter: float = 0.1
    """At most this share is added to a wait, so that senders which failed together do not come back together."""
    hint_s_max: float = 86_400.0
    """A day: a `Retry-After` that asks for more is a mistake, and must not silence a shop for a year."""

    throttle_wait_s: float = 1.0
    throttle_wait_s_max: float = 60.0
    """Each further 429 of the same event doubles its wait, up to here."""
    rate_min: float = 1.0
    rate_first: float = 10.0
    """After trouble."""
    rate_unlimited: float = 1_000_000.0
    """A rate that grew beyond this is none: seventeen seconds after an outage."""
    ramp: float = 2.0
    recovery: float = 1.1

    in_flight_max: int = 32
    """Requests at once, of one event each."""
    batches_in_flight_max: int = 2
    """The second one waits at the receiver's door while the first is stored; they share no lane."""
    batch_events_max: int = 1_000
    batch_bytes_max: int = 4 << 20
    linger_s: float = 0.02
    """A batch that is not full starts this long after the one before: at 1,000 events a second 50 requests, not 1,000."""
    loaded_max: int = 4_000
    """Two batches on their way and two in hand. Parcels behind a blocked lane come on top, up to the bytes."""
    loaded_bytes_max: int = 16 << 20
    """May be exceeded by one helping of the source: how long the next events are is known when they are here."""


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stream stands: the fold of everything answered so far. `repr` is fit for a log."""

    phase: Phase = "flowing"
    failures: int = 0
    """Answers in a row that were trouble."""
    not_before_s: float = 0.0
    """When the next probe may go, on the monotonic clock; means nothing while flowing."""
    rate: float = math.inf
    """Events a second, as of `rate_from_s`; `rate_at` says what it has grown to."""
    rate_from_s: float = 0.0
    growth: float = 1.0
    status: int = 0
    """Of the answer that was trouble; 0 where none came, and while flowing."""
    message: str = ""
    """What is wrong and what mends it, in one line; empty while flowing."""


def verdict_of(result: Response | NetworkError) -> Verdict:
    """Decided by the status alone: bodies come from proxies too."""
    return verdict_on(0 if isinstance(result, NetworkError) else result.status)


def verdict_on(status: int) -> Verdict:
    """0 stands for no answer."""
    if 200 <= status < 300:
        return Verdict.ACCEPTED
    if status == 429:
        return Verdict.THROTTLED
    if status in REFUSED_STATUSES:
        return Verdict.REFUSED
    if 300 <= status < 500 and status not in FAILED_STATUSES:
        return Verdict.BARRED
    return Verdict.FAILED


def after(
    course: Course,
    verdict: Verdict,
    *,
    now_s: float,
    hint_s: float | None,
    policy: Policy,
    random: Callable[[], float],
    status: int = 0,
    message: str = "",
    rate_seen: float = math.inf,
) -> Course:
    """The course after one more answer. `hint_s` is what `Retry-After` asked for, `rate_seen` the events a second that were
    taken lately, `random` gives numbers from 0 up to 1."""
    if verdict is Verdict.THROTTLED:
        return _slowed(course, now_s=now_s, policy=policy, rate_seen=rate_seen)
    if verdict in (Verdict.ACCEPTED, Verdict.REFUSED):
        if course.phase == "flowing":
            return course
        return Course(rate=policy.rate_first, rate_from_s=now_s, growth=policy.ramp)
    failures = 1 if (course.phase == "paused") != (verdict is Verdict.BARRED) else course.failures + 1
    phase: Phase = "paused" if verdict is Verdict.BARRED else "open" if failures > policy.failures_max + 1 else "retrying"
    base_s = backoff_s(failures, policy=policy) if phase == "retrying" else policy.probe_s
    return Course(
        phase=phase,
        failures=failures,
        not_before_s=now_s + lengthened(base_s, hint_s=hint_s, policy=policy, random=random),
        status=status,
        message=message,
    )


def rate_at(course: Course, *, now_s: float, policy: Policy) -> float:
    """Events a second that may go now: steps of a second each, infinity where there is no limit (any more)."""
    if course.rate == math.inf:
        return math.inf
    steps = max(0, math.floor(now_s - course.rate_from_s))
    try:
        rate = course.rate * course.growth**steps
    except OverflowError:
        return math.inf
    return rate if rate < policy.rate_unlimited else math.inf


def backoff_s(failures: int, *, policy: Policy) -> float:
    """The wait after so many failures in a row (1 or more), before jitter: 5, 10, 20, 40, 80, 160 s, and 160 s from then on."""
    return policy.first_wait_s * 2.0 ** min(failures - 1, policy.failures_max)


def throttle_wait_s(times: int, *, policy: Policy) -> float:
    """The wait of an event that was throttled so many times in a row (1 or more), before jitter."""
    return min(policy.throttle_wait_s * 2.0 ** min(times - 1, 10), policy.throttle_wait_s_max)


def lengthened(wait_s: float, *, hint_s: float | None, policy: Policy, random: Callable[[], float]) -> float:
    """`wait_s`, or what the receiver asks for where that is longer, and a little more. Never less than `wait_s`."""
    longest_s = max(wait_s, min(hint_s or 0.0, policy.hint_s_max))
    return longest_s * (1.0 + policy.jitter * random())


def _slowed(course: Course, *, now_s: float, policy: Policy, rate_seen: float) -> Course:
    if course.phase != "flowing":
        rate = policy.rate_first
    else:
        known = min(rate_at(course, now_s=now_s, policy=policy), rate_seen)
        rate = policy.rate_first if known == math.inf else max(policy.rate_min, known / 2)
    return Course(rate=rate, rate_from_s=now_s, growth=policy.recovery)
