"""The one door for events from outside: decode, check, clean, identify. Server, command line and test receiver all use it.

`read_stored` is for those who only store: bytes in, bytes out. `read_batch` is the same for many at once, `read_event` for those
who look at the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from footfall.errors import InvalidEventError, Violation
from footfall.events import rules, shortcut
from footfall.events.decode import canonical, decode_canonical, decode_event
from footfall.events.identity import cleaned, identify
from footfall.events.schema import Event, Identifier
from footfall.events.violations import refusal

AHEAD_MS_MAX: Final = 300_000
"""Clocks of senders may be this far ahead of the receiver's: five minutes (design 5.6)."""


class Intake(NamedTuple):
    """An accepted event as it may be stored, and the identifier it counts under (None only under ID_LESS)."""

    event: Event
    identifier: Identifier | None


class Stored(NamedTuple):
    """The bytes of an accepted event as they may be stored (`decode.canonical`), and the identifier it counts under."""

    canonical: bytes
    identifier: Identifier | None


Prepared: TypeAlias = tuple[object, Identifier | None]
"""As `Stored`, but a thing that any JSON encoder turns into those bytes: many of them go through one call of it. A plain tuple,
since making a named one takes as long as everything else that is done with it."""


def read_stored(body: bytes, *, now_ms: int, ahead_ms_max: int = AHEAD_MS_MAX, iso_timestamps: bool = False) -> Stored:
    """The canonical form of the event in `body`: that of `read_event`, with the same refusals, for a quarter of the cost."""
    stored = shortcut.stored_or_none(body, latest_ms=now_ms + ahead_ms_max, iso_timestamps=iso_timestamps)
    if stored is not None:
        return tuple.__new__(Stored, stored)  # half the cost of Stored(…)
    event, identifier = _read_in_full(body, now_ms=now_ms, ahead_ms_max=ahead_ms_max, iso_timestamps=iso_timestamps)
    return Stored(canonical(event), identifier)


def read_batch(
    bodies: Sequence[bytes], *, now_ms: int, bytes_max: int, ahead_ms_max: int = AHEAD_MS_MAX
) -> list[Prepared | InvalidEventError]:
    """What `read_stored` finds for each body, refusals included, in the same order. Raises nothing.

    A body may end in a newline, which is no part of it; one of more than `bytes_max` is refused. Blocks for 2 µs an event, and
    ten times that where one is refused: hand over slices.
    """
    latest_ms = now_ms + ahead_ms_max
    short = shortcut.prepare(bodies, latest_ms=latest_ms, iso_timestamps=False, bytes_max=bytes_max)
    found: list[Prepared | InvalidEventError] = []
    for index, prepared in enumerate(short):
        if prepared is None:
            found.append(_prepared_in_full(bodies[index], now_ms=now_ms, ahead_ms_max=ahead_ms_max, bytes_max=bytes_max))
        else:
            found.append(prepared)
    return found


def read_event(body: bytes, *, now_ms: int, ahead_ms_max: int = AHEAD_MS_MAX, iso_timestamps: bool = False) -> Intake:
    """The event in `body`, as the rules allow it.

    `now_ms` is the receiver's wall time. Raises `InvalidEventError` with every problem: those of decoding or, where it decodes,
    those of the rules. Pure: no clock, no I/O.
    """
    stored = shortcut.stored_or_none(body, latest_ms=now_ms + ahead_ms_max, iso_timestamps=iso_timestamps)
    if stored is not None:  # through the stored form, and still faster than the long way
        return Intake(decode_canonical(stored[0]), stored[1])
    return _read_in_full(body, now_ms=now_ms, ahead_ms_max=ahead_ms_max, iso_timestamps=iso_timestamps)


def _read_in_full(body: bytes, *, now_ms: int, ahead_ms_max: int, iso_timestamps: bool) -> Intake:
    """The definition of what the two above promise."""
    event = decode_event(body, iso_timestamps=iso_timestamps)
    violations = rules.check(event, now_ms=now_ms, ahead_ms_max=ahead_ms_max)
    if violations:
        raise refusal(violations)
    event = cleaned(event)
    return Intake(event, identify(event))


def _prepared_in_full(body: bytes, *, now_ms: int, ahead_ms_max: int, bytes_max: int) -> Prepared | InvalidEventError:
    body = body.removesuffix(b"\n")
    if len(body) > bytes_max:
        description = f"the event has {len(body)} bytes, at most {bytes_max} are taken: send fewer items in it"
        return InvalidEventError("the event is too large", (Violation("", description, "event_too_large"),))
    try:
        return _read_in_full(body, now_ms=now_ms, ahead_ms_max=ahead_ms_max, iso_timestamps=False)
    except InvalidEventError as error:
        return error
