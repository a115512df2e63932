"""`footfall outbox`: what a shop's outbox directory still holds, and what becomes of it.

Beside a running shop all of this is safe: what living processes have waiting is left to them, and how far refused events are
handled is written where their owner looks. No event is printed, nor whom it is about; its id and its type may be.
"""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from footfall.cli.destination import KeyOption, destination, read_key
from footfall.cli.output import (
    FAILED,
    REFUSED,
    USAGE,
    JsonOption,
    age,
    complain,
    counted,
    counting_bar,
    fail,
    marked,
    print_json,
    print_table,
    results,
    say,
    table,
    when,
)
from footfall.cli.tree import branch
from footfall.cli.undelivered import (
    Place,
    Reason,
    give_up_waiting,
    oldest_waiting_at,
    place_of,
    reasons_of,
    trays,
    type_of,
    waiting,
    waiting_of_the_dead,
)
from footfall.client.outbox import inspection
from footfall.client.outbox.inspection import RefusedEvent, TrayReport, refused_events
from footfall.clock import SystemClock

if TYPE_CHECKING:
    from footfall.cli.redelivery import Delivery
    from footfall.client.outbox import Stats
    from footfall.client.settings import Settings

app = branch("The outbox of a shop: what waits, what was refused.")

_COLUMNS: Final = ("name", "made (UTC)", "process", "state", "to", "waiting", "oldest", "delivered", "refused", "shed", "MB")
_REASONS_SHOWN_MAX: Final = 20
_ID_CHARS_SHOWN_MAX: Final = 80

_Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory that the shop's Outbox was given.")]
_TrayOption = Annotated[str | None, typer.Option("--tray", metavar="NAME", help="Only this process directory, as ls names it.")]


@app.command("ls")
def ls(directory: _Directory, json: JsonOption = False) -> None:
    """What each process of a shop left in the outbox, or is working on, and why events were refused.

    Reads only, also while the shop runs. `waiting`, `delivered`, `refused` and `shed` (given up) count events.
    """
    found = _required(directory)
    reasons = reasons_of(refused_events(directory))
    if json:
        print_json({"trays": [_shown(directory, tray) for tray in found], "refused": reasons})
        return
    if not found:
        say("nothing lies in this outbox: no process tracks with it, and nothing is left of those that did")
        return
    now_ms = SystemClock().now_ms()
    rows = table(*_COLUMNS, ids=len(_COLUMNS))
    for column in (*rows.columns[5:6], *rows.columns[7:]):
        column.justify = "right"
    for tray in found:
        rows.add_row(*_row(directory, tray, now_ms=now_ms))
    print_table(rows)
    _print_reasons(reasons)
    _say_what_next(directory, found)


@app.command("resend")
def resend(
    directory: _Directory,
    key: KeyOption = "",
    tray: _TrayOption = None,
    timeout: Annotated[int, typer.Option(metavar="S", min=1, help="How long to try, for each platform id.")] = 60,
    json: JsonOption = False,
) -> None:
    """Put the refused events back among the waiting, and deliver what waits with no process to do so.

    Without a key nothing is delivered here: a running shop does it within 30 seconds. With --tray the refused events of that
    process are put back, and with them is delivered what else waits for the same receiver.

    Exit 1 when events were refused again, 3 when a key was given and events still wait at the end.
    """
    found = _required(directory, tray=tray)
    key = read_key(key) if key else ""
    places = _places(found)
    ways = _ways(places, key=key) if key else []
    put_back = inspection.resend(directory, tray=tray)
    before = {_mark(event) for event in refused_events(directory)}
    deliveries = [_delivered(directory, way, timeout_s=timeout, quiet=json) for way in ways]
    reasons = reasons_of(_refused_anew(directory, before)) if any(one.refused for one in deliveries) else []
    if json:
        print_json({"put_back": put_back, "deliveries": deliveries, "refused": reasons})
    say(f"{counted(put_back, 'refused event')} put back among the waiting")
    if not key:
        _say_who_delivers(directory)
        return
    if not deliveries:
        say("nothing waits that no process answers for")
    for delivery in deliveries:
        _say_delivery(delivery)
    if not json:
        _print_reasons(reasons)
    _end(directory, found, deliveries)


@app.command("drop")
def drop(
    directory: _Directory,
    tray: _TrayOption = None,
    and_waiting: Annotated[
        bool, typer.Option("--waiting", help="Also what waits with no process to deliver it, purchases included.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Give the refused events up for good.

    Asks first on a terminal. What living processes have waiting is never dropped.
    """
    found = _required(directory, tray=tray)
    is_asked = not yes and sys.stdin.isatty()
    if and_waiting and not yes and not is_asked:
        fail("--waiting drops events that nobody has refused: say --yes, or run it on a terminal", USAGE)
    left = waiting_of_the_dead(found) if and_waiting else 0
    refused = sum(one.refused for one in found)
    if not refused and not left:
        say("there are no refused events to drop" + (", and none that wait for nobody" if and_waiting else ""))
        return
    if is_asked:
        _ask(refused, left)
    types = Counter(type_of(event.event) for event in refused_events(directory, tray=tray))
    kept = _drop_waiting(directory, found) if and_waiting else []
    inspection.drop(directory, tray=tray)
    if types:
        say(f"{counted(types.total(), 'refused event')} dropped{_listed(types)}")
    if kept:
        names = ", ".join(marked(name) for name in kept)
        fail(f"what waits in {names} stays: whose it is cannot be told, or a process has just taken it up", FAILED)


# -- ls --------------------------------------------------------------------------------------------------------------------------


def _required(directory: Path, *, tray: str | None = None) -> list[TrayReport]:
    """The process directories; exit 2 where there is no such outbox, or no such tray in it."""
    if not directory.is_dir():
        fail(f"there is no directory {directory}: name the one that the shop's Outbox was given", USAGE)
    found = trays(directory, name=tray)
    if tray is not None and not found:
        fail(f"there is no {tray} in {directory}: footfall outbox ls names what is there", USAGE)
    return found


def _shown(directory: Path, tray: TrayReport) -> dict[str, object]:
    place = place_of(tray.to)
    fields: dict[str, object] = {name: getattr(tray, name) for name in tray.__struct_fields__}
    return {**fields, "platform": place.platform_id if place else "", "oldest_waiting_at": oldest_waiting_at(directory, tray)}


def _row(directory: Path, tray: TrayReport, *, now_ms: int) -> Sequence[str]:
    place = place_of(tray.to)
    return (
        tray.name,
        when(tray.made_at or None),
        str(tray.pid or "–"),
        ("[green]living[/]" if tray.alive else "dead") + (", [red]damaged[/]" if tray.damaged else ""),
        marked(str(place)) if place else "[yellow]cannot be told[/]",
        f"{waiting(tray):,}",
        age(oldest_waiting_at(directory, tray), now_ms=now_ms),
        f"{tray.delivered:,}",
        f"[red]{tray.refused:,}[/]" if tray.refused else "0",
        f"[yellow]{tray.shed:,}[/]" if tray.shed else "0",
        f"{tray.bytes_count / 1e6:,.1f}",
    )


def _print_reasons(reasons: Sequence[Reason]) -> None:
    for reason in reasons[:_REASONS_SHOWN_MAX]:
        example = f" [dim](such as {marked(reason.example_id[:_ID_CHARS_SHOWN_MAX])})[/]" if reason.example_id else ""
        types = ", ".join(reason.event_types)
        told = f"[red]{reason.status or 'no answer'}[/] {counted(reason.count, 'event')}, {types}: {marked(reason.message)}"
        results().print(f"{told}{example}", soft_wrap=True)
    if len(reasons) > _REASONS_SHOWN_MAX:
        say(f"and {counted(len(reasons) - _REASONS_SHOWN_MAX, 'more reason')}: --json lists all")


def _say_what_next(directory: Path, found: Sequence[TrayReport]) -> None:
    for tray in found:
        if tray.damaged:
            complain(f"{tray.name} cannot be read entirely, what can is counted: {tray.damaged}")
    if any(tray.refused for tray in found):
        say(f"refused events are kept; with the cause mended: {_command('resend', directory)}; or: {_command('drop', directory)}")
    if left := waiting_of_the_dead(found):
        say(f"{counted(left, 'event')} wait of processes that died: {_who_delivers(directory)}")


def _who_delivers(directory: Path) -> str:
    return f"a running shop delivers them within 30 s, {_command('resend', directory)} --key - at once"


def _command(name: str, directory: Path) -> str:
    return f"footfall outbox {name} {marked(shlex.quote(str(directory)))}"


# -- resend ----------------------------------------------------------------------------------------------------------------------


def _places(found: Sequence[TrayReport]) -> list[Place]:
    """Where what is to be delivered goes, in the order of the trays."""
    concerned = [tray for tray in found if tray.refused or (not tray.alive and waiting(tray))]
    places = [place_of(tray.to) for tray in concerned]
    return list({place.url: place for place in places if place}.values())


def _ways(places: Sequence[Place], *, key: str) -> list[Settings]:
    """Each place with the key. One key is shown to one receiver only: the other would be a stranger to it."""
    if len({place.base_url for place in places}) > 1:
        listed = ", ".join(str(place) for place in places)
        fail(f"these events go to several receivers ({listed}), and the key belongs to one: choose by --tray", USAGE)
    return [destination(url=place.base_url, platform=place.platform_id, key=key) for place in places]


def _delivered(directory: Path, way: Settings, *, timeout_s: float, quiet: bool) -> Delivery:
    from footfall.cli.redelivery import deliver

    with counting_bar(quiet=quiet) as progress:
        task = progress.add_task(f"delivering to {marked(way.platform_id)}", total=None)

        def watch(stats: Stats) -> None:
            progress.update(task, total=stats.adopted, completed=stats.adopted - stats.waiting, description=_doing(way, stats))

        return deliver(directory, way, timeout_s=timeout_s, watch=watch)


def _doing(way: Settings, stats: Stats) -> str:
    trouble = f" ({marked(stats.reason)}; trying again)" if stats.reason else ""
    return f"delivering to {marked(way.platform_id)}{trouble}"


def _mark(event: RefusedEvent) -> tuple[str, int]:
    return event.tray, event.sequence


def _refused_anew(directory: Path, before: set[tuple[str, int]]) -> Iterator[RefusedEvent]:
    """What was set aside since, but for living processes: theirs was not our doing."""
    living = {tray.name for tray in trays(directory) if tray.alive}
    return (event for event in refused_events(directory) if event.tray not in living and _mark(event) not in before)


def _say_who_delivers(directory: Path) -> None:
    left = waiting_of_the_dead(trays(directory))
    if left:
        say(f"{counted(left, 'event')} wait: {_who_delivers(directory)}")


def _say_delivery(delivery: Delivery) -> None:
    told = f"{marked(delivery.platform)}: {counted(delivery.delivered, 'event')} delivered"
    told += f", [red]{delivery.refused:,} refused again[/]" if delivery.refused else ""
    told += f", [red]{delivery.given_up:,} damaged and given up[/]" if delivery.given_up else ""
    told += f", {delivery.elsewhere:,} taken up by the running shop" if delivery.elsewhere else ""
    told += f", [yellow]{delivery.waiting:,} still waiting[/]" if delivery.waiting else ""
    say(told)


def _end(directory: Path, found: Sequence[TrayReport], deliveries: Sequence[Delivery]) -> None:
    """The exit status, and the words that go with it."""
    lost = [tray.name for tray in found if not tray.alive and waiting(tray) and place_of(tray.to) is None]
    for name in lost:
        complain(f"where the events in {name} go cannot be told: its label is damaged")
    for delivery in deliveries:
        if delivery.waiting or delivery.given_up:
            complain(f"{delivery.platform}: {delivery.reason or 'not all could be delivered in time; --timeout gives more'}")
    if lost or any(one.waiting or one.given_up for one in deliveries):
        raise typer.Exit(FAILED)
    if any(one.refused for one in deliveries):
        raise typer.Exit(REFUSED)


# -- drop ------------------------------------------------------------------------------------------------------------------------


def _ask(refused: int, left: int) -> None:
    """Ends the command unless the person says yes."""
    what = [counted(refused, "refused event")] if refused else []
    what += [f"{counted(left, 'event')} that still wait"] if left else []
    if not typer.confirm(f"Drop {' and '.join(what)} for good?", err=True):
        say("nothing was dropped")
        raise typer.Exit(REFUSED)


def _drop_waiting(directory: Path, found: Sequence[TrayReport]) -> list[str]:
    """Gives up what waits in trays of the dead; the names of those that could not be had."""
    types: Counter[str] = Counter()
    kept = []
    for tray in found:
        if tray.alive or not waiting(tray):
            continue
        dropped = give_up_waiting(directory, tray)
        if dropped is None:
            kept.append(tray.name)
        else:
            types += dropped
    if types:
        say(f"{counted(types.total(), 'waiting event')} dropped{_listed(types)}")
    return kept


def _listed(types: Mapping[str, int]) -> str:
    listed = ", ".join(f"{kind} {count:,}" for kind, count in sorted(types.items()))
    return f": {listed}" if listed else ""
