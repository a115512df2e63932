"""The answer of a test platform: how the event was understood, and what is weak in it (design section 6)."""

from __future__ import annotations

from typing import Final

import msgspec

from footfall.events.golive import cases_of
from footfall.events.intake import Intake
from footfall.events.quality import warnings
from footfall.events.schema import Event, QualityWarning


class _Kind(msgspec.Struct, frozen=True):
    kind: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a test platform says of one event."""

    event: Event
    identifier: _Kind | None
    warnings: tuple[QualityWarning, ...]
    cases: tuple[str, ...]


class _Answer(msgspec.Struct, frozen=True):
    test: Report


_encode: Final = msgspec.json.Encoder().encode


def report_of(intake: Intake, *, now_ms: int) -> bytes:
    """The JSON of a test platform's 200."""
    return _encode(_Answer(reported(intake, now_ms=now_ms)))


def reported(intake: Intake, *, now_ms: int) -> Report:
    """`identifier` is null for an event that carries none (ID_LESS)."""
    event, identifier = intake.event, intake.identifier
    return Report(
        event=event,
        identifier=None if identifier is None else _Kind(identifier.kind),
        warnings=warnings(event, now_ms=now_ms),
        cases=cases_of(event),
    )
