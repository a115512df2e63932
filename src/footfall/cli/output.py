"""How commands speak: results to stdout, talk to stderr, errors in one plain line with an exit status.

Nothing that came from outside may steer a terminal, so texts of events, files and the command line go through `plain`. Rich is
imported only by what needs it: a command that prints lines for a program starts without it.
"""

from __future__ import annotations

import datetime
import os
import sys
import textwrap
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import msgspec
import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

REFUSED: Final = 1
USAGE: Final = 2
FAILED: Final = 3
INTERRUPTED: Final = 130

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]

_PIPE_WIDTH: Final = 1000
_AGES: Final = ((86_400, "day"), (3600, "h"), (60, "min"))


@cache
def results() -> Console:
    """Standard output, for people. Coloured on a terminal only, and not with NO_COLOR."""
    return _console(stderr=False)


@cache
def talk() -> Console:
    """Standard error: what a person wants to know and a program does not."""
    return _console(stderr=True)


def say(markup: str) -> None:
    """A word to the person, on stderr."""
    talk().print(markup, soft_wrap=True)


def complain(message: str) -> None:
    """One line about what went wrong, and what to do about it."""
    say(f"[bold red]error[/] {marked(message)}")


def fail(message: str, status: int) -> NoReturn:
    complain(message)
    raise typer.Exit(status)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    print_bytes(msgspec.json.encode(value))


def print_bytes(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")


def print_line(line: str) -> None:
    sys.stdout.write(line + "\n")


def plain(text: str) -> str:
    """One line without control characters: neither line breaks nor what a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def marked(text: str) -> str:
    """`plain` text that stays itself inside Rich's markup."""
    return plain(text).replace("\\", "\\\\").replace("[", "\\[") if "[" in text or "\\" in text else plain(text)


def indented(text: str, *, cells: int, width: int) -> str:
    """Paragraphs for people, folded between words; nothing else is ever broken."""
    gap = " " * cells
    lines = textwrap.wrap(text, max(width - cells, 40), break_long_words=False, break_on_hyphens=False)
    return "\n".join(gap + line for line in lines)


def table(*columns: str, ids: int = 1) -> Table:
    """A table without lines; the first `ids` columns are never broken."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, no_wrap=index < ids)
    return made


def print_table(rows: Table) -> None:
    """Prints it as wide as the terminal, or wider where an id would break: the terminal may fold the line, a copy stays whole."""
    from rich.measure import Measurement

    console = results()
    wide = console.options.update(width=100_000)
    width = max(console.width, Measurement.get(console, wide, rows).minimum)
    console.print(rows, width=width, crop=False, overflow="ignore")


def progress_bar(*columns: ProgressColumn, quiet: bool) -> Progress:
    """A bar for people on stderr, which is gone when it is done; none in a pipe, in a build, or where it is to be `quiet`.

    Without redirection: what goes to stdout shall arrive there, also when only stderr is a terminal."""
    from rich.progress import Progress

    hidden = quiet or not talk().is_terminal or "CI" in os.environ
    return Progress(*columns, console=talk(), transient=True, disable=hidden, redirect_stdout=False, redirect_stderr=False)


def counting_bar(*, quiet: bool) -> Progress:
    """A `progress_bar` that says how many of how many."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return progress_bar(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), quiet=quiet)


def when(unix_ms: int | None) -> str:
    """A time for people: UTC, to the minute; a dash for never."""
    if unix_ms is None:
        return "–"
    try:
        moment = datetime.datetime.fromtimestamp(unix_ms / 1000, tz=datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return str(unix_ms)
    return moment.strftime("%Y-%m-%d %H:%M")


def age(unix_ms: int | None, *, now_ms: int) -> str:
    """How long ago, in at most eleven characters."""
    if unix_ms is None:
        return ""
    seconds = (now_ms - unix_ms) // 1000
    for unit_s, name in _AGES:
        count = seconds // unit_s
        if count >= 1:
            return f"{count} {name}{'s' if name == 'day' and count > 1 else ''} ago"
    return "just now"


def counted(count: int, noun: str) -> str:
    """ "1 event", "1,000 events"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def forget_output() -> None:
    """What is still buffered cannot be written: let it go nowhere, quietly, instead of failing again at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class PipedConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # the BrokenPipeError being handled: `app` knows what to do, Rich would exit with 1

    stream = sys.stderr if stderr else sys.stdout
    # nothing is cut for a program that reads: on a pipe a table is as wide as its content
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return PipedConsole(stderr=stderr, highlight=False, width=width)
