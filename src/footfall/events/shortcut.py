"""The short way from bytes to an `Event`, for the bodies nearly everyone sends, at a third of the full walk's cost.

A typed decoder reads snake_case names, strings, bare integers and plain amounts in one pass. At anything else (an unknown member,
camelCase, null, an exponent, a wrong type, broken JSON) it gives up and says nothing: `decode` then walks the body in full, finds
the same event or all the problems. So this module decides nothing; a property test holds that whenever it answers, the full walk
answers the same. The structs here mirror `schema` with amounts left untyped, since a typed number would pass through a float.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from footfall.events.bounds import STRING_BYTES_MAX
from footfall.events.scalars import INT32_MAX, INT64_MAX, short_amount
from footfall.events.schema import AMOUNT_LIMIT, Device, Event, Item, Money

_short_integer: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})").fullmatch  # 18 digits always fit 64 bits


_ABSENT: Final = object()  # tells no amount from an amount of "", which is an error


class _LongWayError(Exception):
    """Not wrong, only not for this module."""


# gc=False: these live for one call and hold no cycles, so the collector need not know them.
class _Money(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    currency: str = ""
    amount: Any = _ABSENT


class _Item(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str = ""
    item_group_id: str = ""
    price: _Money | None = None
    quantity: int = 0
    seller_id: str = ""
    price_seller: _Money | None = None


class _Device(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    os: str = ""
    os_version: str = ""
    model: str = ""
    ua: str = ""
    language: str = ""
    ip: str = ""
    persistent_id: str = ""
    unique_device_id: str = ""
    advertising_id: str = ""


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str = ""
    event_type: str = ""
    timestamp: int | str = 0
    channel_type: str = ""
    domain: str = ""
    user_id: str = ""
    device: _Device | None = None
    items: list[_Item] = []
    revenue: _Money | None = None
    search_query: str = ""
    session_id: str = ""
    custom_id: str = ""
    page_id: str = ""
    referrer_page_id: str = ""
    shipping_charge: _Money | None = None
    decision_track_id: str = ""
    personalization_mode: str = ""


_decoder = msgspec.json.Decoder(_Event, float_hook=msgspec.Raw)


def event_or_none(body: bytes) -> Event | None:
    """The event, where the short way leads to one; None says nothing about the body. Never raises."""
    if len(body) > STRING_BYTES_MAX:  # of the bounds, the only one that known members of known types could break
        return None
    try:
        return _event(_decoder.decode(body))
    except (_LongWayError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None


def _event(wire: _Event) -> Event:
    return Event(
        id=wire.id,
        event_type=wire.event_type,
        timestamp=_timestamp(wire.timestamp),
        channel_type=wire.channel_type,
        domain=wire.domain,
        user_id=wire.user_id,
        device=_device(wire.device) if wire.device is not None else None,
        items=tuple([_item(item) for item in wire.items]),
        revenue=_money(wire.revenue) if wire.revenue is not None else None,
        search_query=wire.search_query,
        session_id=wire.session_id,
        custom_id=wire.custom_id,
        page_id=wire.page_id,
        referrer_page_id=wire.referrer_page_id,
        shipping_charge=_money(wire.shipping_charge) if wire.shipping_charge is not None else None,
        decision_track_id=wire.decision_track_id,
        personalization_mode=wire.personalization_mode,
    )


def _timestamp(value: int | str) -> int:
    if type(value) is str:
        if not _short_integer(value):
            raise _LongWayError
        return int(value)
    if type(value) is int and -INT64_MAX <= value <= INT64_MAX:
        return value
    raise _LongWayError


def _device(wire: _Device) -> Device:
    return Device(
        os=wire.os,
        os_version=wire.os_version,
        model=wire.model,
        ua=wire.ua,
        language=wire.language,
        ip=wire.ip,
        persistent_id=wire.persistent_id,
        unique_device_id=wire.unique_device_id,
        advertising_id=wire.advertising_id,
    )


def _item(wire: _Item) -> Item:
    if not -INT32_MAX <= wire.quantity <= INT32_MAX:
        raise _LongWayError
    return Item(
        id=wire.id,
        item_group_id=wire.item_group_id,
        price=_money(wire.price) if wire.price is not None else None,
        quantity=wire.quantity,
        seller_id=wire.seller_id,
        price_seller=_money(wire.price_seller) if wire.price_seller is not None else None,
    )


def _money(wire: _Money) -> Money:
    amount = wire.amount
    if amount is _ABSENT:
        return Money(wire.currency)
    if type(amount) is int:
        if not -AMOUNT_LIMIT < amount < AMOUNT_LIMIT:
            raise _LongWayError
        return Money(wire.currency, str(amount))
    if type(amount) is msgspec.Raw:
        amount = str(amount, "ascii")
    if type(amount) is not str or not short_amount(amount):
        raise _LongWayError
    return Money(wire.currency, amount)
