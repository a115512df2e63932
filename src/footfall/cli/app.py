"""The tree of commands. Each command's own module holds what it does; names, flags and exit statuses are a contract."""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from typing import Annotated

import typer

from footfall.cli import check, configure, golive, keys, logs, platforms, send, serve, tail
from footfall.cli.output import FAILED, REFUSED, USAGE, talk
from footfall.errors import FootfallError, InvalidEventError, RegistryRefusedError, SettingsError

app = typer.Typer(
    name="footfall",
    help="User events of a marketplace: taken in, checked, durable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.add_typer(platforms.app, name="platform")
app.add_typer(keys.app, name="key")
app.command("send")(send.send)
app.command("check")(check.check)
app.command("golive")(golive.golive)
app.command("tail")(tail.tail)
app.add_typer(logs.app, name="log")
app.command("config")(configure.config)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        sys.stdout.write(f"footfall {distribution_version('footfall')}\n")
        raise typer.Exit


def run() -> None:
    """Runs the command line of this process and ends it. An error of ours is one line, never a traceback."""
    try:
        app()
    except FootfallError as error:
        talk.print(f"[bold red]error[/] {_plain(error.message)}", soft_wrap=True)
        sys.exit(_status(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `footfall log cat | head`
        sys.stderr.close()
        sys.exit(141)


def _plain(message: str) -> str:
    return message.replace("[", "\\[")


def _status(error: FootfallError) -> int:
    if isinstance(error, SettingsError):
        return USAGE
    return REFUSED if isinstance(error, (RegistryRefusedError, InvalidEventError)) else FAILED
