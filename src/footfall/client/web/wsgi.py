"""The shopper of a WSGI application: any framework that has one, and the ground of the Flask module.

The shopper is there from the first hook of the application until its body has been read to the end, so that handlers of errors
and bodies made piece by piece can track as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from footfall.client.web.settings import Options
from footfall.client.web.shopper import Shopper, Target, current, entrance
from footfall.client.web.visit import Arrival

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


class FootfallMiddleware:
    """`app = FootfallMiddleware(app, outbox)`. `user` and `consent` are given the environ, or what `request_of` makes of it."""

    def __init__(
        self,
        app: WSGIApplication,
        outbox: Target,
        *,
        request_of: Callable[[WSGIEnvironment], Any] | None = None,
        **options: Unpack[Options],
    ) -> None:
        self._app = app
        self._entrance = entrance(outbox, options)
        self._request_of = request_of

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        request = self._request_of(environ) if self._request_of else environ
        person = Shopper(self._entrance, arrival=arrival_of(environ), request=request)

        def start(status: str, headers: list[tuple[str, str]], *failure: Any) -> Any:
            content_type = next((value for name, value in headers if name.lower() == "content-type"), "")
            return start_response(status, [*headers, *person.headers(content_type)], *failure)

        before = current.get()
        current.set(person)
        try:
            body = self._app(environ, start)
        except BaseException:
            current.set(before)
            raise
        if isinstance(body, (list, tuple)) or _is_file(body, environ):
            current.set(before)  # nothing of the application runs any more, and servers send these in ways of their own
            return body
        return _Body(body, before)


def arrival_of(environ: WSGIEnvironment) -> Arrival:
    """The request behind an environ, or behind Django's `META`."""
    return Arrival(
        header=partial(_header, environ),
        peer=environ.get("REMOTE_ADDR") or "",
        is_secure=environ.get("wsgi.url_scheme") == "https",
    )


def _header(environ: WSGIEnvironment, name: str) -> str:
    value = environ.get(f"HTTP_{name.upper().replace('-', '_')}", "")
    return value if isinstance(value, str) else ""


def _is_file(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(body, wrapper)


class _Body:
    """The body, which runs code of the application while it is read, and behind its end nobody.

    The variable is set back by value: a server may close the body in another context than it called the application in.
    """

    def __init__(self, body: Iterable[bytes], before: Shopper) -> None:
        self._body = body
        self._pieces = iter(body)
        self._before = before

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._pieces)
        except BaseException:
            current.set(self._before)  # the end, or a failure: nothing of the application comes after it but its own `close`
            raise

    def close(self) -> None:
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            current.set(self._before)
