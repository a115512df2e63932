"""The shopper of a Django project, under WSGI and ASGI, in views of both kinds.

    MIDDLEWARE = ["footfall.client.web.django.FootfallMiddleware", ...]
    FOOTFALL = {"outbox": "shop.tracking.outbox", "user": lambda request: request.user.pk}

`outbox` is an Outbox or the dotted path of one. A path is imported when the middleware is made, and so by servers only:
management commands neither open the outbox nor send. Functions may be dotted paths too.

A body that is streamed is read after the middleware has ended: take `person = shopper()` in the view and use it there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.utils.cache import patch_vary_headers
from django.utils.module_loading import import_string

from footfall.client.web.shopper import Entrance, Shopper, current, entrance
from footfall.client.web.visit import Arrival
from footfall.client.web.wsgi import arrival_of
from footfall.errors import SettingsError


class FootfallMiddleware:
    """Has every request bring its shopper. Its place in MIDDLEWARE does not matter, since `user` and `consent` are asked when an
    event is tracked. In async views `user` must not touch the database: pass `user_id=` there."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self._get_response = get_response
        self._entrance = _entrance()
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        if self._is_async:
            return self._later(request)
        person = self._person(request)
        token = current.set(person)
        try:
            response = self._get_response(request)
        finally:
            current.reset(token)
        return _signed(response, person)

    async def _later(self, request: Any) -> Any:
        person = self._person(request)
        token = current.set(person)
        try:
            waiting: Awaitable[Any] = self._get_response(request)
            response = await waiting
        finally:
            current.reset(token)
        return _signed(response, person)

    def _person(self, request: Any) -> Shopper:
        plain = arrival_of(request.META)
        arrival = Arrival(header=plain.header, peer=plain.peer, is_secure=request.is_secure())
        return Shopper(self._entrance, arrival=arrival, request=request)


def _entrance() -> Entrance:
    given = getattr(settings, "FOOTFALL", None)
    if not isinstance(given, dict) or given.get("outbox") is None:
        raise SettingsError('the settings need FOOTFALL = {"outbox": …}: an Outbox, or the dotted path of one')
    options = dict(given)
    for name in ("outbox", "user", "consent"):
        if isinstance(options.get(name), str):
            options[name] = import_string(options[name])
    return entrance(options.pop("outbox"), options)


def _signed(response: Any, person: Shopper) -> Any:
    """The answer with what the shopper adds to its head. Django keeps cookies apart, and one value of each other header."""
    if cookie := person.cookie():
        response.set_cookie(
            cookie.name,
            cookie.value,
            max_age=cookie.age_s,
            domain=cookie.domain or None,
            secure=cookie.is_secure,
            httponly=True,
            samesite="Lax",
        )
        patch_vary_headers(response, ("Cookie",))  # no cache may hand this answer, and the id, to another browser
    if hints := person.hints(response.headers.get("Content-Type", "")):
        asked = response.headers.get("Accept-CH")
        response.headers["Accept-CH"] = f"{asked}, {hints}" if asked else hints
    return response
