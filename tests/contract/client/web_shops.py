"""One and the same shop in every framework, each behind its own test client, so that one suite can judge all of them.

A shop is `open_shop(name, target, **options)`; its `get` is one request of a browser that keeps no cookies by itself. The pages:

    /track       one HOME            /twice      two events         /quiet      none
    /me          the persistent id, read before anything is tracked
    /fields      an event whose members the query gives
    /thread      an event tracked from a thread of the handler's own
"""

from __future__ import annotations

import asyncio
import json
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl
from wsgiref.util import setup_testing_defaults

import pytest

from footfall.client.web import asgi, shopper, wsgi

NAMES = ("wsgi", "asgi", "flask", "django", "django-async", "starlette", "fastapi", "fastapi-threads")
PEER = "198.51.100.7"


class Kept:
    """A target that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def track(self, **fields: Any) -> str:
        self.events.append(fields)
        return f"e-{len(self.events)}"

    @property
    def event(self) -> dict[str, Any]:
        """The only one."""
        (event,) = self.events
        return event


class Page(NamedTuple):
    """An answer: its headers in order, names in lower case."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def all(self, name: str) -> list[str]:
        return [value for header, value in self.headers if header == name]

    @property
    def cookie(self) -> str:
        """The `Set-Cookie` of ours, `""` for none."""
        (found,) = [value for value in self.all("set-cookie") if value.startswith("footfall_id=")] or [""]
        return found

    @property
    def id(self) -> str:
        return self.cookie.partition(";")[0].partition("=")[2].strip('"')


Get = Callable[..., Page]
"""`get(path, headers={}, peer=…, https=True)`"""


def page(path: str, query: str = "") -> str:
    """What every shop does for a path, whatever its framework; the text is its page."""
    if path in ("/track", "/twice"):
        for _ in range(1 if path == "/track" else 2):
            shopper().track(event_type="HOME")
    if path == "/me":
        return shopper().persistent_id
    if path == "/fields":
        return shopper().track(event_type="SEARCH", **json.loads(dict(parse_qsl(query))["fields"]))
    if path == "/thread":
        person = shopper()
        thread = threading.Thread(target=lambda: person.track(event_type="HOME"))
        thread.start()
        thread.join()
    return "<p>hello</p>"


def open_shop(name: str, target: Any, **options: Any) -> Get:
    return _OPENERS[name](target, **options)


def _open_wsgi(target: Any, **options: Any) -> Get:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = page(environ["PATH_INFO"], environ["QUERY_STRING"])
        start_response("200 OK", [("Content-Type", "text/html")])
        return [body.encode()]

    shop = wsgi.FootfallMiddleware(app, target, **options)

    def get(path: str, headers: Mapping[str, str] = {}, *, peer: str = PEER, https: bool = True) -> Page:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "REMOTE_ADDR": peer}
        environ["wsgi.url_scheme"] = "https" if https else "http"
        environ |= {f"HTTP_{key.upper().replace('-', '_')}": value for key, value in headers.items()}
        setup_testing_defaults(environ)
        seen: list[Any] = []
        body = b"".join(shop(environ, lambda *answer: seen.append(answer)))  # type: ignore[arg-type, return-value]
        return Page(int(seen[0][0][:3]), [(key.lower(), value) for key, value in seen[0][1]], body.decode())

    return get


def _open_asgi(target: Any, **options: Any) -> Get:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = page(scope["path"], scope["query_string"].decode())
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", b"text/html")]})
        await send({"type": "http.response.body", "body": body.encode()})

    return _through_asgi(asgi.FootfallMiddleware(app, target, **options))


def _through_asgi(app: Any) -> Get:
    """One request as an ASGI server hands it over."""

    def get(path: str, headers: Mapping[str, str] = {}, *, peer: str = PEER, https: bool = True) -> Page:
        path, _, query = path.partition("?")
        sent: list[Any] = []
        waiting = [{"type": "http.request", "body": b""}]

        async def receive() -> Any:
            if not waiting:
                await asyncio.Event().wait()  # the browser stays
            return waiting.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "GET",
            "scheme": "https" if https else "http",
            "path": path,
            "query_string": query.encode(),
            "client": (peer, 5) if peer else None,
            "headers": [(key.lower().encode(), value.encode("latin-1")) for key, value in headers.items()],
        }
        asyncio.run(app(scope, receive, send))
        head = [(key.decode().lower(), value.decode()) for key, value in sent[0]["headers"]]
        return Page(sent[0]["status"], head, b"".join(message["body"] for message in sent[1:]).decode())

    return get


def _open_flask(target: Any, **options: Any) -> Get:
    flask = pytest.importorskip("flask", reason="Flask is not installed")
    from footfall.client.web.flask import init

    app = flask.Flask("shop")
    init(app, target, **options)

    @app.get("/<path:name>")
    def show(name: str) -> str:
        return page(f"/{name}", flask.request.query_string.decode())

    def get(path: str, headers: Mapping[str, str] = {}, *, peer: str = PEER, https: bool = True) -> Page:
        answer = app.test_client(use_cookies=False).get(
            path,
            headers=dict(headers),
            base_url="https://shop.example" if https else "http://shop.example",
            environ_overrides={"REMOTE_ADDR": peer},
        )
        return Page(answer.status_code, [(key.lower(), value) for key, value in answer.headers], answer.text)

    return get


def _open_django(target: Any, *, is_async: bool = False, **options: Any) -> Get:
    pytest.importorskip("django", reason="Django is not installed")
    from django.core.asgi import get_asgi_application
    from django.test import Client, override_settings

    from tests.contract.client import web_django

    urls = web_django.ASYNC_URLS if is_async else web_django.URLS
    chosen = override_settings(FOOTFALL={"outbox": target, **options}, ROOT_URLCONF=urls)

    def get(path: str, headers: Mapping[str, str] = {}, *, peer: str = PEER, https: bool = True) -> Page:
        with chosen:
            if is_async:
                return _through_asgi(get_asgi_application())(path, headers, peer=peer, https=https)
            answer = Client().get(path, secure=https, headers=dict(headers), REMOTE_ADDR=peer)
        head = [(key.lower(), value) for key, value in answer.headers.items()]
        head += [("set-cookie", morsel.OutputString()) for morsel in answer.cookies.values()]
        return Page(answer.status_code, head, answer.content.decode())

    return get


def _open_starlette(target: Any, **options: Any) -> Get:
    pytest.importorskip("starlette", reason="Starlette is not installed")
    from starlette.applications import Starlette
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    from footfall.client.web.starlette import FootfallMiddleware

    async def show(request: Any) -> Any:
        return HTMLResponse(page(request.url.path, request.url.query))

    app = Starlette(routes=[Route("/{name}", show)])
    app.add_middleware(FootfallMiddleware, outbox=target, **options)
    return _through_starlette(app)


def _open_fastapi(target: Any, *, threads: bool = False, **options: Any) -> Get:
    pytest.importorskip("fastapi", reason="FastAPI is not installed")
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse

    from footfall.client.web.starlette import FootfallMiddleware

    app = FastAPI()
    app.add_middleware(FootfallMiddleware, outbox=target, **options)

    def show(name, request):  # type: ignore[no-untyped-def]
        return page(f"/{name}", request.url.query)

    async def show_async(name, request):  # type: ignore[no-untyped-def]
        return page(f"/{name}", request.url.query)

    handler = show if threads else show_async  # a plain function runs in a thread of the pool
    handler.__annotations__ = {"name": str, "request": Request}
    app.get("/{name}", response_class=HTMLResponse)(handler)
    return _through_starlette(app)


def _through_starlette(app: Any) -> Get:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the HTTP library that the test client is moving to
        testclient = pytest.importorskip("starlette.testclient", reason="Starlette's test client needs httpx")

    def get(path: str, headers: Mapping[str, str] = {}, *, peer: str = PEER, https: bool = True) -> Page:
        base_url = "https://shop.example" if https else "http://shop.example"
        client = testclient.TestClient(app, base_url=base_url, client=(peer, 5))
        sent = {"user-agent": "", **{key.lower(): value for key, value in headers.items()}}
        answer = client.get(path, headers={key.encode(): value.encode("latin-1") for key, value in sent.items()})
        return Page(answer.status_code, [(key.lower(), value) for key, value in answer.headers.multi_items()], answer.text)

    return get


_OPENERS: dict[str, Callable[..., Get]] = {
    "wsgi": _open_wsgi,
    "asgi": _open_asgi,
    "flask": _open_flask,
    "django": _open_django,
    "django-async": lambda target, **options: _open_django(target, is_async=True, **options),
    "starlette": _open_starlette,
    "fastapi": _open_fastapi,
    "fastapi-threads": lambda target, **options: _open_fastapi(target, threads=True, **options),
}
