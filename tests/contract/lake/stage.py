"""A data directory with a log and a table, for tests of the lake: records in, rows out, and the books in between.

    stage = Stage(tmp_path)
    stage.append("w0", record(event(id="a")), record(event(id="b")))
    stage.land()
    assert {row["id"] for row in stage.rows("id")} == {"a", "b"}
    stage.require_balance()

Everything goes through the public door: `SegmentWriter` writes the log, `Lander` lands it, and the table is read as any reader
would read it.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from footfall.clock import ManualClock
from footfall.lake.engine import connected
from footfall.lake.landing import Landed, Lander, Persons
from footfall.lake.quarantine import Poison, Quarantine
from footfall.lake.scan import select_events
from footfall.lake.settings import LakeSettings
from footfall.lake.table import DataFile, EventsTable, count_name
from footfall.lake.volume import Volume, volume_at
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter

NOW_MS: Final = 1_790_000_000_000
"""2026-09-21, where the clock of a stage stands still."""
DAY_MS: Final = 86_400_000
TERMS: Final = ("read", "repeated", "quarantined", "erased", "expired")


def event(**members: Any) -> dict[str, Any]:
    """An event as the log holds it, page view at a site where nothing else is said. A member of None is left out."""
    made = {"id": "e1", "event_type": "PAGE_VIEW", "timestamp": NOW_MS - 1000, "channel_type": "SITE", **members}
    return {name: value for name, value in made.items() if value is not None}


def record(
    content: Mapping[str, Any] | bytes, *, platform: str = "SHOP", received_at: int = NOW_MS, source: str = "api"
) -> bytes:
    """The record of an event: `content` is the event, or its canonical bytes as the intake made them."""
    encoded = content if isinstance(content, bytes) else msgspec.json.encode(content)
    head = b'{"platform":"%b","mode":"live","received_at":%d,"source":"%b","event":' % (
        platform.encode(), received_at, source.encode(),
    )  # fmt: skip
    return head + encoded + b"}"


def erased_record(*, platform: str = "SHOP", received_at: int = NOW_MS, source: str = "api") -> bytes:
    """What an erasure leaves of a record in the log."""
    return record({"erased": True}, platform=platform, received_at=received_at, source=source)


class Stage:
    """One data directory. Everything in it can be looked at while nothing is open."""

    def __init__(self, root: Path, *, settings: LakeSettings | None = None, now_ms: int = NOW_MS) -> None:
        self.data = root / "data"
        self.data.mkdir(parents=True, exist_ok=True)
        self.settings = settings or LakeSettings()
        self.clock = ManualClock(now_ms)
        self.persons: Persons | None = None

    # -- the log

    def append(self, writer: str, *records: bytes) -> int:
        """Writes records as one durable group; returns the sequence of the last."""
        with SegmentWriter.open(self.data / "log" / "live", writer=writer, free_bytes_min=0) as opened:
            opened.write(list(records))
            return opened.sync()

    # -- the table

    @property
    def volume(self) -> Volume:
        return volume_at(self.settings.table or str(self.data / "lake" / "events"))

    def table(self) -> EventsTable:
        """Made where there is none."""
        table = EventsTable.open(self.volume, create=True)
        assert table is not None
        return table

    @contextmanager
    def lander(
        self,
        *,
        table: EventsTable | None = None,
        settings: LakeSettings | None = None,
        at: Callable[[str], None] = lambda _: None,
    ) -> Iterator[Lander]:
        lander = Lander(
            self.data, table or self.table(), settings or self.settings, clock=self.clock, persons=lambda: self.persons, at=at
        )
        try:
            yield lander
        finally:
            lander.close()

    def land(self, *, settings: LakeSettings | None = None, at: Callable[[str], None] = lambda _: None) -> list[Landed]:
        """Everything that waits, batch by batch, with a fresh lander."""
        batches = []
        with self.lander(settings=settings, at=at) as lander:
            while (landed := lander.land()).read:
                batches.append(landed)
        return batches

    # -- what came of it

    def files(self) -> list[DataFile]:
        return sorted(self.table().files().values(), key=lambda file: (file.platform, file.event_date, file.first_ms))

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of a query over the view `events`; moments come as Unix milliseconds, decimals as Decimal."""
        table = self.table()
        with connected(temporary=None, threads=1, filesystem=table.volume.filesystem) as connection:
            events = select_events(table.files().values(), locate=table.volume.locate)
            found = connection.execute(f"WITH events AS ({events}) {sql}")
            names = [description[0] for description in found.description or ()]
            return [dict(zip(names, map(_plain, row), strict=True)) for row in found.fetchall()]

    def rows(self, *names: str) -> list[dict[str, Any]]:
        """All rows, in the order of the log; some columns, or all."""
        columns = ", ".join(names) or "*"
        return self.query(f"SELECT {columns} FROM events ORDER BY writer, sequence")

    def counts(self) -> Counter[str]:
        """The ledger's running counts, summed over platforms and sources."""
        total: Counter[str] = Counter()
        for (_, _, term), count in self.counts_by_source().items():
            total[term] += count
        return total

    def counts_by_source(self) -> Counter[tuple[str, str, str]]:
        """(platform, source, term) → count, for every pair that the log or the quarantine knows."""
        table = self.table()
        names = [(*pair, term) for pair in self._pairs() for term in TERMS]
        return Counter({name: count for name in names if (count := table.transaction(count_name(*name)))})

    def poisons(self) -> list[Poison]:
        """What is in quarantine and counted, each position once."""
        table = self.table()
        upto = {writer: table.position(writer) for writer in SegmentReader(self.data / "log" / "live").writers()}
        return list(Quarantine(self.data).poisons(upto=upto))

    def waiting(self) -> int:
        """Durable records that have not landed."""
        table = self.table()
        durable = SegmentReader(self.data / "log" / "live").durable()
        return sum(last - table.position(writer) for writer, last in durable.items())

    def require_balance(self) -> None:
        """Everything of the log has landed, and the books add up to the unit: the ledger's and those of the table itself."""
        counts = self.counts()
        rows = self.query("SELECT count(*) AS rows FROM events")[0]["rows"]
        records = sum(1 for _ in SegmentReader(self.data / "log" / "live").scan())
        assert self.waiting() == 0
        assert counts["read"] == records
        assert counts["read"] == rows + sum(counts[term] for term in TERMS if term != "read"), (rows, counts)
        assert rows == sum(file.rows for file in self.table().files().values())
        assert counts["quarantined"] == len(self.poisons())
        positions = self.query("SELECT count(DISTINCT (writer, sequence)) AS positions FROM events")[0]["positions"]
        assert positions == rows, "a record landed twice"

    def _pairs(self) -> set[tuple[str, str]]:
        pairs = {("", "")}
        for found in SegmentReader(self.data / "log" / "live").scan():
            try:
                envelope = msgspec.json.decode(found.body)
                pairs.add((envelope["platform"], envelope["source"]))
            except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
                continue
        return pairs


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // datetime.timedelta(milliseconds=1)
    return value


_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Model:
    """What the table and the books must come to, told without any of the lake's code: `take` what was appended, round by round,
    and compare. Whom `gone` names (an event's identifiers → the moment before which hers go) never lands."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], tuple[int, str, int]] = {}
        """key → (received_at, writer, sequence) of the event that counts"""
        self.counts: Counter[str] = Counter()

    def take(
        self, writer: str, sequence: int, body: bytes, *, gone: Callable[[Mapping[str, Any]], bool] = lambda _: False
    ) -> None:
        self.counts["read"] += 1
        envelope = msgspec.json.decode(body)
        content = envelope["event"]
        place = (envelope["received_at"], writer, sequence)
        if content.get("erased") or gone(envelope):
            self.counts["erased"] += 1
        elif not isinstance(content["timestamp"], int):
            self.counts["quarantined"] += 1
        else:
            key = (envelope["platform"], content.get("id"), content["event_type"], content["timestamp"])
            key = key if content.get("id") else (*key, writer, sequence)
            self.counts["repeated"] += key in self.rows
            self.rows[key] = min(self.rows.get(key, place), place)

    def take_all(self, data: Path) -> None:
        """The whole log of a data directory."""
        for found in SegmentReader(data / "log" / "live").scan():
            self.take(found.writer, found.sequence, found.body)

    def require_equal(self, stage: Stage) -> None:
        """The table is as it must be: the same events, each the one that was received first, and the same counts."""
        found = stage.rows("platform", "id", "event_type", "timestamp", "received_at", "writer", "sequence")
        assert sorted((row["received_at"], row["writer"], row["sequence"]) for row in found) == sorted(self.rows.values())
        counts = stage.counts()
        assert {term: counts[term] for term in self.counts} == dict(self.counts)
        stage.require_balance()
