"""What did arrive, as a small table for the message of a failed assertion: where it differs, what was refused and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from footfall.client.testing.book import Arrival
from footfall.client.testing.expectation import Expectation, shown, value_at
from footfall.events.identity import identify
from footfall.events.schema import Event

_ROWS_MAX: Final = 20
_MEMBERS: Final = ("items", "revenue", "search_query", "page_id")


def table(events: Sequence[Event], arrivals: Sequence[Arrival], *, expectation: Expectation) -> str:
    """What came in so many lines that it still can be read."""
    refused = [arrival for arrival in arrivals if arrival.outcome == "refused"]
    others = Counter((arrival.outcome, arrival.status) for arrival in arrivals if arrival.outcome not in ("accepted", "refused"))
    lines = [*_accepted_lines(events, expectation), *_refused_lines(refused)]
    lines += [f"{outcome}{f' with {status}' if status else ''}: {count}" for (outcome, status), count in others.items()]
    return "\n".join(lines)


def _accepted_lines(events: Sequence[Event], expectation: Expectation) -> list[str]:
    if not events:
        return ["nothing was accepted"]
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    first = max(0, len(events) - _ROWS_MAX)
    for number, event in enumerate(events[first:], first + 1):
        rows.append((str(number), event.event_type, _identifier(event), _values(event, expectation)))
        differences = expectation.differences(event) if expectation.is_of_type(event) else []
        notes.append("; ".join(differences))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = [f"accepted: {len(events)}" + (f", the last {_ROWS_MAX} of them" if first else "")]
    for row, note in zip(rows, notes, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append(f"  {'  '.join([*cells, row[3]])}".rstrip())
        lines += [f"  {' ' * widths[0]}  ^ {note}"] if note else []
    return lines


def _refused_lines(refused: Sequence[Arrival]) -> list[str]:
    if not refused:
        return []
    lines = [f"refused: {len(refused)}" + (f", the last {_ROWS_MAX} of them" if len(refused) > _ROWS_MAX else "")]
    for arrival in refused[-_ROWS_MAX:]:
        name = arrival.event.event_type if arrival.event is not None else ""
        lines.append(f"  {arrival.status}  {name or 'unreadable'}  {arrival.message}")
        lines += [f"       {each.field or 'body'}: {each.description} ({each.reason})" for each in arrival.violations]
    return lines


def _identifier(event: Event) -> str:
    found = identify(event)
    return f"{found.kind}={found.value}" if found is not None else "no identifier"


def _values(event: Event, expectation: Expectation) -> str:
    paths = dict.fromkeys((*expectation.paths, *_MEMBERS))
    values = {path: value_at(event, path) for path in paths}
    return "  ".join(f"{path}={shown(value)}" for path, value in values.items() if value)
