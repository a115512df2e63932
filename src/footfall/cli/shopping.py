"""A shop that does not exist and the people in it: from a seed to an endless stream of events, as an integration sends them.

    land or home ─▶ ( category? ─▶ search ─▶ item, item, item … cart? wish? sign in? ) × 1 to 4 ─▶ cart, purchase?

Pure: the same seed gives the same people doing the same things in the same order, on any machine; there is no clock here, so the
events carry everything but a `timestamp`. Several shoppers are in the shop at a time and their events interleave. Every event is
what a careful sender would send: nothing in it is refused or warned of, and about two hundred turn the whole go-live table green.

The mix is that of `MIX`; a test counts it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

MIX: Final = {
    "ITEM_PAGE_VIEW": 0.35,
    "SEARCH": 0.20,
    "PAGE_VIEW": 0.15,
    "HOME": 0.10,
    "ADD_TO_CART": 0.10,
    "LAND": 0.04,
    "PURCHASE": 0.03,
    "ADD_TO_WISHLIST": 0.03,
}
"""What of a hundred events is of which type, to within two in a hundred."""
CURRENCY: Final = "USD"

_SHOPPERS_AT_A_TIME: Final = 12
_ITEMS: Final = 2_000
_SELLERS: Final = 80
_CUSTOMERS: Final = 100_000
_SHIPPING_CENTS: Final = 499
_CATEGORIES: Final = ("shoes", "bags", "jackets", "lamps", "chairs", "toys", "books", "headphones", "knives", "tents")
_ADJECTIVES: Final = ("red", "light", "wooden", "waterproof", "small", "cheap", "vintage", "children's")
_REFERRERS: Final = ("https://www.google.com/", "https://duckduckgo.com/", "https://news.example.com/", "newsletter:autumn")
_LANGUAGES: Final = ("en", "de", "ko", "ja", "fr")


class _Model(msgspec.Struct, frozen=True):
    """What a shopper holds, and the channel it speaks through."""

    channel: str
    os: str
    os_version: str
    model: str
    ua: str


_MODELS: Final = (
    _Model("APP", "iOS", "17.5.1", "iPhone15,2", "ExampleShop/4.2 (iPhone; iOS 17.5.1)"),
    _Model("APP", "Android", "14", "Pixel 8", "ExampleShop/4.2 (Linux; Android 14; Pixel 8)"),
    _Model("APP", "Android", "13", "SM-S911B", "ExampleShop/4.1 (Linux; Android 13; SM-S911B)"),
    _Model("SITE", "Windows", "10", "", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    _Model("SITE", "macOS", "14.5", "", "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.5; rv:128.0) Gecko/20100101 Firefox/128.0"),
    _Model("SITE", "Linux", "", "", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    _Model("SITE", "Android", "14", "", "Mozilla/5.0 (Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0"),
)


class _Product(msgspec.Struct, frozen=True):
    """One thing on sale."""

    id: str
    group: str
    category: str
    seller: str
    cents: int


def sessions(seed: int) -> Iterator[dict[str, Any]]:
    """Events without end, ready to be encoded once each has its `timestamp`; `id` is set. About 5 µs an event."""
    chance = random.Random(seed)  # noqa: S311 - nobody's secret
    shop = _products(chance)
    visits = [_visit(chance, shop) for _ in range(_SHOPPERS_AT_A_TIME)]
    while True:
        index = chance.randrange(_SHOPPERS_AT_A_TIME)
        event = next(visits[index], None)
        if event is None:
            visits[index] = _visit(chance, shop)
        else:
            yield event


def _products(chance: random.Random) -> list[_Product]:
    return [
        _Product(
            id=f"sku-{number:05}",
            group=f"group-{number // 4:04}",
            category=chance.choice(_CATEGORIES),
            seller=f"seller-{chance.randrange(_SELLERS):02}",
            cents=chance.randrange(199, 29_999),
        )
        for number in range(_ITEMS)
    ]


def _visit(chance: random.Random, shop: list[_Product]) -> Iterator[dict[str, Any]]:
    """One shopper, from the door to the till or away."""
    shopper = _Shopper(chance)
    yield from shopper.arrive()
    for _ in range(chance.randrange(1, 5)):
        yield from _round(chance, shopper, shop)
    if shopper.cart and chance.random() < 0.6:
        yield from shopper.buy()


def _round(chance: random.Random, shopper: _Shopper, shop: list[_Product]) -> Iterator[dict[str, Any]]:
    """Something is looked for, found, and perhaps wanted."""
    category = chance.choice(_CATEGORIES)
    if chance.random() < 0.60:
        yield shopper.see(f"CATEGORY_PAGE:{category}")
    for _ in range(chance.choice((0, 1, 1, 1, 1, 2))):
        yield shopper.search(f"{chance.choice(_ADJECTIVES)} {category}")
    for _ in range(chance.choice((1, 1, 2, 2, 3))):
        product = shop[min(int(chance.expovariate(4 / _ITEMS)), _ITEMS - 1)]  # a few things are what most people look at
        yield shopper.view(product)
        if chance.random() < 0.285:
            yield shopper.take(product)
        elif chance.random() < 0.13:
            yield shopper.wish(product)
    if shopper.may_sign_in and chance.random() < 0.5:
        shopper.sign_in()
    if chance.random() < 0.16:
        yield shopper.go_home()


class _Shopper:
    """Who it is, what they hold, where they are, what is in the cart: all that an event tells of its sender."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        model = chance.choice(_MODELS)
        self._channel = model.channel
        self._device = {
            "persistent_id": f"{chance.getrandbits(128):032x}",
            "os": model.os,
            "os_version": model.os_version,
            "model": model.model,
            "ua": model.ua,
            "language": chance.choice(_LANGUAGES),
        }
        self._device = {name: value for name, value in self._device.items() if value}
        # as hash_identifier makes them: 64 digits that name one customer for ever
        self._customer = f"{random.Random(chance.randrange(_CUSTOMERS)).getrandbits(256):064x}"  # noqa: S311
        habit = chance.random()
        self._user_id = self._customer if habit < 0.3 else ""
        self.may_sign_in = 0.3 <= habit < 0.7
        self._page = ""
        self.cart: dict[str, tuple[_Product, int]] = {}

    def arrive(self) -> Iterator[dict[str, Any]]:
        if self._chance.random() < 0.5:
            self._page = self._chance.choice(_REFERRERS)
            yield self._event("LAND", page="LANDING_PAGE")
        if self._chance.random() < 0.78:
            yield self.go_home()

    def sign_in(self) -> None:
        """From here on the same browser or device is known by name, too: what came before can be joined."""
        self._user_id, self.may_sign_in = self._customer, False

    def go_home(self) -> dict[str, Any]:
        return self._event("HOME", page="HOME_PAGE")

    def see(self, page: str) -> dict[str, Any]:
        return self._event("PAGE_VIEW", page=page)

    def search(self, query: str) -> dict[str, Any]:
        return self._event("SEARCH", page="SEARCH_PAGE", search_query=query)

    def view(self, product: _Product) -> dict[str, Any]:
        return self._event("ITEM_PAGE_VIEW", page=f"ITEM_PAGE:{product.id}", items=[_item(product, 1)])

    def take(self, product: _Product) -> dict[str, Any]:
        quantity = self._chance.choice((1, 1, 1, 1, 2, 3))
        self.cart[product.id] = (product, quantity + self.cart.get(product.id, (product, 0))[1])
        return self._event("ADD_TO_CART", page=self._page, items=[_item(product, quantity)])

    def wish(self, product: _Product) -> dict[str, Any]:
        return self._event("ADD_TO_WISHLIST", page=self._page, items=[_item(product, 1)])

    def buy(self) -> Iterator[dict[str, Any]]:
        yield self.see("CART_PAGE")
        items = [_item(product, quantity) for product, quantity in self.cart.values()]
        cents = sum(product.cents * quantity for product, quantity in self.cart.values())
        paid: dict[str, Any] = {"items": items, "revenue": _money(cents)}
        if cents < 5_000:
            paid["shipping_charge"] = _money(_SHIPPING_CENTS)
        self.cart = {}
        yield self._event("PURCHASE", page="CHECKOUT_PAGE", **paid)

    def _event(self, event_type: str, *, page: str, **members: Any) -> dict[str, Any]:
        event = {
            "id": f"{self._chance.getrandbits(128):032x}",
            "event_type": event_type,
            "channel_type": self._channel,
            "device": self._device,
            "page_id": page,
            **members,
        }
        if self._user_id:
            event["user_id"] = self._user_id
        if self._page and self._page != page:
            event["referrer_page_id"] = self._page
        self._page = page
        return event


def _item(product: _Product, quantity: int) -> dict[str, Any]:
    return {
        "id": product.id,
        "item_group_id": product.group,
        "price": _money(product.cents),
        "quantity": quantity,
        "seller_id": product.seller,
    }


def _money(cents: int) -> dict[str, Any]:
    return {"currency": CURRENCY, "amount": cents / 100}  # the shortest form of such a float is the amount itself
