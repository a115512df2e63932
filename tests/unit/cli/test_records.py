"""The newest records of a log, found from its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from footfall.cli.records import newest, understood
from footfall.errors import LogError
from footfall.log.api import Record
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter


def body(platform: str, number: int) -> bytes:
    event = {"id": f"e{number}", "event_type": "HOME"}
    record = {"platform": platform, "mode": "test", "received_at": number, "source": "api", "event": event}
    return json.dumps(record, separators=(",", ":")).encode()


@contextmanager
def log_of(tree: Path, bodies: list[bytes]) -> Iterator[SegmentReader]:
    writer = SegmentWriter.open(tree, segment_bytes=64 * 1024, accept_tmpfs=True)
    for start in range(0, len(bodies), 100):
        writer.write(bodies[start : start + 100])
    writer.close()
    reader = SegmentReader(tree)
    yield reader
    reader.close()


def found(reader: SegmentReader, *, upto: int, platform: str | None) -> list[int]:
    return [record.sequence for record in newest(reader, upto={"w0": upto}, platform=platform, count=3)]


def test_the_last_ones_up_to_a_position_come_in_order(tmp_path: Path) -> None:
    with log_of(tmp_path, [body("SHOP_TEST", number) for number in range(2500)]) as reader:
        assert found(reader, upto=2500, platform=None) == [2498, 2499, 2500]
        assert found(reader, upto=1200, platform="SHOP_TEST") == [1198, 1199, 1200]
        assert found(reader, upto=2, platform=None) == [1, 2]
        assert found(reader, upto=0, platform=None) == []


def test_a_platform_that_was_quiet_for_long_is_found_all_the_same(tmp_path: Path) -> None:
    bodies = [body("RARE_TEST" if number in (5, 900) else "SHOP_TEST", number) for number in range(2500)]
    with log_of(tmp_path, bodies) as reader:
        assert found(reader, upto=2500, platform="RARE_TEST") == [6, 901]
        assert found(reader, upto=2500, platform="NONE_TEST") == []


def test_a_record_of_another_version_is_an_error_of_ours_that_names_it_and_not_its_content() -> None:
    with pytest.raises(LogError, match="w0/7") as error:
        understood(Record("w0", 7, b'{"platform":"SHOP","person":"u-1"}'))
    assert "u-1" not in error.value.message
