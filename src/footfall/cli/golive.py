"""`footfall golive`: the acceptance table of the documentation, run over what a test platform received or a file recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import msgspec
import typer
from rich.markup import escape

from footfall.cli.check import event_lines
from footfall.cli.data import DEFAULT_DATA, DataOption, existing_registry, tree
from footfall.cli.output import REFUSED, USAGE, fail, print_json, results, table, talk, when
from footfall.cli.platforms import JsonOption
from footfall.cli.records import decode_record
from footfall.clock import SystemClock
from footfall.errors import InvalidEventError
from footfall.events.golive import Acceptance, CaseResult
from footfall.events.intake import read_event
from footfall.log.reader import SegmentReader


def golive(
    file: Annotated[str | None, typer.Argument(metavar="[FILE|-]", help="Recorded events, one JSON object a line.")] = None,
    platform: Annotated[str | None, typer.Option(help="The test platform id; needed when there are several.")] = None,
    json: JsonOption = False,
    junit: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the table as JUnit XML too.", dir_okay=False)] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what came so far: every case begins red again.")] = False,
    data: DataOption = DEFAULT_DATA,
) -> None:
    """Is this integration ready to go live? Exit 0 when every case is green, else 1."""
    if file is not None and (platform is not None or reset):
        fail("golive takes a FILE or a --platform, and --reset is for a platform", USAGE)
    acceptance = Acceptance()
    if file is None:
        platform = platform or _only_test_platform(data)
        _require_test_platform(data, platform)
        if reset:
            _reset(data, platform)
            talk.print(f"{platform}: every case begins red again")
            return
        _add_received(acceptance, data, platform)
    else:
        _add_recorded(acceptance, file)
    cases = acceptance.results()
    green = sum(case.green for case in cases)
    if json:
        print_json({"platform": platform, "green": green, "total": len(cases), "cases": cases})
    else:
        _print(cases, green)
    if junit is not None:
        junit.write_bytes(_junit(cases, platform or str(file)))
    if green < len(cases):
        raise typer.Exit(REFUSED)


# -- where events come from


def _add_received(acceptance: Acceptance, data: Path, platform: str) -> None:
    seen = _reset_positions(data, platform)
    for record in SegmentReader(tree(data, "test")).scan():
        if record.sequence <= seen.get(record.writer, 0):
            continue
        received = decode_record(record.body)
        if received.platform == platform:
            acceptance.add(received.event, event_id=received.event.id or None, received_at=received.received_at)


def _add_recorded(acceptance: Acceptance, file: str) -> None:
    now_ms = SystemClock().now_ms()
    for index, line in enumerate(event_lines(file)):
        try:
            event = read_event(line, now_ms=now_ms).event
        except InvalidEventError as error:
            talk.print(f"[yellow]event {index} would be refused[/] and counts for no case: {escape(error.message)}")
            continue
        acceptance.add(event, event_id=event.id or None, received_at=None)


def _only_test_platform(data: Path) -> str:
    registry = existing_registry(data)
    ids = [platform.id for platform in registry.platforms() if platform.mode == "test"] if registry else []
    if not ids:
        fail(f"no platforms in {data}; make a pair with: footfall platform add SHOP", REFUSED)
    if len(ids) > 1:
        fail(f"which platform? --platform {' | '.join(ids)}", USAGE)
    return ids[0]


def _require_test_platform(data: Path, platform: str) -> None:
    registry = existing_registry(data)
    if registry is None:
        fail(f"no platforms in {data}; make a pair with: footfall platform add SHOP", REFUSED)
    if registry.platform(platform).mode != "test":
        fail(f"{platform} is a live id; the table is about test events: --platform {platform}_TEST", USAGE)


# -- a fresh start: remembered as positions in the log, so that nothing is deleted


def _reset_path(data: Path, platform: str) -> Path:
    return data / "golive" / f"{platform}.json"


def _reset_positions(data: Path, platform: str) -> dict[str, int]:
    try:
        return msgspec.json.decode(_reset_path(data, platform).read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}


def _reset(data: Path, platform: str) -> None:
    path = _reset_path(data, platform)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(msgspec.json.encode(dict(SegmentReader(tree(data, "test")).durable())))
    fresh.replace(path)


# -- how it looks


def _print(cases: list[CaseResult], green: int) -> None:
    rows = table("", "case", "event", "received (UTC)", "missing")
    for case in cases:
        mark = "[green]●[/]" if case.green else "[red]○[/]"
        rows.add_row(mark, case.case, escape(case.event_id or ""), when(case.received_at), escape("; ".join(case.missing)))
    results.print(rows)
    ready = "[bold green]ready to go live[/]" if green == len(cases) else f"{len(cases) - green} to go"
    results.print(f"\n{green} of {len(cases)} green: {ready}")


def _junit(cases: list[CaseResult], name: str) -> bytes:
    red = [case for case in cases if not case.green]
    suite = ElementTree.Element("testsuite", name=f"golive {name}", tests=str(len(cases)), failures=str(len(red)), errors="0")
    for case in cases:
        element = ElementTree.SubElement(suite, "testcase", classname="golive", name=case.case)
        if not case.green:
            ElementTree.SubElement(element, "failure", message="; ".join(case.missing))
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))
