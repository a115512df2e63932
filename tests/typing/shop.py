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
    Purchase,
    Report,
    Violation,
)

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
