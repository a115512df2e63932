"""How commands speak: results to stdout, talk to stderr, errors in one plain line with an exit status."""

from __future__ import annotations

import datetime
import sys
from typing import Any, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

REFUSED = 1
USAGE = 2
FAILED = 3

talk = Console(stderr=True, highlight=False)
results = Console(highlight=False)


def fail(message: str, status: int) -> NoReturn:
    talk.print(f"[bold red]error[/] {escape(message)}", soft_wrap=True)
    raise typer.Exit(status)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    print_bytes(msgspec.json.encode(value))


def print_bytes(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")


def table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold")


def when(unix_ms: int | None) -> str:
    """A time for people: UTC, to the second; a dash for never."""
    if unix_ms is None:
        return "–"
    try:
        moment = datetime.datetime.fromtimestamp(unix_ms / 1000, tz=datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(unix_ms)
    return moment.strftime("%Y-%m-%d %H:%M:%S")
