"""A stage whose registry knows whom to erase; every byte of it can be searched; and processes that die while they erase."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import duckdb
import msgspec

from footfall.clock import ManualClock
from footfall.lake.engine import Connection, connected
from footfall.lake.erasing.erasing import Reach, erase_pending
from footfall.lake.erasing.receipts import Receipt, read_receipt
from footfall.lake.landing import Persons
from footfall.lake.scan import literal
from footfall.lake.settings import LakeSettings
from footfall.log.segments import SegmentWriter
from footfall.registry.erasures import ErasureKind
from footfall.registry.store import Registry
from tests.contract.lake.stage import NOW_MS, Stage

STEPS: Final = (
    "log", "lake", "learn", "count", "write", "place", "commit", "remove", "sweep", "quarantine", "imports", "finish",
)  # fmt: skip


class ErasingStage(Stage):
    """A stage with the platforms SHOP and OTHER, and their test ids. To be used as a context."""

    def __init__(self, root: Path, *, settings: LakeSettings | None = None) -> None:
        super().__init__(root, settings=settings)
        self.clock = ManualClock(NOW_MS)
        self.registry = Registry.in_directory(self.data, clock=self.clock)
        self.registry.add_platform("SHOP")
        self.registry.add_platform("OTHER")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.registry.close()

    def append_tests(self, *records: bytes) -> None:
        with SegmentWriter.open(self.data / "log" / "test", free_bytes_min=0) as opened:
            opened.write([body.replace(b'"mode":"live"', b'"mode":"test"') for body in records])
            opened.sync()

    def ask(self, *identifiers: str, kind: ErasureKind = "user_id", platform: str = "SHOP", at: int = NOW_MS) -> list[str]:
        """Returns the ids of the erasures."""
        asked = self.registry.request_erasures(platform, kind, identifiers, now_ms=at)
        self.persons = Persons(self.registry.erasures(), self.registry.pepper())
        return [erasure.id for erasure in asked]

    @contextmanager
    def reach(self, **options: Any) -> Iterator[Reach]:
        yield Reach(
            data=self.data, table=self.table(), settings=self.settings, registry=self.registry, clock=self.clock, **options
        )  # fmt: skip

    def erase(self, **options: Any) -> None:
        with self.reach(**options) as reach:
            erase_pending(reach)

    def receipts(self) -> dict[tuple[str, str], Receipt]:
        """(platform, kind) → the receipt of the last that was finished."""
        found = [read_receipt(erasure.receipt) for erasure in self.registry.erasures(pending=False)]
        return {(receipt.platform, receipt.kind): receipt for receipt in found if receipt is not None}

    def require_nowhere(self, *texts: str) -> None:
        assert found_in(self.data, *texts) == []


def found_in(data: Path, *texts: str) -> list[str]:
    """Where any of these texts still is: in the bytes of every file, and in the strings of every data file, needed or not. A
    server may be running: what goes while this looks is not there."""
    needles = [needle for text in texts for needle in (text.encode(), msgspec.json.encode(text)[1:-1])]
    places = []
    with connected(temporary=None, threads=1) as connection:
        for path in sorted(data.rglob("*")):
            try:
                content = path.read_bytes()
            except (IsADirectoryError, FileNotFoundError):
                continue
            places += [str(path.relative_to(data))] if any(needle in content for needle in needles) else []
            rows = _rows_with(connection, path, needles) if content[-4:] == b"PAR1" else 0
            places += [f"{path.relative_to(data)}: {rows} rows"] if rows else []
    return places


def _rows_with(connection: Connection, path: Path, needles: list[bytes]) -> int:
    likes = " OR ".join(f"contains(to_json(row)::VARCHAR, {literal(needle.decode())})" for needle in needles)
    try:
        found = connection.execute(
            f"SELECT count(*) FROM read_parquet({literal(str(path))}, hive_partitioning = false) AS row WHERE {likes}"
        ).fetchall()
    except duckdb.IOException:
        assert not path.exists()
        return 0
    return int(found[0][0])


def place_of(receipt: Receipt, name: str) -> dict[str, Any]:
    """One place of a receipt, without its name."""
    (found,) = (place for place in receipt.places if place["place"] == name)
    return {key: value for key, value in found.items() if key != "place"}


def dying_eraser(root: Path, die_before: str, die_at: int) -> None:
    """For another process: erases what is pending, and dies where the plan says."""
    reached = 0

    def at(step: str) -> None:
        nonlocal reached
        reached += step == die_before
        if step == die_before and reached == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    ErasingStage(root).erase(at=at)


def at_each(steps: Iterator[float], between: Callable[[], None]) -> None:
    """Takes the steps of a pass, and does something between them."""
    for _ in steps:
        between()
