"""What both clients do with an event before it is sent and after: everything but the waiting.

Also the warming of user agents: their tables take tens of milliseconds at first use, which a client takes in the background
when it is made, so that no shopper waits for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from footfall import __version__
from footfall.client.answers import Answer, answer_of
from footfall.client.ids import new_id
from footfall.client.settings import Settings
from footfall.client.wire import encoded, members_of
from footfall.clock import Clock
from footfall.delivery.transport import Request, Response
from footfall.events.schema import IDENTIFIER_PATHS, Event

_SECRET_CHARS_MIN: Final = 4
"""Shorter identifiers say nothing about anybody, and striking them out would eat the words of a message."""
_WARMING_S_MAX: Final = 1.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way: the request, the same at each attempt, and what must not show up in an error."""

    request: Request
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Call({self.request!r})"


class Desk:
    """Makes calls out of events, and answers out of responses. Holds no connection; free of side effects but for randomness."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._url = settings.url
        self._headers = (
            ("X-API-Key", settings.api_key),
            ("Content-Type", "application/json"),
            ("Accept", "application/json"),
            ("User-Agent", f"footfall/{__version__}"),
        )

    def call(self, event: Event | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Call:
        """Fills in `id` and `timestamp` where absent. TypeError and ValueError as `wire.members_of` raises them."""
        members = members_of(event, fields, currency=self.settings.currency)
        now_ms = self._clock.now_ms()
        if "id" not in members:
            members["id"] = new_id(now_ms)
        if "timestamp" not in members:
            members["timestamp"] = str(now_ms)
        request = Request(url=self._url, headers=self._headers, body=encoded(members), timeout_s=self.settings.timeout_s)
        return Call(request=request, secrets=(self.settings.api_key, *_identifiers(members)))

    def answer(self, call: Call, response: Response) -> Answer:
        """Raises the ApiError that the response stands for, unless it is a 2xx."""
        return answer_of(response, secrets=call.secrets, now_ms=self._clock.now_ms())


def _identifiers(members: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for path in (*IDENTIFIER_PATHS, "device.ip"):
        part, _, name = path.rpartition(".")
        value = (members.get(part) or {} if part else members).get(name)
        if isinstance(value, str) and len(value) >= _SECRET_CHARS_MIN:
            found.append(value)
    return found


def warm_user_agents() -> None:
    """Loads the user agent tables in a daemon thread, once a process family. Returns at once.

    A fork waits for the thread (60 ms at most in practice, one second by bound): a child that inherited a half-done import
    would wait for its lock for ever.
    """
    global _warming
    if _warming is None:
        _warming = threading.Thread(target=_warm, name="footfall-warming", daemon=True)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_wait_for_warming)
        _warming.start()


_warming: threading.Thread | None = None


def _warm() -> None:
    from footfall.events import useragent

    useragent.warm()


def _wait_for_warming() -> None:
    if _warming is not None and _warming is not threading.current_thread():
        _warming.join(_WARMING_S_MAX)
