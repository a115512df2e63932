"""Compressed bodies, inflated within bounds: a megabyte of gzip may hold a gigabyte, 33 kB of zstd as well.

Output is made in chunks, each of them asked for before it is made, and never more than one byte above the bound. A body must
end where its last member or frame ends; several in a row are one body (RFC 1952 2.2, RFC 8878 3.1), as parallel writers make
them. Only the outer layer is taken off: gzip within gzip is the sender's mistake, and its bytes are no event.

    gzip  members: header, deflate blocks, CRC32 and length; zlib checks them
    zstd  frames:  magic, header, blocks, checksum?; skippable frames are skipped

The zstd library does not tell a cut frame from a whole one when it is read in bounded pieces, so the blocks of a frame are
counted out here before it is inflated: three bytes a block say how long it is and whether it is the last.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Literal

import zstandard

from footfall.errors import FootfallError

ENCODINGS: Final = frozenset({"gzip", "x-gzip", "zstd"})
"""What `inflate` knows, in the spelling of Content-Encoding, in lower case."""

Reason = Literal["too_large", "ratio", "corrupt", "truncated", "trailing", "unsupported", "no_room"]

STATUS_OF: Final[dict[Reason, int]] = {
    "too_large": 413, "ratio": 413, "corrupt": 400, "truncated": 400, "trailing": 400, "unsupported": 400, "no_room": 503,
}  # fmt: skip

WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
"""What a zstd frame may ask the receiver to keep: the most that RFC 9659 lets a sender ask of HTTP. Levels up to 19 need less."""

_CHUNK_BYTES: Final = 256 * 1024
_CHUNK_BYTES_MIN: Final = 4 * 1024
_INPUT_BYTES: Final = 16 * 1024
"""zlib hands back a copy of what it has not used at each chunk and each member: of this much at most, not of the whole body."""
_MEMBERS_MAX: Final = 1024
"""A member for each 64 KiB of 32 MiB, as block-wise writers make them, and their empty last one, with room to spare."""
_BLOCKS_MAX: Final = 65_536
"""A block for each of 10,000 events that a writer flushed, several times over; counting so many takes 15 ms."""
_SKIPPABLE: Final = frozenset(range(0x184D2A50, 0x184D2A60))
_ZSTD_MAGIC: Final = 0xFD2FB528
_RLE_BLOCK: Final = 1


class InflateError(FootfallError):
    """A body that is not inflated, and why; `status` is the answer's. Nothing of the body is in the message."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message, status=STATUS_OF[reason])
        self.reason = reason


def inflate(
    body: bytes,
    encoding: str,
    *,
    bytes_max: int,
    ratio_max: int = 100,
    ratio_from_bytes: int = 1024 * 1024,
    reserve: Callable[[int], bool],
) -> bytes:
    """What `body` holds: at most `bytes_max`, and above `ratio_from_bytes` at most `ratio_max` times its own length.

    `reserve(n)` is asked before each further chunk of at most n bytes is made, False refuses it. The sum of what was reserved
    is at least the length of the result and at most one chunk of 256 KiB more; to give it back, also after an error, is the
    caller's part. zstd needs up to 8 MiB besides, for its window, as long as the call lasts. Blocks the thread (about 1 ms per
    MiB) and lets other threads run meanwhile. `encoding` is one of `ENCODINGS`. Raises `InflateError`.
    """
    output = _Output(
        len(body), bytes_max=bytes_max, ratio_bytes_max=max(ratio_from_bytes, ratio_max * len(body)), reserve=reserve
    )
    if not body:
        raise InflateError("corrupt", f"the body is empty, which is no {encoding}")
    try:
        if encoding == "zstd":
            _inflate_zstd(memoryview(body), output)
        elif encoding in ENCODINGS:
            _inflate_gzip(body, output)
        else:
            raise ValueError(f"no such encoding: {encoding}")
    except (zlib.error, zstandard.ZstdError):  # their words name bits and blocks, which help nobody to mend a sender
        raise InflateError("corrupt", f"the body is damaged, or is no {encoding}") from None
    return output.result()


class _Output:
    """What came out so far, and how much more may."""

    def __init__(self, body_bytes: int, *, bytes_max: int, ratio_bytes_max: int, reserve: Callable[[int], bool]) -> None:
        self._made = io.BytesIO()  # unlike the joining of a list, it hands its buffer over without a second copy
        self._bytes = 0
        self._reserved = 0
        self._chunk_bytes = max(_CHUNK_BYTES_MIN, min(_CHUNK_BYTES, 4 * body_bytes))
        self._limit = min(bytes_max, ratio_bytes_max)
        self._ratio_is_narrower = ratio_bytes_max < bytes_max
        self._reserve = reserve

    def room(self) -> int:
        """How many bytes may be made now, at least 1: the byte above the limit is the proof that there is one."""
        if self._reserved == self._bytes:
            wanted = min(self._chunk_bytes, self._limit + 1 - self._bytes)
            if not self._reserve(wanted):
                raise InflateError("no_room", "no memory for this body at the moment, try again later")
            self._reserved += wanted
            self._chunk_bytes = _CHUNK_BYTES
        return self._reserved - self._bytes

    def add(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._limit:
            raise self.overflow()
        self._made.write(chunk)

    def overflow(self) -> InflateError:
        if self._ratio_is_narrower:
            return InflateError("ratio", f"the body inflates to more than {self._limit} bytes, too many for its length")
        return InflateError("too_large", f"the body inflates to more than {self._limit} bytes")

    def is_beyond(self, further_bytes: int) -> bool:
        return self._bytes + further_bytes > self._limit

    def result(self) -> bytes:
        return self._made.getvalue()


def _inflate_gzip(body: bytes, output: _Output) -> None:
    start = 0
    for _ in range(_MEMBERS_MAX):
        start = _inflate_member(body, start, output)
        if start == len(body):
            return
        if body[start] != 0x1F:  # the first byte of a member
            raise InflateError("trailing", "after the end of the gzip data there are further bytes")
    raise InflateError("unsupported", f"the body has more than {_MEMBERS_MAX} gzip members")


def _inflate_member(body: bytes, start: int, output: _Output) -> int:
    """Inflates the member that begins at `start`; returns where it ends."""
    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # 16: gzip with its header and check, nothing else
    while not member.eof:
        piece = member.unconsumed_tail
        if not piece:
            piece = body[start : start + _INPUT_BYTES]
            start += len(piece)
        chunk = member.decompress(piece, output.room())
        output.add(chunk)
        if not piece and not chunk and not member.eof:
            raise InflateError("truncated", "the gzip data ends in the middle: the body was cut, or its writer was not closed")
    return start - len(member.unused_data)


def _inflate_zstd(body: memoryview, output: _Output) -> None:
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
    for start, end in _frames(body):
        if output.is_beyond(_declared_bytes(body[start:end])):
            raise output.overflow()
        with decompressor.stream_reader(body[start:end], read_across_frames=False) as reader:
            while chunk := reader.read(output.room()):
                output.add(chunk)


def _declared_bytes(frame: memoryview) -> int:
    """The length a frame says its content has, 0 when it does not say. Refuses what this receiver would not inflate."""
    header = zstandard.get_frame_parameters(frame)
    if header.dict_id:
        raise InflateError("unsupported", "the zstd data needs a dictionary, which is not agreed on here")
    if header.window_size > WINDOW_BYTES_MAX:
        raise InflateError("unsupported", "the zstd data needs a window of more than 8 MiB: compress at level 19 or below")
    return 0 if header.content_size == zstandard.CONTENTSIZE_UNKNOWN else header.content_size


def _frames(body: memoryview) -> Iterator[tuple[int, int]]:
    """Where each frame begins and ends, without the skippable ones."""
    start, blocks = 0, 0
    for index in range(_MEMBERS_MAX):
        magic = int.from_bytes(body[start : start + 4], "little")
        if magic in _SKIPPABLE:
            end = start + 8 + _number(body, start + 4, 4)
        elif magic == _ZSTD_MAGIC:
            end, blocks = _frame_end(body, start, blocks)
        elif index == 0:
            raise InflateError("corrupt", "the body is no zstd")
        else:
            raise InflateError("trailing", "after the end of the zstd data there are further bytes")
        if end > len(body):
            raise _cut_zstd()
        if magic == _ZSTD_MAGIC:
            yield start, end
        if end == len(body):
            return
        start = end
    raise InflateError("unsupported", f"the body has more than {_MEMBERS_MAX} zstd frames")


def _frame_end(body: memoryview, start: int, blocks: int) -> tuple[int, int]:
    """Where the frame ends that begins at `start`, and how many blocks there were so far. The end may lie beyond the body."""
    descriptor = _number(body, start + 4, 1)
    at = start + _header_bytes(descriptor)
    is_last = False
    while not is_last:
        block = _number(body, at, 3)
        is_last = bool(block & 1)
        at += 3 + (1 if block >> 1 & 3 == _RLE_BLOCK else block >> 3)
        blocks += 1
        if blocks > _BLOCKS_MAX:
            raise InflateError("unsupported", f"the body has more than {_BLOCKS_MAX} zstd blocks")
    return at + (4 if descriptor & 4 else 0), blocks


def _header_bytes(descriptor: int) -> int:
    """The length of a frame's header, its magic included (RFC 8878 3.1.1.1)."""
    is_single_segment = bool(descriptor & 0x20)
    window_bytes = 0 if is_single_segment else 1
    content_size_bytes = (int(is_single_segment), 2, 4, 8)[descriptor >> 6]
    return 5 + window_bytes + (0, 1, 2, 4)[descriptor & 3] + content_size_bytes


def _number(body: memoryview, at: int, length: int) -> int:
    if at + length > len(body):
        raise _cut_zstd()
    return int.from_bytes(body[at : at + length], "little")


def _cut_zstd() -> InflateError:
    return InflateError("truncated", "the zstd data ends in the middle: the body was cut, or its writer was not closed")
