"""Compressed bodies: what honest writers make comes out whole, everything else is told apart, bombs cost next to nothing."""

from __future__ import annotations

import gzip
import io
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable
from functools import cache

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.errors import FootfallError
from footfall.server.inflate import ENCODINGS, InflateError, inflate

MIB = 1024 * 1024
BATCH_BYTES_MAX = 32 * MIB
TEXT = b'{"event_type":"HOME","user_id":"u-1"}\n' * 50
NOISE = random.Random(1).randbytes(3 * MIB)


class Reservations:
    """Grants `bytes_max` in all and remembers what was asked."""

    def __init__(self, bytes_max: int = 1 << 40) -> None:
        self.bytes_max = bytes_max
        self.asked: list[int] = []

    def __call__(self, wanted: int) -> bool:
        self.asked.append(wanted)
        return sum(self.asked) <= self.bytes_max


def inflated(
    body: bytes, encoding: str, *, bytes_max: int = BATCH_BYTES_MAX, reserve: Callable[[int], bool] | None = None
) -> bytes:
    return inflate(body, encoding, bytes_max=bytes_max, reserve=reserve or Reservations())


def refusal(body: bytes, encoding: str, *, bytes_max: int = BATCH_BYTES_MAX, reserve: Callable[[int], bool] | None = None) -> str:
    with pytest.raises(InflateError) as caught:
        inflated(body, encoding, bytes_max=bytes_max, reserve=reserve)
    return caught.value.reason


def zstd(content: bytes, *, level: int = 3, write_checksum: bool = False) -> bytes:
    return zstandard.ZstdCompressor(level=level, write_checksum=write_checksum).compress(content)


def zstd_stream(content: bytes, *, flush_each: int = 0) -> bytes:
    """As a writer makes it that does not know the length: no content size in the header."""
    compressor = zstandard.ZstdCompressor().compressobj()
    pieces = []
    for start in range(0, len(content), flush_each or len(content) or 1):
        pieces.append(compressor.compress(content[start : start + (flush_each or len(content))]))
        if flush_each:
            pieces.append(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
    return b"".join([*pieces, compressor.flush()])


def skippable(content: bytes) -> bytes:
    return (0x184D2A53).to_bytes(4, "little") + len(content).to_bytes(4, "little") + content


def gzip_with_name(content: bytes) -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile("events.ndjson", "wb", fileobj=made) as writer:
        writer.write(content)
    return made.getvalue()


WRITERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "gzip stored": ("gzip", lambda content: gzip.compress(content, 0)),
    "gzip with a file name": ("gzip", gzip_with_name),
    "gzip of two members": ("gzip", lambda content: gzip.compress(content[:100]) + gzip.compress(content[100:])),
    "gzip with an empty last member": ("gzip", lambda content: gzip.compress(content) + gzip.compress(b"")),
    "zstd": ("zstd", zstd),
    "zstd level 19 with checksum": ("zstd", lambda content: zstd(content, level=19, write_checksum=True)),
    "zstd without content size": ("zstd", zstd_stream),
    "zstd flushed often": ("zstd", lambda content: zstd_stream(content, flush_each=max(500, len(content) // 50))),
    "zstd of two frames": ("zstd", lambda content: zstd(content[:100]) + zstd_stream(content[100:])),
    "zstd between skippable frames": ("zstd", lambda content: skippable(b"index") + zstd(content) + skippable(b"")),
}


@pytest.mark.parametrize("content", [b"", b"x", TEXT, NOISE], ids=["empty", "one byte", "text", "noise"])
@pytest.mark.parametrize("writer", WRITERS)
def test_what_an_honest_writer_makes_comes_out_whole(writer: str, content: bytes) -> None:
    encoding, compress = WRITERS[writer]
    body = compress(content)
    assert inflated(body, encoding) == content
    assert encoding in ENCODINGS


@settings(max_examples=40, deadline=None)
@given(pieces=st.lists(st.binary(max_size=5_000), min_size=1, max_size=5), use_zstd=st.booleans())
def test_members_and_frames_in_a_row_are_one_body(pieces: list[bytes], use_zstd: bool) -> None:
    compress = zstd_stream if use_zstd else gzip.compress
    assert inflated(b"".join(map(compress, pieces)), "zstd" if use_zstd else "gzip") == b"".join(pieces)


# -- what is not whole


@pytest.mark.parametrize("writer", WRITERS)
def test_a_body_cut_anywhere_is_refused(writer: str) -> None:
    """Except where the cut leaves whole members or frames, which nobody can tell from a shorter body."""
    encoding, compress = WRITERS[writer]
    body = compress(TEXT)
    whole = 0
    for end in range(1, len(body)):
        try:
            content = inflated(body[:end], encoding)
        except InflateError as error:
            assert error.status == 400, end
        else:
            whole += 1
            assert TEXT.startswith(content)
    assert whole <= 2


@pytest.mark.parametrize(("writer", "share"), [("gzip", 0.5), ("zstd", 0.5), ("zstd without content size", 0.9)])
def test_a_cut_body_is_called_truncated(writer: str, share: float) -> None:
    encoding, compress = WRITERS[writer]
    body = compress(NOISE[:100_000])
    assert refusal(body[: int(len(body) * share)], encoding) == "truncated"
    assert refusal(body[:-1], encoding) == "truncated"


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_what_follows_the_end_is_refused(encoding: str) -> None:
    body = zstd(TEXT) if encoding == "zstd" else gzip.compress(TEXT)
    for rest in (b"\n", b"\0\0\0\0\0\0\0\0", TEXT):
        assert refusal(body + rest, encoding) == "trailing"


@pytest.mark.parametrize("encoding", sorted(ENCODINGS))
def test_a_body_of_another_kind_is_corrupt(encoding: str) -> None:
    other = gzip.compress(TEXT) if encoding == "zstd" else zstd(TEXT)
    for body in (b"", TEXT, other, zlib.compress(TEXT), b"\0" * 100):
        assert refusal(body, encoding) == "corrupt"


@pytest.mark.parametrize("compress", [gzip.compress, lambda content: zstd(content, write_checksum=True)], ids=["gzip", "zstd"])
def test_no_flipped_bit_goes_unnoticed(compress: Callable[[bytes], bytes]) -> None:
    """Whatever the damage: refused, or in a part that says nothing about the content (gzip's time and system)."""
    body = compress(TEXT)
    encoding = "zstd" if body[0] == 0x28 else "gzip"
    for place in range(len(body)):
        damaged = bytearray(body)
        damaged[place] ^= 1 << (place % 8)
        try:
            assert inflated(bytes(damaged), encoding, bytes_max=MIB) == TEXT, place
        except InflateError as error:
            assert error.status in {400, 413}, place


@settings(max_examples=150, deadline=None)
@given(tail=st.binary(max_size=200), head=st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18"]))
def test_bytes_of_any_kind_end_in_content_or_in_a_refusal(tail: bytes, head: bytes) -> None:
    for encoding in ("gzip", "zstd"):
        try:
            assert len(inflated(head + tail, encoding, bytes_max=100_000)) <= 100_000
        except InflateError:
            pass


def test_a_refusal_says_nothing_of_the_body() -> None:
    with pytest.raises(FootfallError) as caught:
        inflated(gzip.compress(b"anna@example.com") + b"anna@example.com", "gzip")
    assert "anna" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_one_layer_is_taken_off_and_no_more() -> None:
    inner = gzip.compress(bytes(10 * MIB))
    assert inflated(gzip.compress(inner), "gzip") == inner
    assert inflated(zstd(inner), "zstd") == inner


def test_dictionaries_and_wide_windows_are_not_supported() -> None:
    words = zstandard.train_dictionary(2_000, [b"event %d of shopper %d" % (n, n * 7) for n in range(2_000)])
    assert refusal(zstandard.ZstdCompressor(dict_data=words).compress(TEXT), "zstd") == "unsupported"
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    compressor = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    assert refusal(compressor.compress(TEXT) + compressor.flush(), "zstd") == "unsupported"


# -- bounds


@pytest.mark.parametrize("compress", [gzip.compress, zstd, zstd_stream])
def test_the_bound_is_exact(compress: Callable[[bytes], bytes]) -> None:
    encoding = "gzip" if compress is gzip.compress else "zstd"
    for length in (1, 4_096, 65_536, 300_000, 3 * MIB):
        body = compress(NOISE[:length])
        assert inflated(body, encoding, bytes_max=length) == NOISE[:length]
        assert refusal(body, encoding, bytes_max=length - 1) == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_the_ratio_counts_above_a_mebibyte_only(encoding: str) -> None:
    compress = gzip.compress if encoding == "gzip" else zstd_stream
    assert inflated(compress(bytes(MIB)), encoding) == bytes(MIB)
    assert refusal(compress(bytes(MIB + 1)), encoding) == "ratio"
    # with as much noise as makes it 99 to one
    assert len(inflated(compress(bytes(9 * MIB) + NOISE[: 99 * 1_024]), encoding)) == 9 * MIB + 99 * 1_024


def test_a_frame_that_says_it_is_too_long_is_believed_before_anything_is_made() -> None:
    asked = Reservations()
    assert refusal(zstd(NOISE), "zstd", bytes_max=2 * MIB, reserve=asked) == "too_large"
    assert asked.asked == []


def test_a_frame_that_lies_about_its_length_is_corrupt() -> None:
    body = bytearray(zstd(TEXT * 20))
    header = zstandard.frame_header_size(bytes(body))
    for change in (-1, 1, 100):
        lie = (len(TEXT) * 20 - 256 + change).to_bytes(2, "little")  # a two-byte length counts from 256
        assert refusal(bytes(body[: header - 2] + lie + body[header:]), "zstd") in {"corrupt", "truncated"}


@pytest.mark.parametrize("compress", [gzip.compress, zstd_stream])
def test_memory_is_asked_for_before_it_is_used(compress: Callable[[bytes], bytes]) -> None:
    encoding = "gzip" if compress is gzip.compress else "zstd"
    asked = Reservations()
    assert inflated(compress(NOISE), encoding, reserve=asked) == NOISE
    assert len(NOISE) <= sum(asked.asked) <= len(NOISE) + 256 * 1024
    assert max(asked.asked) <= 256 * 1024
    small = Reservations()
    inflated(compress(TEXT), encoding, reserve=small)
    assert sum(small.asked) <= 8 * 1024, "a small body does not ask for a large one's memory"
    assert refusal(compress(NOISE), encoding, reserve=Reservations(MIB)) == "no_room"
    assert refusal(compress(TEXT), encoding, reserve=Reservations(0)) == "no_room"


def test_each_reason_has_its_status() -> None:
    with pytest.raises(InflateError) as caught:
        inflated(gzip.compress(TEXT), "gzip", reserve=Reservations(0))
    assert caught.value.status == 503
    with pytest.raises(InflateError) as caught:
        inflated(gzip.compress(TEXT), "gzip", bytes_max=10)
    assert caught.value.status == 413


def test_an_encoding_that_is_none_of_ours_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="br"):
        inflated(b"x", "br")


# -- bombs


def _gzip_gibibyte() -> bytes:
    """A mebibyte of zeros, and its deflate blocks 1,023 times more; nobody will come as far as the check at its end."""
    compressor = zlib.compressobj(9, wbits=31)
    once = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    again = compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_FULL_FLUSH)
    return once + again * 1_023


def _zstd_gibibyte() -> bytes:
    compressor = zstandard.ZstdCompressor().compressobj()
    zeros = bytes(MIB)
    return b"".join([*(compressor.compress(zeros) for _ in range(1_024)), compressor.flush()])


def _blocks(block: bytes, count: int) -> bytes:
    return b"\x28\xb5\x2f\xfd\x00\x58" + block * count + b"\x01\x00\x00"


RLE_BLOCK = (2 | (128 * 1024) << 3).to_bytes(3, "little") + b"a"
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("gzip", _gzip_gibibyte),
    "zstd": ("zstd", _zstd_gibibyte),
    "zstd blocks of four bytes": ("zstd", lambda: _blocks(RLE_BLOCK, 8_000)),
    "zstd empty blocks": ("zstd", lambda: _blocks(b"\0\0\0", 2_700_000)),
    "zstd empty frames": ("zstd", lambda: zstd(b"") * 800_000),
    "zstd skippable frames": ("zstd", lambda: skippable(b"") * 1_000_000),
    "zstd frames of a mebibyte": ("zstd", lambda: zstd_stream(bytes(MIB)) * 1_000),
    "gzip empty members": ("gzip", lambda: gzip.compress(b"") * 400_000),
    "gzip empty blocks": ("gzip", lambda: gzip.compress(b"")[:10] + b"\0\0\0\xff\xff" * 1_600_000),
    "gzip long name": ("gzip", lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 8 * MIB),
}


@cache
def bomb(name: str) -> tuple[bytes, str]:
    encoding, make = BOMBS[name]
    return make(), encoding


def processor_s(work: Callable[[], object]) -> float:
    begin_s = time.process_time()
    work()
    return time.process_time() - begin_s


def inflate_as_much_as_is_allowed() -> list[bytes]:
    """What zlib alone needs for 32 MiB, the least that a gzip bomb of this bound can cost."""
    inflater = zlib.decompressobj(wbits=31)
    piece, made = bomb("gzip")[0], []
    for _ in range(BATCH_BYTES_MAX // (256 * 1024)):
        made.append(inflater.decompress(piece, 256 * 1024))
        piece = inflater.unconsumed_tail
    return made


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_50_ms_of_processor_time(name: str) -> None:
    """On a machine with nothing else to do; on a busy one, within twice what zlib alone then needs for the bytes allowed."""
    body, encoding = bomb(name)
    for _ in range(10):
        spent_s = processor_s(lambda: refusal(body, encoding))
        if spent_s < max(0.05, 2 * processor_s(inflate_as_much_as_is_allowed)):
            break
    else:
        pytest.fail(f"{spent_s * 1000:.0f} ms")


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_more_memory_than_the_bound_and_a_few_chunks(name: str) -> None:
    body, encoding = bomb(name)
    for bytes_max in (64 * 1024, 4 * MIB):
        tracemalloc.start()
        try:
            refusal(body, encoding, bytes_max=bytes_max)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < 1.5 * bytes_max + MIB
