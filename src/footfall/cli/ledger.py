"""`footfall ledger`: where every accepted event went, and whether the numbers agree."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, explained, found_registry, note_absence
from footfall.cli.output import FAILED, JsonOption, marked, print_json, print_table, results, say, table
from footfall.cli.settings import Settings, load

if TYPE_CHECKING:
    from footfall.lake.books import Counted, Pair, Terms
    from footfall.lake.ledger import Ledger

_ALWAYS: Final = ("received", "accepted", "landed", "waiting", "difference")
"""Columns that are there however empty; of the others only those with a number."""


def ledger(
    verify: Annotated[
        bool, typer.Option("--verify", help="Check rows and log too; exit 3 where anything does not balance.")
    ] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Show where every event went, by platform and source, and whether the numbers agree.

    received = accepted + rejected + throttled + unavailable; accepted = landed + repeated + quarantined + erased + waiting.
    Works beside a running server and without one.
    """
    settings = load(file=config, data=data, environment=os.environ)
    note_absence(data)
    with explained(data):
        taken = ledger_of(data, settings, verify=verify)
    if json:
        print_json(taken.document())
    else:
        _print(taken)
    if verify and not taken.balanced:
        raise typer.Exit(FAILED)


def ledger_of(data: Path, settings: Settings, *, verify: bool) -> Ledger:
    """The ledger of a data directory. The workers' counters are read first: what they count is in the log by then."""
    counted = _counted(data)
    with found_registry(data) as registry:
        platforms = [platform.id for platform in registry.platforms() if platform.mode == "live"] if registry is not None else []
    from footfall.lake.ledger import take_ledger

    live = {pair: seen for pair, seen in counted.items() if pair[0] in platforms or not _is_test(pair[0])}
    return take_ledger(data, settings.lake, platforms=platforms, counted=live, verify=verify)


def _counted(data: Path) -> dict[Pair, Counted]:
    """What all workers there ever were have counted, together."""
    from footfall.lake.books import Counted
    from footfall.server.status import read_workers, run_directory

    sums: dict[Pair, Counter[str]] = {}
    for status in read_workers(run_directory(data)).values():
        for platform, sources in status.counts.events.items():
            for source, outcomes in sources.items():
                sums.setdefault((platform, source), Counter()).update(outcomes)
    return {pair: Counted(**{name: found[name] for name in Counted.__struct_fields__}) for pair, found in sums.items()}


def _is_test(platform: str) -> bool:
    """Test events never land. An id that ends so is a test id: none else can be added."""
    return platform.endswith("_TEST")


# -- how it looks


def _print(taken: Ledger) -> None:
    lines = {pair: terms for pair, terms in taken.lines.items() if not terms.is_empty}
    if lines:
        _print_table(lines, taken.totals)
    else:
        say("no event was received yet")
    for check in taken.checks or ():
        verdict = "[green]ok[/]  " if check.ok else "[bold red]bad[/] "
        results().print(f"{verdict} {check.check.replace('_', ' ')}: {marked(check.detail)}", soft_wrap=True)
    _print_verdict(taken)


def _print_table(lines: dict[Pair, Terms], totals: Terms) -> None:
    names = [name for name, number in totals.numbers().items() if number or name in _ALWAYS]
    rows = table("platform", "source", *names, ids=2 + len(names))
    for column in rows.columns[2:]:
        column.justify = "right"
    for (platform, source), terms in lines.items():
        rows.add_row(marked(platform) or "–", marked(source) or "–", *_cells(terms, names))
    rows.add_section()
    rows.add_row("total", "", *_cells(totals, names), style="bold")
    print_table(rows)
    empty = [name for name in totals.numbers() if name not in names]
    if empty:
        results().print(f"[dim]none: {', '.join(empty)}[/]", soft_wrap=True)


def _cells(terms: Terms, names: list[str]) -> list[str]:
    numbers = terms.numbers()
    cells = [f"{numbers[name]:,}" for name in names]
    if terms.difference:
        cells[-1] = f"[bold red]{cells[-1]}[/]"
    return cells


def _print_verdict(taken: Ledger) -> None:
    if taken.balanced:
        say("[green]balanced[/]")
        return
    say("[bold red]not balanced[/]: docs/ledger.md says what each difference means and what to do")
