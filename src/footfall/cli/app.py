"""The command line as a process: runs a command, and turns whatever ends it into one line and an exit status.

0 done      1 the input was refused      2 usage      3 the system failed
130 Ctrl-C  141 the reader of our output went away (`footfall log cat | head`), both in silence
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from footfall import __version__
from footfall.cli.output import FAILED, REFUSED, USAGE, complain, forget_output
from footfall.cli.tree import Root, branch
from footfall.errors import FootfallError, InvalidEventError, RegistryRefusedError, SettingsError

_READER_GONE = 141  # what a shell shows of a process that SIGPIPE ended


class _App(Root):
    """Typer would answer a closed pipe with status 1, which here means that the input was refused."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            return super().main(*arguments, **options)
        finally:
            _flush()

    def invoke(self, ctx: Any) -> Any:
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            forget_output()
            raise typer.Exit(_READER_GONE) from None
        return value


app = branch("User events of a marketplace: taken in, checked, durable.", cls=_App)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"footfall {__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The flags before the command."""


def run() -> None:
    """Runs the command line of this process and ends it. What we foresaw is one line, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows question marks, not a traceback
    try:
        app()
    except FootfallError as error:
        complain(error.message)
        sys.exit(_status(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        complain(f"{place}{error.strerror or type(error).__name__}")
        sys.exit(FAILED)


def _flush() -> None:
    """Hands the output over while its failure can still be told; at the interpreter's end it could not."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        forget_output()
        sys.exit(_READER_GONE)
    except OSError as error:
        forget_output()
        raise OSError(error.errno, error.strerror, "standard output") from None


def _status(error: FootfallError) -> int:
    if isinstance(error, SettingsError):
        return USAGE
    return REFUSED if isinstance(error, (RegistryRefusedError, InvalidEventError)) else FAILED
