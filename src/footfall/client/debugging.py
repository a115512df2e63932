"""`debug=True`: each event judged at the line that sends it, as Python warnings.

    insert_event ──▶ our own rules and quality checks ──▶ sent all the same ──▶ what a test platform reports
                              └──────────── FootfallWarning, once each ────────────┘

For development: a warning shows the caller's file and line, once a line unless Python is told otherwise (`-W always`), and with
`-W error` a test fails where the event is made. Nothing is refused by it, so that an event which a receiver would take is never
held back by our opinion. No text holds the value of an identifier or the key.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from footfall.client.answers import Answer, Report
from footfall.client.calls import Call, Desk, Outcome
from footfall.delivery.answers import safe
from footfall.delivery.transport import Response
from footfall.errors import InvalidEventError
from footfall.events import quality
from footfall.events.intake import read_event
from footfall.events.schema import Event

_OURS: Final = __name__.partition(".")[0]


class FootfallWarning(UserWarning):
    """Something wrong or weak in an event, told by `debug=True`. The text ends in its reason in brackets, a stable name."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the caller's code. `registry` is what that module's warnings already said."""

    filename: str
    line: int
    module: str
    registry: dict[str | tuple[str, type[Warning], int], int]


class WatchedCall(Call, frozen=True, kw_only=True):
    """A call, the line it comes from, and what was told about its event already."""

    place: Place
    label: str
    """Which of many events it is, with a blank at the end; empty for one."""
    told: frozenset[tuple[str, str]]

    def tell(self, text: str) -> None:
        """One warning, without whatever identifies somebody."""
        place = self.place
        warnings.warn_explicit(
            safe(f"{self.label}{text}", self.secrets),
            FootfallWarning,
            filename=place.filename,
            lineno=place.line,
            module=place.module,
            registry=place.registry,
        )


class DebugDesk(Desk):
    """A desk that tells what it thinks of each event before it goes, and what the receiver reports of it after."""

    def call(self, event: Event | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Call:
        return self._watched(super().call(event, fields), label="")

    def calls(self, events: Iterable[Event | Mapping[str, Any]]) -> list[Call]:
        return [self._watched(call, label=f"events[{index}]: ") for index, call in enumerate(super().calls(events))]

    def answer(self, call: Call, response: Response) -> Answer:
        answer = super().answer(call, response)
        if response.headers.get("content-type", "").startswith("text/html"):
            _tell_of_web_page(call)
        _tell_of_report(call, answer.report)
        return answer

    def answers(self, calls: Sequence[Call], response: Response) -> list[Outcome]:
        outcomes = super().answers(calls, response)
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Answer):
                _tell_of_report(call, outcome.report)
        return outcomes

    def _watched(self, call: Call, *, label: str) -> WatchedCall:
        now_ms = self._clock.now_ms()
        watched = WatchedCall(request=call.request, secrets=call.secrets, place=_place(), label=label, told=frozenset())
        try:
            event = read_event(call.request.body, now_ms=now_ms).event
        except InvalidEventError as refusal:
            for violation in refusal.violations:
                watched.tell(f"will be refused: {_said(violation.field, violation.description, violation.reason)}")
            return watched
        found = quality.warnings(event, now_ms=now_ms)
        for warning in found:
            watched.tell(_said(warning.field, warning.description, warning.reason))
        return msgspec.structs.replace(watched, told=frozenset((warning.reason, warning.field) for warning in found))


def _tell_of_report(call: Call, report: Report | None) -> None:
    if report is None or not isinstance(call, WatchedCall):
        return
    for warning in report.warnings:
        if (warning.reason, warning.field) not in call.told:
            call.tell(_said(warning.field, warning.description, warning.reason))


def _tell_of_web_page(call: Call) -> None:
    if isinstance(call, WatchedCall):
        call.tell("accepted with a web page, which no User Event API sends; is base_url right? [answer_is_a_web_page]")


def _said(field: str, description: str, reason: str) -> str:
    return f"{field}: {description} [{reason}]" if field else f"{description} [{reason}]"


def _place() -> Place:
    """The nearest line outside this package; of a program that has none, the outermost one."""
    frame = sys._getframe(1)
    while _is_ours(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    return Place(
        filename=frame.f_code.co_filename,
        line=frame.f_lineno,
        module=frame.f_globals.get("__name__") or "<unknown>",
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _is_ours(module: str) -> bool:
    return module == _OURS or module.startswith(f"{_OURS}.")
