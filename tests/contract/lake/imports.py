"""Imports into a `Stage`, for tests: files in, rows out, ended anywhere and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from footfall.clock import Clock
from footfall.lake.importing.books import IMPORTS_NAME, ImportState, states
from footfall.lake.importing.importing import Imported, Importing, Progress, import_source, open_source
from footfall.lake.importing.landing import STALL_S
from footfall.lake.running import Parts
from footfall.log.reader import SegmentReader
from tests.contract.lake.stage import NOW_MS, Stage

OPTIONS: Final[dict[str, Any]] = {"free_bytes_min": 0, "accept_tmpfs": True}


class Ended(Exception):  # noqa: N818 - stands for what ends a process
    """Ends an import from within."""


def sent(number: int, **members: Any) -> dict[str, Any]:
    """An event as a sender writes it, a different one for each number, without an id unless one is given."""
    return {
        "event_type": "PAGE_VIEW",
        "timestamp": str(NOW_MS - 1000 - number),
        "channel_type": "SITE",
        "user_id": f"u{number}",
        "page_id": f"page-{number}",
        **members,
    }


def lines_of(events: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


class ImportStage(Stage):
    """A stage that takes files."""

    def write(self, name: str, content: bytes) -> Path:
        path = self.data.parent / name
        path.write_bytes(content)
        return path

    def parts(self, *, clock: Clock | None = None) -> Parts:
        return Parts(data=self.data, settings=self.settings, clock=clock or self.clock, persons=lambda: self.persons)

    def take(
        self,
        path: Path,
        *,
        platform: str = "SHOP",
        again: bool = False,
        mapping: str | None = None,
        refused_file: Path | None = None,
        clock: Clock | None = None,
        stall_s: float = STALL_S,
        tell: Callable[[Progress], None] = lambda _: None,
    ) -> Imported:
        importing = Importing(lander=self.parts(clock=clock), log_options=OPTIONS, ahead_ms_max=300_000, stall_s=stall_s)
        source = open_source(path, name=path.name, mapping=mapping)
        return import_source(
            source, platform=platform, importing=importing, again=again, refused_file=refused_file, tell=tell
        )  # fmt: skip

    def take_until(self, path: Path, ends: Callable[[Progress], bool], *, error: type[BaseException] = Ended) -> bool:
        """An import that ends where `ends` says so; whether it did."""

        def tell(progress: Progress) -> None:
            if ends(progress):
                raise error

        try:
            self.take(path, tell=tell)
        except error:
            return True
        return False

    def state(self) -> ImportState:
        [state] = states(self.data)
        return state

    @property
    def directory(self) -> Path:
        """Of the one import."""
        [directory] = (self.data / IMPORTS_NAME).iterdir()
        return directory

    def refused(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "refused.ndjson").read_bytes().splitlines()]

    def records(self) -> int:
        """In the log, of all writers."""
        return sum(1 for _ in SegmentReader(self.data / "log" / "live").scan())

    def users(self) -> list[str]:
        """Of every row, sorted."""
        return sorted(row["user_id"] for row in self.query("SELECT user_id FROM events"))
