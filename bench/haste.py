"""An hour in seconds: clocks that run faster than real, so that real processes on real sockets live through an outage quickly.

Ours takes a clock and its exchanges from outside. The peers take their time from the `time` module, so in a process of theirs
`sleep` and `monotonic` are replaced before they are made. Either way only waiting is hurried; connections and answers are not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from footfall.delivery.api import Done, Exchanges
from footfall.delivery.transport import Request


class HurriedClock:
    """A `Clock` on which `speed` seconds go by in one."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began_ms = time.time_ns() // 1_000_000
        self._began_s = time.monotonic()

    def now_ms(self) -> int:
        return self._began_ms + round(1000 * self._gone_s())

    def monotonic_s(self) -> float:
        return self._began_s + self._gone_s()

    def _gone_s(self) -> float:
        return (time.monotonic() - self._began_s) * self._speed


class _Hurried:
    """Exchanges that wait on a hurried clock."""

    def __init__(self, exchanges: Exchanges, speed: float) -> None:
        self._exchanges = exchanges
        self._speed = speed

    def start(self, request: Request, *, token: Any) -> None:
        self._exchanges.start(request, token=token)

    def wait(self, timeout_s: float) -> list[Done]:
        return self._exchanges.wait(timeout_s / self._speed)

    def wake(self) -> None:
        self._exchanges.wake()

    def close(self) -> None:
        self._exchanges.close()


def hurried_exchanges(speed: float) -> Callable[[], Exchanges]:
    def make() -> Exchanges:
        from footfall.delivery.exchanges import HttpExchanges

        return _Hurried(HttpExchanges(), speed)

    return make


def hurry_this_process(speed: float) -> None:
    """From now on `time.sleep` and `time.monotonic` run `speed` times as fast, for whoever looks them up in the module."""
    sleep, monotonic = time.sleep, time.monotonic
    began_s = monotonic()
    time.sleep = lambda seconds: sleep(float(seconds) / speed)
    time.monotonic = lambda: began_s + (monotonic() - began_s) * speed
