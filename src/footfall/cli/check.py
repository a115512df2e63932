"""`footfall check`: the rules and warnings of the server, offline, for a file of events.

For programs every event is one line of JSON. People get each kind of finding explained a few times with its place, and then the
counts: a thousand events with the same mistake are one mistake.
"""

from __future__ import annotations

from typing import Final

import msgspec
import typer

from footfall.cli.lines import EventLine, FileArgument, event_lines, hint_at_shape
from footfall.cli.output import REFUSED, JsonOption, counted, indented, marked, print_json, print_table, results, table, talk
from footfall.clock import SystemClock
from footfall.errors import InvalidEventError, Violation
from footfall.events.intake import read_event
from footfall.events.quality import warnings
from footfall.events.schema import Event, QualityWarning
from footfall.server.settings import LimitSettings

EXPLAINED_MAX: Final = 3
"""How often one kind of finding is explained in full."""
_BODY_BYTES_MAX: Final = LimitSettings().body_bytes_max


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found in one event; `index` counts the lines that hold one, from 0."""

    index: int
    ok: bool
    errors: tuple[Violation, ...] = ()
    warnings: tuple[QualityWarning, ...] = ()


def check(file: FileArgument, json: JsonOption = False) -> None:
    """Check events offline, by the rules and warnings of the server.

    Exit 1 when one would be refused.
    """
    now_ms = SystemClock().now_ms()
    summary = _Summary()
    for line in event_lines(file):
        verdict = judge(line, now_ms=now_ms)
        summary.add(verdict)
        if json:
            print_json(verdict)
        else:
            summary.explain(verdict, line)
    if not json:
        summary.print()
    if summary.first_refused is not None and summary.refused == summary.events:
        hint_at_shape(summary.first_refused)
    (talk() if json else results()).print(summary.text())
    if summary.refused:
        raise typer.Exit(REFUSED)


def judge(line: EventLine, *, now_ms: int) -> Verdict:
    try:
        event = accepted_event(line, now_ms=now_ms)
    except InvalidEventError as error:
        return Verdict(index=line.index, ok=False, errors=error.violations)
    return Verdict(index=line.index, ok=True, warnings=warnings(event, now_ms=now_ms))


def accepted_event(line: EventLine, *, now_ms: int) -> Event:
    """The event in a line as a server would take it, its limit of size included. Raises `InvalidEventError`."""
    if len(line.body) > _BODY_BYTES_MAX:
        raise InvalidEventError(_TOO_LARGE.description, (_TOO_LARGE,))
    return read_event(line.body, now_ms=now_ms).event


_TOO_LARGE: Final = Violation(
    "", f"The event has more than {_BODY_BYTES_MAX:,} bytes, which a server refuses (413): send fewer items.", "body_too_large"
)


class _Kind(msgspec.Struct):
    """One reason, and how often it came; `first` is the line it came on first."""

    label: str
    reason: str
    count: int = 0
    first: int = 0


class _Summary:
    """The running counts."""

    def __init__(self) -> None:
        self.events = self.refused = self.warned = 0
        self.first_refused: bytes | None = None
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(self, verdict: Verdict) -> None:
        self.events += 1
        self.refused += not verdict.ok
        self.warned += bool(verdict.warnings)

    def explain(self, verdict: Verdict, line: EventLine) -> None:
        """Counts the findings of an event, and prints those of a kind that has not been explained often."""
        if self.first_refused is None and not verdict.ok:
            self.first_refused = line.body
        findings: tuple[Violation | QualityWarning, ...] = (*verdict.errors, *verdict.warnings)
        for finding in findings:
            label = "warning" if isinstance(finding, QualityWarning) else "refused"
            kind = self._kinds.setdefault((label, finding.reason), _Kind(label=label, reason=finding.reason, first=line.number))
            kind.count += 1
            if kind.count <= EXPLAINED_MAX:
                results().print(_explanation(finding, label, line), soft_wrap=True)

    def print(self) -> None:
        """The table of kinds, where some were counted and not explained."""
        kinds = sorted(self._kinds.values(), key=lambda kind: (kind.label, -kind.count, kind.reason))
        if not any(kind.count > EXPLAINED_MAX for kind in kinds):
            return
        rows = table("", "reason", "findings", "first in line", ids=2)
        for column in rows.columns[2:]:
            column.justify = "right"
        for kind in kinds:
            rows.add_row(_coloured(kind.label), marked(kind.reason), f"{kind.count:,}", f"{kind.first:,}")
        print_table(rows)
        results().print(f"[dim]{EXPLAINED_MAX} of each kind are shown above; --json lists all[/]\n")

    def text(self) -> str:
        if not self.refused and not self.warned:
            return f"[green]{counted(self.events, 'event')}[/]: nothing to mend" if self.events else "0 events"
        refused = f"[red]{self.refused:,} would be refused[/]" if self.refused else "none would be refused"
        warned = f"[yellow]{self.warned:,} with warnings[/]" if self.warned else "none with warnings"
        return f"{counted(self.events, 'event')}: {refused}, {warned}"


def _explanation(finding: Violation | QualityWarning, label: str, line: EventLine) -> str:
    field = f"  [bold]{marked(finding.field)}[/]" if finding.field else ""
    head = f"{_coloured(label)}  event {line.index} (line {line.number}){field}  [dim]{marked(finding.reason)}[/]"
    return f"{head}\n{indented(marked(finding.description), cells=9, width=results().width)}\n"


def _coloured(label: str) -> str:
    return f"[red]{label}[/]" if label == "refused" else f"[yellow]{label}[/]"
