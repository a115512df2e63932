"""`footfall land`: what the log holds goes into the table, without a server. `footfall serve` does so beside its workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from footfall.cli import journal
from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, explained, note_absence
from footfall.cli.output import JsonOption, counted, counting_bar, print_json, say
from footfall.cli.settings import Settings, load
from footfall.log.directory import writers_of
from footfall.log.disk import Disk

if TYPE_CHECKING:
    from footfall.lake.landing import Landed
    from footfall.lake.running import Progress


def land(
    once: Annotated[bool, typer.Option("--once", help="Land what waits now, then exit.")] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Land accepted events in the table `events`, each once, and look after it. Without --once until Ctrl-C or SIGTERM.

    `footfall serve` lands by itself: this is for when no server runs, or one with lake.enabled = false. Exit 3 when another
    process owns the table.
    """
    settings = load(file=config, data=data, environment=os.environ)
    note_absence(data)
    if not data.exists():
        if json:
            print_json(_numbers(None))
        return
    journal.configure(settings.logging.format, settings.logging.level, part="lander")
    if once:
        _land_once(data, settings, json=json)
    else:
        _land_on(data, settings)


def _land_once(data: Path, settings: Settings, *, json: bool) -> None:
    from footfall.cli.landing import lander_parts
    from footfall.lake.running import land_all

    with explained(data), counting_bar(quiet=json) as progress, lander_parts(data, settings.lake) as parts:
        task = progress.add_task("landing", total=_waiting_at_most(data))
        landed = land_all(parts, on_batch=lambda batch: progress.advance(task, batch.read))
    if json:
        print_json(_numbers(landed))
    else:
        say(_told(landed))


def _land_on(data: Path, settings: Settings) -> None:
    from footfall.cli.landing import run_lander
    from footfall.lake.opening import volume_of
    from footfall.lake.ownership import owned_lake

    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with explained(data), owned_lake(data, volume_of(data, settings.lake)):
        pass  # a second lander fails at once, not by waiting
    say("[bold]landing[/]   Ctrl-C stops")
    told: list[Progress] = []
    run_lander(data, settings.lake, stop=stop, tell=lambda progress: told.__setitem__(slice(None), [progress]))
    say(_told(told[0].landed) if told else "nothing landed")


def _waiting_at_most(data: Path) -> int:
    """Durable records of the whole live log: a bound for the bar, which ends early where much has landed before."""
    from footfall.log.reader import SegmentReader

    tree = data / "log" / "live"
    return sum(SegmentReader(tree).durable().values()) if writers_of(Disk(), tree) else 0


def _told(landed: Landed) -> str:
    parts = [f"{counted(landed.landed, 'event')} landed"]
    parts += [f"{counted(landed.repeated, 'repeat')}"] if landed.repeated else []
    parts += [f"{landed.erased:,} of erased persons"] if landed.erased else []
    parts += [f"[bold red]{landed.quarantined:,} to quarantine[/]"] if landed.quarantined else []
    return ", ".join(parts)


def _numbers(landed: Landed | None) -> dict[str, int]:
    terms = ("read", "landed", "repeated", "quarantined", "erased")
    return {term: getattr(landed, term) if landed is not None else 0 for term in terms}
