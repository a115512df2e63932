"""`footfall golive`: the acceptance table of the documentation, run over what a test platform received or a file recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import msgspec
import typer

from footfall.cli.check import accepted_event
from footfall.cli.data import DEFAULT_DATA, DataOption, explained, required_registry, tree
from footfall.cli.lines import event_lines
from footfall.cli.output import FAILED, REFUSED, USAGE, JsonOption, age, fail, marked, plain, print_json, results, say
from footfall.cli.records import understood
from footfall.clock import SystemClock
from footfall.errors import InvalidEventError
from footfall.events.golive import DESCRIPTIONS, Acceptance, CaseResult
from footfall.log.reader import SegmentReader


def golive(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|-]", help="Recorded events, one JSON object a line.")] = None,
    platform: Annotated[
        str | None, typer.Option(metavar="ID", help="The test platform id; needed when there are several.")
    ] = None,
    json: JsonOption = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as JUnit XML too.", dir_okay=False)] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what came so far: every case begins red again.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Tell whether an integration is ready to go live.

    Looks at what a test platform received, or at a file of recorded events. Exit 0 when every case is green, else 1.
    """
    if file is not None and (platform is not None or reset):
        fail("golive takes a FILE or a --platform, and --reset is for a platform", USAGE)
    acceptance = Acceptance()
    if file is None:
        platform = _test_platform(data, platform)
        if reset:
            _reset(data, platform)
            say(f"{platform}: every case begins red again")
            return
        _add_received(acceptance, data, platform)
    else:
        _add_recorded(acceptance, file)
    cases = acceptance.results()
    green = sum(case.green for case in cases)
    if json:
        print_json({"platform": platform, "green": green, "total": len(cases), "cases": cases})
    else:
        _print(cases, platform or "recorded events")
    if junit is not None:
        _write_junit(cases, platform or str(file), junit)
    if green < len(cases):
        raise typer.Exit(REFUSED)


# -- where events come from


def _add_received(acceptance: Acceptance, data: Path, platform: str) -> None:
    seen = _reset_positions(data, platform)
    for record in SegmentReader(tree(data, "test")).scan():
        if record.sequence <= seen.get(record.writer, 0):
            continue
        received = understood(record)
        if received.platform == platform:
            acceptance.add(received.event, event_id=received.event.id or None, received_at=received.received_at)


def _add_recorded(acceptance: Acceptance, file: str) -> None:
    now_ms = SystemClock().now_ms()
    refused = 0
    for line in event_lines(file):
        try:
            event = accepted_event(line, now_ms=now_ms)
        except InvalidEventError:
            refused += 1
        else:
            acceptance.add(event, event_id=event.id or None, received_at=None)
    if refused:
        say(f"[yellow]{refused:,} would be refused[/] and count for no case: footfall check {marked(file)}")


def _test_platform(data: Path, platform: str | None) -> str:
    """The platform asked for or, where there is one test platform only, that one."""
    with required_registry(data) as registry:
        if platform is not None:
            if registry.platform(platform).mode != "test":
                fail(f"{platform} is a live id; the table is about test events: --platform {platform}_TEST", USAGE)
            return platform
        ids = [candidate.id for candidate in registry.platforms() if candidate.mode == "test"]
    if not ids:
        fail(f"no platforms in {data}; make a pair with: footfall platform add SHOP", REFUSED)
    if len(ids) > 1:
        fail(f"which platform? --platform {' | '.join(ids)}", USAGE)
    return ids[0]


# -- a fresh start: remembered as positions in the log, so that nothing is deleted


def _reset_path(data: Path, platform: str) -> Path:
    return data / "golive" / f"{platform}.json"


def _reset_positions(data: Path, platform: str) -> dict[str, int]:
    path = _reset_path(data, platform)
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, UnicodeDecodeError):
        fail(f"{path} cannot be understood; `footfall golive --reset` writes it anew", FAILED)


def _reset(data: Path, platform: str) -> None:
    path = _reset_path(data, platform)
    positions = msgspec.json.encode(dict(SegmentReader(tree(data, "test")).durable()))
    with explained(data):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as fresh:  # a name of its own: two may reset at once
            fresh.write(positions)
        Path(fresh.name).replace(path)


# -- how it looks


def _print(cases: list[CaseResult], title: str) -> None:
    """The table. Identifiers of events stay whole where 80 columns allow it, what is missing is folded between words."""
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True)
    rows.add_column()
    rows.add_column(justify="right", no_wrap=True, style="dim")
    now_ms = SystemClock().now_ms()
    for case in cases:
        if case.green:
            event = Text(plain(case.event_id or "an event without id"), style="dim", no_wrap=True, overflow="ellipsis")
            rows.add_row("[green]●[/]", case.case, event, age(case.received_at, now_ms=now_ms))
        else:
            missing = Text("; ".join(map(plain, case.missing)))
            rows.add_row("[red]○[/]", f"[bold]{case.case}[/]", missing.append(f"\n→ {DESCRIPTIONS[case.case]}", style="dim"), "")
    green = sum(case.green for case in cases)
    ready = "[bold green]ready to go live[/]" if green == len(cases) else f"{len(cases) - green} to go"
    results().print(rows)
    results().print(f"\n{title}: {green} of {len(cases)} green, {ready}", soft_wrap=True)


def _write_junit(cases: list[CaseResult], name: str, path: Path) -> None:
    red = [case for case in cases if not case.green]
    suite = ElementTree.Element(
        "testsuite", name=f"golive {plain(name)}", tests=str(len(cases)), failures=str(len(red)), errors="0"
    )
    for case in cases:
        element = ElementTree.SubElement(suite, "testcase", classname="golive", name=case.case)
        if not case.green:
            ElementTree.SubElement(element, "failure", message="; ".join(map(plain, case.missing)))
    try:
        path.write_bytes(bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)))
    except OSError as error:
        fail(f"{path} cannot be written: {error.strerror}", FAILED)
