"""Trouble told to the log of the shop: once for each reason, then at growing intervals, and never with a word of an event."""

from __future__ import annotations

import logging
from traceback import format_tb
from typing import Final

from footfall.clock import Clock

logger = logging.getLogger("footfall.outbox")

_AGAIN_S: Final = 60.0
_AGAIN_S_MAX: Final = 3600.0
_REASONS_MAX: Final = 256
"""Call sites among them: a program that makes mistakes everywhere is told of the first ones."""


class Complaints:
    """What was said, and when it may be said again. From any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, float, int]] = {}  # reason → not before, interval, kept quiet since

    def say(self, reason: str, text: str, error: BaseException | None = None) -> None:
        """`reason` is a stable name; `text` says what happened and what to do. Of an `error` it is shown, the first
        time, where it arose, but not its own words: these may hold a value."""
        now_s = self._clock.monotonic_s()
        said = self._said.get(reason)
        if said is None:
            if len(self._said) < _REASONS_MAX:
                self._said[reason] = (now_s + _AGAIN_S, _AGAIN_S, 0)
                _log("%s%s", text, "" if error is None else "\n" + "".join(format_tb(error.__traceback__)).rstrip())
            return
        not_before_s, interval_s, quiet = said
        if now_s < not_before_s:
            self._said[reason] = (not_before_s, interval_s, quiet + 1)
            return
        interval_s = min(interval_s * 2, _AGAIN_S_MAX)
        self._said[reason] = (now_s + interval_s, interval_s, 0)
        _log("%s (%d times more since this was last said)", text, quiet)

    def say_once(self, reason: str, text: str) -> None:
        """Never again in the life of this object."""
        if reason not in self._said and len(self._said) < _REASONS_MAX:
            self._said[reason] = (float("inf"), _AGAIN_S_MAX, 0)
            _log("%s", text)


def _log(form: str, *words: object) -> None:
    """What a shop put into its logging (filters, handlers) may fail, and then not the request that is being served."""
    try:
        logger.error(form, *words)
    except Exception:  # noqa: BLE001, S110 - there is nowhere to say so
        pass
