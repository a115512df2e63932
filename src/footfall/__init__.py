"""Footfall: user events of a marketplace, sent, checked and durable.

What is exported here is the client library and its promise: names in `__all__` change only with a major version. Each is
imported when first asked for, so that the server, the command line and a shop that never sends pay for none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from footfall.version import __version__

if TYPE_CHECKING:
    from footfall.client.answers import Answer, Report
    from footfall.client.asynchronous import AsyncClient
    from footfall.client.client import Client
    from footfall.client.constructors import (
        AddToCart,
        AddToWishlist,
        Home,
        ItemPageView,
        Land,
        PageView,
        Purchase,
        Search,
    )
    from footfall.client.debugging import FootfallWarning
    from footfall.client.hashing import hash_identifier
    from footfall.client.outbox.outbox import Outbox, Stats
    from footfall.errors import (
        ApiError,
        BadRequestError,
        FootfallError,
        ForbiddenError,
        InternalServerError,
        MethodNotAllowedError,
        NetworkError,
        NotFoundError,
        RejectedError,
        TooManyRequestsError,
        UnauthorizedError,
        Violation,
    )
    from footfall.events.schema import Device, Event, Item, Money, QualityWarning

__all__ = [
    "AddToCart",
    "AddToWishlist",
    "Answer",
    "ApiError",
    "AsyncClient",
    "BadRequestError",
    "Client",
    "Device",
    "Event",
    "FootfallError",
    "FootfallWarning",
    "ForbiddenError",
    "Home",
    "InternalServerError",
    "Item",
    "ItemPageView",
    "Land",
    "MethodNotAllowedError",
    "Money",
    "NetworkError",
    "NotFoundError",
    "Outbox",
    "PageView",
    "Purchase",
    "QualityWarning",
    "RejectedError",
    "Report",
    "Search",
    "Stats",
    "TooManyRequestsError",
    "UnauthorizedError",
    "Violation",
    "__version__",
    "hash_identifier",
]

_HOMES: Final = {
    "footfall.client.answers": ("Answer", "Report"),
    "footfall.client.asynchronous": ("AsyncClient",),
    "footfall.client.client": ("Client",),
    "footfall.client.constructors": (
        "AddToCart", "AddToWishlist", "Home", "ItemPageView", "Land", "PageView", "Purchase", "Search",
    ),
    "footfall.client.debugging": ("FootfallWarning",),
    "footfall.client.hashing": ("hash_identifier",),
    "footfall.client.outbox.outbox": ("Outbox", "Stats"),
    "footfall.errors": (
        "ApiError", "BadRequestError", "FootfallError", "ForbiddenError", "InternalServerError", "MethodNotAllowedError",
        "NetworkError", "NotFoundError", "RejectedError", "TooManyRequestsError", "UnauthorizedError", "Violation",
    ),
    "footfall.events.schema": ("Device", "Event", "Item", "Money", "QualityWarning"),
}  # fmt: skip
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'footfall' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
