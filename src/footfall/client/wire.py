"""From what a caller has in hand to the JSON that goes over the wire.

    Event, keywords, or a mapping in either spelling ──▶ one dictionary of known, snake_case names ──▶ bytes

Timestamps go as a string of digits, as the published document declares; amounts as JSON numbers with the digits they came with,
never through a float; absent members are left out; members nobody knows go as they are, where they are.

Checked here is what JSON cannot say or what would go wrong in silence: naive times, NaN, bare prices without a currency, misspelt
keywords. The rules of the service are the receiver's, so that there is one judge. A zero or empty value of a known member means
absent, as in proto3. No message holds a value.

Two ways lead there and make the same bytes. The long one takes whatever a caller may hand in and knows every refusal. The short
one takes what nearly all callers do, our structs with values of the declared types, in a quarter of the time: a shopper's request
waits for it. It has no refusals of its own; what it does not know goes the long way.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from footfall.events.schema import Device, Event, Item, Money

_MONEY_NAMES: Final = frozenset({"price", "revenue", "shipping_charge", "price_seller"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_has_needless_zero = re.compile(r"-?0[0-9]").match
_nested_path = re.compile(r"(?:(device|revenue|shipping_charge)|items\[(\d{1,4})\](?:\.(price|price_seller))?)\.(.+)").fullmatch

_encode: Final = msgspec.json.Encoder().encode


def _names_of(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Both spellings of each member → the one that is sent."""
    names = [name for name in struct.__struct_fields__ if name != "extra"]
    return {name: name for name in names} | {re.sub(r"_(.)", lambda m: m[1].upper(), name): name for name in names}


_EVENT: Final = _names_of(Event)
_DEVICE: Final = _names_of(Device)
_ITEM: Final = _names_of(Item)
_MONEY: Final = _names_of(Money)
KEYWORDS: Final = frozenset({*_EVENT.values(), "extra"})


def members_of(event: Event | Mapping[str, Any] | None, fields: Mapping[str, Any], *, currency: str) -> dict[str, Any]:
    """The event as a dictionary ready for `encoded`; `id` and `timestamp` may still be missing.

    Raises TypeError for what is no event (misspelt keywords, bare prices without a `currency`) and ValueError for values that
    cannot be sent (naive times, NaN); both name the member and the cure.
    """
    if event is not None and fields:
        raise TypeError("pass the event either as one value or as keywords, not both")
    if event is None and not fields:
        raise TypeError('an event is needed: insert_event(event_type="HOME", channel_type="SITE", user_id=…)')
    if event is None or type(event) is Event:
        try:
            return _by_the_short_way(fields if event is None else msgspec.structs.asdict(event))
        except _UncommonError:
            pass
    return _by_the_long_way(event, fields, currency)


def _by_the_long_way(event: Event | Mapping[str, Any] | None, fields: Mapping[str, Any], currency: str) -> dict[str, Any]:
    if event is None:
        check_keywords(fields)
        given, extra = {name: value for name, value in fields.items() if name != "extra"}, fields.get("extra")
    elif isinstance(event, Event):
        given, extra = {name: getattr(event, name) for name in _EVENT.values()}, event.extra
    elif isinstance(event, Mapping):
        given, extra = _renamed(event, _EVENT, ""), None
    else:
        raise TypeError(f"an event is an Event, a mapping or keywords, not {type(event).__name__}")
    members = _event(given, currency)
    if extra:
        _put_extra(members, extra)
    return members


def check_keywords(fields: Iterable[str]) -> None:
    """TypeError for the first name that no event has, with the nearest that one has."""
    for name in fields:
        if name not in KEYWORDS:
            near = [_EVENT[name]] if name in _EVENT else difflib.get_close_matches(name, sorted(KEYWORDS), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "; members nobody knows go into extra={…}"
            raise TypeError(f"an event has no member {name!r}{hint}")


def encoded(members: Mapping[str, Any]) -> bytes:
    """The JSON of `members`. Text that no UTF-8 can hold raises ValueError, objects of no JSON kind TypeError."""
    try:
        return _encode(members)
    except UnicodeEncodeError:  # its cause would hold the text
        raise ValueError("the event holds text with a lone surrogate, which JSON cannot carry") from None


def timestamp_ms(value: object) -> int:
    """Milliseconds since 1970 from an int, a string of digits or a datetime with a zone; 0 for none given.

    Seconds are not told from milliseconds here: the receiver refuses them, and says so.
    """
    if value is None or value == "":
        return 0
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise ValueError("timestamp has no time zone; use datetime.now(timezone.utc), or .astimezone() for local time")
        return (value - _EPOCH) // _MILLISECOND
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("timestamp is NaN or infinite; pass whole milliseconds since 1970")
        if value.is_integer():
            return int(value)
    elif isinstance(value, str):
        if re.fullmatch(r"-?[0-9]{1,20}", value):
            return int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return value
    kind = type(value).__name__
    raise ValueError(f"timestamp is whole milliseconds since 1970 or a datetime with a time zone; this {kind} is neither")


class _UncommonError(Exception):
    """Something that the short way does not know."""


def _by_the_short_way(given: Mapping[str, Any]) -> dict[str, Any]:
    """Exact types throughout: no value has behaviour of its own, is NaN, or is encoded as something else than it looks like."""
    members: dict[str, Any] = {}
    extra = None
    for name, value in given.items():
        if name in _TEXTS:
            if type(value) is str:
                if value:
                    members[name] = value
            elif value is not None:
                raise _UncommonError
        elif name in _PLAIN:
            if value is not None and (plain := _PLAIN[name](value)) is not None:
                members[name] = plain
        elif name == "extra":
            extra = value
        else:
            raise _UncommonError
    if extra:
        _put_extra(members, extra)
    return members


def _plain_device(device: object) -> dict[str, Any]:
    # The types of what it holds, not of what comes out: a Decimal comes out as text.
    if type(device) is Device and _ONLY_TEXT.issuperset(map(type, msgspec.structs.astuple(device))):
        members: dict[str, Any] = msgspec.to_builtins(device)  # without what is at its default
        return members
    raise _UncommonError


def _plain_items(items: object) -> list[dict[str, Any]] | None:
    if type(items) is list or type(items) is tuple:
        return [_plain_item(item) for item in items] or None
    raise _UncommonError


def _plain_item(item: object) -> dict[str, Any]:
    if type(item) is not Item:
        raise _UncommonError
    members: dict[str, Any] = {}
    item_id, group_id, quantity, seller_id = item.id, item.item_group_id, item.quantity, item.seller_id
    if not (type(item_id) is type(group_id) is type(seller_id) is str and type(quantity) is int):
        raise _UncommonError
    if item_id:
        members["id"] = item_id
    if group_id:
        members["item_group_id"] = group_id
    if item.price is not None:
        members["price"] = _plain_money(item.price)
    if quantity:
        members["quantity"] = quantity
    if seller_id:
        members["seller_id"] = seller_id
    if item.price_seller is not None:
        members["price_seller"] = _plain_money(item.price_seller)
    return members


def _plain_money(money: object) -> dict[str, Any]:
    if type(money) is Money:
        amount, currency = money.amount, money.currency
        # Its constructor has made sure of the digits, so only zeros in front are no JSON; what is at or after "1" has none.
        if type(currency) is str and currency and (amount >= "1" or (amount and not _has_needless_zero(amount))):
            return {"currency": currency, "amount": msgspec.Raw(amount.encode())}
    raise _UncommonError


def _plain_timestamp(moment: object) -> str | None:
    if type(moment) is int or (type(moment) is datetime and moment.utcoffset() is not None):
        moment_ms = timestamp_ms(moment)
        return str(moment_ms) if moment_ms else None
    raise _UncommonError


_PLAIN: Final[dict[str, Callable[[object], Any]]] = {
    "device": _plain_device,
    "items": _plain_items,
    "timestamp": _plain_timestamp,
    "revenue": _plain_money,
    "shipping_charge": _plain_money,
}
_TEXTS: Final = KEYWORDS - _PLAIN.keys() - {"extra"}
_ONLY_TEXT: Final = frozenset({str})


def _event(given: Mapping[str, Any], currency: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in given.items():
        if name == "timestamp":
            if moment_ms := timestamp_ms(value):
                members[name] = str(moment_ms)
        elif name == "device":
            if value is not None:
                members[name] = _part(value, Device, _DEVICE, name, currency)
        elif name == "items":
            if items := _items(value, currency):
                members[name] = items
        else:
            _set(members, name, value, path=name, known=_EVENT, currency=currency)
    return members


def _items(value: object, currency: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if isinstance(value, (str, bytes, Mapping, Item)) or not isinstance(value, Iterable):
        raise TypeError(f"items is a list of Item, not {type(value).__name__}")
    return [_part(item, Item, _ITEM, f"items[{index}]", currency) for index, item in enumerate(value)]


def _part(value: object, struct: type[msgspec.Struct], names: Mapping[str, str], path: str, currency: str) -> dict[str, Any]:
    """A device or an item, given as our struct or as a mapping."""
    if isinstance(value, struct):
        given = {name: getattr(value, name) for name in struct.__struct_fields__}
    elif isinstance(value, Mapping):
        given = _renamed(value, names, path)
    else:
        raise TypeError(f"{path} is a {struct.__name__} or a mapping, not {type(value).__name__}")
    members: dict[str, Any] = {}
    for name, member in given.items():
        _set(members, name, member, path=f"{path}.{name}", known=names, currency=currency)
    return members


def _set(members: dict[str, Any], name: str, value: Any, *, path: str, known: Mapping[str, str], currency: str) -> None:
    if name in _MONEY_NAMES and name in known:
        if value is not None:
            members[name] = _money(value, path, currency)
        return
    if name not in known:
        members[name] = value  # unknown: as it is, even null
    elif value or isinstance(value, (bool, float)):  # "", 0 and None mean absent
        members[name] = value
    if type(value) is not str:
        _refuse_non_finite(value, path)


def _money(value: object, path: str, currency: str) -> dict[str, Any]:
    if isinstance(value, Money):
        return _amount_as_number({"currency": value.currency, "amount": value.amount}, path)
    if isinstance(value, Mapping):
        return _amount_as_number(_renamed(value, _MONEY, path), path)
    if isinstance(value, (str, int, float, Decimal)) and not isinstance(value, bool):
        if value == "":
            raise ValueError(f"{path} is empty text; leave it out, or pass Money")
        if not currency:
            raise TypeError(f'{path} is a bare number without a currency; pass Money("USD", …), or make Client(currency="USD")')
        return _amount_as_number({"currency": currency, "amount": value}, path)
    raise TypeError(f"{path} is Money, a mapping or a number, not {type(value).__name__}")


def _amount_as_number(money: dict[str, Any], path: str) -> dict[str, Any]:
    amount = money.pop("amount", None)
    sent = {name: value for name, value in money.items() if name != "currency" or value}
    if amount is None or amount == "":
        return sent
    try:
        text = Money(amount=amount).amount
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}.amount: {error}") from None
    sent["amount"] = msgspec.Raw(format(Decimal(text), "f").encode() if _has_needless_zero(text) else text.encode())
    return sent


def _renamed(given: Mapping[str, Any], names: Mapping[str, str], path: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in given.items():
        if not isinstance(key, str):
            raise TypeError(f"{path or 'the event'} has a member whose name is not text but {type(key).__name__}")
        name = names.get(key, key)
        if name in members:
            raise ValueError(f"{path + '.' if path else ''}{name} is given in both spellings; keep one")
        members[name] = value
    return members


def _put_extra(members: dict[str, Any], extra: Mapping[str, Any]) -> None:
    """Members nobody knows, back at the paths they are kept under; a path into a part the event has not is refused."""
    for path, value in extra.items():
        _refuse_non_finite(value, path)
        found = _nested_path(path)
        if found is None:
            members.setdefault(path, value)
            continue
        part, index, money, name = found.groups()
        try:
            target = members[part] if part else members["items"][int(index)]
            target = target[money] if money else target
        except (KeyError, IndexError):
            raise ValueError(f"extra names {path!r}, and the event has nothing there to put it into") from None
        target.setdefault(name, value)


def _refuse_non_finite(value: object, path: str) -> None:
    """msgspec would send NaN as null, and a NaN Decimal as text, without a word."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{path} is NaN or infinite, which JSON cannot carry; leave it out")
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{path} is NaN or infinite, which JSON cannot carry; leave it out")
    elif isinstance(value, Mapping):
        for name, member in value.items():
            _refuse_non_finite(member, f"{path}.{name}")
    elif isinstance(value, (list, tuple)):
        for index, member in enumerate(value):
            _refuse_non_finite(member, f"{path}[{index}]")
