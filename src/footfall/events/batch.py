"""A batch taken apart into the bodies of its events, each as it was sent (design 5.9).

    NDJSON              one event a line, blank lines skipped
    [ … , … ]           an array of events
    {"events": [ … ]}   the same in an object; its other members are ignored, the last `events` counts

Nothing is said here about the events themselves: a line or an element may be anything, `intake` refuses it by itself. Only what
makes the batch as a whole unreadable is refused here, for all of it. Bodies come from anybody and may be large, so nothing is
built before it is known to be small: neither a million lines nor a million elements become objects.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from io import BytesIO
from itertools import islice
from typing import Any, Final

import msgspec

from footfall.errors import InvalidEventError, Violation
from footfall.events.malformed import diagnose
from footfall.events.violations import refusal

NDJSON_TYPES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_first_character: Final = re.compile(rb"[ \t\r\n]*(.?)", re.DOTALL).match
_lines: Final = re.compile(rb"\S[^\n]*").finditer
_UTF8_CHUNK_BYTES: Final = 64 * 1024
_UNBOUNDED_BYTES_PER_EVENT: Final = 128
"""Bodies up to this for each event allowed go to the faster decoder, which builds every element: 64 times too many at worst."""
_NO_ELEMENT: Final = msgspec.Raw(b"")
_KINDS: Final = {b'"': "a string", b"{": "an object", b"t": "a boolean", b"f": "a boolean", b"n": "null"}
_ADVICE: Final = {
    "empty_body": 'the body is empty; send an array of events, or {"events": […]}',
    "trailing_text": "something follows the batch; for one event a line set Content-Type: application/x-ndjson",
}
"""Where the advice for a single event would mislead."""


class TooManyEventsError(InvalidEventError):
    """A batch of more events than are allowed: split it. `count` is how many were seen, at least one more than that."""

    def __init__(self, count: int, *, events_max: int) -> None:
        description = f"more than {events_max} events came in one batch; send them in several"
        found = refusal((Violation("", description, "too_many_events"),))
        super().__init__(found.message, found.violations)
        self.status = 413
        self.count = count


def is_ndjson(content_type: str | None) -> bool:
    """Whether this Content-Type means one event a line. Parameters and case do not matter."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() in NDJSON_TYPES


def split_batch(body: bytes, *, ndjson: bool, events_max: int) -> list[bytes]:
    """The bodies of the single events, in order; empty for a batch of none. Lines keep the newline that ends them.

    Raises `InvalidEventError` where an array or object cannot be read or holds no list of events, and `TooManyEventsError`. Of
    NDJSON nothing else is refused: a bad line is one bad event.
    """
    bodies = _split_lines(body, events_max) if ndjson else _split_array(body, events_max)
    if len(bodies) > events_max:
        raise TooManyEventsError(len(bodies), events_max=events_max)
    return bodies


def _split_lines(body: bytes, events_max: int) -> list[bytes]:
    # A stream finds lines twice as fast as split does, and together with the copies of cold bytes three times: 0.12 µs a line of
    # 500 bytes where it was 0.4 (Python 3.11).
    lines = list(islice(BytesIO(body), 2 * events_max + 1))
    if len(lines) <= 2 * events_max:
        return [line for line in lines if not line.isspace()]
    return [line[0] for line in islice(_lines(body), events_max + 1)]


def _split_array(body: bytes, events_max: int) -> list[bytes]:
    # Measured: these, and only these, come out of the decoders.
    try:
        _check_utf8(body)
        return list(map(bytes, _elements(body, events_max)))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _malformed(body, error) from None  # the cause may quote the body


def _check_utf8(body: bytes) -> None:
    """Elements are cut out without a look into their strings. In pieces: as one text, a body could take four times its size."""
    if body.isascii():
        return
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _UTF8_CHUNK_BYTES):
        decoder.decode(body[start : start + _UTF8_CHUNK_BYTES])
    decoder.decode(b"", final=True)


def _elements(body: bytes, events_max: int) -> Sequence[msgspec.Raw]:
    opening = _opening_of(body)
    if opening == b"[":
        return _array(body, events_max)
    if opening == b"{":
        return _events_member(body, events_max)
    msgspec.json.decode(body, type=msgspec.Raw)  # raises where it is no JSON at all
    raise _wrong_kind("", opening)


def _opening_of(text: bytes) -> bytes:
    found = _first_character(text)
    return found[1] if found is not None else b""


class _Batch(msgspec.Struct):
    events: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct):
    """What a body is that is no `_Batch`; of a member that came several times, the last."""

    events: msgspec.Raw = msgspec.Raw(b"null")
    event_type: msgspec.Raw = _NO_ELEMENT
    eventType: msgspec.Raw = _NO_ELEMENT  # noqa: N815  (the other spelling)


_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_batch: Final = msgspec.json.Decoder(_Batch).decode
_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def _array(body: bytes, events_max: int) -> Sequence[msgspec.Raw]:
    if len(body) <= _UNBOUNDED_BYTES_PER_EVENT * events_max:
        return _decode_array(body)
    decode_array, _ = _bounded_decoders(events_max)
    return _present(decode_array(body))


def _events_member(body: bytes, events_max: int) -> Sequence[msgspec.Raw]:
    events: Sequence[msgspec.Raw] | None = None
    try:
        if len(body) <= _UNBOUNDED_BYTES_PER_EVENT * events_max:
            events = _decode_batch(body).events
        else:
            _, decode_batch = _bounded_decoders(events_max)
            found = decode_batch(body).events
            events = _present(found) if found is not None else None
    except msgspec.ValidationError:
        pass
    return events if events is not None else _events_of_envelope(body, events_max)


def _events_of_envelope(body: bytes, events_max: int) -> Sequence[msgspec.Raw]:
    """Says why an object is no batch, unless an earlier `events` was at fault and the last is a list."""
    envelope = _decode_envelope(body)
    events = bytes(envelope.events)
    opening = _opening_of(events)
    if opening == b"[":
        return _array(events, events_max)
    if opening != b"n":
        raise _wrong_kind("events", opening)
    description = 'the object holds no list of events; send {"events": […]}, or an array'
    if bytes(envelope.event_type) or bytes(envelope.eventType):
        description = "this looks like a single event; send it to the path without :batch, or put brackets around it"
    raise refusal((Violation("events", description, "missing_events"),))


@lru_cache(maxsize=4)
def _bounded_decoders(events_max: int) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    """Decoders of an array, and of an object that holds it, which read on after `events_max` + 1 elements but keep no more.

    A struct read from an array does that; a limit on a list is looked at only after the list was built (16 million elements of
    a 32 MiB body take 1.1 GB). Making the struct takes 20 ms, once.
    """
    fields = [(f"event_{index}", msgspec.Raw, _NO_ELEMENT) for index in range(events_max + 1)]
    array: Any = msgspec.defstruct("BoundedArray", fields, array_like=True)
    batch = msgspec.defstruct("BoundedBatch", [("events", array | None, None)])
    return msgspec.json.Decoder(array).decode, msgspec.json.Decoder(batch).decode


def _present(array: msgspec.Struct) -> Sequence[msgspec.Raw]:
    elements = msgspec.structs.astuple(array)
    return elements[: elements.index(_NO_ELEMENT)] if elements[-1] is _NO_ELEMENT else elements


def _wrong_kind(field: str, opening: bytes) -> InvalidEventError:
    came = _KINDS.get(opening, "a number")
    cure = "send the array itself; it may have been encoded twice" if opening == b'"' else "put brackets around it, even for one"
    description = f"{came} came, where an array of events is expected; {cure}"
    return refusal((Violation(field, description, "batch_not_a_list"),))


def _malformed(body: bytes, error: Exception) -> InvalidEventError:
    found = diagnose(body, error)
    violation = found.violations[0]
    advice = _ADVICE.get(violation.reason)
    if advice is None:
        return found
    place, colon, _ = violation.description.partition(": ")
    return InvalidEventError(found.message, (Violation("", f"{place}: {advice}" if colon else advice, violation.reason),))
