"""What a team writes in an afternoon: pydantic models of the same event, a check that a key is there; and, where a database is
given, one INSERT a request, committed before the answer.

The models stand at the level of the module: FastAPI resolves annotations there, and would take a model made inside a function for
a query parameter, and answer 422 to everything.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel

TABLE = """
create table user_event (
    platform text not null, id text not null, event_type text not null, ts bigint not null, body jsonb not null
)
"""
INSERT = "insert into user_event (platform, id, event_type, ts, body) values ($1, $2, $3, $4, $5)"
POOL_CONNECTIONS = 20
"""Best of 4, 10, 20 and 40 with everything on one core."""


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


def serve(port: int, *, database: str | None) -> None:
    """Runs until a signal. `database` is the directory of a PostgreSQL server's socket; None stores nothing."""
    app = _app(None if database is None else _pool(database))
    # httptools and uvloop are used where they are installed
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def _pool(database: str) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    import asyncpg  # type: ignore[import-untyped]  # ships no types

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(
            host=database, user="footfall", database="postgres", min_size=POOL_CONNECTIONS, max_size=POOL_CONNECTIONS
        ) as pool:
            app.state.pool = pool
            yield

    return lifespan


def _app(lifespan: Any) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    path = "/rmp/event/v1/platforms/{platform}/userevents"

    @app.get("/")
    async def root() -> dict[str, str]:
        return {}

    if lifespan is None:

        @app.post(path)
        async def check(platform: str, event: Event, x_api_key: Annotated[str, Header()]) -> dict[str, str]:
            if not x_api_key or not event.user_id:
                raise HTTPException(400)
            return {}

    else:

        @app.post(path)
        async def insert(platform: str, event: Event, x_api_key: Annotated[str, Header()]) -> dict[str, str]:
            if not x_api_key or not event.user_id:
                raise HTTPException(400)
            body = event.model_dump_json(exclude_defaults=True)
            await app.state.pool.execute(INSERT, platform, event.id, event.event_type, event.timestamp, body)
            return {}

    return app
