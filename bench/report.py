"""What a person sees of a run: where it ran, a table a scenario with bars and verdicts, and whether to believe it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.comparisons import Comparison, Line
from bench.machine import Machine
from bench.rounds import Goal, Pace, Result, Row

_BAR_WIDTH: Final = 24
_BUSY_MIN: Final = 0.1
"""As a share of the cores: a load average above it, before anything of ours runs, is worth a warning."""


def print_machine(console: Console, machine: Machine, pace: Pace) -> None:
    console.print(f"[bold]{machine.processor}[/], {machine.cores} cores, {machine.system}, Python {machine.python}")
    console.print(f"[dim]{', '.join(f'{name} {version}' for name, version in machine.packages.items())}[/]")
    console.print(
        f"{pace.rounds} round{'s' * (pace.rounds != 1)} of {pace.round_s:g} s in turns, medians; data on {machine.file_system};"
        f" load average at start {machine.load_average:.2f}"
    )
    if machine.file_system == "tmpfs":
        console.print("[bold yellow]the data lies in memory: set TMPDIR to a directory on a disk, or durability costs nothing[/]")
    if machine.load_average > _BUSY_MIN * machine.cores:
        console.print("[bold yellow]something else was running in the last minute: watch the spread[/]")
    if pace.quick:
        console.print("[bold yellow]quick: this shows that it works, not how fast; do not quote[/]")


def print_result(console: Console, result: Result) -> None:
    console.print()
    console.print(f"[bold]{result.scenario}[/]: {result.title}")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "", "events/s", "spread", "µs CPU", "p50 ms", "p99 ms", "RSS MB", "Footfall is", "to reach"):
        table.add_column(heading, justify="left" if heading in ("", "to reach") else "right", no_wrap=heading != "")
    fastest = max(row.rate for row in result.rows.values())
    for name, row in result.rows.items():
        goal = next((goal for goal in result.goals if goal.row == name), None)
        table.add_row(*_cells(row, fastest), *_verdict(goal))
    console.print(table)
    for row in result.rows.values():
        if len(row.processes) > 1:
            console.print(f"[dim]{row.title}: RSS {_parts(row)}; pages they share counted once: {row.pss_mb:.0f} MB[/]")
    _print_remarks(console, result)


def print_comparison(console: Console, result: Comparison) -> None:
    console.print()
    console.print(f"[bold]{result.scenario}[/]: {result.title}")
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in result.columns.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for line in result.rows.values():
        table.add_row(line.title, *(_cell(line, column, result.digits) for column in result.columns))
    if result.rows:
        console.print(table)
    for goal in result.goals:
        if goal.unit != "events":  # those that were not reached are among the faults
            console.print(f"{escape(goal.title)}: {' '.join(_verdict(goal))}")
    _print_remarks(console, result)
    for fault in result.faults:
        console.print(f"[bold red]must not happen[/] {escape(fault)}")


def _print_remarks(console: Console, result: Result | Comparison) -> None:
    for reason in dict.fromkeys(result.skipped.values()):
        console.print(f"[yellow]left out[/] {escape(reason)}")
    for line in (*result.notes, *result.checks):
        console.print(f"[dim]{escape(line)}[/]")
    if result.is_noisy:
        console.print(
            f"[bold red]noisy: do not quote[/] (rounds of '{result.widest.title}' lie {result.widest.spread:.0%} apart)"
        )


def _cell(line: Line, column: str, digits: int) -> str:
    value = line.values.get(column)
    return "" if value is None else f"{value:,.{digits}f}"


def _parts(row: Row) -> str:
    """The processes by name; those of one name together."""
    counts = Counter(process.name for process in row.processes)
    sums = {name: sum(process.rss_mb for process in row.processes if process.name == name) for name in counts}
    return ", ".join(f"{name}{f' × {count}' if count > 1 else ''} {sums[name]:.0f} MB" for name, count in counts.items())


def _cells(row: Row, fastest: float) -> tuple[str, ...]:
    return (
        row.title,
        "[cyan]" + "█" * max(1, round(_BAR_WIDTH * row.rate / fastest)) + "[/]",
        f"{row.rate:,.0f}",
        f"{row.spread:.0%}",
        f"{row.processor_us:.1f}",
        f"{row.p50_ms:.2f}",
        f"{row.p99_ms:.2f}",
        f"{row.rss_mb:,.0f}",
    )


def _verdict(goal: Goal | None) -> tuple[str, str]:
    if goal is None:
        return "", ""
    bound = goal.at_least if goal.at_least is not None else goal.at_most
    if bound is None:
        return _figure(goal.value, goal.unit), ""
    sign = "≥" if goal.at_least is not None else "≤"
    limit = f"{bound:g} ×" if goal.unit == "×" else f"{bound:,.0f}"
    return _figure(goal.value, goal.unit), f"{sign} {limit} " + ("[green]✓[/]" if goal.is_reached else "[red]✗[/]")


def _figure(value: float, unit: str) -> str:
    """The unit where it does not follow from the column."""
    if unit in ("×", "µs", "ms"):
        return f"{value:.2f} {unit}" if unit == "×" else f"{value:.1f} {unit}"
    return f"{value:,.0f}"
