"""`footfall platform`: the pairs of platform ids, how fast each may send, and how long its events are kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

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
from footfall.cli.settings import load
from footfall.cli.tree import branch
from footfall.clock import SystemClock
from footfall.errors import RegistryRefusedError
from footfall.registry.snapshot import Days, Limit, Limits, Rate, Retention, days_trouble

if TYPE_CHECKING:
    from footfall.registry.snapshot import Platform

app = branch("Platform ids: each shop has a live one and a test one.")

_IdArgument = Annotated[str, typer.Argument(metavar="ID")]
_RATE: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([0-9]{1,9}))?")
_DAYS: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_WORDS: Final[dict[str, Limit]] = {"none": "none", "default": "default"}
_BURST_PER_RATE: Final = 4


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
    """One platform id, its keys, and the limits that are its own."""
    with required_registry(data) as registry:
        found, keys, set_limits = registry.platform(platform), registry.keys(platform), registry.limits(platform)
        retention = registry.retention(platform)
    own = {scope: _rate_text(limit) for scope, limit in _by_scope(set_limits).items() if limit != "default"}
    if json:
        print_json({**_shown(found), "keys": [key.id for key in keys], "limits": own, "retention": _days_shown(retention)})
        return
    results().print(f"{found.id}  {found.mode}  made {when(found.created_at)} UTC", soft_wrap=True)
    if found.disabled_at is not None:
        results().print(f"[yellow]disabled[/] {when(found.disabled_at)} UTC: its events are refused")
    now_ms = SystemClock().now_ms()
    active = sum(key.is_active(now_ms) for key in keys)
    results().print(f"{counted(len(keys), 'key')}, {active} active: footfall key list {found.id}", soft_wrap=True)
    if own:
        listed = ", ".join(f"{scope} {rate}" for scope, rate in own.items())
        results().print(f"own limits, {listed}: footfall platform limits {found.id}", soft_wrap=True)
    _print_retention(retention)


@app.command("limits")
def limits(
    platform: _IdArgument,
    identifier: Annotated[
        str | None, typer.Option(metavar="RATE", help="How fast each identifier, which is each shopper, may send.")
    ] = None,
    whole: Annotated[
        str | None, typer.Option("--platform", metavar="RATE", help="How fast the platform id as a whole may send.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="RATE", help="How fast each key may send.")] = None,
    lake_days: Annotated[str | None, typer.Option(metavar="DAYS", help="How long its events are kept in the lake.")] = None,
    log_days: Annotated[str | None, typer.Option(metavar="DAYS", help="How long its events are kept in the log.")] = None,
    data: DataOption = DEFAULT_DATA,
    json: JsonOption = False,
) -> None:
    """Show or set how fast events may come, and how long they are kept.

    RATE is 50/200 (events a second, and how many at once after a pause), 50 (at once: four times that), none (no limit) or
    default (what the settings of the server say). DAYS is a number, such as 400 or 0.5, or default. A live id and its test
    id have limits of their own; events of a test id never reach the lake.

    Of several workers each grants its share of a rate. A restart forgets who has sent how much.
    """
    wanted = {
        "identifier": _limit(identifier, option="--identifier"),
        "platform": _limit(whole, option="--platform"),
        "key": _limit(key, option="--key"),
    }
    wanted_days = {
        "lake_days": _days(lake_days, option="--lake-days"),
        "log_days": _days(log_days, option="--log-days"),
    }
    defaults = _defaults(data)
    with required_registry(data) as registry:
        # first, since it may be refused: then nothing has changed
        kept = registry.set_retention(platform, **wanted_days) if any(wanted_days.values()) else registry.retention(platform)
        found = registry.set_limits(platform, **wanted) if any(wanted.values()) else registry.limits(platform)
    if any(wanted.values()):
        say(f"limits of {platform} are set; running servers follow within seconds")
    if any(wanted_days.values()):
        say(f"retention of {platform} is set")
    if json:
        print_json({"platform": platform, "limits": _limits_shown(found, defaults), "retention": _days_shown(kept)})
    else:
        _print_limits(found, defaults)
        _print_retention(kept)


@app.command("disable")
def disable(platform: _IdArgument, data: DataOption = DEFAULT_DATA) -> None:
    """Refuse all events of this id from now on. What is stored stays."""
    with required_registry(data) as registry:
        found = registry.disable_platform(platform)
    say(f"{found.id} is disabled; running servers follow within seconds")


def _shown(platform: Platform) -> dict[str, object]:
    return {name: getattr(platform, name) for name in platform.__struct_fields__}


def _limit(text: str | None, *, option: str) -> Limit | None:
    """What an option asks for, None where it is not given."""
    if text is None:
        return None
    if text in _WORDS:
        return _WORDS[text]
    match = _RATE.fullmatch(text)
    if match is None:
        fail(f"{option} {text}: give 50/200 (events a second/at once), 50, none or default", USAGE)
    per_s = float(match[1])
    rate = Rate(per_s, int(match[2]) if match[2] else max(1, round(_BURST_PER_RATE * per_s)))
    trouble = rate.trouble()
    if trouble is not None:
        fail(f"{option} {text}: {trouble}; none lifts the limit", USAGE)
    return rate


def _days(text: str | None, *, option: str) -> Days | None:
    """What an option asks for, None where it is not given."""
    if text is None or text == "default":
        return None if text is None else "default"
    if not _DAYS.fullmatch(text):
        fail(f"{option} {text}: give a number of days, such as 400 or 0.5, or default", USAGE)
    trouble = days_trouble(float(text))
    if trouble is not None:
        fail(f"{option} {text}: {trouble}; default leaves it to the settings", USAGE)
    return float(text)


def _days_shown(retention: Retention) -> dict[str, float | None]:
    """By name; null where the settings decide."""
    return {name: getattr(retention, name) for name in retention.__struct_fields__}


def _print_retention(retention: Retention) -> None:
    own = {name.removesuffix("_days"): days for name, days in _days_shown(retention).items() if days is not None}
    if own:
        listed = ", ".join(
            f"in the {place} for {_number_text(days)} {'day' if days == 1 else 'days'}" for place, days in own.items()
        )
        results().print(f"own retention: events are kept {listed}", soft_wrap=True)


def _defaults(data: Path) -> Limits:
    """What a server that runs on this directory does where the registry says nothing."""
    throttle = load(file=None, data=data, environment=os.environ).throttle
    is_unlimited = throttle.identifier_per_s == 0
    identifier: Limit = "none" if is_unlimited else Rate(throttle.identifier_per_s, throttle.identifier_burst)
    return Limits(identifier=identifier, platform="none", key="none")


def _by_scope(limits: Limits) -> dict[str, Limit]:
    return {scope: getattr(limits, scope) for scope in limits.__struct_fields__}


def _limits_shown(limits: Limits, defaults: Limits) -> dict[str, dict[str, object]]:
    """By scope: `per_s` and `burst`, both null for no limit, and whether they are the platform id's own."""
    shown: dict[str, dict[str, object]] = {}
    for scope, limit in _by_scope(limits).items():
        rate = _by_scope(defaults)[scope] if limit == "default" else limit
        numbers = {"per_s": rate.per_s, "burst": rate.burst} if isinstance(rate, Rate) else {"per_s": None, "burst": None}
        shown[scope] = {**numbers, "from": "default" if limit == "default" else "own"}
    return shown


def _print_limits(limits: Limits, defaults: Limits) -> None:
    rows = table("limit", "a second", "at once", "from", ids=4)
    for scope, shown in _limits_shown(limits, defaults).items():
        per_s, burst = shown["per_s"], shown["burst"]
        numbers = ("no limit", "") if per_s is None else (_number_text(per_s), str(burst))
        rows.add_row(scope, *numbers, str(shown["from"]))
    print_table(rows)


def _rate_text(limit: Limit) -> str:
    """A limit as it is written on the command line."""
    return f"{_number_text(limit.per_s)}/{limit.burst}" if isinstance(limit, Rate) else limit


def _number_text(number: object) -> str:
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)
