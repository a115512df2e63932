"""A log and a list side by side, under random actions: they always agree."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from footfall.clock import ManualClock
from footfall.log.reader import SegmentReader, merge_by
from footfall.log.retention import remove_sealed
from footfall.log.rewriting import rewrite_records
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify
from tests.unit.log.crash_disk import CrashDisk

TREE = Path("/data/log")
BODIES = st.lists(st.binary(max_size=200).map(lambda body: body.replace(b"\n", b"")), min_size=1, max_size=4)


class LogModel(RuleBasedStateMachine):
    """`written` is every record by sequence; `durable` how many are promised; `oldest` what retention left."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.disk = CrashDisk()
        self.written: list[bytes] = []
        self.durable = 0
        self.oldest = 1
        self.position = 0
        self._open()

    def _open(self) -> None:
        self.writer = SegmentWriter.open(TREE, segment_bytes=800, free_bytes_min=0, clock=self.clock, disk=self.disk)
        self.reader = SegmentReader(TREE, disk=self.disk)
        assert self.durable <= self.writer.last <= len(self.written)
        del self.written[self.writer.last :]
        self.durable = self.writer.last

    @rule(bodies=BODIES)
    def write(self, bodies: list[bytes]) -> None:
        self.written += bodies
        assert self.writer.write(bodies) == len(self.written)
        self.durable = max(self.durable, self.writer.durable)  # a rotation syncs

    @rule(bodies=BODIES)
    def write_in_one_piece(self, bodies: list[bytes]) -> None:
        self.written += bodies
        assert self.writer.write_lines(b"".join(body + b"\n" for body in bodies), count=len(bodies)) == len(self.written)
        self.durable = max(self.durable, self.writer.durable)

    @rule()
    def sync(self) -> None:
        self.durable = len(self.written)
        assert self.writer.sync() == self.durable

    @rule()
    def close_and_reopen(self) -> None:
        self.writer.close()
        self.durable = len(self.written)
        self._open()

    @rule()
    def seal_when_asked(self) -> None:
        if "seal" not in self.disk.names(TREE / "w0"):  # a power cut may bring an old request back
            self.disk.close(self.disk.create(TREE / "w0" / "seal"))
        if self.writer.seal_if_asked():
            self.durable = len(self.written)
        assert not self.writer.seal_if_asked()

    @rule(upto=st.integers(0, 60))
    def rewrite(self, upto: int) -> None:
        """Whatever is sealed, up to there, gets a letter more; the newest segment may not be sealed."""
        done = rewrite_records(TREE / "w0", change=lambda bodies: [body + b"r" for body in bodies], upto=upto, disk=self.disk)
        for sequence in range(self.oldest, self.oldest + done.records):
            self.written[sequence - 1] += b"r"
        assert done.damages == ()
        self.reader.close()  # a reader goes on showing the group it has in memory; here it lets go of it

    @rule(bytes_max=st.integers(0, 900), records_max=st.integers(0, 9))
    def read_by_the_payload(self, bytes_max: int, records_max: int) -> None:
        for payload in self.reader.read_payloads("w0", after=self.position, bytes_max=bytes_max, records_max=records_max):
            assert payload.first == max(self.position + 1, self.oldest)
            assert payload.lines == b"".join(body + b"\n" for body in self.written[payload.first - 1 : payload.last])
            self.position = payload.last

    @rule()
    def kill(self) -> None:
        self.disk = self.disk.kill()
        self._open()
        assert self.writer.last == len(self.written)  # what `write` took survives the process

    @rule(seed=st.integers(0, 2**32))
    def lose_power(self, seed: int) -> None:
        self.disk = self.disk.kill().lose_power(seed)
        self._open()

    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        records = self.reader.read({"w0": self.position}, records_max=count)
        start = max(self.position + 1, self.oldest)
        assert [record.sequence for record in records] == list(range(start, min(start + count, self.durable + 1)))
        assert [record.body for record in records] == self.written[start - 1 : start - 1 + len(records)]
        self.position = records[-1].sequence if records else self.position

    @rule()
    def retain(self) -> None:
        self.clock.advance(1)
        remove_sealed(TREE / "w0", sealed_before_ms=self.clock.now_ms(), passed=self.position, disk=self.disk)
        first = next((record.sequence for record in SegmentReader(TREE, disk=self.disk).scan()), self.durable + 1)
        assert self.oldest <= first <= max(self.position + 1, self.oldest)
        self.oldest = first

    @invariant()
    def readers_see_exactly_what_is_durable(self) -> None:
        records = list(merge_by([self.reader], key=lambda record: record.sequence))
        assert [record.body for record in records] == self.written[self.oldest - 1 : self.durable]
        assert verify(TREE, disk=self.disk).is_sound
        waiting = max(0, self.durable - max(self.position, self.oldest - 1))
        assert self.reader.count_after({"w0": self.position}) == {"w0": waiting}


TestLogModel = LogModel.TestCase
TestLogModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))
