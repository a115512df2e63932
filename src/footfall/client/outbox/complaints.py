"""Trouble told to the log of the shop: once for each reason, then at growing intervals, and never with a word of an event."""

from __future__ import annotations

import logging
import re
from opcode import opmap
from traceback import format_tb
from types import FrameType
from typing import Final

from footfall.clock import Clock
from footfall.errors import FootfallError
from footfall.events.schema import Device, Event, Item, Money

_RAISE: Final = opmap["RAISE_VARARGS"]
_KNOWN_NAMES: Final = frozenset(name for struct in (Event, Device, Item, Money) for name in struct.__struct_fields__) | {""}
_words_of = re.compile(r"\[[0-9]+\]|\.").split

logger = logging.getLogger("footfall.outbox")

_WEB: Final = "footfall.client.web"
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


def what_of(error: Exception) -> str:
    """What went wrong, in words that hold no value."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) if isinstance(error, FootfallError) else place_of(error)


def mistake_in(error: Exception) -> str:
    """What is wrong with a call. Only what Footfall says itself is repeated: the words of others, of a generator of the shop, of
    `int`, quote values. So do the names of members that nobody knows."""
    if type(error) not in (TypeError, ValueError) or not _is_raised_here(error):
        return type(error).__name__
    text = str(error)
    path, is_not_finite, advice = text.partition(" is NaN or infinite")
    if is_not_finite and not _KNOWN_NAMES.issuperset(_words_of(path)):
        return f"a member that nobody knows{is_not_finite}{advice}"
    return "extra names a part that the event has not" if text.startswith("extra names ") else text


def _is_raised_here(error: Exception) -> bool:
    """Whether a `raise` of Footfall's own made it. What is written in C has no frame, so the instruction is looked at."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is None or not str(step.tb_frame.f_globals.get("__name__")).startswith("footfall."):
        return False
    return step.tb_frame.f_code.co_code[step.tb_lasti] == _RAISE


def place_of(error: Exception) -> str:
    """The type of an error and where it arose. Its own words may hold a value."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{type(error).__name__} at {step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step else type(error).__name__


def shop_frame_of(frame: FrameType) -> FrameType:
    """The place in the shop's program behind a call: what of ours passed it on is of no help to anybody."""
    while frame.f_back is not None and f"{frame.f_globals.get('__name__')}.".startswith(f"{_WEB}."):
        frame = frame.f_back
    return frame


def _log(form: str, *words: object) -> None:
    """What a shop put into its logging (filters, handlers) may fail, and then not the request that is being served."""
    try:
        logger.error(form, *words)
    except Exception:  # noqa: BLE001, S110 - there is nowhere to say so
        pass
