"""Three libraries behind one call: Footfall's Outbox, Segment's and PostHog's.

    tracker = made(place)            a call that costs nothing on top of the library's own: `tracker.track(**arguments(place, n))`

Each is made as its documentation says and left at its defaults; what a scenario changes, it says. All are given the same cart
with one item and the shopper's device, and the number of the event as the shopper (`shopper-17`), which is how a receiver counts.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from bench.haste import HurriedClock, hurried_exchanges, hurry_this_process

PLATFORM: Final = "SHOP"
TITLES: Final = {"footfall": "Footfall", "segment": "Segment", "posthog": "PostHog"}
_DOORS: Final = {"footfall": "footfall.client.outbox", "segment": "segment.analytics", "posthog": "posthog"}
_MISSING: Final = {
    "footfall": "footfall.client.outbox is not there",
    "segment": "segment-analytics-python is not installed",
    "posthog": "posthog is not installed",
}
_QUEUE_MAX: Final = 10_000
"""The default of both peers; a scenario that queues more raises it."""
_USER_AGENT: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
)


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tracker sends and what it is made with."""

    library: str
    url: str
    key: str
    directory: str
    """of the outbox; the others keep nothing on disk"""
    batch: bool | None = None
    queue_max: int = _QUEUE_MAX
    speed: float = 1.0
    """how much faster than real its clock runs"""


class Tracker(NamedTuple):
    """A library, ready. `flush` returns when everything is delivered or given up; `said` is what it says of its own events."""

    track: Callable[..., object]
    flush: Callable[[float], object]
    said: Callable[[], Mapping[str, Any]]


def why_not(library: str) -> str | None:
    """Why this library cannot take part; None: it can."""
    try:
        found = importlib.util.find_spec(_DOORS[library])
    except ModuleNotFoundError:  # the package above it is missing
        found = None
    return _MISSING[library] if found is None else None


def made(place: Place) -> Tracker:
    if place.speed != 1 and place.library != "footfall":
        hurry_this_process(place.speed)
    return {"footfall": _footfall, "segment": _segment, "posthog": _posthog}[place.library](place)


def arguments(library: str, number: int, *, amount: float = 19.99, event_type: str = "ADD_TO_CART") -> dict[str, Any]:
    """What a shop hands over for one event, made anew for each: libraries may keep it, or write into it."""
    if library == "footfall":
        return _footfall_arguments(number, amount, event_type)
    if library == "segment":
        return _segment_arguments(number, amount)
    return _posthog_arguments(number, amount)


# -- Footfall


def _footfall(place: Place) -> Tracker:
    from footfall.client.outbox import Outbox

    hurried = place.speed != 1
    outbox = Outbox(
        place.directory,
        platform_id=PLATFORM,
        api_key=place.key,
        base_url=place.url,
        batch=place.batch,
        clock=HurriedClock(place.speed) if hurried else None,
        exchanges=hurried_exchanges(place.speed) if hurried else None,
    )

    def said() -> Mapping[str, Any]:
        stats = outbox.stats()
        names = ("tracked", "delivered", "waiting", "refused", "shed", "adopted")
        return {name: getattr(stats, name) for name in names} | {"state": str(stats.state)}

    return Tracker(track=outbox.track, flush=outbox.flush, said=said)


def _footfall_arguments(number: int, amount: float, event_type: str) -> dict[str, Any]:
    from footfall import Device, Item, Money

    item: Any
    if math.isnan(amount):  # Money refuses it where it is made; a shop's own dictionary does not
        item = {"id": f"SKU-{number}", "price": {"currency": "USD", "amount": amount}, "quantity": 2, "seller_id": "SELLER-7"}
    else:
        item = Item(id=f"SKU-{number}", price=Money("USD", amount), quantity=2, seller_id="SELLER-7")
    return {
        "event_type": event_type,
        "channel_type": "SITE",
        "user_id": f"shopper-{number}",
        "device": Device(
            persistent_id=f"{number:032x}", os="iOS", os_version="17.5", model="iPhone", ua=_USER_AGENT, language="en"
        ),
        "items": [item],
        "page_id": f"ITEM_DETAIL_PAGE:SKU-{number}",
    } | ({"revenue": {"currency": "USD", "amount": amount}} if event_type == "PURCHASE" else {})


# -- Segment


def _segment(place: Place) -> Tracker:
    from segment.analytics.client import Client

    client = Client(place.key, host=place.url, max_queue_size=place.queue_max)
    return Tracker(track=client.track, flush=lambda _timeout_s: client.flush(), said=dict)


def _segment_arguments(number: int, amount: float) -> dict[str, Any]:
    return {
        "user_id": f"shopper-{number}",
        "event": "Product Added",
        "properties": _product(number, amount),
        "context": {
            "device": {"id": f"{number:032x}", "model": "iPhone"},
            "os": {"name": "iOS", "version": "17.5"},
            "userAgent": _USER_AGENT,
            "locale": "en",
        },
    }


# -- PostHog


def _posthog(place: Place) -> Tracker:
    from posthog import Posthog

    client = Posthog(place.key, host=place.url, max_queue_size=place.queue_max)
    return Tracker(track=client.capture, flush=lambda _timeout_s: client.flush(), said=dict)


def _posthog_arguments(number: int, amount: float) -> dict[str, Any]:
    device = {
        "$device_id": f"{number:032x}",
        "$device_model": "iPhone",
        "$os": "iOS",
        "$os_version": "17.5",
        "$raw_user_agent": _USER_AGENT,
        "$browser_language": "en",
    }
    return {"event": "Product Added", "distinct_id": f"shopper-{number}", "properties": _product(number, amount) | device}


def _product(number: int, amount: float) -> dict[str, Any]:
    return {
        "product_id": f"SKU-{number}",
        "price": amount,
        "currency": "USD",
        "quantity": 2,
        "seller_id": "SELLER-7",
        "page": f"ITEM_DETAIL_PAGE:SKU-{number}",
        "channel": "SITE",
    }
