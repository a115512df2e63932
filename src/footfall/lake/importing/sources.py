"""Files of events as an import reads them: a slice at a time, each row as the JSON that an API request would hold.

    .ndjson .jsonl .json     one event a line, as sent, or a row of the table as `footfall export` writes it; also .gz and .zst
    .parquet                 `parquet_source`
    .csv                     `csv_source`

A source can go on from any place it has named, gives the same rows in the same order every time, and holds a slice in memory,
whatever the file holds. What can be known of a file before its first row is used (it exists, it is whole, its columns are there)
is found out when it is opened, so that a file with such a fault is imported not at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import msgspec
import zstandard

from footfall.errors import FootfallError
from footfall.events.scalars import iso_milliseconds
from footfall.lake.schema import COLUMNS

SLICE_BYTES: Final = 1 << 20
"""Read, judged and written at once: two thousand events."""
LINE_BYTES_MAX: Final = 1 << 20
"""No event is longer; of what is, this much is kept to be refused."""
FORMATS: Final = ("ndjson", "parquet", "csv")
OWN_COLUMNS: Final = frozenset(column.name for column in COLUMNS if not column.is_member)
"""What the table knows of an event beside its members."""
_SIGNS_OF_OWN: Final = frozenset({"writer", "sequence", "received_at", "landed_at"})
_BOM: Final = b"\xef\xbb\xbf"
_PIECE_BYTES: Final = 4096
"""Of compressed input at once: zstd can make 128 MiB of it, and nothing limits what one call gives back."""
_WINDOW_BYTES_MAX: Final = 128 << 20
_HEAD_BYTES: Final = 64 * 1024


class SourceError(FootfallError):
    """A file that cannot be imported as it is. No message quotes a row."""


class Place(msgspec.Struct, frozen=True):
    """How far a source was read: `number` rows (lines, where the file has lines) and, of lines, `offset` bytes of text."""

    number: int = 0
    offset: int = 0


class Slice(NamedTuple):
    """Rows that follow each other. `numbers` says where each stands in the file, from 1; `after` is where to go on. `faults` says
    which bodies (by their place in the list) are no events for a reason that their text does not show."""

    bodies: list[bytes]
    numbers: Sequence[int]
    after: Place
    faults: Mapping[int, str] = {}


class Source(Protocol):
    """One file. Not thread-safe."""

    @property
    def name(self) -> str:
        """As the person calls it."""
        ...

    @property
    def path(self) -> Path: ...

    @property
    def form(self) -> str:
        """What beside its content decides which events it holds: format and mapping."""
        ...

    @property
    def bytes_read(self) -> int:
        """How much of the file was read so far, about."""
        ...

    def slices(self, place: Place) -> Iterator[Slice]:
        """The rows after `place`. Raises SourceError, OSError."""
        ...


def format_of(name: str) -> str | None:
    """The format that a file's name tells; None where it tells none."""
    suffixes = Path(name).suffixes
    if suffixes and suffixes[-1] in _INFLATERS:
        suffixes.pop()
        return "ndjson" if suffixes and suffixes[-1] in _LINES else None
    last = suffixes[-1] if suffixes else ""
    return "ndjson" if last in _LINES else {".parquet": "parquet", ".csv": "csv"}.get(last)


class LinesSource:
    """One event a line, blank lines skipped. Compressed text is inflated once when it is opened, to know that it is whole."""

    form = "ndjson"

    def __init__(self, path: Path, *, name: str) -> None:
        """Raises SourceError, OSError."""
        self.name = name
        self.path = path
        self._counting: _Counting | None = None
        self._inflater = _INFLATERS.get(Path(name).suffix)
        self._is_own = _is_own(self._look())

    @property
    def bytes_read(self) -> int:
        return self._counting.bytes_count if self._counting is not None else 0

    def slices(self, place: Place) -> Iterator[Slice]:
        with self.path.open("rb", buffering=0) as opened:
            opened.seek(0)
            for found in _line_slices(self._blocks(opened, place.offset), place):
                if self._is_own:
                    yield found._replace(bodies=[_own_row(body) for body in found.bodies])
                else:
                    yield found

    def _look(self) -> bytes:
        """The first line with something on it. Reads compressed text to its end."""
        head = b""
        with self.path.open("rb", buffering=0) as opened:
            opened.seek(0)
            for block in self._blocks(opened, 0):
                if len(head) < LINE_BYTES_MAX and b"\n" not in head.lstrip():
                    head += block
                elif self._inflater is None:
                    break
        first = head.removeprefix(_BOM).lstrip().split(b"\n", 1)[0].strip()
        if first in {b"{", b"[{"} or first.startswith(b"["):
            raise SourceError(f"{self.name} is one JSON document, not one event a line; to make lines: jq -c '.[]? // .'")
        return first

    def _blocks(self, opened: BinaryIO, offset: int) -> Iterator[bytes]:
        """The text after `offset`, in pieces that know nothing of lines."""
        self._counting = counting = _Counting(opened)
        if self._inflater is not None:
            return _after(_joined(_inflated(counting, self._inflater, self.name)), offset)
        counting.skip(offset)
        return iter(lambda: counting.read(SLICE_BYTES), b"")


class _Counting:
    """A file that knows how much of it was read."""

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self.bytes_count = 0

    def read(self, count: int) -> bytes:
        data = self._opened.read(count)
        self.bytes_count += len(data)
        return data

    def skip(self, count: int) -> None:
        self._opened.seek(count)
        self.bytes_count = count


# -- lines


def _line_slices(blocks: Iterable[bytes], place: Place) -> Iterator[Slice]:
    number, offset = place.number, place.offset
    rest = b""  # the beginning of a line
    passed_bytes = 0  # of a line that is too long: what was let go of it
    for block in blocks:
        data = rest + block
        if offset == 0 and not passed_bytes and data.startswith(_BOM):
            data, offset = data[len(_BOM) :], len(_BOM)
        if len(rest) > LINE_BYTES_MAX or passed_bytes:
            end = block.find(b"\n") + 1
            if not end:
                passed_bytes += len(block)
                continue
            number, offset = number + 1, offset + len(rest) + passed_bytes + end
            yield Slice([rest], [number], Place(number, offset))
            data, passed_bytes = block[end:], 0
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            found = _slice(list(BytesIO(data[:end])), Place(number, offset))
            number, offset = found.after.number, found.after.offset
            yield found
    if rest:
        yield _slice([rest], Place(number, offset + passed_bytes))


def _slice(lines: list[bytes], before: Place) -> Slice:
    after = Place(before.number + len(lines), before.offset + sum(map(len, lines)))
    if not any(map(bytes.isspace, lines)):
        return Slice(lines, range(before.number + 1, after.number + 1), after)
    kept = [(number, line) for number, line in enumerate(lines, before.number + 1) if not line.isspace()]
    return Slice([line for _, line in kept], [number for number, _ in kept], after)


# -- compressed text


def _inflated(opened: _Counting, inflater: Callable[[], Any], name: str) -> Iterator[bytes]:
    """Member after member. Raises SourceError where one is damaged or ends early, or something else follows."""
    current: Any = None
    try:
        while piece := opened.read(_PIECE_BYTES):
            while piece:
                if current is None:
                    piece = piece.lstrip(b"\0")  # what tapes and block devices fill up with
                    if not piece:
                        break
                    current = inflater()
                yield current.decompress(piece)
                piece = b""
                if current.eof:
                    piece, current = current.unused_data, None
    except (zlib.error, zstandard.ZstdError):
        raise SourceError(f"{name} is damaged, or is not compressed as its name says: copy it again") from None
    if current is not None:
        raise SourceError(f"{name} ends in the middle: it was cut while it was written or copied")


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= SLICE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _after(blocks: Iterable[bytes], offset: int) -> Iterator[bytes]:
    for block in blocks:
        if offset < len(block):
            yield block[offset:] if offset else block
        offset = max(0, offset - len(block))


_LINES: Final = frozenset({".ndjson", ".jsonl", ".json"})
_INFLATERS: Final[dict[str, Callable[[], Any]]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).decompressobj(),
}


# -- rows of the table


def is_own(names: Iterable[str]) -> bool:
    """Whether these are columns of the table itself: then those that are no members of the event are left out."""
    return frozenset(names) >= _SIGNS_OF_OWN


def _is_own(line: bytes) -> bool:
    try:
        return is_own(_decode_row(line))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return False


def _own_row(line: bytes) -> bytes:
    """The event of a row of the table; what is none stays as it is, for the rules to refuse."""
    try:
        row = _decode_row(line)
        members = {name: value for name, value in row.items() if name not in OWN_COLUMNS}
        extra = members.pop("extra", None)
        moment = bytes(members.get("timestamp", b""))
        if moment.startswith(b'"'):
            milliseconds = iso_milliseconds(msgspec.json.decode(moment, type=str))
            if milliseconds is not None:
                members["timestamp"] = msgspec.Raw(b"%d" % milliseconds)
        return with_extra(msgspec.json.encode(members), _text_of(extra))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return line


def with_extra(event: bytes, extra: bytes) -> bytes:
    """An event with the members nobody knows beside those that are known: `extra` is their object, keyed by path, or empty."""
    if len(extra) <= len(b"{}"):
        return event
    return event[:-1] + (b"," if len(event) > len(b"{}") else b"") + extra[1:]


def _text_of(extra: msgspec.Raw | None) -> bytes:
    if extra is None:
        return b""
    text = bytes(extra)
    return msgspec.json.decode(text, type=str).encode() if text[:1] == b'"' else text


_decode_row: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
