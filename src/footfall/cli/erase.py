"""`footfall erase`: a person's events go, from everywhere in the data directory, and a receipt says what went.

The request is recorded first, as keyed hashes, and outlives whatever happens to this process. Who owns the lake carries it out: a
running server's lander, which is waited for, or this command where there is none.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from footfall.cli.configure import ConfigOption
from footfall.cli.data import DEFAULT_DATA, DataOption, found_registry, note_absence, required_registry
from footfall.cli.output import (
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
from footfall.cli.settings import load
from footfall.clock import SystemClock
from footfall.errors import LakeError, LakeOwnedError
from footfall.events.identity import is_absent
from footfall.events.schema import IDENTIFIER_CHARS_MAX

if TYPE_CHECKING:
    from footfall.lake.erasing.receipts import Receipt
    from footfall.lake.settings import LakeSettings
    from footfall.registry.erasures import Erasure, ErasureKind
    from footfall.registry.store import Registry

_WAIT_S_MAX: Final = 600.0
_LOOK_S: Final = 0.3
_STATUS: Final = "status"


def erase(
    what: Annotated[str | None, typer.Argument(metavar="[status]", help="Show what was asked for instead.")] = None,
    platform: Annotated[
        str | None, typer.Option(metavar="ID", help="The platform id; a live one covers its test id too.")
    ] = None,
    user_id: Annotated[str | None, typer.Option(metavar="ID|-", help="Whose events go; - reads stdin, one a line.")] = None,
    persistent_id: Annotated[str | None, typer.Option(metavar="ID|-", help="The same by device.persistent_id.")] = None,
    custom_id: Annotated[str | None, typer.Option(metavar="ID|-", help="The same by custom_id.")] = None,
    json: JsonOption = False,
    data: DataOption = DEFAULT_DATA,
    config: ConfigOption = None,
) -> None:
    """Erase a person's events of before now, from table, log and everything else in the data directory, and print the receipt.

    What of them arrives later and is older than this request is dropped, too. Beside a running server its lander does the work,
    and this waits for it, ten minutes at most. `footfall erase status` shows every request and how it stands.
    """
    named: dict[ErasureKind, str | None] = {"user_id": user_id, "persistent_id": persistent_id, "custom_id": custom_id}
    given = {kind: value for kind, value in named.items() if value is not None}
    if what == _STATUS:
        if given:
            fail("`footfall erase status` takes no person", USAGE)
        _show_status(data, platform, json=json)
        return
    if what is not None:
        fail(f"{what}: there is `footfall erase status`, and `footfall erase --platform P --user-id ID`", USAGE)
    if platform is None or len(given) != 1:
        fail("name a platform and one person: --platform P and one of --user-id, --persistent-id, --custom-id", USAGE)
    settings = load(file=config, data=data, environment=os.environ)
    ((kind, value),) = given.items()
    identifiers = _identifiers(kind, value)
    with required_registry(data) as registry:
        asked = registry.request_erasures(platform, kind, identifiers, now_ms=SystemClock().now_ms())
        _carry_out(data, settings.lake, registry, asked, quiet=json)
        _show(registry, asked, json=json)


def _identifiers(kind: str, value: str) -> list[str]:
    """What can be nobody's is a mistake of the command line; it is never repeated there."""
    flag = f"--{kind.replace('_', '-')}"
    found = [line for line in sys.stdin.read().splitlines() if line] if value == "-" else [value]
    if not found:
        fail(f"{flag} -: nothing came on stdin", USAGE)
    for identifier in found:
        if is_absent(identifier):
            fail(f"{flag}: this text names nobody, and no event is stored under it", USAGE)
        if len(identifier) > IDENTIFIER_CHARS_MAX:
            fail(f"{flag}: longer than {IDENTIFIER_CHARS_MAX} characters, under which no event is stored", USAGE)
    return found


# -- carrying it out


def _carry_out(data: Path, settings: LakeSettings, registry: Registry, asked: Sequence[Erasure], *, quiet: bool) -> None:
    """Until it is done, or has taken too long."""
    from rich.progress import SpinnerColumn, TextColumn

    from footfall.lake.ownership import is_owned

    deadline_s = time.monotonic() + _WAIT_S_MAX
    with progress_bar(SpinnerColumn(), TextColumn("{task.description}"), quiet=quiet) as progress:
        task = progress.add_task("erasing")
        while _pending(registry, asked) and time.monotonic() < deadline_s:
            if is_owned(data):
                progress.update(task, description="erasing: the lander that owns the table is at it")
                time.sleep(_LOOK_S)
            else:
                _erase_here(data, settings, registry)


def _erase_here(data: Path, settings: LakeSettings, registry: Registry) -> None:
    from footfall.cli.landing import erase_now

    try:
        erase_now(data, settings, registry)
    except LakeOwnedError:  # a server was started just now
        time.sleep(_LOOK_S)
    except LakeError:
        say("the request stays: `footfall serve`, or this command again, goes on with it; this is what is in the way:")
        raise


def _pending(registry: Registry, asked: Sequence[Erasure]) -> bool:
    ids = {erasure.id for erasure in asked}
    return any(erasure.id in ids for erasure in registry.erasures(pending=True))


# -- telling


def _show(registry: Registry, asked: Sequence[Erasure], *, json: bool) -> None:
    from footfall.lake.erasing.receipts import read_receipt

    ids = {erasure.id for erasure in asked}
    now = [erasure for erasure in registry.erasures() if erasure.id in ids]
    receipts = [receipt for erasure in now if (receipt := read_receipt(erasure.receipt)) is not None]
    is_done = len(receipts) == len(ids)
    if json:
        print_json({"state": "done" if is_done else "pending", "receipts": receipts, "erasures": [_line(one) for one in now]})
    elif receipts:
        _print_receipts(receipts)
    if not is_done:
        say("still pending: it goes on without this command; `footfall erase status` says when it is done")


def _print_receipts(receipts: Sequence[Receipt]) -> None:
    rows = table("platform", "erased by", "place", "went", "of", ids=5)
    for receipt in receipts:
        lines = [line for place in receipt.places if (line := _went(place)) is not None]
        for line in lines or [("", "nothing of this person", "")]:
            rows.add_row(marked(receipt.platform), receipt.kind, *line)
    print_table(rows)
    for note in dict.fromkeys(note for receipt in receipts for note in receipt.notes):
        say(f"[dim]{marked(note)}[/]")
    done_at = max(receipt.finished_at for receipt in receipts)
    say(f"[green]erased[/] {when(done_at)} UTC; {', '.join(dict.fromkeys(receipt.erasure_id for receipt in receipts))}")


def _went(place: dict[str, Any]) -> tuple[str, str, str] | None:
    """What went from one place of a receipt, for people; None where nothing did."""
    (entries, went), (files, count) = (item for item in place.items() if item[0] != "place")
    return (place["place"], counted(went, entries[:-1]), counted(count, files[:-1])) if went else None


def _show_status(data: Path, platform: str | None, *, json: bool) -> None:
    from footfall.lake.erasing.receipts import told_trouble

    note_absence(data)
    with found_registry(data) as registry:
        found = registry.erasures() if registry is not None else []
    lines = [_line(erasure) for erasure in found if platform in (None, erasure.platform)]
    pending = any(line["state"] == "pending" for line in lines)
    trouble = told_trouble(data) if pending else ""
    if json:
        print_json({"erasures": lines, "trouble": trouble})
        return
    if not lines:
        say("nobody was asked to be erased")
        return
    rows = table("id", "platform", "erased by", "requested", "state", "finished", "rows", ids=6)
    for line in lines:
        state: Literal["pending", "done"] = line["state"]
        colour = "green" if state == "done" else "yellow"
        went = "" if line["rows"] is None else f"{line['rows']:,}"
        times = when(line["requested_at"]), when(line["finished_at"])
        rows.add_row(line["id"], marked(line["platform"]), line["kind"], times[0], f"[{colour}]{state}[/]", times[1], went)
    print_table(rows)
    if trouble:
        say(f"[bold red]not done yet[/] {marked(trouble)}")


def _line(erasure: Erasure) -> dict[str, Any]:
    """One request, as `--json` lists it. Never the hash."""
    from footfall.lake.erasing.receipts import read_receipt

    receipt = read_receipt(erasure.receipt)
    return {
        "id": erasure.id, "platform": erasure.platform, "kind": erasure.kind, "requested_at": erasure.requested_at,
        "state": "pending" if erasure.finished_at is None else "done", "finished_at": erasure.finished_at,
        "rows": None if receipt is None else receipt.rows,
    }  # fmt: skip
