"""One lander, or DuckDB alone, on the clock: `python -m bench.landings ORDER` writes one `Landed` line.

land      lands what waits in a data directory, in this process, until nothing waits
parse     what DuckDB alone takes for the same records: their JSON to typed columns, sorted, to Parquet; no log, no comparison,
          nothing durable
convert   what DuckDB alone takes to make Parquet of an NDJSON file, types found by itself
"""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path
from typing import Literal

import msgspec

from footfall.clock import SystemClock
from footfall.lake.columns import Run, read_staged
from footfall.lake.engine import connected
from footfall.lake.landing import Lander
from footfall.lake.opening import volume_of
from footfall.lake.ownership import owned_lake
from footfall.lake.scan import literal
from footfall.lake.settings import LakeSettings
from footfall.lake.table import EventsTable
from footfall.log.reader import SegmentReader


class LandOrder(msgspec.Struct, frozen=True, kw_only=True):
    kind: Literal["land", "parse", "convert"]
    data: str
    """the data directory; of `convert` the file"""
    threads: int = 1
    after: int = 0
    """of `parse`: the last sequence that is not its business"""


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    events: int
    repeated: int
    seconds: float
    processor_s: float
    rss_mb: float


def run(order: LandOrder) -> Landed:
    events, repeated, seconds, processor_s = {"land": _land, "parse": _parse, "convert": _convert}[order.kind](order)
    return Landed(events=events, repeated=repeated, seconds=seconds, processor_s=processor_s, rss_mb=_peak_mb())


def _peak_mb() -> float:
    """The most this program has occupied. (`ru_maxrss` begins with what the process was before it became this program.)"""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _land(order: LandOrder) -> tuple[int, int, float, float]:
    data, settings = Path(order.data), LakeSettings(threads=order.threads)
    volume = volume_of(data, settings)
    with owned_lake(data, volume):
        table = EventsTable.open(volume, create=True)
        assert table is not None
        lander = Lander(data, table, settings, clock=SystemClock())
        began_s, used_s = time.perf_counter(), time.process_time()
        events = repeated = 0
        while (landed := lander.land()).read:
            events, repeated = events + landed.read, repeated + landed.repeated
        took = time.perf_counter() - began_s, time.process_time() - used_s
        lander.close()
    return events, repeated, *took


def _parse(order: LandOrder) -> tuple[int, int, float, float]:
    data = Path(order.data)
    staged = data / "alone.ndjson"
    records = [record.body for record in SegmentReader(data / "log" / "live").scan_writer("w0", after=order.after)]
    staged.write_bytes(b"\n".join(records) + b"\n")
    with connected(temporary=None, threads=order.threads, memory_bytes_max=2 << 30) as connection:
        today = datetime.datetime.now(tz=datetime.UTC).date()
        query = read_staged(staged, [Run("w0", order.after + 1, len(records))], today=today)
        began_s, used_s = time.perf_counter(), time.process_time()
        connection.execute(
            f"COPY (SELECT * FROM ({query}) ORDER BY timestamp) TO {literal(str(data / 'alone.parquet'))}"
            " (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 30000)"
        )
        return len(records), 0, time.perf_counter() - began_s, time.process_time() - used_s


def _convert(order: LandOrder) -> tuple[int, int, float, float]:
    path = Path(order.data)
    with connected(temporary=path.parent / "spill", threads=order.threads, memory_bytes_max=2 << 30) as connection:
        began_s, used_s = time.perf_counter(), time.process_time()
        counted = connection.execute(
            f"COPY (SELECT * FROM read_json({literal(str(path))}, format = 'newline_delimited'))"
            f" TO {literal(str(path.with_suffix('.parquet')))} (FORMAT parquet, COMPRESSION zstd)"
        ).fetchall()
        return int(counted[0][0]), 0, time.perf_counter() - began_s, time.process_time() - used_s


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=LandOrder))) + b"\n")
