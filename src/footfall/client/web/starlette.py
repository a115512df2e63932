"""The shopper of a Starlette or FastAPI application.

from footfall.client.web import shopper
from footfall.client.web.starlette import FootfallMiddleware

app.add_middleware(FootfallMiddleware, outbox=outbox, user=lambda request: request.session.get("customer"))

@app.post("/cart/{sku}")
async def add(sku: str):
    shopper().track(event_type="ADD_TO_CART", items=[Item(id=sku, quantity=1)])
"""

from __future__ import annotations

from typing import Unpack

from starlette.requests import HTTPConnection

from footfall.client.web import asgi
from footfall.client.web.settings import Options
from footfall.client.web.shopper import Target


class FootfallMiddleware(asgi.FootfallMiddleware):
    """The ASGI middleware; `user` and `consent` are given Starlette's request (an `HTTPConnection`, without the body)."""

    def __init__(self, app: asgi.Application, outbox: Target, **options: Unpack[Options]) -> None:
        super().__init__(app, outbox, request_of=HTTPConnection, **options)
