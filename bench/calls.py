"""One shop's process on the clock: `python -m bench.calls ORDER`, with a tracker whose sender runs all the while.

    paced          times every call to `track`, so many a second, and sleeps between them; writes one `Timed` line
    busy           the same, but works between them, as the thread of a shop does that renders pages
    flat           the same, without anything between them
    drain          writes "ready", and for a line on stdin tracks its backlog; writes "tracked", and for another line flushes and
                   writes how long that took: one `Drained` line

The arguments of all calls are made beforehand, so that what is timed is the library.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import msgspec

from bench.trackers import Place, Tracker, arguments, made

WARM: Final = 200
"""calls before the first timed one: connections are made, caches are filled"""
_FLUSH_S_MAX: Final = 60.0


class CallOrder(msgspec.Struct, frozen=True, kw_only=True):
    place: Place
    pace: Literal["paced", "busy", "flat", "drain"]
    calls: int
    calls_per_s: float = 1_000.0


class Timed(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls took, and how many in all were made a second."""

    calls: int
    p50_us: float
    p99_us: float
    seconds: float


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """How long the backlog took, and how much processor time of the shop's process."""

    calls: int
    seconds: float
    processor_s: float


def run(order: CallOrder) -> None:
    tracker = made(order.place)
    _warm(tracker, order.place.library)
    given = [arguments(order.place.library, number) for number in range(WARM, WARM + order.calls)]
    gc.freeze()  # a real shop does not hold ten thousand events for the collector to walk through
    if order.pace == "drain":
        _drain(tracker, given)
        return
    timed = _timed(tracker, given, between=_BETWEEN[order.pace], pause_s=1 / order.calls_per_s)
    print(msgspec.json.encode(timed).decode(), flush=True)
    tracker.flush(_FLUSH_S_MAX)


def _warm(tracker: Tracker, library: str) -> None:
    for number in range(WARM):
        tracker.track(**arguments(library, number))
    tracker.flush(_FLUSH_S_MAX)


def _rest(until_s: float) -> None:
    if (left_s := until_s - time.perf_counter()) > 0:
        time.sleep(left_s)


def _render(until_s: float) -> None:
    """Work of the kind that makes pages: many small objects and text, with the interpreter's lock held."""
    while time.perf_counter() < until_s:
        json.dumps([{"id": f"SKU-{number}", "price": number / 100, "tags": ["new", "sale"]} for number in range(10)])


def _go_on(_until_s: float) -> None:
    """Nothing at all."""


_BETWEEN: Final[dict[str, Callable[[float], None]]] = {"paced": _rest, "busy": _render, "flat": _go_on}


def _timed(tracker: Tracker, given: Sequence[dict[str, Any]], *, between: Callable[[float], None], pause_s: float) -> Timed:
    track, now_ns, times = tracker.track, time.perf_counter_ns, []
    began_s = due_s = time.perf_counter()
    for members in given:
        due_s += pause_s
        between(due_s)
        before = now_ns()
        track(**members)
        times.append(now_ns() - before)
    took_s = time.perf_counter() - began_s
    times.sort()
    return Timed(
        calls=len(times), p50_us=times[len(times) // 2] / 1e3, p99_us=times[len(times) * 99 // 100] / 1e3, seconds=took_s
    )


def _drain(tracker: Tracker, given: Sequence[dict[str, Any]]) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    for members in given:
        tracker.track(**members)
    print("tracked", flush=True)
    sys.stdin.readline()
    began_s, busy_s = time.perf_counter(), time.process_time()
    tracker.flush(_FLUSH_S_MAX)
    drained = Drained(calls=len(given), seconds=time.perf_counter() - began_s, processor_s=time.process_time() - busy_s)
    print(msgspec.json.encode(drained).decode(), flush=True)


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=CallOrder))
