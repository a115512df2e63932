"""One constructor for each event type, so that an editor knows what the type needs: the result is a plain `Event`.

What the service requires is a required keyword; what all events share is listed once, in `Common`. Named like classes because
they read like ones: `client.insert_event(Search(channel_type="SITE", user_id="u-1", search_query="boots"))`.
"""
# ruff: noqa: N802 - the names are those of event types, which read as things

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack

from footfall.client.wire import check_keywords, timestamp_ms
from footfall.events.schema import Device, Event, Item, Money

Price = Money | str | int | float | Decimal
"""An amount; bare numbers need `Client(currency=…)`."""


class Common(TypedDict, total=False):
    """What every event may say besides its type. One of `user_id`, `device.persistent_id` and `custom_id` is needed."""

    id: str
    """Up to 128 characters, never used twice; made when absent."""
    timestamp: int | datetime
    """Milliseconds since 1970, or a datetime with a zone; now when absent."""
    domain: str
    user_id: str
    device: Device
    session_id: str
    """Deprecated by the service in favour of `custom_id`."""
    custom_id: str
    decision_track_id: str
    personalization_mode: str
    """STANDARD, METRIC_ONLY or ID_LESS."""
    extra: dict[str, Any]
    """Members nobody knows, by path."""


class Members(TypedDict, total=False):
    """What `insert_event` takes as keywords: the published members of an event."""

    id: str | None
    event_type: str
    timestamp: int | str | datetime | None
    channel_type: str
    domain: str | None
    user_id: str | None
    device: Device | Mapping[str, Any] | None
    items: Sequence[Item | Mapping[str, Any]] | None
    revenue: Price | Mapping[str, Any] | None
    search_query: str | None
    session_id: str | None
    custom_id: str | None
    page_id: str | None
    referrer_page_id: str | None
    shipping_charge: Price | Mapping[str, Any] | None
    decision_track_id: str | None
    personalization_mode: str | None
    extra: Mapping[str, Any]


def AddToCart(
    *, channel_type: str, items: Sequence[Item], page_id: str = "", referrer_page_id: str = "", **common: Unpack[Common]
) -> Event:
    """Items went into the cart. Each item has an `id` or an `item_group_id`, and should have a price and a quantity."""
    return _event("ADD_TO_CART", channel_type, common, items=tuple(items), page_id=page_id, referrer_page_id=referrer_page_id)


def AddToWishlist(
    *, channel_type: str, items: Sequence[Item], page_id: str = "", referrer_page_id: str = "", **common: Unpack[Common]
) -> Event:
    """Items went onto the wish list. Each item has an `id` or an `item_group_id`."""
    return _event("ADD_TO_WISHLIST", channel_type, common, items=tuple(items), page_id=page_id, referrer_page_id=referrer_page_id)


def ItemPageView(
    *, channel_type: str, items: Sequence[Item], page_id: str = "", referrer_page_id: str = "", **common: Unpack[Common]
) -> Event:
    """The page of a product was seen: `items` holds that product."""
    return _event("ITEM_PAGE_VIEW", channel_type, common, items=tuple(items), page_id=page_id, referrer_page_id=referrer_page_id)


def Purchase(
    *,
    channel_type: str,
    items: Sequence[Item],
    revenue: Price | None = None,
    shipping_charge: Price | None = None,
    page_id: str = "",
    referrer_page_id: str = "",
    **common: Unpack[Common],
) -> Event:
    """Items were bought. `revenue` is the sum of price × quantity, and should be there; `shipping_charge` comes on top."""
    return _event(
        "PURCHASE",
        channel_type,
        common,
        items=tuple(items),
        revenue=revenue,
        shipping_charge=shipping_charge,
        page_id=page_id,
        referrer_page_id=referrer_page_id,
    )


def Search(
    *,
    channel_type: str,
    search_query: str,
    items: Sequence[Item] = (),
    page_id: str = "",
    referrer_page_id: str = "",
    **common: Unpack[Common],
) -> Event:
    """A keyword was searched for; `page_id` names the category when the search was in one."""
    return _event(
        "SEARCH",
        channel_type,
        common,
        search_query=search_query,
        items=tuple(items),
        page_id=page_id,
        referrer_page_id=referrer_page_id,
    )


def Home(*, channel_type: str, page_id: str = "", referrer_page_id: str = "", **common: Unpack[Common]) -> Event:
    """The main page was seen."""
    return _event("HOME", channel_type, common, page_id=page_id, referrer_page_id=referrer_page_id)


def Land(*, channel_type: str, referrer_page_id: str = "", page_id: str = "", **common: Unpack[Common]) -> Event:
    """Somebody arrived from outside; `referrer_page_id` says whence, and should be there."""
    return _event("LAND", channel_type, common, page_id=page_id, referrer_page_id=referrer_page_id)


def PageView(*, channel_type: str, page_id: str, referrer_page_id: str = "", **common: Unpack[Common]) -> Event:
    """Any other page was seen. `page_id` is the one that ad decisions for the page use."""
    return _event("PAGE_VIEW", channel_type, common, page_id=page_id, referrer_page_id=referrer_page_id)


def _event(event_type: str, channel_type: str, common: Common, **own: Any) -> Event:
    check_keywords(common)
    members: dict[str, Any] = {name: value for name, value in common.items() if value is not None}
    members["timestamp"] = timestamp_ms(members.get("timestamp"))
    return Event(event_type=event_type, channel_type=channel_type, **members, **own)
