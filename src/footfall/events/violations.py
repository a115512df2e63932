"""Why an event is refused: the closed table of reasons, and the collector that keeps a refusal of bounded size.

A reason is a promise to programs: once released its name never changes. Its message is what the sender reads first, in the
documented wording where the original service has one (protocol notes, section 10); senders are told to go by status and message,
so several reasons share a documented message and only `details` tell them apart. Decoding problems begin with `proto:`, as those
of a grpc-gateway do.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from footfall.errors import InvalidEventError, Violation

VIOLATIONS_MAX: Final = 100
"""A body of 64 KiB can hold 30,000 mistakes; listing them all would make the answer a hundred times the question."""

_INVALID_VALUE: Final = "proto: invalid value for {field}"
_INVALID_TIMESTAMP: Final = "invalid timestamp"
_DEVICE_OS: Final = "device os must contain ios or android for the app channel type"
_INVALID_ITEM: Final = "invalid item: either id or item_group_id must be set"


class Reason(NamedTuple):
    """`message` may name `{field}`; `doc` is one line for the reference."""

    message: str
    doc: str


_TABLE: Final[dict[str, Reason]] = {
    # The body is no JSON at all.
    "empty_body": Reason("proto: the body is empty", "The request has no body, or only blanks."),
    "byte_order_mark": Reason("proto: syntax error", "The body begins with a byte order mark, or is UTF-16."),
    "invalid_utf8": Reason("proto: invalid UTF-8", "The body is not UTF-8, anywhere, unknown members included."),
    "lone_surrogate": Reason("proto: syntax error", "A string holds one half of a surrogate pair, such as \\ud83d alone."),
    "form_body": Reason("proto: syntax error", "The body is a form (a=1&b=2), not JSON."),
    "compressed_body": Reason("proto: syntax error", "The body is compressed, and no Content-Encoding header says so."),
    "comment_in_json": Reason("proto: syntax error", "JSON has no comments; templates with // must be cleaned first."),
    "non_finite_literal": Reason("proto: syntax error", "NaN or Infinity without quotes, which JSON does not have."),
    "non_json_literal": Reason("proto: syntax error", "None, True, False or undefined instead of null, true, false."),
    "single_quotes": Reason("proto: syntax error", "Strings or names in single quotes, as Python prints a dict."),
    "unquoted_name": Reason("proto: syntax error", "A member name without double quotes."),
    "trailing_comma": Reason("proto: syntax error", "A comma before a closing bracket."),
    "trailing_text": Reason("proto: syntax error", "Something follows the event: a second object, or stray text."),
    "truncated_json": Reason("proto: syntax error", "The body ends in the middle of a value."),
    "malformed_json": Reason("proto: syntax error", "Any other breach of JSON's grammar."),
    "number_too_long": Reason("proto: number too long", "An integer of thousands of digits."),
    # The body is JSON beyond a limit.
    "nesting_too_deep": Reason("proto: nesting too deep", "More than 32 levels of objects and arrays."),
    "string_too_long": Reason("proto: string too long", "A string or a member name over 64 KiB."),
    "too_many_members": Reason("proto: too many members", "An object of more than 256 members."),
    # The body is JSON, but not a batch.
    "batch_not_a_list": Reason("proto: the batch must be an array of events", "A batch, or its `events`, is no array."),
    "missing_events": Reason("missing events", "The object of a batch holds no `events`, or null."),
    "too_many_events": Reason("too many events", "A batch of more events than are taken at once; answered with 413."),
    # The body is JSON, but not an event.
    "body_not_an_object": Reason("proto: the body must be one JSON object", "An array, a string or another value as the body."),
    "duplicate_field": Reason("proto: duplicate field {field}", "A member came in both spellings, snake_case and camelCase."),
    "null_in_array": Reason("proto: null in {field}", "An array holds null; leave the element out instead."),
    "not_a_string": Reason(_INVALID_VALUE, "A string is expected here; numbers and booleans are not converted."),
    "not_a_name": Reason(_INVALID_VALUE, "The name of an enum value is expected, as a string; numbers are not published."),
    "not_an_integer": Reason(_INVALID_VALUE, "A whole number is expected, as a number or as a string of digits."),
    "not_a_timestamp": Reason(_INVALID_VALUE, "Milliseconds since 1970 or, on the Segment path, an ISO time with its zone."),
    "integer_out_of_range": Reason(_INVALID_VALUE, "A whole number beyond 64 bits (timestamp) or 32 bits (quantity)."),
    "not_a_number": Reason(_INVALID_VALUE, "A decimal number is expected, as a number or as a string."),
    "non_finite_number": Reason(_INVALID_VALUE, "NaN or infinity as a string; neither is an amount."),
    "amount_out_of_range": Reason(_INVALID_VALUE, "More than 9 fraction digits that matter, or 10^15 and more."),
    "not_an_object": Reason(_INVALID_VALUE, "An object is expected, such as a price with currency and amount."),
    "not_an_array": Reason(_INVALID_VALUE, "An array is expected, even around a single item."),
    # An event that breaks the rules.
    "missing_event_type": Reason("missing event_type", "No event_type, or UNKNOWN_EVENT_TYPE."),
    "unknown_event_type": Reason("invalid event_type", "A name that is no event type; names are compared exactly."),
    "missing_channel_type": Reason("missing channel_type", "No channel_type, or UNKNOWN_CHANNEL_TYPE."),
    "unknown_channel_type": Reason("invalid channel_type", "A name that is no channel type; names are compared exactly."),
    "missing_timestamp": Reason(_INVALID_TIMESTAMP, "No timestamp, or 0."),
    "timestamp_negative": Reason(_INVALID_TIMESTAMP, "A time before 1970."),
    "timestamp_in_seconds": Reason(_INVALID_TIMESTAMP, "Looks like seconds; milliseconds are expected."),
    "timestamp_in_microseconds": Reason(_INVALID_TIMESTAMP, "Looks like microseconds; milliseconds are expected."),
    "timestamp_in_nanoseconds": Reason(_INVALID_TIMESTAMP, "Looks like nanoseconds; milliseconds are expected."),
    "timestamp_in_future": Reason(_INVALID_TIMESTAMP, "Further ahead of the receiver's clock than is allowed (5 minutes)."),
    "missing_identifier": Reason(
        "no available valid identifier to construct Moloco advertising ID", "None of the six identifiers has a usable value."
    ),
    "missing_device_os": Reason(_DEVICE_OS, "Channel APP without device.os."),
    "unknown_device_os": Reason(_DEVICE_OS, "Channel APP, and device.os contains neither ios nor android."),
    "missing_items": Reason(_INVALID_ITEM, "An event about items without any."),
    "item_without_id": Reason(_INVALID_ITEM, "An item with neither id nor item_group_id."),
    "missing_search_query": Reason("missing search_query", "SEARCH without search_query."),
    "missing_page_id": Reason("missing page_id", "PAGE_VIEW without page_id."),
    "identifier_too_long": Reason("{field} is longer than 128 characters", "An id or identifier over the published limit."),
    "unknown_personalization_mode": Reason("invalid personalization_mode", "A name that is no personalization mode."),
    # About the list itself.
    "more_violations": Reason("more problems", f"The event has more than {VIOLATIONS_MAX} problems; the rest is only counted."),
    "not_canonical": Reason("not a canonical event", "A stored record does not hold an event of this format."),
}

REASONS: Final[dict[str, str]] = {name: reason.doc for name, reason in _TABLE.items()}
"""Every reason a refusal can name → one line of documentation."""


class Violations:
    """Collects what is wrong with one event, up to `VIOLATIONS_MAX`; the rest is counted and said so."""

    __slots__ = ("_found", "_omitted_count")

    def __init__(self) -> None:
        self._found: list[Violation] = []
        self._omitted_count = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, field: str, reason: str, *, description: str) -> None:
        if len(self._found) < VIOLATIONS_MAX:
            self._found.append(Violation(field, description, reason))
        else:
            self._omitted_count += 1

    def all(self) -> tuple[Violation, ...]:
        if not self._omitted_count:
            return tuple(self._found)
        rest = Violation("", f"{self._omitted_count} more problems of this event are not listed", "more_violations")
        return (*self._found, rest)


def refusal(violations: tuple[Violation, ...], *, where: str = "") -> InvalidEventError:
    """The error for these violations (at least one): the message is that of the first. `where` follows it, in brackets."""
    first = violations[0]
    message = _TABLE[first.reason].message.format(field=first.field or "the body")
    return InvalidEventError(f"{message} ({where})" if where else message, violations)
