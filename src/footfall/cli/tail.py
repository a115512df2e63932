"""`footfall tail`: the newest events as they come in, live and test, for whoever is integrating just now."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from heapq import merge
from typing import Annotated, Final

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption, note_absence
from footfall.cli.output import JsonOption, marked, plain, print_bytes, results, when
from footfall.cli.records import EventRecord, is_of, newest, printed, readers, received_at, understood
from footfall.events.golive import cases_of
from footfall.events.identity import identify
from footfall.events.quality import warnings
from footfall.events.schema import Event
from footfall.log.api import Record

_POLL_S: Final = 0.3
_LINES: Final = 10
_BATCH: Final = 1000
_TYPE_CELLS: Final = 15
"""As wide as ADD_TO_WISHLIST."""
_WHAT_CELLS: Final = (14, 40)
"""The least and the most room for what an event is about."""


def tail(
    platform: Annotated[str | None, typer.Option(metavar="ID", help="Only this platform id.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print events as they come.")] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print the newest events. Identifiers are named by kind, never shown, except in --json."""
    note_absence(data)
    trees = readers(data)
    positions = [dict(reader.durable()) for reader in trees]
    last = (newest(reader, upto=upto, platform=platform, count=_LINES) for reader, upto in zip(trees, positions, strict=True))
    _print(list(merge(*last, key=received_at))[-_LINES:], json=json)
    while follow:
        fresh = [reader.read(position, records_max=_BATCH) for reader, position in zip(trees, positions, strict=True)]
        for came, position in zip(fresh, positions, strict=True):
            position.update((record.writer, record.sequence) for record in came)
        _print([record for record in merge(*fresh, key=received_at) if is_of(record, platform)], json=json)
        if not any(fresh):
            time.sleep(_POLL_S)


def _print(records: Sequence[Record], *, json: bool) -> None:
    for record in records:
        if json:
            print_bytes(printed(record))
        else:
            results().print(_shown(understood(record), width=results().width), soft_wrap=True)
    sys.stdout.flush()  # whoever reads it through a pipe wants it now, too


def _shown(received: EventRecord, *, width: int) -> str:
    """One line, and a second one for the notes of a test event where the first has no room."""
    from rich.cells import cell_len, set_cell_size

    event = received.event
    clock = when(received.received_at)[11:] + f":{received.received_at // 1000 % 60:02}"
    head = f"{clock}  {received.platform}  {set_cell_size(event.event_type, _TYPE_CELLS)}"
    identifier = identify(event)
    kind = identifier.kind if identifier else "no identifier"
    least, most = _WHAT_CELLS
    room = min(most, max(least, width - cell_len(head) - len(kind) - 5))
    line = f"{head}  {marked(set_cell_size(plain(_what(event)), room))}  [dim]{kind}[/]"
    if received.mode != "test":
        return line
    good, weak = cases_of(event), [warning.reason for warning in warnings(event, now_ms=received.received_at)]
    notes = " ".join((*(f"[green]✓ {case}[/]" for case in good), *(f"[yellow]! {reason}[/]" for reason in weak)))
    if not notes:
        return line
    used = cell_len(head) + room + len(kind) + 6
    fits = used + sum(len(word) + 3 for word in (*good, *weak)) <= width
    return f"{line}  {notes}" if fits else f"{line}\n          {notes}"


def _what(event: Event) -> str:
    return event.search_query or event.page_id or ", ".join(item.id or item.item_group_id for item in event.items)
