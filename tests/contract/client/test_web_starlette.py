"""What is Starlette's own: sessions, background tasks, middleware of both kinds around it."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

pytest.importorskip("starlette", reason="Starlette is not installed")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about the HTTP library that the test client is moving to
    TestClient = pytest.importorskip("starlette.testclient", reason="Starlette's test client needs httpx").TestClient

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route

from footfall.client.web import shopper
from footfall.client.web.starlette import FootfallMiddleware
from tests.contract.client.web_shops import Kept


class NamingMiddleware:
    """What a session middleware does: puts who it is into the scope."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        scope["session"] = {"customer": "anna"}
        await self.app(scope, receive, send)


@pytest.mark.parametrize("names_first", [True, False])
def test_the_session_is_there_whatever_the_order_of_middleware(names_first: bool) -> None:
    kept = Kept()

    async def show(request: Any) -> Any:
        shopper().track(event_type="HOME")
        return PlainTextResponse("")

    app = Starlette(routes=[Mount("/shop", routes=[Route("/", show)])])
    user = {"user": lambda request: request.session["customer"]}
    app.add_middleware(NamingMiddleware) if names_first else None
    app.add_middleware(FootfallMiddleware, kept, **user)
    app.add_middleware(NamingMiddleware) if not names_first else None
    TestClient(app).get("/shop/")
    assert kept.event["user_id"] == "anna"


def test_background_tasks_keep_the_person_of_the_request() -> None:
    kept = Kept()

    def late() -> None:
        shopper().track(event_type="PURCHASE")

    async def show(request: Any) -> Any:
        shopper().track(event_type="HOME")
        return PlainTextResponse("", background=BackgroundTask(late))

    app = Starlette(routes=[Route("/", show)])
    app.add_middleware(FootfallMiddleware, outbox=kept)
    client = TestClient(app)
    client.get("/")
    client.get("/")  # the test client keeps cookies as a browser does
    assert [event["event_type"] for event in kept.events] == ["HOME", "PURCHASE"] * 2
    assert len({event["device"].persistent_id for event in kept.events}) == 1


def test_a_streamed_body_has_its_person() -> None:
    kept = Kept()

    async def show(request: Any) -> Any:
        person = shopper()
        assert person.persistent_id

        async def body() -> Any:
            yield "a"
            shopper().track(event_type="HOME")

        return StreamingResponse(body())

    app = Starlette(routes=[Route("/", show)])
    app.add_middleware(FootfallMiddleware, outbox=kept)
    answer = TestClient(app).get("/")
    assert kept.event["device"].persistent_id == answer.cookies["footfall_id"]
