"""The client for code under asyncio: `Client` with an `await`.

It sends through the same transport, in threads of its own. That costs about 30 µs of processor time an event over a native
asyncio client (124 against 92, measured in one run), and buys what such a client cannot give: no loop is bound to the object, so
it survives a fork, a second `asyncio.run` and being used from several loops (docs/adr/0001).
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, cast

import msgspec

from footfall.client.answers import Answer
from footfall.client.calls import Call, Outcome, Round, Steps, desk_for, transport_for, warm_user_agents
from footfall.client.constructors import Members
from footfall.client.settings import TIMEOUT_S, checked_settings, place_in
from footfall.clock import Clock, SystemClock
from footfall.delivery.transport import Request, Response, Transport
from footfall.errors import ApiError, NetworkError
from footfall.events.schema import Event

T = TypeVar("T")

IN_FLIGHT_MAX: Final = 64
"""Threads at most; further calls wait for one within their timeout."""
_GRACE_S: Final = 0.5
"""How long past its deadline a thread may stay before the caller is let go: only a hanging name lookup takes it."""


class AsyncClient:
    """`Client` for asyncio: the same settings, events, answers and errors. Make one when the program starts and keep it.

        async with AsyncClient(platform_name="shop", platform_id="SHOP_TEST", api_key=key) as client:
            await client.insert_event(event_type="HOME", channel_type="SITE", user_id=user)

    At most 64 events are in flight at once. `timeout_s` covers everything, waiting for a turn and the name lookup included.
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
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
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
        self._threads = _Threads(transport_for(settings, transport))
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
        """A client as the environment says: the variables of `Client.from_env`."""
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

    # Not `async def`: a mistake is then raised, and told by `debug`, where the call stands, also when a task awaits it elsewhere.
    def insert_event(
        self, event: Event | Mapping[str, Any] | None = None, /, **fields: Unpack[Members]
    ) -> Coroutine[Any, Any, Answer]:
        """Sends one event and returns when it was accepted: what `Client.insert_event` takes, returns and raises.

        When the awaiting task is cancelled, a request already on its way still ends in its thread; its answer is dropped.
        """
        return self._insert(self._desk.call(event, fields))

    def insert_events(
        self, events: Iterable[Event | Mapping[str, Any]], *, batch: bool = False
    ) -> Coroutine[Any, Any, list[Answer | ApiError]]:
        """Sends many events and returns what became of each, in their order: what `Client.insert_events` takes, returns and
        raises."""
        return self._insert_many(self._desk.calls(events), batch=batch)

    async def aclose(self) -> None:
        """Closes the kept connections and lets the threads go. Events on their way still arrive. Twice is allowed."""
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"AsyncClient({self._desk.settings!r})"

    async def _insert(self, call: Call) -> Answer:
        return await self._walk(self._desk.steps(call))

    async def _insert_many(self, calls: list[Call], *, batch: bool) -> list[Outcome]:
        if batch:
            return await self._walk(self._desk.batch_steps(calls))
        round_ = Round(calls)
        workers = [asyncio.create_task(self._work(round_)) for _ in range(round_.workers)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()  # the others, when one failed or the caller gave up
        return round_.outcomes()

    async def _work(self, round_: Round) -> None:
        while (taken := round_.take()) is not None:
            index, call = taken
            try:
                round_.settle(index, await self._insert(call))
            except ApiError as error:
                round_.settle(index, error)

    async def _walk(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Request):
                    try:
                        response = await self._threads.send(step)
                    except NetworkError as error:
                        step = steps.throw(error)
                    else:
                        step = steps.send(response)
                else:
                    await self._sleep(step)
                    step = next(steps)
        except StopIteration as end:
            return cast("T", end.value)


class _Threads:
    """Runs a blocking transport off the loop. The threads belong to one process: a forked child makes its own."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0
        self._closed = False

    async def send(self, request: Request) -> Response:
        if self._closed:
            raise RuntimeError("the client is closed; make a new one")
        deadline_s = time.monotonic() + request.timeout_s
        sending = asyncio.get_running_loop().run_in_executor(self._threads(), self._send, request, deadline_s)
        try:
            async with asyncio.timeout(request.timeout_s + _GRACE_S):
                return await sending
        except TimeoutError:
            raise NetworkError(f"no answer within {request.timeout_s:g} s; perhaps the name lookup hangs") from None

    def close(self) -> None:
        self._closed = True
        if self._pool is not None and self._process == os.getpid():
            self._pool.shutdown(wait=False)
        self._transport.close()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._process != os.getpid():
            self._pool = ThreadPoolExecutor(max_workers=IN_FLIGHT_MAX, thread_name_prefix="footfall")
            self._process = os.getpid()
        return self._pool

    def _send(self, request: Request, deadline_s: float) -> Response:
        left_s = deadline_s - time.monotonic()  # part of it may have gone by waiting for a thread
        if left_s <= 0:
            raise NetworkError(f"not sent: {IN_FLIGHT_MAX} events were on their way for {request.timeout_s:g} s")
        return self._transport.send(msgspec.structs.replace(request, timeout_s=left_s))
