"""From bytes to an `Event` by the rules of proto-JSON (protocol notes, section 9; design 5.4), and to a log record and back.

Senders spell names in snake_case or camelCase, put numbers in strings and send members nobody knows. All of that is taken, and
nothing is lost: unknown members stay in `Event.extra`, each under its path, numbers with their exact text (`msgspec.Raw`). What
cannot be taken is refused with every problem at once, so that a sender mends an event in one round.

    body ──▶ untyped JSON ──▶ bounds ──▶ walk along the tables ──▶ Event
                 └ malformed: one problem, with its place    └ all type problems, in the order of the body

This is the definition of what a body means. `shortcut` leads to the same for ordinary bodies, at a fraction of the cost.

Descriptions say what kind of value came, never the value: it may be an identifier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from footfall.errors import Violation
from footfall.events import scalars
from footfall.events.bounds import check_bounds, is_within_bounds
from footfall.events.malformed import diagnose
from footfall.events.schema import Device, Event, Item, Money
from footfall.events.violations import Violations, refusal

MONEY_SAMPLE: Final = '{"currency": "USD", "amount": 19.99}'

_untyped = msgspec.json.Decoder(float_hook=msgspec.Raw)
_canonical_decoder = msgspec.json.Decoder(Event, float_hook=msgspec.Raw)
_canonical_encoder = msgspec.json.Encoder()


def decode_event(body: bytes, *, iso_timestamps: bool = False) -> Event:
    """The event in `body`, not yet checked against the rules.

    `iso_timestamps` also takes ISO 8601 text with a zone as the timestamp, as Segment sends it. Raises `InvalidEventError`, and
    nothing else, whatever the bytes.
    """
    # Measured: these four, and only these, come out of the decoder.
    try:
        tree = _untyped.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise diagnose(body, error) from None  # the cause may quote the body
    if type(tree) is not dict:
        _refuse_body(tree)
    walk = _Walk(iso_timestamps=iso_timestamps)
    if not is_within_bounds(body):
        check_bounds(tree, walk.violations)
    event = walk.event(tree)
    if walk.violations:
        raise refusal(walk.violations.all())
    return event


def canonical(event: Event) -> bytes:
    """The form in which an event is stored: one line, snake_case, defaults left out, amounts as strings, `extra` last."""
    return _canonical_encoder.encode(event)


def decode_canonical(record: bytes) -> Event:
    """The event of `canonical`, for readers of the log. Members this version does not know are ignored.

    Raises `InvalidEventError` where the bytes are no such event; its text does not quote them.
    """
    try:
        return _canonical_decoder.decode(record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        description = "the stored bytes are not an event in canonical form; they were written by something else, or damaged"
        raise refusal((Violation("", description, "not_canonical"),)) from None


_TYPE_NAMES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "a number",
    msgspec.Raw: "a number",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


def kind_of(value: object) -> str:
    """What a value of an untyped body is, in words that say nothing of its content."""
    if type(value) is str:
        return "a string" if value else "an empty string"
    return _TYPE_NAMES.get(type(value), "a value")


def camel_case(name: str) -> str:
    """The other spelling of a member: `user_id` is `userId`."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


class _Walk:
    """One pass over one body. Each reader takes a value that is not null and its path, and returns what the struct holds."""

    __slots__ = ("extra", "iso_timestamps", "violations")

    def __init__(self, *, iso_timestamps: bool) -> None:
        self.iso_timestamps = iso_timestamps
        self.extra: dict[str, Any] = {}
        self.violations = Violations()

    def event(self, tree: dict[str, object]) -> Event:
        fields = self.members(tree, _EVENT, prefix="")
        if self.extra:
            fields["extra"] = self.extra
        return Event(**fields)

    def members(self, tree: dict[str, object], table: _Table, *, prefix: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, value in tree.items():
            member = table.get(name)
            if member is None:
                self.keep(prefix + name, value)
                continue
            attribute, read, is_camel = member
            if is_camel and attribute in tree:
                self.refuse_duplicate(prefix + attribute, name)
            elif value is None:
                continue  # null is absent
            elif read is _text and type(value) is str:  # most members, spared a call
                fields[attribute] = value
            else:
                fields[attribute] = read(self, value, prefix + attribute)
        return fields

    def keep(self, path: str, value: object) -> None:
        """Unknown members, under their path. `a.b` and b in a may meet at one path; then the later one gets a number."""
        if value is None:
            return
        free, copies = path, 1
        while free in self.extra:
            copies += 1
            free = f"{path}#{copies}"
        self.extra[free] = value

    def text(self, value: object, path: str) -> str:
        if type(value) is str:
            return value
        cure = "put the value in quotes" if kind_of(value) == "a number" else "send text in quotes, or leave the member out"
        self.refuse(path, "not_a_string", description=f"{kind_of(value)} came, where a string is expected; {cure}")
        return ""

    def name(self, value: object, path: str) -> str:
        if type(value) is str:
            return value
        sample = _NAMES[path.rpartition(".")[2]]
        description = (
            f"{kind_of(value)} came, where the name of an enum value is expected; send a name in quotes, such as {sample}"
        )
        self.refuse(path, "not_a_name", description=description)
        return ""

    def timestamp(self, value: object, path: str) -> int:
        if self.iso_timestamps and type(value) is str and scalars.number_text(value) is None:
            moment_ms = scalars.iso_milliseconds(value)
            if moment_ms is None:
                self.refuse(path, "not_a_timestamp", description=f"{kind_of(value)} came that is neither {_ISO_EXPECTED}")
            return moment_ms or 0
        return self.integer(value, path, limit=scalars.INT64_MAX, cure=_timestamp_cure(value))

    def quantity(self, value: object, path: str) -> int:
        return self.integer(value, path, limit=scalars.INT32_MAX, cure="send digits such as 2, or leave the member out")

    def integer(self, value: object, path: str, *, limit: int, cure: str) -> int:
        text = scalars.number_text(value) if type(value) is not int else None
        number = value if type(value) is int else scalars.whole_number(text) if text is not None else None
        if number is None:
            came = "a number with a fraction" if text is not None else kind_of(value)
            self.refuse(path, "not_an_integer", description=f"{came} came, where a whole number is expected; {cure}")
            return 0
        if not -limit - 1 <= number <= limit:
            description = f"a number beyond {limit.bit_length() + 1} bits came; {cure}"
            self.refuse(path, "integer_out_of_range", description=description)
            return 0
        return number

    def money(self, value: object, path: str) -> Money | None:
        if type(value) is dict:
            return Money(**self.members(value, _MONEY, prefix=path + "."))
        cure = "leave the member out where there is none, otherwise send" if value == "" else "send currency and amount:"
        self.refuse(
            path, "not_an_object", description=f"{kind_of(value)} came, where an object is expected; {cure} {MONEY_SAMPLE}"
        )
        return None

    def amount(self, value: object, path: str) -> str:
        text = scalars.number_text(value)
        if text is None:
            self.refuse_amount(value, path)
            return ""
        amount = scalars.plain_amount(text)
        if amount is None:
            description = "amounts are below 10^15 with at most 9 fraction digits; round the amount to the currency's own digits"
            self.refuse(path, "amount_out_of_range", description=description)
            return ""
        return amount

    def refuse_amount(self, value: object, path: str) -> None:
        if type(value) is str and value.strip().lower().lstrip("+-") in _NON_FINITE:
            description = "NaN or infinity came as a string; leave the member out where there is no amount"
            self.refuse(path, "non_finite_number", description=description)
            return
        cure = "leave the member out where there is none" if value == "" else "digits and a decimal point only, such as 1234.50"
        self.refuse(path, "not_a_number", description=f"{kind_of(value)} came, where a decimal number is expected; {cure}")

    def device(self, value: object, path: str) -> Device | None:
        if type(value) is dict:
            return Device(**self.members(value, _DEVICE, prefix=path + "."))
        sample = '{"os": "ios", "persistent_id": "…"}'
        self.refuse(path, "not_an_object", description=f"{kind_of(value)} came, where an object is expected, such as {sample}")
        return None

    def items(self, value: object, path: str) -> tuple[Item, ...]:
        if type(value) is list:
            return tuple([self.item(item, f"{path}[{index}]") for index, item in enumerate(value)])
        cure = "put brackets around it, even for one item"
        if type(value) is str:
            cure = "send the array itself; it may have been encoded twice"
        self.refuse(path, "not_an_array", description=f"{kind_of(value)} came, where an array is expected; {cure}")
        return ()

    def item(self, value: object, path: str) -> Item:
        if type(value) is dict:
            return Item(**self.members(value, _ITEM, prefix=path + "."))
        if value is None:
            self.refuse(path, "null_in_array", description="null came as an element of an array; leave the element out")
        else:
            description = f'{kind_of(value)} came, where an object is expected, such as {{"id": "sku-1", "quantity": 1}}'
            self.refuse(path, "not_an_object", description=description)
        return Item()

    def refuse(self, path: str, reason: str, *, description: str) -> None:
        self.violations.add(path, reason, description=description)

    def refuse_duplicate(self, path: str, spelling: str) -> None:
        description = f"the member came twice, also spelt {spelling}; send one of the two spellings"
        self.refuse(path, "duplicate_field", description=description)


_Read = Callable[[_Walk, Any, str], object]
_Table = dict[str, tuple[str, _Read, bool]]


def _table(**readers: _Read) -> _Table:
    """Every spelling a member may come in → the struct's attribute, how to read it, whether this is the other spelling."""
    table: _Table = {}
    for attribute, read in readers.items():
        table[camel_case(attribute)] = (attribute, read, True)
        table[attribute] = (attribute, read, False)  # last, for the names of one word
    return table


_text: Final = _Walk.text
_MONEY: Final = _table(currency=_Walk.name, amount=_Walk.amount)
_ITEM: Final = _table(
    id=_text, item_group_id=_text, price=_Walk.money, quantity=_Walk.quantity, seller_id=_text, price_seller=_Walk.money,
)  # fmt: skip
_DEVICE: Final = _table(
    os=_text, os_version=_text, model=_text, ua=_text, language=_text, ip=_text,
    persistent_id=_text, unique_device_id=_text, advertising_id=_text,
)  # fmt: skip
_EVENT: Final = _table(
    id=_text, event_type=_Walk.name, timestamp=_Walk.timestamp, channel_type=_Walk.name, domain=_text, user_id=_text,
    device=_Walk.device, items=_Walk.items, revenue=_Walk.money, search_query=_text, session_id=_text, custom_id=_text,
    page_id=_text, referrer_page_id=_text, shipping_charge=_Walk.money, decision_track_id=_text,
    personalization_mode=_Walk.name,
)  # fmt: skip
_NAMES: Final = {
    "event_type": '"PURCHASE"', "channel_type": '"SITE"', "currency": '"USD"', "personalization_mode": '"STANDARD"',
}  # fmt: skip
_NON_FINITE: Final = frozenset({"nan", "inf", "infinity"})
_ISO_EXPECTED: Final = "milliseconds since 1970 nor an ISO 8601 time with its zone, such as 2024-02-05T23:37:42.848Z"


def _timestamp_cure(value: object) -> str:
    if type(value) is str and value[:4].isdigit() and value[4:5] == "-":
        return (
            "this looks like a date: send milliseconds since 1970 (in JavaScript Date.now(), in Python time.time_ns() // 10**6)"
        )
    return "send milliseconds since 1970, such as 1790000000000"


def _refuse_body(tree: object) -> NoReturn:
    cure = "send one object with event_type, timestamp and channel_type"
    if type(tree) is list:
        cure = "send one event a request"
    elif type(tree) is str and tree.lstrip().startswith("{"):
        cure = "the event was encoded twice: send the object itself, not a string that holds it"
    raise refusal((Violation("", f"{kind_of(tree)} came, where an object is expected; {cure}", "body_not_an_object"),))
