"""Who an event belongs to: which identifiers count, in which order, and which must not be kept.

Shops fill identifiers with what their language prints for nothing (`null`, `undefined`), and phones without consent report a zero
UUID. One such word shared by all visitors would make them one person, so they count as absent and leave the event (design 5.5).
Values are never shown anywhere, not even trimmed: what is kept is kept as sent.
"""

from __future__ import annotations

import string
from typing import Final

import msgspec

from footfall.events.schema import IDENTIFIER_PATHS, Device, Event, Identifier

ID_LESS: Final = "ID_LESS"
UNKNOWN_PERSONALIZATION_MODE: Final = "UNKNOWN_PERSONALIZATION_MODE"
"""Zero value of its enum: STANDARD, as if absent (design 5.5)."""
ABSENT_WORDS: Final = frozenset({"", "null", "undefined", "invalid", "nil", "00000000-0000-0000-0000-000000000000"})
"""What counts as no identifier, after trimming, in any case."""

PLAIN_FIRST_CHARACTERS: Final = frozenset(string.ascii_letters + string.digits) - {
    character for word in ABSENT_WORDS if word for character in (word[0].lower(), word[0].upper())
}
"""No text that begins with one of these counts as no identifier: a quick proof for most values."""


def is_absent(value: str) -> bool:
    """Whether this text names nobody."""
    return not value or value.strip().lower() in ABSENT_WORDS


def identify(event: Event) -> Identifier | None:
    """The identifier this event is counted under: the first valid one; None without any, and always under ID_LESS."""
    if event.personalization_mode == ID_LESS:
        return None
    for index, value in enumerate(identifiers(event)):
        if value and not is_absent(value):
            return Identifier(IDENTIFIER_PATHS[index], value)
    return None


def identifiers(event: Event) -> tuple[str, str, str, str, str, str]:
    """The six values as they stand, in the order of `IDENTIFIER_PATHS`, `""` where there is none."""
    device = event.device
    if device is None:
        return event.user_id, "", "", "", event.custom_id, event.session_id
    return (
        event.user_id, device.persistent_id, device.unique_device_id, device.advertising_id, event.custom_id, event.session_id,
    )  # fmt: skip


def cleaned(event: Event) -> Event:
    """The event as it may be stored; the same object where nothing has to go.

    Identifiers that name nobody are removed, and so is a mode that means none. Under ID_LESS all six identifiers go, with
    `device.ip`, and `extra`, since nobody knows what is in it. Idempotent.
    """
    if event.personalization_mode == ID_LESS:
        return _without_identity(event)
    if event.personalization_mode == UNKNOWN_PERSONALIZATION_MODE:
        event = msgspec.structs.replace(event, personalization_mode="")
    for value in identifiers(event):
        if value and value.strip().lower() in ABSENT_WORDS:
            return _without_absent(event)
    return event


def _without_identity(event: Event) -> Event:
    device = event.device
    if device is not None:
        device = msgspec.structs.replace(device, persistent_id="", unique_device_id="", advertising_id="", ip="")
    return msgspec.structs.replace(event, user_id="", custom_id="", session_id="", device=device, extra={})


def _without_absent(event: Event) -> Event:
    return msgspec.structs.replace(
        event,
        user_id=_kept(event.user_id),
        custom_id=_kept(event.custom_id),
        session_id=_kept(event.session_id),
        device=_device_without_absent(event.device),
    )


def _device_without_absent(device: Device | None) -> Device | None:
    if device is None:
        return None
    return msgspec.structs.replace(
        device,
        persistent_id=_kept(device.persistent_id),
        unique_device_id=_kept(device.unique_device_id),
        advertising_id=_kept(device.advertising_id),
    )


def _kept(value: str) -> str:
    return "" if is_absent(value) else value
