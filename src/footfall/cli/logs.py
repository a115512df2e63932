"""`footfall log`: look into the durable log. Reads only, also while a server writes."""

from __future__ import annotations

from typing import Annotated

import typer

from footfall.cli.data import DEFAULT_DATA, TREES, DataOption, explained, note_absence, tree
from footfall.cli.output import (
    FAILED,
    USAGE,
    JsonOption,
    complain,
    fail,
    marked,
    print_bytes,
    print_json,
    print_table,
    results,
    say,
    table,
)
from footfall.cli.records import printed, readers, records
from footfall.cli.tree import branch
from footfall.log.verify import DamagedPlace, TreeReport, WriterReport, verify

app = branch("The durable log.")


@app.command("cat")
def cat(
    platform: Annotated[str | None, typer.Option(metavar="ID", help="Only this platform id.")] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print every durable record, one JSON object a line, live and test."""
    note_absence(data)
    for record in records(data, platform=platform):
        print_bytes(printed(record))
    for mode, reader in zip(TREES, readers(data), strict=True):
        for writer, count in reader.unconfirmed().items():
            records_more = "1 more record was" if count == 1 else f"{count:,} more records were"
            say(
                f"[yellow]{mode}/{writer}[/]: {records_more} written and never confirmed; "
                "the next `footfall serve` confirms and shows what is whole"
            )


@app.command("verify")
def verify_(data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """Check every byte: sums, sequences, what was durable. Exit 3 where something is damaged."""
    with explained(data):
        if not data.exists():
            fail(f"there is no data directory {data}; --data or FOOTFALL_DATA chooses another", USAGE)
        reports = {mode: verify(tree(data, mode)) for mode in TREES}
    if json:
        print_json(reports)
    else:
        _print(reports)
    if not all(report.is_sound for report in reports.values()):
        complain("the log is damaged where it had been durable; copy the data directory before anything else is tried")
        raise typer.Exit(FAILED)


def _print(reports: dict[str, TreeReport]) -> None:
    writers = [(mode, writer) for mode, report in reports.items() for writer in report.writers]
    if not writers:
        say("the log is empty")
        return
    rows = table("writer", "segments", "records", "first", "last", "durable", "MB", "state", ids=8)
    for column in rows.columns[1:-1]:
        column.justify = "right"
    for mode, writer in writers:
        rows.add_row(f"{mode}/{writer.writer}", *_numbers(writer), _state(writer))
    print_table(rows)
    for mode, writer in writers:
        for place in writer.damages:
            _print_place("[red]damage[/]", mode, place, place.reason)
        for place in writer.torn_tails:
            _print_place("[dim]torn tail[/]", mode, place, "not damage, nothing of it was acknowledged")


def _numbers(writer: WriterReport) -> tuple[str, ...]:
    counts = (writer.segments, writer.records, writer.first, writer.last)
    durable = "unknown" if writer.durable is None else f"{writer.durable:,}"
    return (*(f"{count:,}" for count in counts), durable, f"{writer.bytes_count / 1e6:,.1f}")


def _state(writer: WriterReport) -> str:
    return ("[red]damaged[/]" if writer.damages else "[green]sound[/]") + (" [dim](in use)[/]" if writer.alive else "")


def _print_place(label: str, mode: str, place: DamagedPlace, words: str) -> None:
    results().print(f"{label} {mode}/{place.file} at byte {place.offset}: {marked(words)}", soft_wrap=True)
