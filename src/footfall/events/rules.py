"""The rules an event must keep to be accepted: what the original service documents, and what a store must insist on.

`check` answers with every problem, in the order of design 5.3; the documented message of the first becomes the answer's message.
The same rules serve sender and receiver. What is merely weak in an event is not here: see `quality`. Descriptions name likely
cause and cure, and never repeat what came: a wrong value may well be an identifier in the wrong member.
"""

from __future__ import annotations

import difflib
from typing import Final

from footfall.errors import Violation
from footfall.events import identity
from footfall.events.schema import (
    CHANNEL_TYPES,
    EVENT_TYPES,
    IDENTIFIER_CHARS_MAX,
    IDENTIFIER_PATHS,
    ITEM_EVENT_TYPES,
    PERSONALIZATION_MODES,
    Event,
)
from footfall.events.violations import Violations

UNKNOWN_EVENT_TYPE: Final = "UNKNOWN_EVENT_TYPE"
UNKNOWN_CHANNEL_TYPE: Final = "UNKNOWN_CHANNEL_TYPE"
SECONDS_BELOW: Final = 10**10
"""As milliseconds this is April 1970, as seconds the year 2286: whoever sends less means seconds."""

_MODES: Final = PERSONALIZATION_MODES | {"", identity.UNKNOWN_PERSONALIZATION_MODE}
_ZONE_AHEAD_MS_MAX: Final = 14 * 3_600_000  # UTC+14, the furthest zone there is
# Names other systems use for the same thing, and misprints found in published guides.
_EVENT_TYPE_ALIASES: Final = {
    "VIEW_ITEM": "ITEM_PAGE_VIEW", "PRODUCT_VIEW": "ITEM_PAGE_VIEW", "PRODUCT_VIEWED": "ITEM_PAGE_VIEW",
    "ITEM_VIEW": "ITEM_PAGE_VIEW", "VIEW_CONTENT": "ITEM_PAGE_VIEW", "PRODUCT_ADDED": "ADD_TO_CART", "CART": "ADD_TO_CART",
    "ORDER_COMPLETED": "PURCHASE", "ORDER": "PURCHASE", "CHECKOUT": "PURCHASE", "WISHLIST": "ADD_TO_WISHLIST",
    "PRODUCTS_SEARCHED": "SEARCH", "ITEM_SEARCH_VIEW": "SEARCH", "VIEW_SEARCH_RESULTS": "SEARCH", "PAGE": "PAGE_VIEW",
}  # fmt: skip
_CHANNEL_TYPE_ALIASES: Final = {
    "WEB": "SITE", "WEBSITE": "SITE", "DESKTOP": "DESKTOP_SITE", "DESKTOP_WEB": "DESKTOP_SITE", "PC": "DESKTOP_SITE",
    "MOBILE": "MOBILE_SITE", "MOBILE_WEB": "MOBILE_SITE", "IOS": "APP", "ANDROID": "APP", "MOBILE_APP": "APP",
}  # fmt: skip


def check(event: Event, *, now_ms: int, ahead_ms_max: int) -> tuple[Violation, ...]:
    """Everything wrong with a decoded event, in the documented order; empty where it is accepted.

    `now_ms` is the receiver's wall time, `ahead_ms_max` how far a sender's clock may be ahead of it. An event and its `cleaned`
    form get the same answer.
    """
    violations = Violations()
    if event.event_type not in EVENT_TYPES:
        _refuse_event_type(event.event_type, violations)
    if event.channel_type not in CHANNEL_TYPES:
        _refuse_channel_type(event.channel_type, violations)
    if not SECONDS_BELOW <= event.timestamp <= now_ms + ahead_ms_max:
        _refuse_timestamp(event.timestamp, violations, now_ms=now_ms, ahead_ms_max=ahead_ms_max)
    # ID_LESS needs no identifier and stores none, so none can be missing or too long.
    values = identity.identifiers(event) if event.personalization_mode != identity.ID_LESS else ()
    if values and all(map(identity.is_absent, values)):
        _refuse_identity(values, violations)
    if event.channel_type == "APP":
        _check_device_os(event, violations)
    if event.event_type in ITEM_EVENT_TYPES:
        _check_items(event, violations)
    elif event.event_type == "SEARCH" and not event.search_query:
        violations.add("search_query", "missing_search_query", description="SEARCH needs what the shopper typed, as search_query")
    elif event.event_type == "PAGE_VIEW" and not event.page_id:
        violations.add("page_id", "missing_page_id", description="PAGE_VIEW needs a page_id, any text that names the page")
    if max(map(len, (event.id, *values))) > IDENTIFIER_CHARS_MAX:
        _refuse_lengths(event.id, values, violations=violations)
    if event.personalization_mode not in _MODES:
        _refuse_personalization_mode(event.personalization_mode, violations)
    return violations.all() if violations else ()


def is_phone_os(os: str) -> bool:
    """Whether this is the system of a phone, as channel APP needs it."""
    lowered = os.lower()  # Segment sends IOS and GOOGLE ANDROID
    return "ios" in lowered or "android" in lowered


def _refuse_event_type(name: str, violations: Violations) -> None:
    if name in ("", UNKNOWN_EVENT_TYPE):
        description = f"event_type is required; send one of {_listed(EVENT_TYPES)}"
        violations.add("event_type", "missing_event_type", description=description)
        return
    advice = _advice(name, EVENT_TYPES, aliases=_EVENT_TYPE_ALIASES)
    description = f"this is no event type (names are compared exactly); {advice}"
    violations.add("event_type", "unknown_event_type", description=description)


def _refuse_channel_type(name: str, violations: Violations) -> None:
    if name in ("", UNKNOWN_CHANNEL_TYPE):
        description = f"channel_type is required; send one of {_listed(CHANNEL_TYPES)} (APP and SITE suffice)"
        violations.add("channel_type", "missing_channel_type", description=description)
        return
    description = (
        f"this is no channel type (names are compared exactly); {_advice(name, CHANNEL_TYPES, aliases=_CHANNEL_TYPE_ALIASES)}"
    )
    violations.add("channel_type", "unknown_channel_type", description=description)


def _refuse_personalization_mode(name: str, violations: Violations) -> None:
    description = (
        f"this is no personalization mode (names are compared exactly); {_advice(name, PERSONALIZATION_MODES, aliases={})}"
    )
    violations.add("personalization_mode", "unknown_personalization_mode", description=description)


def _refuse_timestamp(timestamp: int, violations: Violations, *, now_ms: int, ahead_ms_max: int) -> None:
    reason, description = _timestamp_problem(timestamp, now_ms=now_ms, latest_ms=now_ms + ahead_ms_max)
    violations.add("timestamp", reason, description=description)


def _timestamp_problem(timestamp: int, *, now_ms: int, latest_ms: int) -> tuple[str, str]:
    if timestamp == 0:
        return "missing_timestamp", "timestamp is required: milliseconds since 1970, such as 1790000000000"
    if timestamp < 0:
        return "timestamp_negative", "the time is before 1970; send milliseconds since 1970 (a date may have failed to parse)"
    if timestamp < SECONDS_BELOW:
        return "timestamp_in_seconds", "this looks like seconds; multiply by 1000, milliseconds since 1970 are expected"
    if SECONDS_BELOW <= timestamp // 10**6 <= latest_ms and timestamp >= 10**17:
        return (
            "timestamp_in_nanoseconds",
            "this looks like nanoseconds; divide by a million, milliseconds since 1970 are expected",
        )
    if SECONDS_BELOW <= timestamp // 1000 <= latest_ms and timestamp >= 10**14:
        return "timestamp_in_microseconds", "this looks like microseconds; divide by 1000, milliseconds since 1970 are expected"
    ahead_ms = timestamp - now_ms
    cause = "the sender's clock is ahead: use the clock of a server that is kept in time"
    if ahead_ms <= _ZONE_AHEAD_MS_MAX + latest_ms - now_ms:
        cause = "local time may have been taken for UTC, or the sender's clock is ahead"
    return "timestamp_in_future", f"the time is {_duration(ahead_ms)} ahead of the receiver's clock; {cause}"


def _refuse_identity(values: tuple[str, ...], violations: Violations) -> None:
    filled = [path for path, value in zip(IDENTIFIER_PATHS, values, strict=True) if value]
    cure = "set user_id (signed in), device.persistent_id (always) or custom_id"
    if filled:
        description = f"only default words (null, undefined), blanks or the zero UUID came in {', '.join(filled)}; {cure}"
    else:
        description = f"the event has no identifier; {cure}"
    violations.add("user_id", "missing_identifier", description=description)


def _check_device_os(event: Event, violations: Violations) -> None:
    os = event.device.os if event.device is not None else ""
    if is_phone_os(os):
        return
    if not os:
        description = "channel APP needs device.os: ios or android; for a web shop send channel_type SITE"
        violations.add("device.os", "missing_device_os", description=description)
    else:
        description = (
            "for channel APP it must contain ios or android, in any case (iOS for iPadOS); a web shop is channel_type SITE"
        )
        violations.add("device.os", "unknown_device_os", description=description)


def _check_items(event: Event, violations: Violations) -> None:
    if not event.items:
        description = f"{event.event_type} needs at least one item with id or item_group_id"
        violations.add("items", "missing_items", description=description)
    for index, item in enumerate(event.items):
        if not (item.id or item.item_group_id):
            description = "the item has neither id nor item_group_id; send the id as in the catalog"
            violations.add(f"items[{index}]", "item_without_id", description=description)


def _refuse_lengths(event_id: str, values: tuple[str, ...], *, violations: Violations) -> None:
    if len(event_id) > IDENTIFIER_CHARS_MAX:
        _refuse_length("id", event_id, violations=violations)
    for index, value in enumerate(values):
        if len(value) > IDENTIFIER_CHARS_MAX and not identity.is_absent(value):
            _refuse_length(IDENTIFIER_PATHS[index], value, violations=violations)


def _refuse_length(path: str, value: str, *, violations: Violations) -> None:
    description = f"{len(value)} characters came, at most {IDENTIFIER_CHARS_MAX} are allowed; send a hash of it"
    violations.add(path, "identifier_too_long", description=description)


def _advice(name: str, known: frozenset[str], *, aliases: dict[str, str]) -> str:
    """The known name that was probably meant, or all of them."""
    folded = "_".join(name[:64].upper().replace("-", " ").replace("_", " ").split())  # a bound: matching is quadratic
    if folded in known or folded in aliases:
        return f"send {aliases.get(folded, folded)}"
    close = difflib.get_close_matches(folded, sorted(known), n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else f"send one of {_listed(known)}"


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _duration(milliseconds: int) -> str:
    minutes = milliseconds // 60_000
    days, hours = minutes // 1440, minutes // 60
    if days:
        return f"{days} days"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
