"""`footfall check`: the rules and warnings of the server, offline, for a file of events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape

from footfall.cli.output import REFUSED, fail, print_json, results, talk
from footfall.cli.platforms import JsonOption
from footfall.clock import SystemClock
from footfall.errors import InvalidEventError, Violation
from footfall.events.intake import read_event
from footfall.events.quality import warnings
from footfall.events.schema import QualityWarning

FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="Events, one JSON object a line; - reads standard input.")]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found in one event; `index` counts the lines that hold one, from 0."""

    index: int
    ok: bool
    errors: tuple[Violation, ...] = ()
    warnings: tuple[QualityWarning, ...] = ()


def check(file: FileArgument, json: JsonOption = False) -> None:
    """Check events offline: what the server would refuse, and what it would warn of. Exit 1 when one would be refused."""
    now_ms = SystemClock().now_ms()
    counts = {"events": 0, "refused": 0, "warned": 0}
    for index, line in enumerate(event_lines(file)):
        verdict = judge(line, index=index, now_ms=now_ms)
        counts["events"] += 1
        counts["refused"] += not verdict.ok
        counts["warned"] += bool(verdict.warnings)
        if json:
            print_json(verdict)
        else:
            _print(verdict)
    talk.print(f"{counts['events']} events: {counts['refused']} would be refused, {counts['warned']} have warnings")
    if counts["refused"]:
        raise typer.Exit(REFUSED)


def judge(line: bytes, *, index: int, now_ms: int) -> Verdict:
    try:
        event = read_event(line, now_ms=now_ms).event
    except InvalidEventError as error:
        return Verdict(index=index, ok=False, errors=error.violations)
    return Verdict(index=index, ok=True, warnings=warnings(event, now_ms=now_ms))


def event_lines(file: str) -> Iterator[bytes]:
    """The lines of FILE or, for `-`, of standard input, without blank ones."""
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as opened:
            for line in opened:
                if line.strip():
                    yield line.strip(b"\r\n")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", REFUSED)


def _print(verdict: Verdict) -> None:
    if verdict.ok and not verdict.warnings:
        results.print(f"[green]ok[/]       event {verdict.index}")
    for violation in verdict.errors:
        _print_finding("[red]refused[/] ", verdict.index, violation)
    for warning in verdict.warnings:
        _print_finding("[yellow]warning[/] ", verdict.index, warning)


def _print_finding(label: str, index: int, finding: Violation | QualityWarning) -> None:
    field = f"  {finding.field}" if finding.field else ""
    results.print(f"{label} event {index}{escape(field)}  [dim]{finding.reason}[/]")
    results.print(f"         {escape(finding.description)}", soft_wrap=True)
