"""The shopper of an ASGI application: any framework that has one, and the ground of the Starlette module. Imports no framework.

The shopper is there until the application has ended, which in Starlette is after its background tasks; tasks that it starts keep
their shopper for as long as they run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Unpack

from footfall.client.web.settings import Options
from footfall.client.web.shopper import Shopper, Target, current, entrance
from footfall.client.web.visit import Arrival

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class FootfallMiddleware:
    """`app = FootfallMiddleware(app, outbox)`. `user` and `consent` are given the scope, or what `request_of` makes of it."""

    def __init__(
        self, app: Application, outbox: Target, *, request_of: Callable[[Scope], Any] | None = None, **options: Unpack[Options]
    ) -> None:
        self._app = app
        self._entrance = entrance(outbox, options)
        self._request_of = request_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request = self._request_of(scope) if self._request_of else scope
        person = Shopper(self._entrance, arrival=_arrival(scope), request=request)

        async def send_signed(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.accept"):
                message = _signed(message, person)
            await send(message)

        token = current.set(person)
        try:
            await self._app(scope, receive, send_signed)
        finally:
            current.reset(token)


def _arrival(scope: Scope) -> Arrival:
    client = scope.get("client")
    return Arrival(
        header=_Headers(scope),
        peer=client[0] or "" if client else "",
        is_secure=scope.get("scheme") in ("https", "wss"),
    )


class _Headers:
    """The headers of a scope by name, put in order when the first is asked for: most requests track nothing."""

    __slots__ = ("_scope", "_values")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._values: dict[str, str] | None = None

    def __call__(self, name: str) -> str:
        values = self._values
        if values is None:
            values = {}
            for key, value in self._scope["headers"]:
                header, text = key.decode("latin-1").lower(), value.decode("latin-1")
                joint = "; " if header == "cookie" else ", "
                values[header] = f"{values[header]}{joint}{text}" if header in values else text
            self._values = values
        return values.get(name, "")


def _signed(message: Message, person: Shopper) -> Message:
    headers: list[tuple[bytes, bytes]] = [*(message.get("headers") or ())]
    content_type = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    added = person.headers(content_type.decode("latin-1"))
    return {**message, "headers": [*headers, *((name.lower().encode(), value.encode()) for name, value in added)]}
