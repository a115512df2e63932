"""A shop's code as type checkers see it. Never run; `test_typing.py` has mypy and pyright judge it.

Lines marked `error` must be refused: mypy reports an ignore that is not needed, so each proves something.
"""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import assert_type

import footfall
from footfall import (
    AddToCart,
    Answer,
    ApiError,
    AsyncClient,
    BadRequestError,
    Client,
    Device,
    Event,
    Item,
    Money,
    Outbox,
    Purchase,
    Report,
    Stats,
    Violation,
)
from footfall.client.web import Shopper, shopper
from footfall.client.web.asgi import Application
from footfall.client.web.asgi import FootfallMiddleware as AsgiMiddleware
from footfall.client.web.wsgi import FootfallMiddleware as WsgiMiddleware
from footfall.testing import Arrival, Events, Receiver

client = Client(platform_name="shop", platform_id="SHOP_TEST", api_key="key", currency="USD", timeout_s=3, retries=2)
assert_type(Client.from_env(), Client)
assert_type(AsyncClient.from_env({"MCM_MODE": "test"}), AsyncClient)

answer = client.insert_event(
    event_type="ADD_TO_CART",
    channel_type="SITE",
    timestamp=datetime.now(UTC),
    user_id=None,
    device=Device.from_headers({"User-Agent": "x"}, ip="192.0.2.1"),
    items=[Item(id="sku-1", price=Money("USD", "19.99"), quantity=2), {"id": "sku-2", "price": 3}],
    revenue=Decimal("1.5"),
)
assert_type(answer, Answer)
assert_type(answer.report, Report | None)
if answer.report is not None:
    assert_type(answer.report.event, Event)
    assert_type(answer.report.cases, tuple[str, ...])
assert_type(AddToCart(channel_type="SITE", items=[Item(id="a")], user_id="u"), Event)
client.insert_event(Purchase(channel_type="APP", items=(Item(id="a"),), revenue=Money("USD", 3), timestamp=5))
client.insert_event({"eventType": "HOME"})
Client(platform_name="shop", platform_id="SHOP", api_key="key", proxy="http://proxy:3128", ca_file=Path("ca.pem"), debug=True)
assert_type(Client.from_env(debug=True, tls=ssl.create_default_context(), proxy=None, ca_file=None), Client)

results = client.insert_events([Event(event_type="HOME"), {"eventType": "HOME"}], batch=True)
assert_type(results, list[Answer | ApiError])
for result in results:
    assert_type(result.status, int)
    if isinstance(result, Answer):
        assert_type(result.report, Report | None)
    else:
        assert_type(result, ApiError)
        assert_type(result.message, str)
days = [Purchase(channel_type="SITE", items=[Item(id="a")], user_id=user) for user in ("a", "b")]
client.insert_events(day for day in days)

client.insert_event(event_typ="HOME")  # type: ignore[call-arg]  # error
client.insert_event(event_type=7)  # type: ignore[arg-type]  # error
client.insert_events([7])  # type: ignore[list-item]  # error
client.insert_events(days, True)  # type: ignore[call-arg]  # error
Client(platform_id="SHOP", api_key="key", region="sel", debug="yes")  # type: ignore[arg-type]  # error
Client(platform_id="SHOP", api_key="key", region="sel", tls=True)  # type: ignore[arg-type]  # error
AddToCart(channel_type="SITE")  # type: ignore[call-arg]  # error
AddToCart(channel_type="SITE", items=[Item(id="a")], userid="u")  # type: ignore[call-arg]  # error
Client("SHOP", "key")  # type: ignore[call-arg]  # error

outbox = Outbox("var/outbox", platform_name="shop", platform_id="SHOP", api_key="key", durability="disk", batch=False, exit_s=1)
assert_type(Outbox.from_env(Path("var/outbox"), {"MCM_MODE": "test"}, bytes_max=1 << 28), Outbox)
with outbox as entered:
    assert_type(entered, Outbox)
    assert_type(entered.track(event_type="HOME", channel_type="SITE", user_id=None), str)
    assert_type(entered.track(days[0]), str)
    entered.track({"eventType": "HOME"})
assert_type(outbox.flush(), bool)
assert_type(outbox.flush(timeout=2.5), bool)
stats = outbox.stats()
assert_type(stats, Stats)
assert_type(stats.waiting, int)
assert_type(stats.shed_for["full"], int)
if stats.state == "paused":
    assert_type(stats.reason, str)

outbox.track(event_typ="HOME")  # type: ignore[call-arg]  # error
outbox.track(days)  # type: ignore[arg-type]  # error
stats.waiting = 0  # type: ignore[misc]  # error
Outbox("var/outbox", region="sel", platform_id="SHOP", api_key="key", durability="tape")  # type: ignore[arg-type]  # error
Outbox(region="sel", platform_id="SHOP", api_key="key")  # type: ignore[call-arg]  # error

person = shopper()
assert_type(person, Shopper)
assert_type(person.track(event_type="SEARCH", search_query="boots"), str)
assert_type(person.persistent_id, str)
person.track(event_typ="SEARCH")  # type: ignore[call-arg]  # error
person.track(days[0])  # type: ignore[call-arg, arg-type]  # error


def wrapped(app: Application) -> AsgiMiddleware:
    AsgiMiddleware(app, outbox, trusted_proxy=1)  # type: ignore[call-arg]  # error
    AsgiMiddleware(app, client, user=None)  # type: ignore[arg-type]  # error
    return AsgiMiddleware(app, outbox, user=lambda scope: scope["user"], trusted_proxies=["10.0.0.0/8"], hash_key=b"secret")


assert_type(WsgiMiddleware(lambda environ, start: [b""], outbox, consent=lambda environ: False), WsgiMiddleware)


def test_checkout(events: Events, footfall_receiver: Receiver) -> None:
    footfall_receiver.fail(503, times=3, retry_after_s=7)
    footfall_receiver.fail("lost_answer")
    with footfall_receiver.failing("html"):
        pass
    assert_type(events.assert_one("PURCHASE", items=2, revenue="39.98"), Event)
    assert_type(events.within(10).assert_count("HOME", 3, page_id=...), tuple[Event, ...])
    assert_type(events.assert_order(["SEARCH", "PURCHASE"], user_id="u-1"), tuple[Event, ...])
    assert_type(events[0], Event)
    assert_type(footfall_receiver.arrivals, tuple[Arrival, ...])
    Outbox.from_env("var/outbox", footfall_receiver.environment, exchanges=footfall_receiver.exchanges)
    Client.from_env(footfall_receiver.environment, transport=footfall_receiver)
    footfall_receiver.fail("lost")  # type: ignore[arg-type]  # error
    events.assert_one(3)  # type: ignore[arg-type]  # error


async def asynchronous() -> None:
    async with AsyncClient(platform_id="SHOP", api_key="key", region="sel", debug=True) as sender:
        assert_type(await sender.insert_event(event_type="HOME"), Answer)
        assert_type(await sender.insert_events(days), list[Answer | ApiError])
        first, second = await asyncio.gather(sender.insert_event(days[0]), asyncio.create_task(sender.insert_event(days[1])))
        assert_type(first, Answer)
        assert_type(second, Answer)
        await sender.insert_event(event_typ="HOME")  # type: ignore[call-arg]  # error


try:
    client.insert_event(event_type="HOME")
except BadRequestError as error:
    assert_type(error.violations, tuple[Violation, ...])
    assert_type(error.status, int)

assert_type(footfall.hash_identifier("a", b"k"), str)
assert_type(footfall.__version__, str)
