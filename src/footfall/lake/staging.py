"""From the log to lines for DuckDB: which records make a batch, and how each is handed over with its position."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from footfall.errors import LakeError
from footfall.lake.columns import Run
from footfall.lake.quarantine import Poison
from footfall.log.api import Payload
from footfall.log.reader import SegmentReader

_EXTRA: Final = b',"extra":{'
"""Where the members nobody knows begin: nothing else in a record can look like it, since quotes in a text are escaped, and they
are the event's last member."""
_encode_text: Final = msgspec.json.Encoder().encode


class Batch(NamedTuple):
    """What lands together: whole groups of records by writer, the last sequence of each writer, and whether more waits."""

    payloads: Mapping[str, Sequence[Payload]]
    records: int
    last: Mapping[str, int]
    more: bool


class Line(NamedTuple):
    """One record: its position, and what lies in the log, with its newline."""

    run: Run
    record: bytes

    @property
    def staged(self) -> bytes:
        return _staged(self.record) if _EXTRA in self.record else self.record

    def poisoned(self, reason: str, *, now_ms: int) -> Poison:
        text = self.record[:-1].decode("utf-8", "replace")
        return Poison(position=f"{self.run.writer}/{self.run.first}", reason=reason, quarantined_at=now_ms, record=text)


def read_batch(reader: SegmentReader, positions: Mapping[str, int], *, records_max: int, bytes_max: int) -> Batch:
    """The next records after `positions`. Each writer gets an equal share of both bounds, so that a long backlog of one does not
    hide the others; whole groups, so the bounds may be passed by one group each."""
    durable = reader.durable()
    payloads: dict[str, Sequence[Payload]] = {}
    last: dict[str, int] = {}
    records = 0
    left = len(positions)
    for writer, position in positions.items():
        share, byte_share = max(1, (records_max - records) // left), max(1, bytes_max // len(positions))
        left -= 1
        found = reader.read_payloads(writer, after=position, records_max=share, bytes_max=byte_share)
        if not found:
            continue
        payloads[writer] = found
        last[writer] = found[-1].last
        records += sum(payload.count for payload in found)
    more = any(durable.get(writer, 0) > reached for writer, reached in last.items())  # one that ends in a gap gave nothing
    return Batch(payloads, records, last, more)


def require_reached(reader: SegmentReader, positions: Mapping[str, int]) -> None:
    """Raises LakeError where the table has events that the log does not reach up to: new ones there would get sequences that the
    table takes for landed, and would never land. A log that was not closed shows less than it holds until its writer opens it."""
    durable = reader.durable()
    short = [writer for writer, position in positions.items() if durable.get(writer, 0) < position]
    beyond = reader.unconfirmed() if short else {}
    for writer in short:
        reached = durable.get(writer, 0) + beyond.get(writer, 0)
        if reached < positions[writer]:
            raise LakeError(
                f"the log of {writer} ends at {reached}, the table has its events up to {positions[writer]}: part of the log is"
                " gone. Bring the data directory back with `footfall restore`, which gives out no sequence twice"
            )


def runs_of(batch: Batch) -> list[Run]:
    """Which positions the lines of `staged_pieces` have."""
    return merged(
        Run(writer, payload.first, payload.count) for writer, payloads in batch.payloads.items() for payload in payloads
    )


def merged(runs: Iterable[Run]) -> list[Run]:
    """The same positions in as few runs as possible."""
    found: list[Run] = []
    for run in runs:
        last = found[-1] if found else None
        if last is not None and last.writer == run.writer and last.first + last.records == run.first:
            found[-1] = Run(run.writer, last.first, last.records + run.records)
        else:
            found.append(run)
    return found


def staged_pieces(batch: Batch) -> Iterator[bytes]:
    """Every record as DuckDB reads it (`columns` draws the line), in pieces of whole lines."""
    for payloads in batch.payloads.values():
        for payload in payloads:
            if _EXTRA in payload.lines:
                yield b"".join([_staged(body + b"\n") for body in payload.lines[:-1].split(b"\n")])
            else:
                yield payload.lines


def lines_of(batch: Batch) -> list[Line]:
    """Every record by itself: for the few batches with one that cannot be read."""
    return [
        Line(Run(writer, sequence, 1), body + b"\n")
        for writer, payloads in batch.payloads.items()
        for payload in payloads
        for sequence, body in enumerate(payload.lines[:-1].split(b"\n"), payload.first)
    ]


def write_pieces(path: Path, pieces: Iterable[bytes]) -> None:
    """For this process only: nothing here needs to survive it."""
    with path.open("xb", buffering=1 << 20) as opened:
        opened.writelines(pieces)


def _staged(line: bytes) -> bytes:
    begin = line.find(_EXTRA)
    if begin < 0 or not line.endswith(b"}}}\n"):
        return line
    text = line[begin + len(_EXTRA) - 1 : -3].decode("utf-8", "replace")
    return b'{"x":%b,%b}}\n' % (_encode_text(text), line[1:begin])
