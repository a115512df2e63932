"""`footfall key`: API keys. A key is shown once, when it is made, and opens exactly one platform id."""

from __future__ import annotations

import enum
import re
from typing import Annotated

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption, existing_registry
from footfall.cli.output import USAGE, fail, print_json, results, table, talk, when
from footfall.cli.platforms import JsonOption
from footfall.clock import SystemClock
from footfall.registry.snapshot import ApiKey
from footfall.registry.store import Registry

app = typer.Typer(help="API keys.", no_args_is_help=True)

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Scope(enum.StrEnum):
    """What a key may do."""

    ingest = "ingest"
    manage = "manage"
    read = "read"


@app.command("create")
def create(
    platform: Annotated[str, typer.Argument(metavar="PLATFORM", help="The platform id this key opens.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.ingest,
    name: Annotated[str, typer.Option(help="A name to tell keys apart.")] = "",
    expires: Annotated[
        str | None, typer.Option(metavar="90d", help="Lifetime: a number and s, m, h or d. None: for ever.")
    ] = None,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Make a key. Standard output holds the key alone: it is not shown again."""
    lifetime_ms = None if expires is None else _lifetime_ms(expires)
    with Registry.in_directory(data) as registry:
        key, kept = registry.create_key(platform, scope=scope.value, name=name, expires_in_ms=lifetime_ms)
    print(key)  # noqa: T201
    until = f"expires {when(kept.expires_at)} UTC" if kept.expires_at else "never expires"
    talk.print(f"{kept.id}  {until}  ({kept.scope} on {kept.platform}; this is the only time the key is shown)", soft_wrap=True)


@app.command("list")
def list_(
    platform: Annotated[str | None, typer.Argument(metavar="[PLATFORM]")] = None,
    data: DataOption = DEFAULT_DATA,
    json: JsonOption = False,
) -> None:
    """All keys, without the keys: id, scope, last four characters, state."""
    registry = existing_registry(data)
    keys = registry.keys(platform) if registry else []
    now_ms = SystemClock().now_ms()
    if json:
        print_json([{name: getattr(key, name) for name in key.__struct_fields__} for key in keys])
        return
    if not keys:
        talk.print("no keys yet; make one with: footfall key create SHOP_TEST")
        return
    rows = table("id", "platform", "scope", "name", "ends in", "state", "expires (UTC)", "last used (UTC)")
    for key in keys:
        rows.add_row(
            key.id,
            key.platform,
            key.scope,
            key.name,
            key.last4,
            _state(key, now_ms),
            when(key.expires_at),
            when(key.last_used_at),
        )
    results.print(rows)


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY_ID")], data: DataOption = DEFAULT_DATA) -> None:
    """End a key. Running servers refuse it within seconds."""
    with Registry.in_directory(data) as registry:
        kept = registry.revoke_key(key_id)
    talk.print(f"{kept.id} is revoked; running servers follow within seconds")


def _lifetime_ms(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        fail(f"--expires {text}: give a number and a unit, such as 90d or 12h", USAGE)
    return int(match[1]) * _UNITS_MS[match[2]]


def _state(key: ApiKey, now_ms: int) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.is_active(now_ms) else "expired"
