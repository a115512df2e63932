"""`footfall platform`: the pairs of platform ids."""

from __future__ import annotations

from typing import Annotated

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption, existing_registry
from footfall.cli.output import REFUSED, USAGE, fail, print_json, results, table, talk, when
from footfall.clock import SystemClock
from footfall.errors import RegistryRefusedError
from footfall.registry.snapshot import Platform
from footfall.registry.store import Registry

app = typer.Typer(help="Platform ids: each shop has a live one and a test one.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command("add")
def add(
    platform: Annotated[str, typer.Argument(metavar="ID", help="The live id, for example SHOP.")], data: DataOption = DEFAULT_DATA
) -> None:
    """Make the pair ID (live) and ID_TEST (test). Again: prints the same."""
    with Registry.in_directory(data) as registry:
        try:
            pair = registry.add_platform(platform)
        except RegistryRefusedError as error:
            fail(error.message, USAGE)
    for made in pair:
        print(f"{made.id}\t{made.mode}")  # noqa: T201
    talk.print(f"[dim]next: footfall key create {pair[1].id}[/]")


@app.command("list")
def list_(data: DataOption = DEFAULT_DATA, json: JsonOption = False) -> None:
    """All platform ids."""
    registry = existing_registry(data)
    platforms = registry.platforms() if registry else []
    if json:
        print_json([_shown(platform) for platform in platforms])
        return
    if not platforms:
        talk.print("no platforms yet; make a pair with: footfall platform add SHOP")
        return
    rows = table("id", "mode", "made (UTC)", "disabled (UTC)")
    for platform in platforms:
        rows.add_row(platform.id, platform.mode, when(platform.created_at), when(platform.disabled_at))
    results.print(rows)


@app.command("show")
def show(
    platform: Annotated[str, typer.Argument(metavar="ID")], data: DataOption = DEFAULT_DATA, json: JsonOption = False
) -> None:
    """One platform id and its keys."""
    registry = existing_registry(data)
    if registry is None:
        fail(f"no platform has the id {platform}; there is no registry in {data}", REFUSED)
    found, keys = registry.platform(platform), registry.keys(platform)
    now_ms = SystemClock().now_ms()
    if json:
        print_json({**_shown(found), "keys": [key.id for key in keys]})
        return
    results.print(f"{found.id}  {found.mode}  made {when(found.created_at)} UTC")
    if found.disabled_at is not None:
        results.print(f"disabled {when(found.disabled_at)} UTC")
    active = sum(key.is_active(now_ms) for key in keys)
    results.print(f"{len(keys)} keys, {active} active; footfall key list {found.id}")


@app.command("disable")
def disable(platform: Annotated[str, typer.Argument(metavar="ID")], data: DataOption = DEFAULT_DATA) -> None:
    """Refuse all events of this id from now on. What is stored stays."""
    with Registry.in_directory(data) as registry:
        found = registry.disable_platform(platform)
    talk.print(f"{found.id} is disabled; running servers follow within seconds")


def _shown(platform: Platform) -> dict[str, object]:
    return {name: getattr(platform, name) for name in platform.__struct_fields__}
