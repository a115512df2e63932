"""What is an ASGI application's own: tasks after the answer, web sockets, the lifespan."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from footfall.client.web import shopper
from footfall.client.web.asgi import FootfallMiddleware
from tests.contract.client.web_shops import PEER, Kept

ID = "0e4ee0b4-6f3a-4d5e-8c1b-2f6a7b8c9d0e"


def scope(kind: str = "http", **members: Any) -> dict[str, Any]:
    return {"type": kind, "scheme": "https", "path": "/", "client": (PEER, 5), "headers": [], **members}


async def receive() -> Any:
    return {"type": "http.request", "body": b""}


class Sent:
    """What the server was sent."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def names(self) -> list[bytes]:
        return [name for name, _ in self.messages[0].get("headers", [])]


async def answer(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_a_task_that_outlives_the_answer_keeps_its_person() -> None:
    kept, tasks = Kept(), []

    async def late() -> None:
        await asyncio.sleep(0)
        shopper().track(event_type="HOME")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shopper().track(event_type="HOME")
        tasks.append(asyncio.create_task(late()))
        await answer(send)
        shopper().track(event_type="HOME")

    async def run() -> None:
        await FootfallMiddleware(app, kept)(scope(), receive, Sent())
        await tasks[0]
        assert shopper().track(event_type="HOME") == ""  # the server itself serves nobody

    asyncio.run(run())
    assert len({event["device"] for event in map(_frozen, kept.events)}) == 1
    assert len(kept.events) == 3


def _frozen(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "device": repr(event["device"])}


def test_a_new_person_met_only_after_the_answer_passes_under_a_custom_id() -> None:
    kept, sent = Kept(), Sent()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await answer(send)
        shopper().track(event_type="HOME")

    asyncio.run(FootfallMiddleware(app, kept)(scope(), receive, sent))
    assert kept.event["custom_id"]
    assert kept.event["device"].persistent_id == ""
    assert sent.names == []


def test_two_requests_on_one_loop_are_two_people() -> None:
    kept, both = Kept(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shopper().track(event_type="HOME", page_id=scope["path"])
        if scope["path"] == "/b":
            both.set()
        await both.wait()
        shopper().track(event_type="HOME", page_id=scope["path"])
        await answer(send)

    async def run() -> None:
        shop = FootfallMiddleware(app, kept)
        await asyncio.gather(*(shop(scope(path=path), receive, Sent()) for path in ("/a", "/b")))

    asyncio.run(run())
    ids = {event["page_id"]: event["device"].persistent_id for event in kept.events}
    assert ids["/a"] != ids["/b"]
    assert all(ids[event["page_id"]] == event["device"].persistent_id for event in kept.events)


def test_a_web_socket_sets_its_cookie_when_it_is_accepted() -> None:
    kept, sent = Kept(), Sent()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shopper().track(event_type="HOME")
        await send({"type": "websocket.accept"})
        shopper().track(event_type="HOME")

    asyncio.run(FootfallMiddleware(app, kept)(scope("websocket", scheme="wss"), receive, sent))
    assert sent.names == [b"set-cookie", b"vary"]
    assert b"Secure" in sent.messages[0]["headers"][0][1]
    assert len({event["device"].persistent_id for event in kept.events}) == 1


def test_the_lifespan_has_no_person() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert shopper().track(event_type="HOME") == ""

    kept = Kept()
    asyncio.run(FootfallMiddleware(app, kept)({"type": "lifespan"}, receive, Sent()))
    assert kept.events == []


def test_nobody_stays_behind_when_the_application_fails() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError("the shop's own")

    async def run() -> None:
        with pytest.raises(LookupError):
            await FootfallMiddleware(app, Kept())(scope(), receive, Sent())
        assert shopper().track(event_type="HOME") == ""

    asyncio.run(run())


def test_headers_in_several_lines_are_one() -> None:
    """Browsers split cookies over HTTP/2, and proxies add lines of their own."""
    kept = Kept()
    lines = [(b"cookie", b"a=b"), (b"x-forwarded-for", b"6.6.6.6"), (b"cookie", f"footfall_id={ID}".encode())]
    lines += [(b"x-forwarded-for", b"192.0.2.1"), (b"user-agent", b"caf\xc3\xa9 \xff")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shopper().track(event_type="HOME")

    asyncio.run(FootfallMiddleware(app, kept, trusted_proxies=1)(scope(headers=lines), receive, Sent()))
    device = kept.event["device"]
    assert (device.persistent_id, device.ip, device.ua) == (ID, "192.0.2.1", "caf\u00c3\u00a9 \u00ff")
