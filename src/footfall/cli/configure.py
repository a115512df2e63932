"""`footfall config`: the settings a server would run with, and which of them somebody changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption
from footfall.cli.output import JsonOption, marked, print_json, print_table, table
from footfall.cli.settings import describe, load

ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The settings file.", dir_okay=False)]


def config(data: DataOption = DEFAULT_DATA, file: ConfigOption = None, json: JsonOption = False) -> None:
    """Print the effective settings.

    They come from the file, overridden by FOOTFALL_SECTION__KEY, overridden by the flags of `serve`.
    """
    settings = describe(load(file=file, data=data, environment=os.environ))
    if json:
        sections: dict[str, dict[str, Any]] = {}
        for section, key, value, _ in settings:
            sections.setdefault(section, {})[key] = value
        print_json(sections)
        return
    rows = table("setting", "value", "default", ids=3)
    for section, key, value, default in settings:
        changed = value != default
        shown = marked(_text(value))
        rows.add_row(f"{section}.{key}", f"[bold]{shown}[/]" if changed else shown, marked(_text(default)) if changed else "")
    print_table(rows)


def _text(value: Any) -> str:
    if value is None:
        return "(computed)"
    return str(value).lower() if isinstance(value, bool) else str(value)
