"""`footfall tail`: the newest events as they come in, live and test, for whoever is integrating just now."""

from __future__ import annotations

import time
from collections import deque
from typing import Annotated

import typer
from rich.markup import escape

from footfall.cli.data import DEFAULT_DATA, DataOption
from footfall.cli.output import print_bytes, results, when
from footfall.cli.platforms import JsonOption
from footfall.cli.records import decode_record, is_of, printed, readers, received_at
from footfall.events.golive import cases_of
from footfall.events.identity import identify
from footfall.events.quality import warnings
from footfall.log.api import Record

_POLL_S = 0.3
_LINES = 10
_BATCH = 1000


def tail(
    platform: Annotated[str | None, typer.Option(help="Only this platform id.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and print events as they come.")] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Print the newest events. Identifiers are named by kind, never shown, except in --json."""
    trees = readers(data)
    positions = [dict(reader.durable()) for reader in trees]
    newest = [
        record
        for reader, position in zip(trees, positions, strict=True)
        for record in deque((r for r in reader.scan() if _is_up_to(r, position) and is_of(r, platform)), maxlen=_LINES)
    ]
    for record in sorted(newest, key=received_at)[-_LINES:]:
        _print(record, json)
    while follow:
        fresh = False
        for reader, position in zip(trees, positions, strict=True):
            for record in reader.read(position, records_max=_BATCH):
                fresh = True
                position[record.writer] = record.sequence
                if is_of(record, platform):
                    _print(record, json)
        if not fresh:
            time.sleep(_POLL_S)


def _is_up_to(record: Record, positions: dict[str, int]) -> bool:
    return record.sequence <= positions.get(record.writer, 0)


def _print(record: Record, json: bool) -> None:
    if json:
        print_bytes(printed(record))
        return
    received = decode_record(record.body)
    event = received.event
    identifier = identify(event)
    found = warnings(event, now_ms=received.received_at) if received.mode == "test" else ()
    notes = [*(f"[green]{case}[/]" for case in cases_of(event)), *(f"[yellow]{warning.reason}[/]" for warning in found)]
    what = event.search_query or event.page_id or ", ".join(item.id or item.item_group_id for item in event.items)
    results.print(
        f"{when(received.received_at)}  {received.platform:<16} {event.event_type:<16} {escape(what[:40]):<40}"
        f"  [dim]{identifier.kind if identifier else 'no identifier'}[/]  {' '.join(notes) if received.mode == 'test' else ''}",
        soft_wrap=True,
    )
