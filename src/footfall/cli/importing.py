"""`footfall import`: history from files into the table `events`, by the rules of the API. No server is needed, and none is in the
way."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, Self

import msgspec
import typer

from footfall.cli import journal
from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, explained, required_registry
from footfall.cli.output import (
    INTERRUPTED,
    REFUSED,
    USAGE,
    JsonOption,
    counted,
    fail,
    marked,
    print_json,
    print_table,
    progress_bar,
    say,
    table,
    when,
)
from footfall.cli.room import log_options
from footfall.cli.settings import Settings, load
from footfall.errors import LakeError, RegistryRefusedError
from footfall.log.disk import Disk, make_durable_directory

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from footfall.lake.importing.importing import Imported, Importing, Progress
    from footfall.lake.importing.sources import Source

_STDIN_NAME: Final = "standard input"
_TEST_ENDING: Final = "_TEST"

_Format = Literal["ndjson", "parquet", "csv"]


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    """One file, as `--json` lists it; `imported_before` is when it had been imported already (Unix milliseconds)."""

    file: str
    rows: int
    accepted: int
    refused: int
    landed: int
    repeated: int
    quarantined: int
    erased: int
    refused_file: str | None
    imported_before: int | None


def import_events(
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE…|-",
            show_default=False,
            help=".ndjson, .jsonl, .json: one event a line, also .gz, .zst; .parquet; .csv; - reads lines from standard input.",
        ),
    ],
    platform: Annotated[str, typer.Option(metavar="ID", help="The live platform id the events belong to.", show_default=False)],
    format: Annotated[_Format | None, typer.Option(help="What the files are, where their names do not tell.")] = None,  # noqa: A002
    mapping: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML: which column is which member, for .csv and .parquet.", dir_okay=False),
    ] = None,
    refused: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where refused rows go, for one FILE.", dir_okay=False)
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was imported to its end before.")] = False,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Import history from files into the table `events`, by the rules of the API, and return when it has landed.

    Ctrl-C does no harm: the same command goes on where it stopped. Exit 1 when a row was refused; the others are imported.
    """  # fmt: skip
    if refused is not None and len(files) > 1:
        fail("--refused names one place, and there are several files; without it each has its own", USAGE)
    settings = load(file=config, data=data, environment=os.environ)
    _require_live(data, platform)
    journal.configure(settings.logging.format, settings.logging.level, part="import")
    mapped = _read_mapping(mapping)
    done: list[Imported] = []
    with ExitStack() as stack:
        try:
            sources = [_opened(name, stack, data=data, format=format, mapping=mapped) for name in files]
            with explained(data), _importing(data, settings) as importing:
                for source in sources:
                    one = _import_one(source, platform, importing, again=again, refused=refused, quiet=json)
                    done.append(one)
        except KeyboardInterrupt:
            _end_interrupted(done, json=json)
        finally:
            _tell(done, json=json)
    if any(imported.tally.refused for imported in done):
        raise typer.Exit(REFUSED)


def _require_live(data: Path, platform: str) -> None:
    """Exit 2 for a test platform id, 1 for one that is unknown or disabled."""
    with required_registry(data) as registry:
        try:
            found = registry.platform(platform)
        except RegistryRefusedError:
            if not platform.endswith(_TEST_ENDING):
                fail(f"no platform has the id {platform}; make it with `footfall platform add {platform}`, or see the others"
                     " with `footfall platform list`", REFUSED)  # fmt: skip
            found = None
        if found is None or found.mode == "test":
            live = platform.removesuffix(_TEST_ENDING)
            fail(f"{platform} is a test platform id, and test events never land: import to {live}", USAGE)
        if found.disabled_at is not None:
            fail(f"{platform} is disabled and takes no events", REFUSED)


def _read_mapping(mapping: Path | None) -> str | None:
    try:
        return mapping.read_text(encoding="utf-8") if mapping is not None else None
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the mapping {mapping} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}", USAGE)


def _opened(name: str, stack: ExitStack, *, data: Path, format: str | None, mapping: str | None) -> Source:  # noqa: A002
    """A file, looked at as a whole before any is imported. Exit 1 where it cannot be imported."""
    from footfall.lake.importing.importing import open_source
    from footfall.lake.importing.sources import SourceError

    try:
        if name != "-":
            return open_source(Path(name), name=name, format=format, mapping=mapping)
        return open_source(_spooled(stack, data), name=_STDIN_NAME, format="ndjson", mapping=mapping)
    except SourceError as error:
        fail(f"{error.message}; nothing was imported", REFUSED)
    except (OSError, ValueError) as error:
        fail(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}; nothing was imported", REFUSED)


def _spooled(stack: ExitStack, data: Path) -> Path:
    """Standard input as a file without a name, which goes with this process: its content must be known before it is used."""
    from footfall.lake.importing.books import IMPORTS_NAME

    directory = data / IMPORTS_NAME
    make_durable_directory(Disk(), directory)
    spool = stack.enter_context(tempfile.TemporaryFile(dir=directory))  # noqa: SIM115 - the stack closes it
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    return Path(f"/dev/fd/{spool.fileno()}")


@contextmanager
def _importing(data: Path, settings: Settings) -> Iterator[Importing]:
    from footfall.cli.landing import lander_parts
    from footfall.lake.importing.importing import Importing

    with lander_parts(data, settings.lake) as parts:
        yield Importing(
            lander=parts,
            log_options=log_options(data, settings, quarantine_corrupt=False),
            ahead_ms_max=round(settings.limits.timestamp_ahead_s * 1000),
        )


def _import_one(
    source: Source, platform: str, importing: Importing, *, again: bool, refused: Path | None, quiet: bool
) -> Imported:
    from footfall.lake.importing.importing import import_source
    from footfall.lake.importing.sources import SourceError

    try:
        with _Bar(source, quiet=quiet) as told:
            return import_source(
                source, platform=platform, importing=importing, again=again, refused_file=refused, tell=told
            )  # fmt: skip
    except SourceError as error:
        fail(f"{error.message}; what was read well before is imported, all but the last few hundred rows of it", REFUSED)
    except LakeError as error:
        raise LakeError(error.message + _lander_trouble(importing.lander.data)) from error


def _lander_trouble(data: Path) -> str:
    """What a running lander says of itself."""
    from footfall.server.status import LanderStatus, is_alive, lander_status_path, read_status, run_directory

    status = read_status(lander_status_path(run_directory(data)), LanderStatus)
    return f"; the lander says: {status.trouble}" if status is not None and status.trouble and is_alive(status.pid) else ""


# -- how it looks


class _Bar:
    """A bar by bytes while the file is read, then one by events while the rest lands."""

    def __init__(self, source: Source, *, quiet: bool) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn

        self._bar: Bar = progress_bar(
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"), quiet=quiet
        )
        self._task = self._bar.add_task(f"reading {marked(source.name)}", total=source.path.stat().st_size, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        elapsed_s = self._bar.tasks[0].elapsed or 0.0
        rate = f"{progress.landed / elapsed_s:,.0f} events/s landed" if elapsed_s > 1 else ""
        changes: dict[str, Any] = {"completed": progress.bytes_read}
        if progress.is_read:
            changes = {"description": "landing", "total": progress.accepted, "completed": progress.landed}
        elif elapsed_s:
            rate = f"{progress.rows / elapsed_s:,.0f} events/s"
        self._bar.update(self._task, rate=rate, **changes)


def _tell(done: list[Imported], *, json: bool) -> None:
    lines = [
        _Line(
            **msgspec.structs.asdict(imported.tally), file=imported.file, refused_file=imported.refused_file,
            imported_before=imported.finished_before,
        )
        for imported in done
    ]  # fmt: skip
    if json:
        print_json({"files": lines})
    elif lines:
        _print(lines)
    for line in lines:
        if line.imported_before is not None:
            before = when(line.imported_before)
            say(f"{marked(line.file)} was imported before, on {before}, and nothing was done now; --again imports it once more")
        if line.refused_file is not None:
            say(f"[red]{counted(line.refused, 'row')} refused[/]: {marked(line.refused_file)} says why")


def _print(lines: list[_Line]) -> None:
    names = ["rows", "accepted", "refused", "landed", "repeated"]
    names += [name for name in ("quarantined", "erased") if any(getattr(line, name) for line in lines)]
    rows = table("file", *names, ids=len(names) + 1)
    for column in rows.columns[1:]:
        column.justify = "right"
    for line in lines:
        rows.add_row(marked(line.file), *(f"{getattr(line, name):,}" for name in names))
    print_table(rows)


def _end_interrupted(done: list[Imported], *, json: bool) -> NoReturn:
    _tell(done, json=json)
    say("interrupted; the same command goes on where this one stopped")
    sys.stdout.flush()
    os._exit(INTERRUPTED)  # at once: landing may be in the midst of a batch, which is whole or not there at all
