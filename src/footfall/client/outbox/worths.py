"""What an event is worth when there is no room for all: a page view first makes way, a purchase never does.

Each worth has a log of its own, because an append-only log gives up whole old segments and cannot pick single records out.
"""

from __future__ import annotations

from typing import Any, Final

NAMES: Final = ("page-view", "browsing", "cart", "purchase")
"""The names of the logs, from what is given up first to what is never given up."""
PURCHASE: Final = 3
_BROWSING: Final = 1
_CART: Final = 2

_WORTHS: Final[dict[Any, int]] = {
    "PAGE_VIEW": 0,
    "HOME": _BROWSING,
    "LAND": _BROWSING,
    "SEARCH": _BROWSING,
    "ITEM_PAGE_VIEW": _BROWSING,
    "ADD_TO_CART": _CART,
    "ADD_TO_WISHLIST": _CART,
    "PURCHASE": PURCHASE,
}


def worth_of(event_type: Any) -> int:
    """Which of `NAMES` an event belongs to. Types nobody knows yet are taken for valuable, next to a purchase."""
    return _WORTHS.get(event_type, _CART)


def free_bytes_min(worth: int, *, bytes_max: int) -> int:
    """What a write of this worth leaves free on the volume, so that the last room is for purchases: 64, 32, 16 and 0 MiB under
    an outbox of 1 GiB, in proportion under others."""
    return 0 if worth == PURCHASE else bytes_max >> (4 + worth)


def look_bytes(bytes_max: int) -> int:
    """After how many bytes the log of a worth looks at the free room: an eighth of what carts leave free, so that the three that
    leave something cannot take more than half of it together."""
    return max(1, free_bytes_min(_CART, bytes_max=bytes_max) >> 3)
