"""The client for code that waits: one call, one event, one answer."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from footfall.client.answers import Answer
from footfall.client.calls import Call, Outcome, Round, Steps, desk_for, transport_for, warm_user_agents
from footfall.client.constructors import Members
from footfall.client.settings import TIMEOUT_S, checked_settings, place_in
from footfall.clock import Clock, SystemClock
from footfall.delivery.transport import Request, Transport
from footfall.errors import ApiError, NetworkError
from footfall.events.schema import Event

T = TypeVar("T")


class Client:
    """Sends user events, from any thread, and in forked processes too: make one when the program starts and keep it.

        client = Client(platform_name="shop", platform_id="SHOP_TEST", api_key=key)
        client.insert_event(event_type="HOME", channel_type="SITE", user_id=user)

    Where to is said by exactly one of `platform_name` (`https://{name}-evt.mcm-api.moloco.com`), `region`
    (`https://evt-{region}.rmp-api.moloco.com`) and `base_url`; https only, except to this machine. `currency` turns bare prices
    into Money. `timeout_s` covers a whole exchange except the name lookup. `retries` (0 to 6) waits 5, 10, 20 … seconds in the
    calling thread, after 5xx and network failures only. SettingsError where one of these makes no sense.

    `proxy` is `http://[user:password@]host:port`, and never taken from the environment. The receiver's certificate is checked
    against the system's authorities, against those of `ca_file` (PEM) alone, or as the SSLContext `tls` says. `debug=True` is for
    development: each event is judged here too, and what is wrong or weak is told as a FootfallWarning at the line that sent it.

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
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        debug: bool = False,
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
            proxy=proxy,
            tls=tls,
            ca_file=ca_file,
        )
        self._desk = desk_for(settings, clock=clock or SystemClock(), debug=debug)
        self._transport = transport_for(settings, transport)
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
        proxy: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        debug: bool = False,
        transport: Transport | None = None,
    ) -> Self:
        """A client as the environment says (or the mapping given instead).

        `MCM_MODE` is `test` or `live` and required. `MCM_PLATFORM_NAME` or `MCM_BASE_URL` say where to. Mode live takes
        `MCM_PLATFORM_ID` and `MCM_API_KEY`; mode test `MCM_TEST_PLATFORM_ID`, and `MCM_TEST_API_KEY` or else `MCM_API_KEY`.
        SettingsError names what is missing.
        """
        place = place_in(os.environ if environment is None else environment)
        return cls(
            **place,
            currency=currency,
            timeout_s=timeout_s,
            retries=retries,
            proxy=proxy,
            tls=tls,
            ca_file=ca_file,
            debug=debug,
            transport=transport,
        )

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
        return self._walk(self._desk.steps(self._desk.call(event, fields)))

    def insert_events(self, events: Iterable[Event | Mapping[str, Any]], *, batch: bool = False) -> list[Answer | ApiError]:
        """Sends many events and returns what became of each, in their order: an Answer, or the error that it ended with.

        Errors are returned, not raised, but for what `insert_event` raises before anything is sent: TypeError and ValueError name
        the event by its index, and then none was sent. Each event is sent and retried as `insert_event` does it, up to eight at
        a time, so they may arrive in another order. When an answer says that the key, the platform id or the address is wrong
        (401, 403, 404, 405, a redirect), the rest is not sent and shares that error.

        `batch=True`, for a Footfall, sends up to 1,000 events a request, one request after another, each with a minute at least.
        """
        calls = self._desk.calls(events)
        if batch:
            return self._walk(self._desk.batch_steps(calls))
        return _Crew(Round(calls), lambda call: self._walk(self._desk.steps(call))).outcomes()

    def close(self) -> None:
        """Closes the kept connections. Events on their way from other threads still arrive. Twice is allowed."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._desk.settings!r})"

    def _walk(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Request):
                    try:
                        response = self._transport.send(step)
                    except NetworkError as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(response)
                else:
                    self._sleep(step)
                    step = next(steps)
        except StopIteration as end:
            return cast("T", end.value)


class _Crew:
    """The caller's thread and, for many events, up to seven more for as long as the call takes.

    The caller works too, so that nothing needs a thread where none can be started any more, as when the interpreter ends.
    """

    def __init__(self, round_: Round, send: Callable[[Call], Answer]) -> None:
        self._round = round_
        self._send = send
        self._failure: BaseException | None = None

    def outcomes(self) -> list[Outcome]:
        """Raises what is neither an answer nor an ApiError, such as the RuntimeError of a closed client."""
        helpers: list[threading.Thread] = []
        try:
            for _ in range(self._round.workers - 1):
                helper = threading.Thread(target=self._help, name="footfall-events", daemon=True)
                try:
                    helper.start()
                except RuntimeError:
                    break
                helpers.append(helper)
            self._work()
            for helper in helpers:
                helper.join()
        finally:
            self._round.stop()  # interrupted here: helpers end with the event they have
        if self._failure is not None:
            raise self._failure
        return self._round.outcomes()

    def _help(self) -> None:
        try:
            self._work()
        except BaseException as failure:  # noqa: BLE001 - the caller's thread raises it
            self._failure = failure
            self._round.stop()

    def _work(self) -> None:
        while (taken := self._round.take()) is not None:
            index, call = taken
            try:
                self._round.settle(index, self._send(call))
            except ApiError as error:
                self._round.settle(index, error)
