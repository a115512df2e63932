"""The short ways from a body to the form it is stored in, for the bodies nearly everyone sends.

    body ──▶ strict decoder ──▶ wire structs ──▶ quick rules, amounts to text ──▶ canonical bytes
         └▶ (where that fails) open decoder ──▶ wire structs, unknown members apart ──▶ …

The strict decoder reads snake_case names and the types of the schema in one pass, and holds in C what rules can be said as types:
names of enums, lengths, ranges. The open one also takes camelCase, null and unknown members. At anything else (an exponent, an
identifier to be cleaned, ID_LESS, a broken rule, broken JSON) this module gives up and says nothing: `decode`, `rules` and
`identity` then go the long way, find the same event or all the problems. So it decides nothing; a property test holds that
whenever it answers, the long way answers the same. The structs mirror `schema`, in the same order of members.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from footfall.events.bounds import MEMBERS_MAX, STRING_BYTES_MAX, is_within_bounds
from footfall.events.decode import camel_case
from footfall.events.identity import PLAIN_FIRST_CHARACTERS, is_absent
from footfall.events.rules import SECONDS_BELOW, is_phone_os
from footfall.events.scalars import INT32_MAX, iso_milliseconds, short_amount
from footfall.events.schema import (
    AMOUNT_LIMIT,
    CHANNEL_TYPES,
    EVENT_TYPES,
    IDENTIFIER_CHARS_MAX,
    IDENTIFIER_PATHS,
    ITEM_EVENT_TYPES,
    Identifier,
)

_PLAIN: Final = PLAIN_FIRST_CHARACTERS
_LEVELS_AROUND: Final = b"{[{"
"""What an unknown member of an item stands in, which counts for its depth."""

if TYPE_CHECKING:
    _EventType = str
    _ChannelType = str
else:
    _EventType = Literal[tuple(sorted(EVENT_TYPES))]
    _ChannelType = Literal[tuple(sorted(CHANNEL_TYPES))]
_Mode = Literal["", "STANDARD", "METRIC_ONLY"]  # ID_LESS goes the long way
_Id = Annotated[str, msgspec.Meta(max_length=IDENTIFIER_CHARS_MAX)]
_Quantity = Annotated[int, msgspec.Meta(ge=-INT32_MAX - 1, le=INT32_MAX)]


class _LongWayError(Exception):
    """Not wrong, only not for this module."""


# gc=False: these live for one call and hold no cycles, so the collector need not know them.
class _Money(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    currency: str = ""
    amount: Any = None  # not str: a typed number would pass through a float; not "": an amount of "" is an error


class _Item(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    id: str = ""
    item_group_id: str = ""
    price: _Money | None = None
    quantity: _Quantity = 0
    seller_id: str = ""
    price_seller: _Money | None = None


class _Device(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    os: str = ""
    os_version: str = ""
    model: str = ""
    ua: str = ""
    language: str = ""
    ip: str = ""
    persistent_id: _Id = ""
    unique_device_id: _Id = ""
    advertising_id: _Id = ""


class _Event(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    id: _Id = ""
    event_type: _EventType
    timestamp: int | str
    channel_type: _ChannelType
    domain: str = ""
    user_id: _Id = ""
    device: _Device | None = None
    items: list[_Item] = []
    revenue: _Money | None = None
    search_query: str = ""
    session_id: _Id = ""
    custom_id: _Id = ""
    page_id: str = ""
    referrer_page_id: str = ""
    shipping_charge: _Money | None = None
    decision_track_id: str = ""
    personalization_mode: _Mode = ""


# float_hook: the text of an amount with a point is kept as it stands, whether it came in quotes or not.
_decode = msgspec.json.Decoder(_Event, float_hook=str).decode
_decode_untyped = msgspec.json.Decoder(float_hook=msgspec.Raw).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_device_members = msgspec.json.Decoder(dict[str, msgspec.Raw] | None).decode
_decode_items_members = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None).decode
_encode = msgspec.json.Encoder().encode


def stored_or_none(body: bytes, *, latest_ms: int, iso_timestamps: bool) -> tuple[bytes, Identifier] | None:
    """Canonical form and identifier of an event that surely keeps every rule; None says nothing about the body.

    `latest_ms` is the latest time an event may name. Never raises.
    """
    prepared = prepare((body,), latest_ms=latest_ms, iso_timestamps=iso_timestamps, bytes_max=STRING_BYTES_MAX)[0]
    return None if prepared is None else (_encode(prepared[0]), prepared[1])


def prepare(
    bodies: Iterable[bytes], *, latest_ms: int, iso_timestamps: bool, bytes_max: int
) -> list[tuple[object, Identifier] | None]:
    """`stored_or_none` of each body, but not encoded: a thing of which any JSON encoder makes the canonical form.

    A batch so makes one call here and one of its encoder for every hundred events, instead of some for each. None also stands for
    a body of more than `bytes_max`. Never raises.
    """
    prepared: list[tuple[object, Identifier] | None] = []
    # Of the bounds on JSON, the only one that known members of known types could break.
    bytes_max = min(bytes_max, STRING_BYTES_MAX)
    for body in bodies:
        found = None
        try:
            if len(body) <= bytes_max:
                extra: dict[str, Any] | None = None
                try:
                    event = _decode(body)
                except msgspec.ValidationError:
                    event, extra = _read_open(body)
                timestamp = event.timestamp
                if isinstance(timestamp, str):
                    timestamp = event.timestamp = _milliseconds(timestamp, iso_timestamps)
                if SECONDS_BELOW <= timestamp <= latest_ms:
                    _check(event)
                    found = (_with_extra(event, extra) if extra else event, _identifier(event))
        # Measured: these, and only these, come out of the decoders.
        except (_LongWayError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
            pass
        prepared.append(found)
    return prepared


def _with_extra(event: _Event, extra: dict[str, Any]) -> msgspec.Raw:
    """`extra` is the last member, after some that are required."""
    return msgspec.Raw(b'%b,"extra":%b}' % (_encode(event)[:-1], _encode(extra)))


def _milliseconds(text: str, iso_timestamps: bool) -> int:
    # thirteen characters that make a number this large can only be digits; nearly all are spared the next three looks
    if len(text) == 13 and text.isascii() and (moment_ms := int(text)) >= 10**12:
        return moment_ms
    # isdigit alone would let through digits of other scripts; int() also blanks and underscores
    if text.isdigit() and text.isascii() and text[0] != "0":
        return int(text)
    iso_ms = iso_milliseconds(text) if iso_timestamps else None
    if iso_ms is None:
        raise _LongWayError
    return iso_ms


def _check(event: _Event) -> None:
    """What passes keeps every rule of `rules.check` that the decoder has not held already. Amounts become text."""
    event_type = event.event_type
    if event.items:
        _check_items(event.items, event_type in ITEM_EVENT_TYPES)
    elif event_type in ITEM_EVENT_TYPES:
        raise _LongWayError
    if event.revenue is not None:
        _check_amount(event.revenue)
    if event.shipping_charge is not None:
        _check_amount(event.shipping_charge)
    if event.channel_type == "APP" and not (event.device is not None and is_phone_os(event.device.os)):
        raise _LongWayError
    if (event_type == "SEARCH" and not event.search_query) or (event_type == "PAGE_VIEW" and not event.page_id):
        raise _LongWayError


def _check_items(items: list[_Item], need_ids: bool) -> None:
    for item in items:
        if need_ids and not (item.id or item.item_group_id):
            raise _LongWayError
        price = item.price
        if price is not None and not (type(price.amount) is str and short_amount(price.amount)):  # nearly all, spared a call
            _check_amount(price)
        if item.price_seller is not None:
            _check_amount(item.price_seller)


def _check_amount(money: _Money) -> None:
    amount = money.amount
    if amount is None:
        return
    if type(amount) is int and -AMOUNT_LIMIT < amount < AMOUNT_LIMIT:
        money.amount = str(amount)
    elif type(amount) is not str or not short_amount(amount):
        raise _LongWayError


def _identifier(event: _Event) -> Identifier:
    """The first identifier of an event in which none has to be cleaned away. Unrolled: as a loop it takes twice as long."""
    device = event.device
    if (
        ((value := event.user_id) and value[0] not in _PLAIN and is_absent(value))
        or ((value := event.custom_id) and value[0] not in _PLAIN and is_absent(value))
        or ((value := event.session_id) and value[0] not in _PLAIN and is_absent(value))
    ):
        raise _LongWayError
    if device is not None and (
        ((value := device.persistent_id) and value[0] not in _PLAIN and is_absent(value))
        or ((value := device.unique_device_id) and value[0] not in _PLAIN and is_absent(value))
        or ((value := device.advertising_id) and value[0] not in _PLAIN and is_absent(value))
    ):
        raise _LongWayError
    if event.user_id:
        return Identifier("user_id", event.user_id)
    if device is not None and device.persistent_id:
        return Identifier("device.persistent_id", device.persistent_id)
    return _weak_identifier(event)


def _weak_identifier(event: _Event) -> Identifier:
    device = event.device or _Device()
    values = (device.unique_device_id, device.advertising_id, event.custom_id, event.session_id)
    for path, value in zip(IDENTIFIER_PATHS[2:], values, strict=True):
        if value:
            return Identifier(path, value)
    raise _LongWayError


# -- the second way


def _read_open(body: bytes) -> tuple[_Event, dict[str, Any]]:
    """An event whose members may be null, all in camelCase, or unknown; and the unknown members under their paths."""
    members = _decode_members(body)
    if len(members) > MEMBERS_MAX:
        raise _LongWayError
    spelling = _CAMEL if "eventType" in members else _SNAKE
    event = spelling.decode(body)
    extra = spelling.unknown_members(members)
    if b"null" in body:
        _fill_nulls(event)
    if spelling is _CAMEL:
        event = msgspec.convert(event, _SNAKE.event, from_attributes=True)
    return event, extra


def _fill_nulls(event: _Event) -> None:
    """null is absent, and what is absent has its default."""
    _fill(event, _EVENT_DEFAULTS)
    if event.device is not None:
        _fill(event.device, _DEVICE_DEFAULTS)
    for item in event.items:
        _fill(item, _ITEM_DEFAULTS)


def _fill(struct: msgspec.Struct, defaults: dict[str, Any]) -> None:
    for name, default in defaults.items():
        if getattr(struct, name) is None:
            setattr(struct, name, default)


_ITEM_DEFAULTS: Final = {"id": "", "item_group_id": "", "quantity": 0, "seller_id": ""}
_DEVICE_DEFAULTS: Final = dict.fromkeys(_Device.__struct_fields__, "")
_EVENT_DEFAULTS: Final = {
    field.name: [] if field.name == "items" else field.default
    for field in msgspec.structs.fields(_Event)
    if not field.required and field.default is not None
}


class _Spelling:
    """Open twins of the wire structs, in one of the two spellings: they take null for what has a default, and let unknown members
    pass, which are then looked for by name."""

    def __init__(self, rename: Literal["camel"] | None) -> None:
        item = _open_twin(_Item, rename)
        device = _open_twin(_Device, rename)
        self.event: type[_Event] = _open_twin(_Event, rename, items=list[item], device=device)  # type: ignore[valid-type]
        self.decode = msgspec.json.Decoder(self.event, float_hook=str).decode
        self._plain_names = frozenset(self.event.__struct_encode_fields__) - {"device", "items"}
        self._item_names = frozenset(item.__struct_encode_fields__)
        self._device_names = frozenset(device.__struct_encode_fields__)

    def unknown_members(self, members: dict[str, msgspec.Raw]) -> dict[str, Any]:
        """Those of event, device and items, in the order of the body, as `decode` keeps them."""
        extra: dict[str, Any] = {}
        for name, raw in members.items():
            if name in self._plain_names:
                continue
            if name == "device":
                _keep_unknown(_decode_device_members(raw) or {}, self._device_names, prefix="device.", extra=extra)
            elif name == "items":
                for index, item in enumerate(_decode_items_members(raw) or ()):
                    _keep_unknown(item, self._item_names, prefix=f"items[{index}].", extra=extra)
            else:
                _keep(name, raw, path=name, extra=extra)
        return extra


def _open_twin(kind: type[msgspec.Struct], rename: Literal["camel"] | None, **types: Any) -> Any:
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        taken = field.type if field.required else types.get(field.name, field.type) | None
        # the type stubs know one or the other only; NODEFAULT for both is what a required field has
        default = msgspec.field(default=field.default, default_factory=field.default_factory)  # type: ignore[call-overload]
        fields.append((field.name, taken, default))
    return msgspec.defstruct(kind.__name__, fields, rename=rename, kw_only=True, omit_defaults=True, gc=False)


def _keep_unknown(members: dict[str, msgspec.Raw], known: frozenset[str], *, prefix: str, extra: dict[str, Any]) -> None:
    if members.keys() <= known:
        return
    if len(members) > MEMBERS_MAX:
        raise _LongWayError
    for name, raw in members.items():
        if name not in known:
            _keep(name, raw, path=prefix + name, extra=extra)


def _keep(name: str, raw: msgspec.Raw, *, path: str, extra: dict[str, Any]) -> None:
    # known, in the other spelling; or two members that meet at one path
    if name in _KNOWN_SOMEWHERE or path in extra:
        raise _LongWayError
    value = _decode_untyped(raw)
    if type(value) in (dict, list) and not is_within_bounds(_LEVELS_AROUND + bytes(raw)):
        raise _LongWayError
    if value is not None:
        extra[path] = value


_SNAKE: Final = _Spelling(None)
_CAMEL: Final = _Spelling("camel")
_KNOWN_SOMEWHERE: Final = frozenset(
    name
    for kind in (_Event, _Device, _Item)
    for attribute in kind.__struct_fields__
    for name in (attribute, camel_case(attribute))
    if "_" in attribute
)
"""Whatever has two spellings. Such a name in a place where it means nothing is rare enough for the long way."""
