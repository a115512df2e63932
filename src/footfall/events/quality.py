"""What is weak in an event that was nevertheless accepted: advice before going live, never a refusal.

Each check is a small pure generator over one event, usually of nothing; `warnings` runs them in one fixed order: money, identity,
time, shape. A reason is raised once an event, at the first place, and its text counts the others; only identifiers and page ids
are told apart by field. Reasons are stable names, all of them in `REASONS`.

Rules of the prose: what was seen, why it hurts, how to mend it. The value of an identifier is never repeated, amounts are shown
exactly. A check must not cry wolf: what a careful shop may send on purpose raises nothing.

Mode `METRIC_ONLY` and `ID_LESS` are not asked for better identifiers. An e-mail address or phone number in clear is still told
under `METRIC_ONLY`, because its identifiers are stored; those of `ID_LESS` are not, so nobody looks at them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal
from typing import Final, NamedTuple

from footfall.events.identity import identifiers
from footfall.events.schema import (
    CURRENCIES,
    IDENTIFIER_CHARS_MAX,
    IDENTIFIER_PATHS,
    ITEM_EVENT_TYPES,
    Device,
    Event,
    Item,
    Money,
    QualityWarning,
)

REASONS: Final[dict[str, str]] = {
    "empty_price": "An item's price came without an amount: `{}`, or a currency alone.",
    "empty_amount": "`revenue` or `shipping_charge` came without an amount: `{}`, or a currency alone.",
    "missing_currency": "An amount came without its currency.",
    "unknown_currency": "A currency is not among the published names.",
    "mixed_currencies": "One event counts in more than one currency.",
    "fraction_in_whole_currency": "An amount in KRW, JPY or VND has decimals; these currencies have none.",
    "revenue_mismatch": "`revenue` is not the sum of price × quantity, with or without the shipping charge.",
    "cents_as_units": "One amount is exactly 100 times what the others say: cents sent as units.",
    "unhashed_email": "An identifier holds an e-mail address in clear.",
    "unhashed_phone": "An identifier looks like a phone number in clear.",
    "default_identifier": "An identifier holds a default word such as guest, anonymous, unknown, none, 0 or test.",
    "deprecated_identifiers_only": "The only identifiers are deprecated ones.",
    "missing_persistent_id": "`user_id` came without `device.persistent_id`.",
    "old_timestamp": "The event happened more than 7 days ago.",
    "local_timestamp": "The timestamp is off by a whole time-zone offset: local time taken for UTC.",
    "missing_id": "The event has no `id`, so a repeat of it counts twice.",
    "missing_price": "An item of an item event has no price.",
    "missing_quantity": "An item of an item event has no quantity.",
    "missing_revenue": "A PURCHASE has no revenue.",
    "missing_referrer": "A LAND has no `referrer_page_id`.",
    "unknown_language": "`device.language` is not an ISO 639-1 code of two letters.",
    "page_id_too_long": "`page_id` or `referrer_page_id` is longer than 128 characters.",
}
"""Every reason `warnings` may give, in the order it gives them, with one line of what it means."""

OLD_AFTER_MS: Final = 7 * 24 * 3_600_000
"""Longer than any outage a sender's retries should have to bridge: older events are history sent again, or a wrong clock."""
LOCAL_TIME_SLACK_MS: Final = 5_000
"""How near to a whole offset counts, either side. An event late by chance, between 40 minutes and 14 hours, meets one of the 23
windows of 10 s about once in 220 times."""
WHOLE_CURRENCIES: Final = frozenset({"KRW", "JPY", "VND"})
"""The published currencies whose smallest unit is 1; the others count in hundredths."""
LANGUAGES: Final = frozenset(
    # A list literal of 184 strings would fill a page.
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et "  # noqa: SIM905
    "eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl "
    "km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj "
    "om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg sh si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn "
    "to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu".split()
)
"""ISO 639-1, with `bh` and `sh`, which it withdrew and senders still use."""

_MINUTE_MS: Final = 60_000
_QUARTER_MS: Final = 15 * _MINUTE_MS
_OFFSETS_MS: Final = frozenset(
    minutes * _MINUTE_MS for minutes in (*range(60, 15 * 60, 60), 210, 270, 330, 345, 390, 525, 570, 630, 765)
)
"""Distances from UTC in use, east or west: the whole hours to 14, and the odd ones from 3:30 to 12:45."""
_EXACT: Final = Context(prec=80)  # 15 + 9 digits times an int64, summed: nothing is rounded
_CENT: Final = Decimal("0.01")
_NO_DEVICE: Final = Device()
_DEFAULT_WORDS: Final = frozenset(
    {
        "guest", "guestuser", "anonymous", "anonymoususer", "anon", "unknown", "unknownuser", "none", "nobody", "na",
        "nan", "null", "nil", "undefined", "invalid", "default", "defaultuser", "test", "tester", "testing", "testuser",
        "dummy", "example", "sample", "userid", "visitor", "empty", "missing", "notset", "notloggedin", "loggedout",
        "false", "true", "objectobject", "string",
    }
)  # fmt: skip
_DEFAULT_CHARS_MAX: Final = 24
_EMAIL = re.compile(r"[^\s@]@[^\s@.]+(?:\.[^\s@.]+)*\.[^\W\d_]{2,}").search
_PHONE_CHARS_MAX: Final = 24
_PHONE = re.compile(
    r"""\s*(?:tel:)?\s*(?:
        \+\s?[1-9](?:[ ().-]{0,2}[0-9]){7,14}               # international: +82 10-1234-5678
      | \(?0[0-9]{1,3}\)?[ .-][0-9]{3,4}[ .-][0-9]{4}       # national, in groups: 010-1234-5678, (02) 123-4567
      | \(?[2-9][0-9]{2}\)?[ .-]{1,2}[0-9]{3}[ .-][0-9]{4}  # North American: (212) 555-1234
      | 0[1-9][0-9]{8,9}                                    # national, run together: 01012345678
      | 8210[0-9]{8}                                        # a Korean mobile after its country code
    )\s*""",
    re.VERBOSE,
).fullmatch
"""Bare digits count as a phone number only where a customer number, counted up from 1, would hardly look like that."""


class _Place(NamedTuple):
    """One money of the event: where it stands (item −1: on the event itself) and what it says."""

    item: int
    member: str
    money: Money

    @property
    def path(self) -> str:
        return self.member if self.item < 0 else f"items[{self.item}].{self.member}"


def warnings(event: Event, *, now_ms: int) -> tuple[QualityWarning, ...]:
    """Everything weak in `event`, in the order of `REASONS`; empty for a clean event. Pure; raises nothing.

    `now_ms` is the receiver's wall time in milliseconds. Measured: 15 µs for a PURCHASE of two items, 6 µs for a page view.
    """
    found: list[QualityWarning] = []
    places = _places(event)
    if places:
        for check_money in _MONEY_CHECKS:
            found += check_money(event, places)
    if event.personalization_mode != "ID_LESS":
        for check in _IDENTITY_CHECKS:
            found += check(event)
    found += _off_time(event, now_ms)
    for check in _SHAPE_CHECKS:
        found += check(event)
    return tuple(found)


def is_default_word(identifier: str) -> bool:
    """Whether an identifier is a word many shoppers share, and so names nobody: `guest`, `N/A`, `test user`, `000`."""
    if len(identifier) > _DEFAULT_CHARS_MAX:
        return not identifier.strip("0-")
    letters = "".join(filter(str.isalnum, identifier)).lower()
    return letters in _DEFAULT_WORDS or not letters.strip("0")


def _places(event: Event) -> list[_Place]:
    places: list[_Place] = []
    if event.revenue is not None:
        places.append(_Place(-1, "revenue", event.revenue))
    for index, item in enumerate(event.items):
        if item.price is not None:
            places.append(_Place(index, "price", item.price))
        if item.price_seller is not None:
            places.append(_Place(index, "price_seller", item.price_seller))
    if event.shipping_charge is not None:
        places.append(_Place(-1, "shipping_charge", event.shipping_charge))
    return places


def _empty_prices(_event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    empty = [place for place in places if not place.money.amount and place.item >= 0]
    if empty:
        yield _empty(empty, reason="empty_price", harm="The item counts as one of unknown price")


def _empty_amounts(event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    told = "revenue" if event.event_type == "PURCHASE" else ""  # as missing_revenue
    empty = [place for place in places if not place.money.amount and place.item < 0 and place.member != told]
    if empty:
        yield _empty(empty, reason="empty_amount", harm="It counts as not sent")


def _empty(places: Sequence[_Place], *, reason: str, harm: str) -> QualityWarning:
    path, currency = places[0].path, places[0].money.currency
    seen = f"holds the currency {_shown(currency)} but no amount" if currency else "is an empty object"
    text = (
        f"{path} {seen}{_and_more(places)}; the JavaScript client sends that when it is handed a bare number, or nothing. "
        f'{harm}: send {{"currency": "USD", "amount": 19.99}}, or leave the member out.'
    )
    return QualityWarning(reason, path, text)


def _missing_currencies(_event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    bare = [place for place in places if place.money.amount and not place.money.currency]
    if bare:
        text = (
            f"{bare[0].path} is {bare[0].money.amount} of no currency{_and_more(bare)}, so nobody can sum or compare it. "
            'Send the currency beside the amount, such as "USD".'
        )
        yield QualityWarning("missing_currency", f"{bare[0].path}.currency", text)


def _unknown_currencies(_event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    unknown = [place for place in places if place.money.currency and place.money.currency not in CURRENCIES]
    if unknown:
        currency = unknown[0].money.currency
        text = (
            f"{_shown(currency)} is not a currency of the protocol{_and_more(unknown)}; the amount is kept but counts as "
            f"UNKNOWN_CURRENCY. {_currency_cure(currency)}"
        )
        yield QualityWarning("unknown_currency", f"{unknown[0].path}.currency", text)


def _currency_cure(currency: str) -> str:
    exact = currency.strip().upper()
    if exact in CURRENCIES:
        return f"Names are exact: send {exact}."
    if exact == "VEF":
        return "The bolívar is VES today: send VES."
    return f"Send one of {', '.join(sorted(CURRENCIES))}."


def _mixed_currencies(_event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    # A seller's price may well be in the seller's own currency.
    named = [place for place in places if place.money.currency and place.member != "price_seller"]
    others = [place for place in named if place.money.currency.upper() != named[0].money.currency.upper()]
    if others:
        text = (
            f"{others[0].path} is in {_shown(others[0].money.currency)} while {named[0].path} is in "
            f"{_shown(named[0].money.currency)}{_and_more(others)}; amounts of different currencies cannot be summed. "
            "Send one event in one currency."
        )
        yield QualityWarning("mixed_currencies", f"{others[0].path}.currency", text)


def _fractions(_event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    broken = [place for place in places if place.money.currency in WHOLE_CURRENCIES and _has_fraction(place.money.amount)]
    if broken:
        text = (
            f"{broken[0].path} is {_money(broken[0].money)}, but {broken[0].money.currency} has no decimals{_and_more(broken)}: "
            "the amount was converted, or divided by 100, on the way. Send whole units."
        )
        yield QualityWarning("fraction_in_whole_currency", f"{broken[0].path}.amount", text)


def _has_fraction(amount: str) -> bool:
    return "." in amount and amount.partition(".")[2].strip("0") != ""


def _revenue(event: Event, places: Sequence[_Place]) -> Iterator[QualityWarning]:
    """revenue_mismatch, which states the fact, and cents_as_units where the figures give the cause away."""
    revenue = event.revenue
    if revenue is None or not revenue.amount or not _is_summable(event, places):
        return
    paid, total, shipping = Decimal(revenue.amount), _items_total(event.items), _amount(event.shipping_charge)
    unit = Decimal(1) if revenue.currency in WHOLE_CURRENCIES else _CENT
    if any(abs(_EXACT.subtract(paid, expected)) < unit for expected in _sums(total, shipping)):
        return  # less than the smallest unit apart is rounding
    text = (
        f"revenue is {_money(revenue)}, but price × quantity of the items come to {_expected(event, total)}: sales reports and "
        "returns on ad spend will be wrong. Send the price of one unit, the quantity, and their sum as revenue."
    )
    yield QualityWarning("revenue_mismatch", "revenue.amount", text)
    if _EXACT.scaleb(paid, -2) in _sums(total, shipping):
        yield _cents("revenue.amount", revenue, f"while the items come to {_expected(event, total)}")
    elif paid in _sums(_EXACT.scaleb(total, -2), shipping):
        yield _cents("items[0].price.amount", event.items[0].price or Money(), f"while revenue is {_money(revenue)}")
    elif event.shipping_charge is not None and paid in _sums(total, _EXACT.scaleb(shipping, -2)):
        yield _cents("shipping_charge.amount", event.shipping_charge, f"while revenue is {_money(revenue)}")


def _is_summable(event: Event, places: Sequence[_Place]) -> bool:
    """Whether there are items, all with an amount, and all amounts that count are of one currency."""
    if not event.items or any(item.price is None or not item.price.amount for item in event.items):
        return False
    counted = (place.money for place in places if place.money.amount and place.member != "price_seller")
    return len({money.currency.upper() for money in counted}) == 1


def _items_total(items: Sequence[Item]) -> Decimal:
    """Σ price × quantity, exactly; an item without quantity counts as one (and is told on its own)."""
    total = Decimal(0)
    for item in items:
        total = _EXACT.add(total, _EXACT.multiply(_amount(item.price), Decimal(item.quantity or 1)))
    return total


def _sums(total: Decimal, shipping: Decimal) -> tuple[Decimal, ...]:
    """What revenue may be: the items, with the shipping charge on top, or with it taken off."""
    return (total, _EXACT.add(total, shipping), _EXACT.subtract(total, shipping)) if shipping else (total,)


def _cents(field: str, money: Money, witness: str) -> QualityWarning:
    text = (
        f"{field.removesuffix('.amount')} is {_money(money)} {witness}, which fits when it is divided by 100: cents were sent as "
        f"units. Amounts are in whole units of the currency: send {_figure(_EXACT.scaleb(_amount(money), -2), money)}."
    )
    return QualityWarning("cents_as_units", field, text)


def _expected(event: Event, total: Decimal) -> str:
    revenue, shipping = event.revenue or Money(), _amount(event.shipping_charge)
    with_shipping = f" ({_figure(_EXACT.add(total, shipping), revenue)} with shipping)" if shipping else ""
    return _figure(total, revenue) + with_shipping


def _amount(money: Money | None) -> Decimal:
    return Decimal(money.amount) if money is not None and money.amount else Decimal(0)


def _money(money: Money) -> str:
    return f"{money.amount} {_shown(money.currency)}" if money.currency else money.amount


def _figure(amount: Decimal, like: Money) -> str:
    """An amount we counted, exact, in the currency of `like`: no more zeros at its end than cents need."""
    whole, point, fraction = format(amount, "f").partition(".")
    fraction = fraction.rstrip("0")
    text = f"{whole}.{fraction:0<2}" if point and fraction else whole
    return f"{text} {_shown(like.currency)}" if like.currency else text


def _identifiers(event: Event) -> Iterator[tuple[str, str]]:
    """Path and value of each identifier that is there."""
    return ((path, value) for path, value in zip(IDENTIFIER_PATHS, identifiers(event), strict=True) if value)


def _emails(event: Event) -> Iterator[QualityWarning]:
    for path, value in _identifiers(event):
        if ("@" in value or "%40" in value) and _EMAIL(value.replace("%40", "@")):
            yield _unhashed("unhashed_email", path, "holds an e-mail address in clear")


def _phones(event: Event) -> Iterator[QualityWarning]:
    for path, value in _identifiers(event):
        if len(value) <= _PHONE_CHARS_MAX and _PHONE(value):
            yield _unhashed("unhashed_phone", path, "looks like a phone number in clear")


def _unhashed(reason: str, path: str, seen: str) -> QualityWarning:
    text = (
        f"{path} {seen}; it would be stored and passed on as it is. "
        "Send a keyed hash of it instead (hash_identifier), the same hash everywhere."
    )
    return QualityWarning(reason, path, text)


def _default_identifiers(event: Event) -> Iterator[QualityWarning]:
    if _is_metric_only(event):
        return
    for path, value in _identifiers(event):
        if is_default_word(value):
            text = (
                f"{path} holds a default word (guest, anonymous, unknown, none, 0, test and the like), so all these shoppers "
                "look like one person and are soon throttled as one. Leave it empty where it is not known."
            )
            yield QualityWarning("default_identifier", path, text)


def _deprecated_identifiers(event: Event) -> Iterator[QualityWarning]:
    device = event.device or _NO_DEVICE
    if event.user_id or device.persistent_id or event.custom_id or _is_metric_only(event):
        return
    for path, _value in _identifiers(event):  # only deprecated ones are left
        successor = "custom_id" if path == "session_id" else "device.persistent_id"
        text = f"The event is known by {path}, which is deprecated. Send that value as {successor}, and user_id once it is known."
        yield QualityWarning("deprecated_identifiers_only", path, text)
        return


def _missing_persistent_id(event: Event) -> Iterator[QualityWarning]:
    if event.user_id and not (event.device or _NO_DEVICE).persistent_id and not _is_metric_only(event):
        text = (
            "user_id came without device.persistent_id, so what this shopper did before signing in cannot be joined. "
            "Send the browser's or the device's own lasting id beside user_id."
        )
        yield QualityWarning("missing_persistent_id", "device.persistent_id", text)


def _is_metric_only(event: Event) -> bool:
    return event.personalization_mode == "METRIC_ONLY"


def _off_time(event: Event, now_ms: int) -> Iterator[QualityWarning]:
    """old_timestamp or local_timestamp; a timestamp of 0 or less is refused by the rules, which have a hint of their own."""
    age_ms = now_ms - event.timestamp
    offset_ms = (abs(age_ms) + _QUARTER_MS // 2) // _QUARTER_MS * _QUARTER_MS
    if event.timestamp > 0 and age_ms > OLD_AFTER_MS:
        text = (
            f"The event happened {age_ms // 86_400_000} days ago. More than 7 is right for history sent again; a live sender "
            "this late has a stopped queue or a wrong clock. Send events within seconds, with the time at which they happened."
        )
        yield QualityWarning("old_timestamp", "timestamp", text)
    elif event.timestamp > 0 and offset_ms in _OFFSETS_MS and abs(abs(age_ms) - offset_ms) <= LOCAL_TIME_SLACK_MS:
        hours, minutes = divmod(offset_ms // _MINUTE_MS, 60)
        text = (
            f"The timestamp is {hours}:{minutes:02} hours {'ahead of' if age_ms < 0 else 'behind'} the receiver's clock, to "
            "within seconds: a time-zone offset, local time taken for UTC. Count milliseconds since 1970 in UTC: "
            "int(time.time() * 1000)."
        )
        yield QualityWarning("local_timestamp", "timestamp", text)


def _missing_id(event: Event) -> Iterator[QualityWarning]:
    if not event.id:
        text = (
            "The event has no id, so the same event sent twice counts twice. "
            "Give each event an id of its own (a UUID) and keep it when sending again."
        )
        yield QualityWarning("missing_id", "id", text)


def _missing_prices(event: Event) -> Iterator[QualityWarning]:
    missing = [index for index, item in enumerate(event.items) if item.price is None]
    if missing and event.event_type in ITEM_EVENT_TYPES:
        text = (
            f"items[{missing[0]}] has no price{_and_more(missing)}, so its value is unknown to reports and bidding. "
            'Send the price of one unit: {"currency": "USD", "amount": 19.99}.'
        )
        yield QualityWarning("missing_price", f"items[{missing[0]}].price", text)


def _missing_quantities(event: Event) -> Iterator[QualityWarning]:
    missing = [index for index, item in enumerate(event.items) if item.quantity == 0]
    if missing and event.event_type in ITEM_EVENT_TYPES:
        text = (
            f"items[{missing[0]}] has no quantity, or 0{_and_more(missing)}, so the number of units must be guessed. "
            "Send 1 where it is one."
        )
        yield QualityWarning("missing_quantity", f"items[{missing[0]}].quantity", text)


def _missing_revenue(event: Event) -> Iterator[QualityWarning]:
    if event.event_type == "PURCHASE" and (event.revenue is None or not event.revenue.amount):
        seen = "PURCHASE came without revenue" if event.revenue is None else "The revenue of this PURCHASE has no amount"
        text = (
            f"{seen}, so no sale can be credited to an ad. "
            'Send the sum of price × quantity: {"currency": "USD", "amount": 39.98}.'
        )
        yield QualityWarning("missing_revenue", "revenue", text)


def _missing_referrer(event: Event) -> Iterator[QualityWarning]:
    if event.event_type == "LAND" and not event.referrer_page_id:
        text = (
            "LAND came without referrer_page_id, so where the shopper came from is lost. "
            "Send the site or page of origin, such as the HTTP Referer."
        )
        yield QualityWarning("missing_referrer", "referrer_page_id", text)


def _unknown_language(event: Event) -> Iterator[QualityWarning]:
    language = (event.device or _NO_DEVICE).language
    if language and language not in LANGUAGES:
        primary = re.split(r"[-_,;]", language, maxsplit=1)[0].strip().lower()
        cure = f"Send {primary}." if primary in LANGUAGES else "Send two letters, such as ko or en."
        text = f"device.language is {_shown(language)}, no ISO 639-1 code, so the shopper's language stays unknown. {cure}"
        yield QualityWarning("unknown_language", "device.language", text)


def _long_page_ids(event: Event) -> Iterator[QualityWarning]:
    for path, value in (("page_id", event.page_id), ("referrer_page_id", event.referrer_page_id)):
        if len(value) > IDENTIFIER_CHARS_MAX:
            text = (
                f"{path} has {len(value)} characters; {IDENTIFIER_CHARS_MAX} are published as the most, and the original service "
                "may refuse or cut more. Send a short name of the page, without query or fragment, as in decision requests."
            )
            yield QualityWarning("page_id_too_long", path, text)


def _and_more(places: Sequence[object]) -> str:
    return f" (and {len(places) - 1} more like it)" if len(places) > 1 else ""


def _shown(text: str) -> str:
    """A currency or language as it came, if it could be one: a longer text may be anything, a name too."""
    fits = len(text) <= 16 and text.isascii() and text.isprintable() and "@" not in text
    return text if fits else f"a text of {len(text)} characters"


_MONEY_CHECKS: Final[tuple[Callable[[Event, Sequence[_Place]], Iterator[QualityWarning]], ...]] = (
    _empty_prices, _empty_amounts, _missing_currencies, _unknown_currencies, _mixed_currencies, _fractions, _revenue,
)  # fmt: skip
_IDENTITY_CHECKS: Final[tuple[Callable[[Event], Iterator[QualityWarning]], ...]] = (
    _emails, _phones, _default_identifiers, _deprecated_identifiers, _missing_persistent_id,
)  # fmt: skip
_SHAPE_CHECKS: Final[tuple[Callable[[Event], Iterator[QualityWarning]], ...]] = (
    _missing_id, _missing_prices, _missing_quantities, _missing_revenue, _missing_referrer, _unknown_language, _long_page_ids,
)  # fmt: skip
