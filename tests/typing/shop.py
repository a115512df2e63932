"""A shop's code as type checkers see it. Never run; `test_typing.py` has mypy and pyright judge it.

Lines marked `error` must be refused: mypy reports an ignore that is not needed, so each proves something.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_type

import footfall
from footfall import (
    AddToCart,
    Answer,
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

client.insert_event(event_typ="HOME")  # type: ignore[call-arg]  # error
client.insert_event(event_type=7)  # type: ignore[arg-type]  # error
AddToCart(channel_type="SITE")  # type: ignore[call-arg]  # error
AddToCart(channel_type="SITE", items=[Item(id="a")], userid="u")  # type: ignore[call-arg]  # error
Client("SHOP", "key")  # type: ignore[call-arg]  # error


async def asynchronous() -> None:
    async with AsyncClient(platform_id="SHOP", api_key="key", region="sel") as sender:
        assert_type(await sender.insert_event(event_type="HOME"), Answer)


try:
    client.insert_event(event_type="HOME")
except BadRequestError as error:
    assert_type(error.violations, tuple[Violation, ...])
    assert_type(error.status, int)

assert_type(footfall.hash_identifier("a", b"k"), str)
assert_type(footfall.__version__, str)
