"""The one door for events from outside: decode, check, clean, identify. Server, command line and test receiver all use it."""

from __future__ import annotations

from typing import Final, NamedTuple

from footfall.events import rules
from footfall.events.decode import decode_event
from footfall.events.identity import cleaned, identify
from footfall.events.schema import Event, Identifier
from footfall.events.violations import refusal

AHEAD_MS_MAX: Final = 300_000
"""Clocks of senders may be this far ahead of the receiver's: five minutes (design 5.6)."""


class Intake(NamedTuple):
    """An accepted event as it may be stored, and the identifier it counts under (None only under ID_LESS)."""

    event: Event
    identifier: Identifier | None


def read_event(body: bytes, *, now_ms: int, ahead_ms_max: int = AHEAD_MS_MAX, iso_timestamps: bool = False) -> Intake:
    """The event in `body`, as the rules allow it.

    `now_ms` is the receiver's wall time. Raises `InvalidEventError` with every problem: those of decoding or, where it decodes,
    those of the rules. Pure: no clock, no I/O.
    """
    event = decode_event(body, iso_timestamps=iso_timestamps)
    violations = rules.check(event, now_ms=now_ms, ahead_ms_max=ahead_ms_max)
    if violations:
        raise refusal(violations)
    event = cleaned(event)
    return Intake(event, identify(event))
