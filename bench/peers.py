"""The servers that `ingest_single` is compared with, each run as `python -m bench.peers NAME PORT` in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


class EmptyApp:
    """Reads the body, answers an empty 200: what the HTTP server and the event loop cost without us."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        await protocol()
        protocol.response_bytes(200, [("content-type", "application/json")], b"{}")


async def serve_empty(port: int) -> None:
    """The same listener with the same settings as the product."""
    from footfall.server.listener import Listener
    from footfall.server.settings import LimitSettings

    limits = LimitSettings()
    listener = Listener(
        EmptyApp(),
        host="127.0.0.1",
        port=port,
        connections_max=limits.connections_max,
        idle_timeout_s=limits.idle_timeout_s,
        header_bytes_max=limits.header_bytes_max,
    )
    await listener.start()
    await asyncio.Event().wait()


def serve_fastapi(port: int) -> None:
    """What a team writes in an afternoon: pydantic models of the same event, a key check, nothing stored."""
    import uvicorn
    from fastapi import FastAPI, Header, HTTPException
    from pydantic import BaseModel

    class Money(BaseModel):
        currency: str
        amount: float

    class Item(BaseModel):
        id: str = ""
        item_group_id: str = ""
        price: Money | None = None
        quantity: int = 0
        seller_id: str = ""

    class Device(BaseModel):
        os: str = ""
        os_version: str = ""
        model: str = ""
        ua: str = ""
        language: str = ""
        persistent_id: str = ""

    class Event(BaseModel):
        id: str = ""
        event_type: str
        timestamp: int
        channel_type: str
        user_id: str = ""
        device: Device | None = None
        items: list[Item] = []
        page_id: str = ""

    app = FastAPI()

    @app.post("/rmp/event/v1/platforms/{platform}/userevents")
    async def insert(platform: str, event: Event, x_api_key: str = Header()) -> dict[str, str]:
        if not x_api_key or not event.user_id:
            raise HTTPException(400)
        return {}

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


if __name__ == "__main__":
    name, port = sys.argv[1], int(sys.argv[2])
    if name == "empty":
        asyncio.run(serve_empty(port))
    else:
        serve_fastapi(port)
