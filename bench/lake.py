"""What the lake costs: landing into a day that is full already, and history from a file to a table that can be asked.

Every round is a process of its own. The day of ten million rows is made once, by DuckDB, through the same writer and commits as
the lander's; each round lands new events of the minute it is, with two in a hundred that the table has already.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.comparisons import Comparison, line_of_medians
from bench.landings import Landed, LandOrder
from bench.machine import SERVER_CORE, pinned
from bench.rounds import Goal, Pace
from bench.shop import carts, mix
from footfall.events.intake import read_batch
from footfall.lake.engine import connected
from footfall.lake.files import Content, DataWriter
from footfall.lake.opening import volume_of
from footfall.lake.schema import STORED, duckdb_type, quoted
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.log.segments import SegmentWriter
from footfall.registry.store import Registry

PLATFORM: Final = "SHOP"
_DAY_ROWS: Final = 10_000_000
_DAY_FILES: Final = 20
_REPEATS: Final = 0.02
_LAND_RATE: Final = 120_000.0
_IMPORT_S: Final = 15.0
_IMPORT_RATIO: Final = 12.0
_encode: Final = msgspec.json.Encoder().encode


def landing(directory: Path, pace: Pace) -> Comparison:
    """Row 3: what waits in a log lands into a day of ten million rows, on one core."""
    rows, events = (200_000, 20_000) if pace.quick else (_DAY_ROWS, 300_000)
    now_ms = time.time_ns() // 1_000_000
    data = directory / "landing"
    _fill(data, rows=rows, until_ms=now_ms)
    kinds = {"mix": mix, "carts": carts}
    rounds: dict[str, dict[str, list[float]]] = {}
    faults = []
    for number in range(pace.rounds):
        for name, make in kinds.items():
            made = [_at(event, f"{name}-{number}-{index}", now_ms) for index, event in enumerate(make(events, seed=number + 1))]
            known = [_known(index, rows, now_ms) for index in range(round(events * _REPEATS))]
            before = _log(data, [*made, *known])
            alone = _ran(LandOrder(kind="parse", data=str(data), after=before), core=SERVER_CORE) if name == "mix" else None
            landed = _ran(LandOrder(kind="land", data=str(data)), core=SERVER_CORE)
            _note(rounds, name, landed)
            if alone is not None:
                _note(rounds, "alone", alone)
            if (landed.events, landed.repeated) != (len(made) + len(known), len(known)):
                faults.append(
                    f"{name}: {landed.events:,} landed with {landed.repeated:,} repeats, of {len(made):,} + {len(known):,}"
                )
    titles = {
        "mix": "Footfall: the mix of a shop",
        "carts": "Footfall: nothing but carts",
        "alone": "DuckDB alone: the mix, JSON to sorted Parquet",
    }
    lines = {name: line_of_medians(titles[name], measured) for name, measured in rounds.items()}
    rate = lines["mix"].values["rate"]
    assert rate is not None
    return Comparison(
        scenario="landing",
        title=f"events a second on one core, into a day of {rows:,} rows, {_REPEATS:.0%} of them repeats",
        pace=pace,
        columns={"rate": "events/s", "processor": "µs CPU an event", "rss": "RSS MB"},
        digits=1,
        rows=lines,
        goals=[Goal(title="landing the mix", row="mix", unit="events/s", value=rate, at_least=_LAND_RATE)],
        checks=["every event landed, every repeat was counted"] if not faults else [],
        notes=[],
        skipped={},
        faults=faults,
    )


def importing(directory: Path, pace: Pace) -> Comparison:
    """Row 4: a file of a million events, from the command to the table."""
    events = 20_000 if pace.quick else 1_000_000
    file = directory / "history.ndjson"
    now_ms = time.time_ns() // 1_000_000
    with file.open("wb") as opened:
        for part in _parts(events):
            opened.writelines(json.dumps(event).encode() + b"\n" for event in _history(part, now_ms))
    rounds: dict[str, dict[str, list[float]]] = {}
    faults = []
    for number in range(1 if pace.quick else 3):
        data = directory / f"importing-{number}"
        with Registry.in_directory(data) as registry:
            registry.add_platform(PLATFORM)
        began_s = time.perf_counter()
        _footfall("import", str(file), "--platform", PLATFORM, "--json", data=data)
        seconds = time.perf_counter() - began_s
        found = json.loads(_footfall("query", "SELECT count(*) AS n FROM events", "--format", "json", data=data))
        if found[0]["n"] != events:
            faults.append(f"{found[0]['n']:,} of {events:,} events are in the table")
        measured = rounds.setdefault("footfall", {"seconds": [], "rate": []})
        measured["seconds"].append(seconds)
        measured["rate"].append(events / seconds)
        alone = _ran(LandOrder(kind="convert", data=str(file), threads=os.cpu_count() or 1), core=None)
        measured = rounds.setdefault("alone", {"seconds": [], "rate": []})
        measured["seconds"].append(alone.seconds)
        measured["rate"].append(alone.events / alone.seconds)
        shutil.rmtree(data)
    titles = {"footfall": "footfall import, file to table", "alone": "DuckDB alone: NDJSON to Parquet"}
    lines = {name: line_of_medians(titles[name], measured) for name, measured in rounds.items()}
    ours, theirs = lines["footfall"].values["seconds"], lines["alone"].values["seconds"]
    assert ours is not None
    assert theirs is not None
    return Comparison(
        scenario="importing",
        title=f"{events:,} events of a file, until they can be asked for, on two cores",
        pace=pace,
        columns={"seconds": "s", "rate": "events/s"},
        digits=1,
        rows=lines,
        goals=[
            Goal(title="import", row="footfall", unit="s", value=ours, at_most=_IMPORT_S),
            Goal(title="import, of DuckDB alone", row="alone", unit="×", value=ours / theirs, at_most=_IMPORT_RATIO),
        ],
        checks=["the table has every event of the file"] if not faults else [],
        notes=["import checks every event by the rules of the API, writes it durably to a log, compares and lands it"],
        skipped={},
        faults=faults,
    )


# -- a day that is full


def _fill(data: Path, *, rows: int, until_ms: int) -> None:
    """A table with so many rows in the ten hours before `until_ms`, as compaction leaves it: files sorted by time."""
    volume = volume_of(data, LakeSettings())
    table = EventsTable.open(volume, create=True)
    assert table is not None
    staging = data / "filling"
    staging.mkdir(parents=True)
    each = rows // _DAY_FILES
    with connected(temporary=staging, memory_bytes_max=1 << 30, threads=2) as connection:
        writer = DataWriter(connection, volume, staging)
        for number in range(_DAY_FILES):
            query = _rows(number * each, each, rows=rows, until_ms=until_ms)
            days = connection.execute(f"SELECT DISTINCT timestamp::DATE::VARCHAR FROM ({query})").fetchall()
            contents = [
                Content(PLATFORM, day, f"SELECT * FROM ({query}) WHERE timestamp::DATE = DATE '{day}'", is_spread=False)
                for (day,) in days
            ]
            table.refresh()
            table.commit(add=writer.place(writer.write(contents)), transactions={})
    shutil.rmtree(staging)


_STEP_MS: Final = 36_000_000


def _rows(first: int, count: int, *, rows: int, until_ms: int) -> str:
    """Page views with everything a browser sends."""
    moment = f"make_timestamptz((({until_ms - _STEP_MS} + i * {_STEP_MS} // {rows}) * 1000)::BIGINT)"
    special = {
        "timestamp": moment, "id": "'day-' || i", "event_type": "'PAGE_VIEW'", "channel_type": "'SITE'", "source": "'api'",
        "identifier": "md5((i % 500000)::VARCHAR)", "identifier_kind": "'device.persistent_id'", "page_id": "'PAGE:' || i % 5000",
        "device": "{'os': 'iOS', 'os_version': '17.5', 'model': 'iPhone', 'ua': 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_5)',"
        " 'language': 'en', 'ip': NULL::VARCHAR, 'persistent_id': md5((i % 500000)::VARCHAR),"
        " 'unique_device_id': NULL::VARCHAR, 'advertising_id': NULL::VARCHAR}",
        "received_at": moment, "landed_at": moment, "writer": "'w9'", "sequence": "i",
    }  # fmt: skip
    columns = ", ".join(
        f"{special.get(column.name, f'NULL::{duckdb_type(column.type)}')} AS {quoted(column.name)}" for column in STORED
    )
    return f"SELECT {columns} FROM range({first}, {first + count}) AS t(i)"


def _known(index: int, rows: int, until_ms: int) -> dict[str, Any]:
    """An event that the table has: the newest ones, which is where repeats are."""
    number = rows - 1 - index
    moment = until_ms - _STEP_MS + number * _STEP_MS // rows
    key = {"id": f"day-{number}", "event_type": "PAGE_VIEW", "timestamp": moment}
    return {**key, "channel_type": "SITE", "page_id": "again", "user_id": "u"}


def _at(event: dict[str, Any], event_id: str, now_ms: int) -> dict[str, Any]:
    return {**event, "id": event_id, "timestamp": min(int(event["timestamp"]), now_ms)}


def _log(data: Path, events: Sequence[dict[str, Any]]) -> int:
    """A log as a server leaves it: groups of some hundred records. Returns the last sequence before them."""
    now_ms = time.time_ns() // 1_000_000
    with SegmentWriter.open(data / "log" / "live", writer="w0", accept_tmpfs=True) as writer:
        before = writer.last
        for start in range(0, len(events), 500):
            bodies = [json.dumps(event).encode() for event in events[start : start + 500]]
            lines = []
            for found in read_batch(bodies, now_ms=now_ms, bytes_max=65_536):
                assert not isinstance(found, Exception), found
                lines.append(
                    b'{"platform":"SHOP","mode":"live","received_at":%d,"source":"api","event":%b}' % (now_ms, _encode(found[0]))
                )
            writer.write(lines)
    return before


# -- the processes on the clock


def _ran(order: LandOrder, *, core: int | None) -> Landed:
    wrapper = pinned(core) if core is not None else ()
    command = [*wrapper, sys.executable, "-m", "bench.landings", msgspec.json.encode(order).decode()]
    return msgspec.json.decode(subprocess.run(command, check=True, capture_output=True).stdout, type=Landed)


def _note(rounds: dict[str, dict[str, list[float]]], name: str, landed: Landed) -> None:
    measured = rounds.setdefault(name, {"rate": [], "processor": [], "rss": []})
    measured["rate"].append(landed.events / landed.seconds)
    measured["processor"].append(1e6 * landed.processor_s / landed.events)
    measured["rss"].append(landed.rss_mb)


def _footfall(*arguments: str, data: Path) -> bytes:
    environment = {**os.environ, "FOOTFALL_DATA": str(data), "FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true"}
    return subprocess.run([sys.executable, "-m", "footfall", *arguments], check=True, capture_output=True, env=environment).stdout


def _parts(events: int) -> Iterator[tuple[int, int]]:
    for start in range(0, events, 100_000):
        yield start, min(100_000, events - start)


def _history(part: tuple[int, int], now_ms: int) -> Iterator[dict[str, Any]]:
    """Events of the last thirty days, in order."""
    start, count = part
    for index, event in enumerate(mix(count, seed=start + 1), start):
        yield {**event, "id": f"history-{index}", "timestamp": now_ms - 30 * 86_400_000 + index * 2_500}
