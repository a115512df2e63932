"""`footfall platform`: the pairs of platform ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption, found_registry, new_registry, note_absence, required_registry
from footfall.cli.output import (
    USAGE,
    JsonOption,
    counted,
    fail,
    print_json,
    print_line,
    print_table,
    results,
    say,
    table,
    when,
)
from footfall.cli.tree import branch
from footfall.clock import SystemClock
from footfall.errors import RegistryRefusedError

if TYPE_CHECKING:
    from footfall.registry.snapshot import Platform

app = branch("Platform ids: each shop has a live one and a test one.")

_IdArgument = Annotated[str, typer.Argument(metavar="ID")]


@app.command("add")
def add(
    platform: Annotated[str, typer.Argument(metavar="ID", help="The live id, for example SHOP.")], data: DataOption = DEFAULT_DATA
) -> None:
    """Make the pair ID (live) and ID_TEST (test). Again: prints the same."""
    with new_registry(data) as registry:
        try:
            pair = registry.add_platform(platform)
        except RegistryRefusedError as error:
            fail(error.message, USAGE)
    for made in pair:
        print_line(f"{made.id}\t{made.mode}")
    say(f"[dim]next: footfall key create {pair[1].id}[/]")


@app.command("list")
def list_(data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """All platform ids."""
    note_absence(data)
    with found_registry(data) as registry:
        platforms = registry.platforms() if registry else []
    if json:
        print_json([_shown(platform) for platform in platforms])
        return
    if not platforms:
        say("no platforms yet; make a pair with: footfall platform add SHOP")
        return
    rows = table("id", "mode", "made (UTC)", "disabled (UTC)", ids=4)
    for platform in platforms:
        rows.add_row(platform.id, platform.mode, when(platform.created_at), when(platform.disabled_at))
    print_table(rows)


@app.command("show")
def show(platform: _IdArgument, data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """One platform id and its keys."""
    with required_registry(data) as registry:
        found, keys = registry.platform(platform), registry.keys(platform)
    if json:
        print_json({**_shown(found), "keys": [key.id for key in keys]})
        return
    results().print(f"{found.id}  {found.mode}  made {when(found.created_at)} UTC", soft_wrap=True)
    if found.disabled_at is not None:
        results().print(f"[yellow]disabled[/] {when(found.disabled_at)} UTC: its events are refused")
    now_ms = SystemClock().now_ms()
    active = sum(key.is_active(now_ms) for key in keys)
    results().print(f"{counted(len(keys), 'key')}, {active} active: footfall key list {found.id}", soft_wrap=True)


@app.command("disable")
def disable(platform: _IdArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Refuse all events of this id from now on. What is stored stays."""
    with required_registry(data) as registry:
        found = registry.disable_platform(platform)
    say(f"{found.id} is disabled; running servers follow within seconds")


def _shown(platform: Platform) -> dict[str, object]:
    return {name: getattr(platform, name) for name in platform.__struct_fields__}
