"""Footfall: user events of a marketplace, sent, checked and durable.

What is exported here is the client library and its promise: names in `__all__` change only with a major version. Each is
imported when first asked for, so that the server, the command line and a shop that never sends pay for none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

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
    from footfall.client.hashing import hash_identifier
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

__version__: Final[str] = "0.1.0"

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
    "PageView",
    "Purchase",
    "QualityWarning",
    "RejectedError",
    "Report",
    "Search",
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
    "footfall.client.hashing": ("hash_identifier",),
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
