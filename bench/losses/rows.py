"""What shops do to their trackers: the rows of the loss table, each from a stage that is set to processes that are gone.

    thousand events tracked ─▶ something happens ─▶ all processes are gone: how many arrived?
                                                 ─▶ the shop starts again:  how many arrived now?

A row returns when no process of it is left. Counting, and the next start, are the table's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.losses.shop import Order
from bench.losses.stage import Site, Stage

ANSWER_S: Final = 0.02
"""What a receiver takes for an answer where the row says nothing else: one in the same region."""
_SLOW_ANSWER_S: Final = 0.3
_HOUR_S: Final = 3600.0
_HOUR_SPEED: Final = 400.0
_NIGHT_S: Final = 8 * _HOUR_S
_NIGHT_SPEED: Final = 4000.0
_AFTERWARDS_S: Final = 1800.0
"""How long, by its own clock, a shop lives on when the outage is over: longer than the longest pause between two probes."""
_REQUEST_S: Final = 0.002
_DISK_BYTES: Final = 256 << 10
"""A third of what a thousand events need."""


class Row(NamedTuple):
    """`play` acts it out. `batches`: it is played against a whole Footfall too, in batches. `ours`: only Footfall can play it."""

    title: str
    play: Callable[[Stage], None]
    batches: bool = False
    ours: bool = False
    why_not: Callable[[], str | None] = lambda: None


def flushed(stage: Stage) -> None:
    """The row every library should pass: without it, the others would say nothing about loss."""
    stage.play("flush")


def left(stage: Stage) -> None:
    stage.play("exit")


def left_slow(stage: Stage) -> None:
    """The same, with a receiver that is slow until the shop starts again."""
    with _slow(stage):
        left(stage)


def terminated(stage: Stage) -> None:
    """As every deployment does; Python's own reaction to the signal is to die at once."""
    with _slow(stage):
        _killed_by(signal.SIGTERM, stage)


def killed(stage: Stage) -> None:
    _killed_by(signal.SIGKILL, stage)


def forked(stage: Stage) -> None:
    stage.play("fork")


def reloaded(stage: Stage) -> None:
    """Two reloads while requests track, then a stop, as on a day with two deployments."""
    site = Site(stage)
    for number in range(stage.count):
        if number in (stage.count // 3, 2 * stage.count // 3):
            site.signal(signal.SIGHUP)
        site.track(number)
        time.sleep(_REQUEST_S)
    site.signal(signal.SIGTERM)
    site.leave()


def down_for_an_hour(stage: Stage) -> None:
    """The shop goes on selling through the hour, and for half an hour after it the tracker may catch up."""
    stage.receiver.down()
    _hurried(stage, lasts_s=_HOUR_S, speed=_HOUR_SPEED, key=None, afterwards=stage.receiver.up)


def key_expired(stage: Stage) -> None:
    """Eight hours of 401; in the morning somebody puts the new key in and starts the shop anew."""
    stage.receiver.key = "new"
    _hurried(stage, lasts_s=_NIGHT_S, speed=_NIGHT_SPEED, key="old", afterwards=None)


def one_not_a_number(stage: Stage) -> None:
    """The shop waits for its tracker's flush, so that nothing but the NaN can cost an event."""
    every = 100
    stage.asked -= frozenset(range(0, stage.count, every))
    stage.play("flush", nan_every=every)


def disk_full(stage: Stage) -> None:
    """256 kB are left on the disk and the receiver is away: carts and purchases by turns, until not even a purchase fits."""
    stage.receiver.down()
    stage.purchases = frozenset(range(0, stage.count, 2))
    process = stage.start(Order(place=stage.place(), end="stay", count=stage.count, purchases_every=2))
    process.listen()
    process.leave()
    stage.receiver.up()


ROWS: Final[dict[str, Row]] = {
    "flush": Row("flush, then the end", flushed, batches=True),
    "exit": Row("the end, no flush", left, batches=True),
    "exit-slow": Row("the end, answers take 300 ms", left_slow),
    "sigterm": Row("SIGTERM, answers take 300 ms", terminated),
    "kill": Row("kill -9", killed, batches=True),
    "fork": Row("half, fork, half in the child", forked, batches=True),
    "reload": Row("gunicorn reloaded twice", reloaded),
    "outage": Row("receiver down for an hour", down_for_an_hour),
    "key": Row("key expired for a night", key_expired),
    "nan": Row("one NaN in a hundred: others", one_not_a_number),
    "disk": Row("disk full", disk_full, ours=True, why_not=lambda: _why_no_small_disk()),
}


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system that a thousand events do not fit into, on `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    options = ("-t", "tmpfs", "-o", f"size={_DISK_BYTES}")
    subprocess.run(["mount", *options, "tmpfs", str(directory)], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


def _why_no_small_disk() -> str | None:
    return None if os.geteuid() == 0 else "a full disk is made with mount, which needs root"


@contextlib.contextmanager
def _slow(stage: Stage) -> Iterator[None]:
    stage.receiver.delay_s = _SLOW_ANSWER_S
    yield
    stage.receiver.settle()
    stage.receiver.delay_s = ANSWER_S


def _killed_by(number: int, stage: Stage) -> None:
    """The signal comes when the last `track` has returned."""
    process = stage.start(Order(place=stage.place(), end="stay", count=stage.count))
    process.listen()
    process.signal(number)
    process.leave()


def _hurried(stage: Stage, *, lasts_s: float, speed: float, key: str | None, afterwards: Callable[[], None] | None) -> None:
    """A shop whose clock runs `speed` times as fast tracks all through `lasts_s`; it lives on for a while only where something
    gets better `afterwards`."""
    place = stage.place(speed=speed, key=key or stage.place().key)
    process = stage.start(Order(place=place, end="stay", count=stage.count, spread_s=lasts_s / speed))
    process.listen()
    if afterwards is not None:
        afterwards()
        time.sleep(_AFTERWARDS_S / speed)
    process.leave()
