"""A file of events as commands read it: one JSON object a line, blank lines skipped, memory bounded whatever the file holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import msgspec
import typer

from footfall.cli.output import FAILED, USAGE, fail, say

LINE_BYTES_MAX: Final = 1 << 20
"""Receivers take 64 KiB an event; what is longer than this is no event, and need not be read to the end to be refused."""

FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help="Events, one JSON object a line; - reads standard input.")]


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """`index` counts the lines that hold something, from 0; `number` is the line of the file, from 1. A body longer than
    `LINE_BYTES_MAX` is cut one byte above it."""

    index: int
    number: int
    body: bytes

    @property
    def is_cut(self) -> bool:
        return len(self.body) > LINE_BYTES_MAX


def event_lines(file: str) -> Iterator[EventLine]:
    """The lines of FILE or, for `-`, of standard input. Exit 2 where there is no such file, 3 where reading fails midway."""
    index = 0
    with nullcontext(sys.stdin.buffer) if file == "-" else _opened(file) as opened:
        for number, line in enumerate(_lines(opened, file), 1):
            body = line.strip(b"\r\n")
            if not body.isspace() and body:
                yield EventLine(index=index, number=number, body=body)
                index += 1
    if index == 0:
        say("no events came: each line holds one JSON object")


def count_events(file: str) -> int | None:
    """How many events FILE holds; None for what can be read only once."""
    if file == "-" or not Path(file).is_file():
        return None
    with _opened(file) as opened:
        return sum(1 for line in _lines(opened, file) if line.strip())


def hint_at_shape(first: bytes) -> None:
    """Says what to do when the first line looks like the beginning of a JSON array, or of an object spread over lines."""
    if first.strip() in {b"[", b"{", b"[{"} or first.lstrip().startswith(b"["):
        say("this looks like one JSON document, not one event a line; to make lines of it: jq -c '.[]? // .' FILE")


def _opened(file: str) -> BinaryIO:
    try:
        return Path(file).open("rb")
    except (OSError, ValueError) as error:
        fail(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}", USAGE)


def _lines(opened: BinaryIO, file: str) -> Iterator[bytes]:
    try:
        while line := opened.readline(LINE_BYTES_MAX + 1):
            rest = line
            while len(rest) > LINE_BYTES_MAX and not rest.endswith(b"\n"):
                rest = opened.readline(LINE_BYTES_MAX + 1)  # passed over
            yield line
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", FAILED)
