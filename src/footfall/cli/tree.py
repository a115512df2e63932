"""The tree of commands, each branch imported when it is asked for: `footfall check` must not wait for the server's packages.

Names and order of the commands are here; what a command does, and which flags it takes, is its own module's.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

_COMMANDS: Final = {
    "serve": "footfall.cli.serve:serve",
    "ingest": "footfall.cli.serve:ingest",
    "console": "footfall.cli.serve:console",
    "platform": "footfall.cli.platforms:app",
    "key": "footfall.cli.keys:app",
    "send": "footfall.cli.send:send",
    "outbox": "footfall.cli.outbox:app",
    "simulate": "footfall.cli.simulate:simulate",
    "find": "footfall.cli.find:find",
    "doctor": "footfall.cli.doctor:doctor",
    "check": "footfall.cli.check:check",
    "golive": "footfall.cli.golive:golive",
    "tail": "footfall.cli.tail:tail",
    "log": "footfall.cli.logs:app",
    "import": "footfall.cli.importing:import_events",
    "query": "footfall.cli.query:query",
    "export": "footfall.cli.export:export",
    "report": "footfall.cli.report:report",
    "land": "footfall.cli.land:land",
    "erase": "footfall.cli.erase:erase",
    "ledger": "footfall.cli.ledger:ledger",
    "config": "footfall.cli.configure:config",
    "backup": "footfall.cli.backup:backup",
    "restore": "footfall.cli.backup:restore",
}


def branch(help_text: str, *, cls: type[TyperGroup] = TyperGroup) -> typer.Typer:
    """A group of commands. Plain text everywhere: errors and help read the same on a terminal, in a pipe and in a build's log."""
    return typer.Typer(
        cls=cls,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


class _Branches(MutableMapping[str, Any]):
    """Name → command, made at its first look-up."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = _made(name, _COMMANDS[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class Root(TyperGroup):
    """The root of the tree: knows the names, imports on demand."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Branches()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_COMMANDS)


def _made(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        command, found = found, branch("")
        found.command(name, context_settings={"help_option_names": ["-h", "--help"]})(command)
    return typer.main.get_command(found)
