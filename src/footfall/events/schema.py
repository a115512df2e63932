"""The event: its members, their types, their names. Everything else in Footfall speaks of these five structs.

The members and enum names are those of the published OpenAPI document of the User Event API (1.0), plus `device.ip`, which real
senders send. Scalars follow proto3: the zero value means absent. An `Event` as Footfall stores it is *canonical*: snake_case
names, timestamp a number, amounts exact decimal text, default words in identifiers already removed, members nobody knows under
`extra`, keyed by their path.

Constructing a struct by hand checks types of money only; the rules live in `rules`, for senders and receivers alike.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

EVENT_TYPES: Final = frozenset(
    {"SEARCH", "ITEM_PAGE_VIEW", "ADD_TO_CART", "PURCHASE", "ADD_TO_WISHLIST", "HOME", "LAND", "PAGE_VIEW"}
)
ITEM_EVENT_TYPES: Final = frozenset({"ITEM_PAGE_VIEW", "ADD_TO_CART", "ADD_TO_WISHLIST", "PURCHASE"})
"""The types whose `items` are required and checked."""
CHANNEL_TYPES: Final = frozenset({"APP", "SITE", "DESKTOP_SITE", "MOBILE_SITE"})
CURRENCIES: Final = frozenset(
    {
        "USD", "KRW", "JPY", "EUR", "GBP", "SEK", "INR", "THB", "IDR", "CNY", "CAD", "RUB", "BRL",
        "SGD", "HKD", "AUD", "PLN", "DKK", "VND", "MYR", "PHP", "TRY", "VES", "AED", "CHF",
    }
)  # fmt: skip
UNKNOWN_CURRENCY: Final = "UNKNOWN_CURRENCY"
PERSONALIZATION_MODES: Final = frozenset({"STANDARD", "METRIC_ONLY", "ID_LESS"})
IDENTIFIER_CHARS_MAX: Final = 128
"""Published `maxLength` of `id` and of every identifier; characters, not bytes."""
IDENTIFIER_PATHS: Final = (
    "user_id", "device.persistent_id", "device.unique_device_id", "device.advertising_id", "custom_id", "session_id",
)  # fmt: skip
"""The identifiers in the order in which the first valid one is taken (design 5.5)."""
AMOUNT_FRACTION_DIGITS_MAX: Final = 9
AMOUNT_LIMIT: Final = 10**15
"""Amounts are below this, in either sign: with nine fraction digits they fit DECIMAL(38,9) with room to sum."""

_PLAIN_AMOUNT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?").fullmatch


class Money(msgspec.Struct, frozen=True, omit_defaults=True):
    """An amount of one currency: `Money("USD", "19.99")`.

    `amount` is exact decimal text without exponent, `""` where none was given. The constructor also takes int, Decimal and
    float (a float by its shortest form: 19.99 becomes "19.99"); NaN, infinity and anything that is no number raise ValueError.
    """

    currency: str = ""
    amount: str = ""

    if TYPE_CHECKING:

        def __init__(self, currency: str = "", amount: str | Decimal | float = "") -> None: ...

    def __post_init__(self) -> None:
        amount: Any = self.amount
        if type(amount) is not str or not (amount == "" or _PLAIN_AMOUNT(amount)):
            msgspec.structs.force_setattr(self, "amount", _plain_amount(amount))

    @property
    def decimal(self) -> Decimal | None:
        """The amount as a number to count with; None where none was given."""
        return Decimal(self.amount) if self.amount else None


def _plain_amount(amount: object) -> str:
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float, Decimal)):
        raise TypeError(f"an amount is a decimal string, a Decimal, an int or a float, not {type(amount).__name__}")
    if isinstance(amount, float) and not math.isfinite(amount):
        raise ValueError("an amount must be a finite number, not NaN or infinity")
    text = str(amount)
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError('an amount must be a decimal number such as "19.99"') from None
    if not number.is_finite() or abs(number) >= AMOUNT_LIMIT or not text.isascii() or "_" in text or text != text.strip():
        raise ValueError(f'an amount must be a finite decimal number below {AMOUNT_LIMIT:.0e}, such as "19.99"')
    return format(number, "f")


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One product in an event. `id` or `item_group_id` names it as in the catalog; `price` is that of one unit."""

    id: str = ""
    item_group_id: str = ""
    price: Money | None = None
    quantity: int = 0
    seller_id: str = ""
    price_seller: Money | None = None

    if TYPE_CHECKING:
        # Wider than the members: `Client(currency="USD")` takes bare prices and makes Money of them.
        def __init__(
            self,
            *,
            id: str = "",  # noqa: A002 - the name on the wire
            item_group_id: str = "",
            price: Money | str | Decimal | float | None = None,
            quantity: int = 0,
            seller_id: str = "",
            price_seller: Money | str | Decimal | float | None = None,
        ) -> None: ...


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the shopper holds. For channel `APP`, `os` must contain `ios` or `android`. `ip` is personal data."""

    os: str = ""
    os_version: str = ""
    model: str = ""
    ua: str = ""
    language: str = ""
    ip: str = ""
    persistent_id: str = ""
    unique_device_id: str = ""
    advertising_id: str = ""

    @classmethod
    def from_user_agent(cls, ua: str, *, ip: str = "", language: str = "", persistent_id: str = "") -> Device:
        """A device as its user agent tells it: `ua`, `os`, `os_version`, `model`; frozen placeholder values are left out.
        Never raises on a strange user agent."""
        from footfall.events import useragent

        found = useragent.parse(ua)
        return cls(
            ua=ua, os=found.os, os_version=found.os_version, model=found.model,
            ip=ip, language=language, persistent_id=persistent_id,
        )  # fmt: skip

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], *, ip: str = "", persistent_id: str = "") -> Device:
        """A device as a request's headers tell it (names in any case): client hints first (`Sec-CH-UA-Platform`,
        `-Platform-Version`, `-Model`), then `User-Agent`; `language` from the first choice of `Accept-Language`."""
        from footfall.events import useragent

        found = useragent.parse_headers(headers)
        return cls(
            ua=found.ua, os=found.os, os_version=found.os_version, model=found.model,
            ip=ip, language=found.language, persistent_id=persistent_id,
        )  # fmt: skip


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a shopper did. Required on the wire: `event_type`, `timestamp` (milliseconds since 1970), `channel_type`."""

    id: str = ""
    event_type: str = ""
    timestamp: int = 0
    channel_type: str = ""
    domain: str = ""
    user_id: str = ""
    device: Device | None = None
    items: tuple[Item, ...] = ()
    revenue: Money | None = None
    search_query: str = ""
    session_id: str = ""
    custom_id: str = ""
    page_id: str = ""
    referrer_page_id: str = ""
    shipping_charge: Money | None = None
    decision_track_id: str = ""
    personalization_mode: str = ""
    extra: dict[str, Any] = {}
    """Members nobody knows, by path: `{"name": …, "device.colour": …, "items[0].size": …}`."""


class Identifier(msgspec.Struct, frozen=True):
    """The identifier an event is counted under: the first valid one in the order of `IDENTIFIER_PATHS`."""

    kind: str
    value: str

    def __repr__(self) -> str:
        return f"Identifier(kind={self.kind!r}, value='…')"  # values are personal data: not in logs, not in tracebacks


class QualityWarning(msgspec.Struct, frozen=True):
    """Something weak in an accepted event: `reason` for programs, `field` the path, `description` for people."""

    reason: str
    field: str
    description: str
