"""`footfall export`: events that have landed, as a file for other programs. What it looks like: `lake.export`."""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, found_registry, note_absence
from footfall.cli.output import REFUSED, USAGE, JsonOption, counted, counting_bar, fail, marked, print_json, say
from footfall.cli.settings import load
from footfall.clock import SystemClock

if TYPE_CHECKING:
    from footfall.lake.export import Selection
    from footfall.lake.reading import Lake

_STDOUT: Final = "-"
_TEST_SUFFIX: Final = "_TEST"


class Form(StrEnum):
    """What is written."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"


def export(
    platform: Annotated[str, typer.Option(metavar="ID", help="The live platform id.", show_default=False)],
    form: Annotated[Form, typer.Option("--format", help="Parquet with the table's types, or text.", show_default=False)],
    out: Annotated[str, typer.Option(metavar="PATH", help="The file; - is stdout, for csv and ndjson.", show_default=False)],
    since: Annotated[str | None, typer.Option(metavar="TIME", help="The first moment: a date or an ISO time, UTC.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The moment it ends before.")] = None,
    training: Annotated[
        bool, typer.Option("--training", help="Leave out events that must not train a model: METRIC_ONLY and ID_LESS.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Write events of one platform to a file, which appears when it is whole.

    Times are those of the events (`timestamp`). It is personal data: the file is made for its owner only. Exit 1 where the
    platform is unknown or PATH is taken.
    """
    from footfall.lake.export import Selection
    from footfall.lake.reading import open_lake

    selection = Selection(
        platform=platform, since_ms=_moment(since, "--since"), until_ms=_moment(until, "--until"), training=training
    )
    _require_sense(selection, form, out, force=force)
    settings = load(file=config, data=data, environment=os.environ).lake
    note_absence(data)
    with open_lake(data, settings=settings) as lake:
        require_platform(lake, selection.platform, data)
        _write(lake, selection, form, out, json=json)


def _write(lake: Lake, selection: Selection, form: Form, out: str, *, json: bool) -> None:
    from footfall.lake.export import rows_at_most

    clock = SystemClock()
    began_s = clock.monotonic_s()
    with counting_bar(quiet=json) as progress:
        total = rows_at_most(lake, selection)
        task = progress.add_task("exporting", total=total)
        if out == _STDOUT:
            rows = _to_stdout(lake, selection, form, lambda count: progress.advance(task, count))
        elif form is Form.PARQUET:
            rows = _to_parquet(lake, selection, Path(out), lambda share: progress.update(task, completed=int(share * total)))
        else:
            rows = _to_file(lake, selection, form, Path(out), lambda count: progress.advance(task, count))
    seconds = clock.monotonic_s() - began_s
    size = None if out == _STDOUT else Path(out).stat().st_size
    if json and out != _STDOUT:
        print_json({"platform": selection.platform, "out": out, "rows": rows, "bytes": size, "seconds": round(seconds, 3)})
        return
    place = "" if size is None else f" to [bold]{marked(out)}[/], {size / 1e6:,.1f} MB"
    say(f"exported {counted(rows, 'event')}{place} in {seconds:.1f} s")
    if not rows:
        say(f"no event of {selection.platform} in the table lies in that time: there is nothing in it but its form")


# -- what may be asked for


def _moment(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} takes a date or an ISO time, such as 2026-11-23 or 2026-11-23T18:00:00Z", USAGE)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1000)


def _require_sense(selection: Selection, form: Form, out: str, *, force: bool) -> None:
    since_ms, until_ms = selection.since_ms, selection.until_ms
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        fail("--since must be earlier than --until, which is not in it any more", USAGE)
    if selection.platform.endswith(_TEST_SUFFIX):
        live = selection.platform.removesuffix(_TEST_SUFFIX)
        fail(f"test events never land; --platform {live} exports the live ones, `footfall log cat` prints both", USAGE)
    if out == _STDOUT:
        if form is Form.PARQUET:
            fail("Parquet is written to a file; name one with --out", USAGE)
        return
    path = Path(out)
    if path.is_dir() or not path.absolute().parent.is_dir():
        fail(f"--out {out}: name a file in a directory that exists", USAGE)
    if os.path.lexists(path) and not force:
        fail(f"{out} exists; --force replaces it", REFUSED)


def require_platform(lake: Lake, platform: str, data: Path) -> None:
    """Exit 1 where nothing of that live id can ever have landed: it is unknown, or mistyped."""
    from footfall.lake.export import platforms_of

    landed = platforms_of(lake)
    if platform in landed:
        return
    with found_registry(data) as registry:
        known = {entry.id for entry in registry.platforms() if entry.mode == "live"} if registry is not None else set()
    if platform not in known:
        names = ", ".join(sorted(landed | known))
        there = f"there are {names}" if names else f"there are none in {data}; --data or FOOTFALL_DATA chooses another directory"
        fail(f"no platform {platform}; {there}", REFUSED)


# -- writing


def _to_stdout(lake: Lake, selection: Selection, form: Form, told: Callable[[int], None]) -> int:
    rows = 0
    for count, lines in _lines(lake, selection, form):
        sys.stdout.buffer.write(lines)
        rows += count
        told(count)
    return rows


def _to_file(lake: Lake, selection: Selection, form: Form, out: Path, told: Callable[[int], None]) -> int:
    def written(path: Path) -> int:
        rows = 0
        with path.open("wb") as file:
            for count, lines in _lines(lake, selection, form):
                file.write(lines)
                rows += count
                told(count)
        return rows

    return _whole(out, written)


def _to_parquet(lake: Lake, selection: Selection, out: Path, told: Callable[[float], None]) -> int:
    from footfall.lake.export import export_parquet

    return _whole(out, lambda path: export_parquet(lake, selection, path, told=told))


def _lines(lake: Lake, selection: Selection, form: Form) -> Iterator[tuple[int, bytes]]:
    from footfall.lake import export as lake_export

    return lake_export.export_lines(lake, selection, lake_export.Form(form.value))


def _whole(out: Path, write: Callable[[Path], int]) -> int:
    """The file under another name until nothing is missing in it."""
    from footfall.lake.export import sync

    unfinished = out.with_name(f"{out.name}.new")
    os.umask(0o077)  # personal data; this process writes nothing else
    try:
        unfinished.unlink(missing_ok=True)  # an earlier one's, perhaps with other rights
        rows = write(unfinished)
        sync(unfinished)
        unfinished.replace(out)
    finally:
        unfinished.unlink(missing_ok=True)
    return rows
