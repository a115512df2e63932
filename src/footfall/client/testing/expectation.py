"""What a test expects of an event, and in what an event differs from it.

    user_id="u-1"                    the value itself; of a number of items their count; of an amount just the number
    items=2 · items=["sku-1"]        that many items; these, named by id, in this order
    revenue="39.98" · Money(…)       an amount in any form that is the same number; with its currency
    device={"os": "iOS"}             the members named, whatever the others are; a Device, an Item, a Money likewise
    page_id=... · search_query=None  anything but absent; absent
    page_id=str.isupper              whatever the function says yes to
    **{"items[0].price": "19.99"}    a path, as violations name them

Amounts compare as numbers, never through a float: 39.98 is "39.980" too. Values are shown as they are, identifiers included: this
is what the engineer's own test sent.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from footfall.events.schema import EVENT_TYPES, Device, Event, Item, Money

_CHARS_MAX: Final = 60
_MEMBERS: Final = frozenset(Event.__struct_fields__) - {"event_type"}
_parts = re.compile(r"([^.\[\]]+)|\[(\d+)\]").finditer


class Expectation:
    """Events of one type, or of any where it is "", with certain values. TypeError for a member that no event has."""

    def __init__(self, event_type: str, values: Mapping[str, object]) -> None:
        _check_name(event_type, EVENT_TYPES | {""}, "event type")
        for path in values:
            _check_name(re.split(r"[.\[]", path, maxsplit=1)[0], _MEMBERS, "member of an event")
        self.event_type = event_type
        self._values = dict(values)

    def __str__(self) -> str:
        wanted = ", ".join(f"{path}={_named(value)}" for path, value in self._values.items())
        return (self.event_type or "event") + (f" with {wanted}" if wanted else "")

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(self._values)

    def is_of_type(self, event: Event) -> bool:
        return self.event_type in ("", event.event_type)

    def among(self, events: Sequence[Event]) -> list[Event]:
        return [event for event in events if self.is_of_type(event) and not self.differences(event)]

    def differences(self, event: Event) -> list[str]:
        """What is other than expected, the type aside: `revenue is USD 39.97, not "39.98"`."""
        return [line for path, value in self._values.items() for line in _differences(value_at(event, path), value, path)]


def value_at(event: Event, path: str) -> object:
    """The value of a member by its path, `extra` included; None where there is nothing."""
    if path in event.extra:
        return event.extra[path]
    value: Any = event
    for found in _parts(path):
        name, index = found.groups()
        if name is not None:
            value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
        else:
            value = value[int(index)] if isinstance(value, Sequence) and int(index) < len(value) else None
    return value


def shown(value: object) -> str:
    """A value of an event in few characters."""
    if isinstance(value, Money):
        text = f"{value.currency} {value.amount}".strip() or "empty"
    elif isinstance(value, tuple) and value and isinstance(value[0], Item):
        names = [_item(item) for item in value]
        text = f"{len(value)} ({', '.join(names)})"
    elif isinstance(value, msgspec.Struct):
        text = ", ".join(f"{name}={shown(member)}" for name, member in _given(value).items())
    elif isinstance(value, msgspec.Raw):
        text = bytes(value).decode("utf-8", "replace")
    elif isinstance(value, str):
        text = f'"{value}"' if value else "absent"
    else:
        text = repr(value) if value or isinstance(value, bool) else "absent"
    return text if len(text) <= _CHARS_MAX else text[: _CHARS_MAX - 1] + "…"


def _differences(found: object, expected: object, path: str) -> list[str]:
    if expected is ...:
        return [] if found else [f"{path} is absent"]
    if expected is None or expected == "":
        return [f"{path} is {shown(found)}, not absent"] if found else []
    if callable(expected):
        return [] if expected(found) else [f"{path} is {shown(found)}, which is not {_named(expected)}"]
    if isinstance(found, tuple) or path == "items":
        return _item_differences(found or (), expected, path)
    if isinstance(expected, (Mapping, Device, Item, Money)):
        return _member_differences(found, expected, path)
    is_same = _is_same_number(found, expected) if path.endswith(".amount") else _is_same(found, expected)
    return [] if is_same else [f"{path} is {shown(found)}, not {_named(expected)}"]


def _item_differences(found: Any, expected: object, path: str) -> list[str]:
    if isinstance(expected, int):
        return [] if len(found) == expected else [f"{path} are {shown(found)}, not {expected}"]
    if not isinstance(expected, Sequence) or isinstance(expected, str):
        raise TypeError(f"{path} is expected as a number of items, or as a list of ids, Items or mappings")
    if len(found) != len(expected):
        return [f"{path} are {shown(found)}, not {len(expected)}"]
    lines: list[str] = []
    for index, (item, wanted) in enumerate(zip(found, expected, strict=True)):
        members = {"id": wanted} if isinstance(wanted, str) else wanted
        lines += _differences(item, members, f"{path}[{index}]")
    return lines


def _member_differences(found: object, expected: Mapping[str, object] | msgspec.Struct, path: str) -> list[str]:
    if found is None:
        return [f"{path} is absent"]
    members = expected if isinstance(expected, Mapping) else _given(expected)
    lines: list[str] = []
    for name, wanted in members.items():
        if isinstance(found, msgspec.Struct):
            _check_name(name, frozenset(found.__struct_fields__), f"member of {path}")
        value = found.get(name) if isinstance(found, Mapping) else getattr(found, name, None)
        lines += _differences(value, wanted, f"{path}.{name}")
    return lines


def _is_same(found: object, expected: object) -> bool:
    if isinstance(found, Money):
        return _is_same_number(found.amount, expected)
    if isinstance(expected, Decimal) or isinstance(found, msgspec.Raw):
        return _is_same_number(found, expected)
    if isinstance(expected, datetime):
        return found == round(expected.timestamp() * 1000)
    if isinstance(found, str) and isinstance(expected, (str, int, float)) and not isinstance(expected, bool):
        return found == expected or (not isinstance(expected, str) and _is_same_number(found, expected))
    return found == expected


def _is_same_number(found: object, expected: object) -> bool:
    text = bytes(found).decode() if isinstance(found, msgspec.Raw) else str(found)
    try:
        return Decimal(text) == Decimal(str(expected))
    except InvalidOperation:
        return text == expected


def _given(struct: msgspec.Struct) -> dict[str, Any]:
    """The members that were said: those other than their default."""
    return {name: value for name in struct.__struct_fields__ if (value := getattr(struct, name)) not in ("", 0, None, (), {})}


def _item(item: Item) -> str:
    name = item.id or item.item_group_id or "?"
    return f"{name} ×{item.quantity}" if item.quantity > 1 else name


def _named(value: object) -> str:
    if value is ...:
        return "anything"
    if callable(value):
        return getattr(value, "__name__", "as the function says")
    return shown(value) if isinstance(value, (str, Money)) else repr(value)


def _check_name(name: str, known: frozenset[str], kind: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=1)
        raise TypeError(f"no {kind} is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
