"""The client for code that waits: one call, one event, one answer."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from footfall.client.answers import Answer
from footfall.client.calls import Desk, warm_user_agents
from footfall.client.constructors import Members
from footfall.client.retries import wait_s
from footfall.client.settings import TIMEOUT_S, checked_settings, place_in
from footfall.clock import Clock, SystemClock
from footfall.delivery.transport import HttpTransport, Transport
from footfall.errors import ApiError
from footfall.events.schema import Event


class Client:
    """Sends user events, from any thread, and in forked processes too: make one when the program starts and keep it.

        client = Client(platform_name="shop", platform_id="SHOP_TEST", api_key=key)
        client.insert_event(event_type="HOME", channel_type="SITE", user_id=user)

    Where to is said by exactly one of `platform_name` (`https://{name}-evt.mcm-api.moloco.com`), `region`
    (`https://evt-{region}.rmp-api.moloco.com`) and `base_url`; https only, except to this machine. `currency` turns bare prices
    into Money. `timeout_s` covers a whole exchange except the name lookup. `retries` (0 to 6) waits 5, 10, 20 … seconds in the
    calling thread, after 5xx and network failures only. SettingsError where one of these makes no sense.

    Not closing it loses nothing, since an event is sent when `insert_event` returns. `transport`, `clock` and `sleep` are for
    tests. Called inside a running event loop it works, and blocks the loop: use AsyncClient there.
    """

    def __init__(
        self,
        *,
        platform_id: str,
        api_key: str,
        platform_name: str | None = None,
        region: str | None = None,
        base_url: str | None = None,
        currency: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = 0,
        transport: Transport | None = None,
        clock: Clock | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        settings = checked_settings(
            platform_id=platform_id,
            api_key=api_key,
            platform_name=platform_name,
            region=region,
            base_url=base_url,
            currency=currency,
            timeout_s=timeout_s,
            retries=retries,
        )
        self._desk = Desk(settings, clock=clock or SystemClock())
        self._transport = transport or HttpTransport()
        self._sleep = sleep
        warm_user_agents()

    @classmethod
    def from_env(
        cls,
        environment: Mapping[str, str] | None = None,
        /,
        *,
        currency: str | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = 0,
        transport: Transport | None = None,
    ) -> Self:
        """A client as the environment says (or the mapping given instead).

        `MCM_MODE` is `test` or `live` and required. `MCM_PLATFORM_NAME` or `MCM_BASE_URL` say where to. Mode live takes
        `MCM_PLATFORM_ID` and `MCM_API_KEY`; mode test `MCM_TEST_PLATFORM_ID`, and `MCM_TEST_API_KEY` or else `MCM_API_KEY`.
        SettingsError names what is missing.
        """
        place = place_in(os.environ if environment is None else environment)
        return cls(**place, currency=currency, timeout_s=timeout_s, retries=retries, transport=transport)

    def insert_event(self, event: Event | Mapping[str, Any] | None = None, /, **fields: Unpack[Members]) -> Answer:
        """Sends one event and returns when it was accepted.

        The event is given as keywords with the documented names, as one Event (`Purchase(...)` and its like make them), or as
        one mapping in snake_case or camelCase, whose unknown members are sent as they are. `id` (a fresh UUID) and `timestamp`
        (now; milliseconds, or a datetime with a zone) are filled in when absent.

        TypeError and ValueError: nothing was sent. BadRequestError (`.violations`), UnauthorizedError, ForbiddenError,
        NotFoundError, MethodNotAllowedError, TooManyRequestsError, other RejectedError: the event was refused.
        InternalServerError, NetworkError: it may or may not have been stored; send it again with the same `id` and `timestamp`,
        set by you, and it counts once. RuntimeError after `close`.
        """
        call = self._desk.call(event, fields)
        for attempt in itertools.count(1):
            try:
                return self._desk.answer(call, self._transport.send(call.request))
            except ApiError as error:
                pause_s = wait_s(error, attempt=attempt, retries=self._desk.settings.retries)
                if pause_s is None:
                    raise
            self._sleep(pause_s)
        raise AssertionError("unreachable: the count has no end")

    def close(self) -> None:
        """Closes the kept connections. Events on their way from other threads still arrive. Twice is allowed."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._desk.settings!r})"
