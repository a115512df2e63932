"""Everything that is known to happen to a file, done to a real one, and what must come out."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from footfall.errors import LogCorruptError
from footfall.log.api import Record
from footfall.log.reader import SegmentReader
from footfall.log.segments import SegmentWriter
from footfall.log.verify import verify

BODIES = [[b'{"n":1}', b'{"n":2}'], [b""], [b"#group bytes=7 crc=00000000 first=1 count=1 durable_upto=0"], [b"x" * 40, b"y"]]
FLAT = [body for group in BODIES for body in group]
GROUP_ENDS = {0, 2, 3, 4, 6}


def open_writer(tree: Path, **options: bool) -> SegmentWriter:
    return SegmentWriter.open(tree, free_bytes_min=0, **options)


@pytest.fixture
def unsealed(tmp_path: Path) -> Path:
    """A tree whose writer died: four groups, never synced as far as anybody was told, no watermark."""
    tree = tmp_path / "source"
    writer = open_writer(tree)
    for group in BODIES:
        writer.write(group)
    copy = tmp_path / "unsealed"
    shutil.copytree(tree, copy)
    (copy / "w0" / "durable").unlink()
    writer.close()
    return copy


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """A small log closed properly."""
    tree = tmp_path / "sealed"
    with open_writer(tree) as writer:
        for group in BODIES:
            writer.write(group)
            writer.sync()
    return tree


def segment_of(tree: Path) -> Path:
    (segment,) = sorted((tree / "w0").glob("*.log"))
    return segment


def recovered(tree: Path) -> list[Record]:
    """Opens, writes one record more, closes, and reads all of it."""
    with open_writer(tree) as writer:
        fresh = writer.write([b"fresh"])
    records = list(SegmentReader(tree).scan())
    assert records[-1] == Record("w0", fresh, b"fresh")
    assert [record.sequence for record in records] == list(range(1, fresh + 1))
    assert verify(tree).is_sound
    return records[:-1]


@pytest.mark.parametrize("fill", ["nothing", "zeros", "garbage"])
def test_cut_at_every_byte_the_valid_prefix_comes_back_and_nothing_else(tmp_path: Path, unsealed: Path, fill: str) -> None:
    content = segment_of(unsealed).read_bytes()
    header_bytes = content.index(b"\n") + 1
    chance = random.Random(7)
    tree = tmp_path / "cut"
    for cut in range(header_bytes, len(content) + 1):
        shutil.copytree(unsealed, tree)
        count = chance.choice((1, 17, 512, 4096))
        tail = {"nothing": b"", "zeros": bytes(count), "garbage": chance.randbytes(count)}[fill]
        segment_of(tree).write_bytes(content[:cut] + tail)
        bodies = [record.body for record in recovered(tree)]
        assert bodies == FLAT[: len(bodies)], f"cut at {cut}"
        assert len(bodies) in GROUP_ENDS
        assert cut < len(content) or bodies == FLAT
        shutil.rmtree(tree)


def test_cut_below_the_durable_mark_refuses_to_open_and_deletes_nothing(tmp_path: Path, unsealed: Path) -> None:
    """The fourth group's line says that 4 records were durable; the watermark of a living machine says 6."""
    content = segment_of(unsealed).read_bytes()
    for cut in (content.index(b"\n") + 1, len(content) // 2, len(content) - 1):
        tree = tmp_path / f"cut{cut}"
        shutil.copytree(unsealed, tree)
        with open_writer(tree):
            pass  # recovered and sealed: the watermark says 6 now
        segment = segment_of(tree)
        segment.write_bytes(segment.read_bytes()[:cut])
        before = {path.name: path.read_bytes() for path in (tree / "w0").glob("*.log")}
        with pytest.raises(LogCorruptError, match=r"byte \d+"):
            open_writer(tree)
        assert {path.name: path.read_bytes() for path in (tree / "w0").glob("*.log")} == before
        assert not verify(tree).is_sound


def test_every_flipped_bit_of_a_sealed_segment_is_noticed(sealed: Path) -> None:
    segment = segment_of(sealed)
    content = bytearray(segment.read_bytes())
    reader_saw = 0
    for bit in range(len(content) * 8):
        content[bit // 8] ^= 1 << bit % 8
        segment.write_bytes(content)
        (report,) = verify(sealed).writers
        assert report.damages or report.torn_tails, f"bit {bit}"
        try:
            assert [record.body for record in SegmentReader(sealed).scan()] == FLAT
        except LogCorruptError:
            reader_saw += 1
        content[bit // 8] ^= 1 << bit % 8
    seal_bytes = len(content) - content.rindex(b"#sealed")
    assert reader_saw == (len(content) - seal_bytes) * 8  # a damaged seal hides no record


def test_a_flipped_bit_in_the_records_refuses_to_open(sealed: Path) -> None:
    segment = segment_of(sealed)
    content = segment.read_bytes()
    for offset in range(0, content.rindex(b"#sealed"), 5):
        segment.write_bytes(content[:offset] + bytes([content[offset] ^ 4]) + content[offset + 1 :])
        with pytest.raises(LogCorruptError):
            open_writer(sealed)
    segment.write_bytes(content)
    assert [record.body for record in recovered(sealed)] == FLAT


def test_without_watermark_the_lines_behind_the_damage_prove_it_was_durable(sealed: Path) -> None:
    (sealed / "w0" / "durable").unlink()
    segment = segment_of(sealed)
    content = segment.read_bytes()
    for cut_seal in (False, True):
        kept = content[: content.rindex(b"#sealed")] if cut_seal else content
        segment.write_bytes(kept.replace(b'{"n":2}', b'{"n":3}'))
        with pytest.raises(LogCorruptError):
            open_writer(sealed)


def test_quarantine_sets_the_file_aside_keeps_the_rest_and_says_what_is_lost(sealed: Path) -> None:
    segment = segment_of(sealed)
    damaged = segment.read_bytes().replace(b'{"n":2}', b'{"n":3}')
    segment.write_bytes(damaged)
    with open_writer(sealed, quarantine_corrupt=True) as writer:
        assert writer.quarantined == 1
        assert writer.write([b"fresh"]) == 7
    assert [(record.sequence, record.body) for record in SegmentReader(sealed).scan()] == [
        *enumerate(FLAT[2:], 3),
        (7, b"fresh"),
    ]
    assert (sealed / "w0" / "damaged" / segment.name).read_bytes() == damaged
    (report,) = verify(sealed).writers
    assert (report.damages, report.lost, report.quarantined) == ((), 2, 1)
    open_writer(sealed).close()  # and is no damage from then on


def test_quarantine_bridges_a_missing_and_an_unreadable_segment(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path, segment_bytes=300, free_bytes_min=0) as writer:
        for number in range(20):
            writer.write([b"%d" % number * 60])
            writer.sync()
    segments = sorted((tmp_path / "w0").glob("*.log"))
    assert len(segments) > 5
    segments[2].unlink()
    segments[4].write_bytes(b"rubbish")
    with pytest.raises(LogCorruptError):
        open_writer(tmp_path)
    with open_writer(tmp_path, quarantine_corrupt=True) as writer:
        assert writer.quarantined == 2
    records = list(SegmentReader(tmp_path).scan())
    (report,) = verify(tmp_path).writers
    assert report.damages == ()
    assert len(records) + report.lost == 20
    open_writer(tmp_path).close()


def test_losing_the_newest_segment_never_gives_its_sequences_away(tmp_path: Path) -> None:
    with SegmentWriter.open(tmp_path, segment_bytes=300, free_bytes_min=0) as writer:
        for number in range(9):
            writer.write([b"%d" % number * 60])
    for segment in sorted((tmp_path / "w0").glob("*.log"))[-2:]:
        segment.unlink()
    with pytest.raises(LogCorruptError):
        open_writer(tmp_path)
    with open_writer(tmp_path, quarantine_corrupt=True) as writer:
        assert writer.write([b"fresh"]) == 10


def test_bytes_of_another_segment_never_pass(tmp_path: Path, sealed: Path) -> None:
    """A recycled block: a whole valid group, but of another file."""
    other = tmp_path / "other"
    writer = open_writer(other)
    writer.write([b"theirs"])
    copy = tmp_path / "copy"
    shutil.copytree(other, copy)
    (copy / "w0" / "durable").unlink()
    writer.close()
    foreign = segment_of(sealed).read_bytes()
    group = foreign[foreign.index(b"#group") : foreign.index(b"#group", foreign.index(b"#group") + 1)]
    with segment_of(copy).open("ab") as file:
        file.write(group.replace(b"first=1", b"first=2"))
    assert [record.body for record in recovered(copy)] == [b"theirs"]
