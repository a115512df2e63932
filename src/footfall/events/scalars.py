"""Scalars of proto-JSON: numbers that come as numbers or as text, exact to the last digit; and ISO times.

No float appears anywhere: an untyped decoder hands over the text of every number with a point or an exponent as `msgspec.Raw`,
so that 19.90 stays 19.90 and 2^63 stays itself. Numbers in strings must look exactly as JSON numbers do: no blanks, no plus sign,
no leading zero, no digits of other scripts, all of which `int()` and `Decimal()` would let through.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Final

import msgspec

from footfall.events.schema import AMOUNT_FRACTION_DIGITS_MAX, AMOUNT_LIMIT

INT32_MAX: Final = 2**31 - 1
INT64_MAX: Final = 2**63 - 1
BEYOND_EVERY_RANGE: Final = 2**70
"""Stands for every integer too large to be worth writing out, such as 1e999999999."""

_number: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch
short_amount: Final = re.compile(rf"-?(?:0|[1-9][0-9]{{0,14}})(?:\.[0-9]{{1,{AMOUNT_FRACTION_DIGITS_MAX}}})?").fullmatch
"""Matches an amount that is in range and plain as it stands, which nearly all are."""
_iso_time: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)", re.ASCII).fullmatch
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# A context of our own, since the ambient one belongs to the host program. 40 digits hold every amount in range.
_EXACT: Final = Context(prec=40, traps=[InvalidOperation])
_SMALLEST: Final = Decimal(f"1e-{AMOUNT_FRACTION_DIGITS_MAX}")


def number_text(value: object) -> str | None:
    """The exact text of a JSON number, bare or in a string; None where `value` is no number."""
    if type(value) is str:
        return value if _number(value) else None
    if type(value) is int:
        return str(value)
    if type(value) is msgspec.Raw:
        return bytes(value).decode("ascii")
    return None


def whole_number(text: str) -> int | None:
    """`5`, `5.0`, `1e3` as an int, `BEYOND_EVERY_RANGE` where it is far too large, None where a fraction remains."""
    number = _decimal(text)
    if number is not None and not number:
        return 0
    if number is None or number.adjusted() > 20:
        return BEYOND_EVERY_RANGE
    if number.adjusted() < 0:
        return None
    whole = int(number)
    return whole if whole == number else None


def plain_amount(text: str) -> str | None:
    """An amount without exponent, otherwise as sent; None where it is out of range (design 5.7)."""
    if short_amount(text):
        return text
    number = _decimal(text)
    if number is None:
        return None
    if not number:
        return _cut(text) if _is_plain(text) else "0"  # 0e-99999 written out would be all zeros
    if number.adjusted() < -AMOUNT_FRACTION_DIGITS_MAX or number.copy_abs() >= AMOUNT_LIMIT:
        return None
    if number.quantize(_SMALLEST, context=_EXACT) != number:
        return None
    return _cut(text if _is_plain(text) else format(number, "f"))


def iso_milliseconds(text: str) -> int | None:
    """An ISO 8601 time with its zone (`2024-02-05T23:37:42.848Z`) as milliseconds since 1970, cut to the whole one.

    None for everything else: without a zone the hour would be a guess.
    """
    if not _iso_time(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:  # February 30th
        return None
    return (moment - _EPOCH) // _MILLISECOND


def _decimal(text: str) -> Decimal | None:
    try:
        return Decimal(text, _EXACT)
    except InvalidOperation:  # an exponent beyond 10^18
        return None


def _cut(text: str) -> str:
    """Without the zeros that stand beyond the last fraction digit there may be."""
    whole, point, fraction = text.partition(".")
    return f"{whole}{point}{fraction[:AMOUNT_FRACTION_DIGITS_MAX]}"


def _is_plain(text: str) -> bool:
    return "e" not in text and "E" not in text
