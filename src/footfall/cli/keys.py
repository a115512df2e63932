"""`footfall key`: API keys. A key is shown once, when it is made, and opens exactly one platform id."""

from __future__ import annotations

import enum
import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from footfall.cli.data import DEFAULT_DATA, DataOption, found_registry, note_absence, required_registry
from footfall.cli.output import (
    FAILED,
    USAGE,
    JsonOption,
    age,
    fail,
    forget_output,
    marked,
    print_json,
    print_line,
    print_table,
    say,
    table,
    when,
)
from footfall.cli.tree import branch
from footfall.clock import SystemClock

if TYPE_CHECKING:
    from footfall.registry.snapshot import ApiKey

app = branch("API keys.")

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
    with required_registry(data) as registry:
        key, kept = registry.create_key(platform, scope=scope.value, name=name, expires_in_ms=lifetime_ms)
        try:
            print_line(key)
            sys.stdout.flush()
        except OSError as error:  # nobody has seen it, and nobody ever will
            registry.revoke_key(kept.id)
            forget_output()
            fail(f"the key could not be handed over ({error.strerror}), so {kept.id} is revoked again", FAILED)
    until = f"expires {when(kept.expires_at)} UTC" if kept.expires_at else "never expires"
    say(f"{kept.id}  {until}  ({kept.scope} on {kept.platform}; this is the only time the key is shown)")


@app.command("list")
def list_(
    platform: Annotated[str | None, typer.Argument(metavar="[PLATFORM]")] = None,
    data: DataOption = DEFAULT_DATA,
    json: JsonOption = False,
) -> None:
    """All keys, without the keys: id, scope, last four characters, state."""
    note_absence(data)
    with found_registry(data) as registry:
        keys = registry.keys(platform) if registry else []
    if json:
        print_json([{name: getattr(key, name) for name in key.__struct_fields__} for key in keys])
        return
    if not keys:
        say("no keys yet; make one with: footfall key create SHOP_TEST")
        return
    now_ms = SystemClock().now_ms()
    rows = table("id", "platform", "scope", "ends", "valid until", "last used", "name", ids=6)
    for key in keys:
        used = age(key.last_used_at, now_ms=now_ms) or "never"
        rows.add_row(key.id, key.platform, key.scope, key.last4, _validity(key, now_ms), used, marked(key.name))
    print_table(rows)


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(metavar="KEY_ID")], data: DataOption = DEFAULT_DATA) -> None:
    """End a key. Running servers refuse it within seconds."""
    with required_registry(data) as registry:
        kept = registry.revoke_key(key_id)
    say(f"{kept.id} is revoked; running servers follow within seconds")


def _lifetime_ms(text: str) -> int:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if match is None:
        fail(f"--expires {text}: give a number and a unit, such as 90d or 12h", USAGE)
    return int(match[1]) * _UNITS_MS[match[2]]


def _validity(key: ApiKey, now_ms: int) -> str:
    if key.revoked_at is not None:
        return "[red]revoked[/]"
    if not key.is_active(now_ms):
        return "[yellow]expired[/]"
    return when(key.expires_at)[:10] if key.expires_at else "for ever"
