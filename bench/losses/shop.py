"""The shop of the loss table, as a process: `python -m bench.losses.shop ORDER` tracks events and ends in one of several ways.

    exit      tracks and leaves as a program does at its end, without a flush
    flush     tracks, waits as long as the library's flush takes, and leaves
    stay      tracks, says so on stdout, and waits: to be killed, or until its stdin closes, and leaves then
    fork      tracks one half, forks, tracks the other half in the child; both leave as programs do
    deliver   tracks nothing: the next start of the same shop. Waits until all is delivered

On stdout it writes one JSON line a moment: what it has tracked and what the library says of it.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Final, Literal

import msgspec

from bench.trackers import Place, Tracker, arguments, made

_FLUSH_S_MAX: Final = 30.0
_sleep: Final = time.sleep  # before a peer's clock is hurried


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do. It tracks the events `first` to `first + count - 1`."""

    place: Place
    end: Literal["exit", "flush", "stay", "fork", "deliver"]
    first: int = 0
    count: int = 0
    spread_s: float = 0.0
    """real time over which the events are tracked; 0: as fast as it goes"""
    nan_every: int = 0
    """each so many-th event has a price that is no number; 0: none has"""
    purchases_every: int = 0
    """each so many-th event is a purchase, the others are carts; 0: none is"""


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a process: how many calls it made, how many of them raised, and what the library says of its own."""

    calls: int
    raised: int
    said: dict[str, int | str]


def run(order: Order) -> None:
    tracker = made(order.place)
    if order.end == "deliver":
        tracker.flush(_FLUSH_S_MAX)
        _say(tracker, 0, 0)
        return
    if order.end == "fork":
        half = order.count // 2
        _track(tracker, order, order.first, half)
        if os.fork() == 0:
            _track(tracker, order, order.first + half, order.count - half)
        return
    raised = _track(tracker, order, order.first, order.count)
    _say(tracker, order.count, raised)
    if order.end == "exit":
        return
    if order.end == "flush":
        tracker.flush(_FLUSH_S_MAX)
    else:
        sys.stdin.read()
    _say(tracker, order.count, raised)


def _track(tracker: Tracker, order: Order, first: int, count: int) -> int:
    """Returns how many calls raised. A shop that is careful catches what its tracker throws, so the shop here goes on."""
    raised = 0
    for number in range(first, first + count):
        is_nan = order.nan_every and number % order.nan_every == 0
        is_purchase = order.purchases_every and number % order.purchases_every == 0
        given = arguments(
            order.place.library,
            number,
            amount=float("nan") if is_nan else 19.99,
            event_type="PURCHASE" if is_purchase else "ADD_TO_CART",
        )
        try:
            tracker.track(**given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            raised += 1
            print(f"track raised {type(error).__name__}", file=sys.stderr)
        if order.spread_s:
            _sleep(order.spread_s / count)
    return raised


def _say(tracker: Tracker, calls: int, raised: int) -> None:
    word = Word(calls=calls, raised=raised, said=dict(tracker.said()))
    print(msgspec.json.encode(word).decode(), flush=True)


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=Order))
