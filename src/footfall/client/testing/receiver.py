"""A User Event API in memory, for tests of a shop: it judges events as a Footfall test platform does, and fails when told to.

    Client(transport=receiver) ───── send ────┐
    Outbox(exchanges=receiver.exchanges) ─────┤          ┌ Judge ──▶ the answer
    any shop, over real sockets ─ Loopback ───┴ Receiver ┤ FaultSwitch
                                                         └ Book ──▶ events, received, arrivals

Whatever way a request comes, the same faults meet it and the same judge answers it. Made for tests, so it keeps every event it
accepted until `clear`, and shows identifiers in its messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from footfall.client.testing.book import Arrival, Book
from footfall.client.testing.events import WAIT_S, Events
from footfall.client.testing.faults import Broken, FaultName, FaultSwitch, fault_of
from footfall.client.testing.judge import Asked, Judge
from footfall.client.testing.loopback import Loopback
from footfall.clock import Clock, ManualClock, SystemClock
from footfall.delivery.api import Exchanges
from footfall.delivery.transport import Request, Response, network_error

_URL_IN_MEMORY: Final = "http://receiver.localhost"
_CAUSES: Final = {
    Broken.REFUSED: ConnectionRefusedError,
    Broken.RESET: ConnectionResetError,
    Broken.HANG: TimeoutError,
}


class Receiver:
    """Takes events in for a test, and is a Transport: hand it to a client.

        receiver = Receiver()
        client = Client.from_env(receiver.environment, transport=receiver)
        client.insert_event(event_type="HOME", channel_type="SITE", user_id="u-1")
        receiver.events.assert_one("HOME", user_id="u-1")

    `Outbox.from_env(directory, receiver.environment, exchanges=receiver.exchanges)` delivers here too, and
    `with receiver.served() as url:` listens for real, for shops in other processes.

    Requests need `platform_id` and `api_key`. With `footfall=False` it is the original service: `{}` for every good event, no
    violations, no batches, no OpenAPI document. `wait_s` is how long assertions wait for what they expect, `clock` what event
    times are held against. Usable from any thread.
    """

    def __init__(
        self,
        *,
        platform_id: str = "SHOP_TEST",
        api_key: str = "key-of-the-receiver",
        footfall: bool = True,
        wait_s: float = WAIT_S,
        clock: Clock | None = None,
    ) -> None:
        self.platform_id = platform_id
        self.api_key = api_key
        self._judge = Judge(platform_id=platform_id, api_key=api_key, footfall=footfall, clock=clock or SystemClock())
        self._switch = FaultSwitch()
        self._book = Book()
        self._loopback: Loopback | None = None
        self._events = Events(self._book, wait_s=wait_s)

    # -- what arrived

    @property
    def events(self) -> Events:
        """What was accepted, in the order of arrival, each event once."""
        return self._events

    @property
    def received(self) -> int:
        """Events that reached the receiver, repeats and every failed attempt included, however they were answered."""
        return self._book.received

    @property
    def arrivals(self) -> tuple[Arrival, ...]:
        """The last 10,000 of them, with what became of each."""
        return self._book.arrivals()

    @property
    def refused(self) -> tuple[Arrival, ...]:
        """Those of the arrivals that were the sender's mistake."""
        return tuple(arrival for arrival in self._book.arrivals() if arrival.outcome == "refused")

    def clear(self) -> None:
        """Forgets what arrived. Faults stay."""
        self._book.clear()

    # -- where it is

    @property
    def url(self) -> str:
        """The base URL: a real one while it is served, otherwise one that only stands for it."""
        return self._loopback.url if self._loopback is not None else _URL_IN_MEMORY

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables from which `Client.from_env` and `Outbox.from_env` find it, in mode test."""
        return MappingProxyType(
            {
                "MCM_MODE": "test",
                "MCM_BASE_URL": self.url,
                "MCM_TEST_PLATFORM_ID": self.platform_id,
                "MCM_TEST_API_KEY": self.api_key,
            }
        )

    def send(self, request: Request) -> Response:
        """As a transport: the answer, or the NetworkError that a real connection would have ended in. Does not wait."""
        names = {name.lower() for name, _ in request.headers}
        headers = {name: tuple(value for key, value in request.headers if key.lower() == name) for name in names}
        end = self._exchange(Asked(request.method, unquote(urlsplit(request.url).path), headers, request.body))
        if isinstance(end, Response):
            return end
        raise network_error(_CAUSES[end](), request)

    def close(self) -> None:
        """Does nothing: one receiver serves many clients, each of which closes its transport."""

    def exchanges(self, *, clock: ManualClock | None = None) -> Exchanges:
        """A way here for an `Outbox`. With a clock, waiting moves it."""
        from footfall.delivery.exchanges import ScriptedExchanges  # only outboxes need it

        return ScriptedExchanges(self, clock=clock)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Listens on a free port of this machine until the end of the block; gives the base URL. Once at a time."""
        if self._loopback is not None:
            raise RuntimeError("the receiver is served already")
        loopback = self._loopback = Loopback(self._exchange)
        try:
            if not self._switch.is_down:
                loopback.up()
            yield loopback.url
        finally:
            self._loopback = None
            loopback.close()

    # -- the fault switch

    def fail(
        self,
        fault: int | FaultName | None = None,
        /,
        *,
        status: int | None = None,
        times: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """From now on requests with events fail: `times` of them, or all until `recover`. The OpenAPI document does not.

        `fault` is a status from 300 to 599 (`status=503` says the same), or one of: "reset", the connection is cut before an
        answer; "hang", no answer comes; "html", a proxy answers with a page, 502 unless `status` says otherwise; "lost_answer",
        the event is taken in and then the connection is cut, so that a sender has to send it again.

        Faults with `times` follow one another in the order of the calls. A reset on a kept connection is one that HTTP senders
        of ours try again on a fresh one at once, and count as one request more here.
        """
        self._switch.fail(fault_of(fault, status=status, times=times, retry_after_s=retry_after_s))

    @contextmanager
    def failing(
        self, fault: int | FaultName | None = None, /, *, status: int | None = None, retry_after_s: float | None = None
    ) -> Iterator[None]:
        """`fail` for the length of a block, `recover` at its end."""
        self.fail(fault, status=status, retry_after_s=retry_after_s)
        try:
            yield
        finally:
            self.recover()

    def throttle(self, *, identifier: str | None = None, times: int | None = None, retry_after_s: float = 1.0) -> None:
        """Answers good events with 429 and `Retry-After`, all or those that count under one identifier's value: `times` of them,
        or until `recover`. In a batch the others are accepted."""
        self._switch.throttle(identifier=identifier, wait_s=retry_after_s, times=times)

    def down(self) -> None:
        """Nobody listens: connections are cut and new ones refused, until `up` or `recover`."""
        self._switch.is_down = True
        if self._loopback is not None:
            self._loopback.down()

    def up(self) -> None:
        """Listens again, at the same address."""
        self._switch.is_down = False
        if self._loopback is not None:
            self._loopback.up()

    def recover(self) -> None:
        """Ends every fault and throttle, and being down."""
        self._switch.recover()
        self.up()

    def __repr__(self) -> str:
        return (
            f"Receiver(url={self.url!r}, platform_id={self.platform_id!r}, accepted={len(self.events)}, received={self.received})"
        )

    # -- one request

    def _exchange(self, asked: Asked) -> Response | Broken:
        if self._switch.is_down:
            return Broken.REFUSED
        fault = self._switch.next_fault() if self._judge.carries_events(asked) else None
        if fault is not None and not fault.takes_events:
            status = fault.end.status if isinstance(fault.end, Response) else 0
            judgement = self._judge.judge(asked, throttle=lambda _: 0.0)
            self._book.enter(
                msgspec.structs.replace(arrival, outcome="failed", status=status, message="", violations=())
                for arrival in judgement.arrivals
            )
            return fault.end
        judgement = self._judge.judge(asked, throttle=self._switch.next_wait_s)
        self._book.enter(judgement.arrivals)
        return fault.end if fault is not None else judgement.response
