"""`footfall log`: look into the durable log. Reads only, also while a server writes."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from footfall.cli.data import DEFAULT_DATA, TREES, DataOption, tree
from footfall.cli.output import FAILED, print_bytes, print_json, results, table, talk
from footfall.cli.platforms import JsonOption
from footfall.cli.records import printed, readers, records
from footfall.log.verify import TreeReport, verify

app = typer.Typer(help="The durable log.", no_args_is_help=True)


@app.command("cat")
def cat(
    platform: Annotated[str | None, typer.Option(help="Only this platform id.")] = None, data: DataOption = DEFAULT_DATA
) -> None:
    """Print every durable record, one JSON object a line, live and test."""
    for record in records(data, platform=platform):
        print_bytes(printed(record))
    for mode, reader in zip(TREES, readers(data), strict=True):
        for writer, count in reader.unconfirmed().items():
            talk.print(
                f"[yellow]{count} more records[/] of {mode}/{writer} were written and never confirmed; "
                "the next `footfall serve` makes them durable and shows them"
            )


@app.command("verify")
def verify_(data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """Check every byte: sums, sequences, what was durable. Exit 3 where something is damaged."""
    reports = {mode: verify(tree(data, mode)) for mode in TREES}
    if json:
        print_json(reports)
    else:
        _print(reports)
    if not all(report.is_sound for report in reports.values()):
        raise typer.Exit(FAILED)


def _print(reports: dict[str, TreeReport]) -> None:
    rows = table("writer", "segments", "records", "first", "last", "durable", "MB", "state")
    for mode, report in reports.items():
        for writer in report.writers:
            state = "[red]damaged[/]" if writer.damages else "[green]sound[/]"
            rows.add_row(
                f"{mode}/{writer.writer}",
                *map(str, (writer.segments, writer.records, writer.first, writer.last, writer.durable)),
                f"{writer.bytes_count / 1e6:.1f}",
                state + (" [dim](in use)[/]" if writer.alive else ""),
            )
    if not rows.rows:
        talk.print("the log is empty")
        return
    results.print(rows)
    for mode, report in reports.items():
        for writer in report.writers:
            for place in writer.damages:
                results.print(
                    f"[red]damage[/] {mode}/{place.file} at byte {place.offset}: {escape(place.reason)}", soft_wrap=True
                )
            for place in writer.torn_tails:
                results.print(
                    f"[dim]torn tail[/] {mode}/{place.file} at byte {place.offset}: not damage, nothing acknowledged",
                    soft_wrap=True,
                )
