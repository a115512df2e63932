"""Delivers at once what the dead left in an outbox directory, through an outbox like those of the shop. Prints nothing.

An outbox takes up every tray of its place that no process answers for, so what a running shop was quicker to take is the shop's.
This one tracks nothing, gives nothing up for want of room or for its age, and ends when waiting on makes no sense: nothing is
left, the time is over, or the failure protocol would have it wait for a quarter of an hour.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from footfall.cli.undelivered import ANY_BYTES, trays, waiting_of_the_dead
from footfall.client.outbox import Outbox, Stats
from footfall.client.settings import Settings
from footfall.clock import Clock, SystemClock

_ANY_AGE_S: Final = 1e9
_GLANCE_S: Final = 0.2
_FRUITLESS_S_MAX: Final = 4.0
"""So long trays of the dead may be seen that cannot be taken up. An outbox holds eight, and finishes those of them that are done
once a second."""
_HOPELESS: Final = frozenset({"paused", "open"})
_logger: Final = logging.getLogger("footfall.outbox")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the events of one place."""

    to: str
    platform: str
    delivered: int
    refused: int
    """Set aside once more."""
    given_up: int
    """Damage on the disk."""
    waiting: int
    """Left, and nobody answers for them."""
    elsewhere: int
    """Taken up by a running process meanwhile."""
    state: str
    """As an outbox says it; `flowing` with events left means that the time was over."""
    reason: str
    """What is wrong and what mends it; empty where nothing is, or it cannot be told."""


def deliver(root: Path, settings: Settings, *, timeout_s: float, watch: Callable[[Stats], None]) -> Delivery:
    """Blocks for `timeout_s` seconds and a moment at most. `watch` is called several times a second. OSError, LogError."""
    clock = SystemClock()
    expected = _left(root, settings)
    with _complaints() as complaints:
        outbox = Outbox(
            root, platform_id=settings.platform_id, api_key=settings.api_key, base_url=settings.base_url,
            timeout_s=settings.timeout_s, bytes_max=ANY_BYTES, age_s_max=_ANY_AGE_S, exit_s=0.0, clock=clock,
        )  # fmt: skip
        with outbox:
            _work_off(outbox, lambda: _left(root, settings), until_s=clock.monotonic_s() + timeout_s, clock=clock, watch=watch)
            last = outbox.stats()
    stats = outbox.stats()
    left = max(stats.waiting, _left(root, settings))
    reason = last.reason or (complaints[-1] if complaints and (left or stats.shed) else "")
    return Delivery(
        to=settings.url, platform=settings.platform_id, delivered=stats.delivered, refused=stats.refused, given_up=stats.shed,
        waiting=left, elsewhere=max(0, expected - stats.adopted - (left - stats.waiting)), state=last.state, reason=reason,
    )  # fmt: skip


def _work_off(outbox: Outbox, left: Callable[[], int], *, until_s: float, clock: Clock, watch: Callable[[Stats], None]) -> None:
    adopted, fruitful_s = -1, clock.monotonic_s()
    while (now_s := clock.monotonic_s()) < until_s:
        is_calm = outbox.flush(min(_GLANCE_S, until_s - now_s))
        stats = outbox.stats()
        watch(stats)
        if stats.state in _HOPELESS:
            return
        if not is_calm or stats.adopted != adopted:
            adopted, fruitful_s = stats.adopted, now_s
        if is_calm and (not left() or now_s - fruitful_s > _FRUITLESS_S_MAX):
            return


def _left(root: Path, settings: Settings) -> int:
    return waiting_of_the_dead(tray for tray in trays(root) if tray.to == settings.url)


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What the outbox tells a shop's log meanwhile: for the person here it is a reason at the end, not lines in between."""
    told: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())

    handler, propagated = Collector(logging.WARNING), _logger.propagate
    _logger.addHandler(handler)
    _logger.propagate = False
    try:
        yield told
    finally:
        _logger.removeHandler(handler)
        _logger.propagate = propagated
