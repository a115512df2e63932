"""What both clients do with an event before it is sent and after: everything but the waiting.

What comes after what is said once, for the client that blocks and for the one that does not, as `Steps`: a generator that asks
for a request to be sent, or for so many seconds to pass, and is told the answer. Each client walks them in its own way.

Also the warming of user agents: their tables take tens of milliseconds at first use, which a client takes in the background
when it is made, so that no shopper waits for it.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from footfall.client.answers import Answer, answer_of, batch_answers_of, error_of
from footfall.client.ids import new_id
from footfall.client.retries import wait_s
from footfall.client.settings import Settings
from footfall.client.wire import encoded, members_of
from footfall.clock import Clock
from footfall.delivery.answers import SECRET_CHARS_MIN
from footfall.delivery.document import NO_ROUTE
from footfall.delivery.transport import HttpTransport, Request, Response, Transport
from footfall.errors import ApiError, SettingsError
from footfall.events.schema import IDENTIFIER_PATHS, Event

T = TypeVar("T")
Steps: TypeAlias = Generator[Request | float, Any, T]
"""Yields a request and is sent the response to it, or has the NetworkError thrown in; yields seconds to wait."""
Outcome: TypeAlias = Answer | ApiError
"""What became of one event of many."""

AT_ONCE: Final = 8
"""Requests of one `insert_events` on their way at a time."""
BATCH_EVENTS_MAX: Final = 1000
BATCH_BYTES_MAX: Final = 4 << 20
"""Half of what a Footfall takes by default, so that long events make batches with fewer of them."""

_WARMING_S_MAX: Final = 1.0


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way: the request, the same at each attempt, and what must not show up in an error."""

    request: Request
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Call({self.request!r})"


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that travel as one request."""

    calls: Sequence[Call]
    request: Request


class Desk:
    """Makes calls out of events, and answers out of responses. Holds no connection; free of side effects but for randomness."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        address = settings.address()
        self._single = address.form(batch=False)
        self._batched = address.form(batch=True)

    def call(self, event: Event | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Call:
        """Fills in `id` and `timestamp` where absent. TypeError and ValueError as `wire.members_of` raises them."""
        members = members_of(event, fields, currency=self.settings.currency)
        now_ms = self._clock.now_ms()
        if "id" not in members:
            members["id"] = new_id(now_ms)
        if "timestamp" not in members:
            members["timestamp"] = str(now_ms)
        secrets = (self.settings.api_key, *_identifiers(members))
        return Call(request=self._single.request((encoded(members),)), secrets=secrets)

    def calls(self, events: Iterable[Event | Mapping[str, Any]]) -> list[Call]:
        """A call for each event; the errors of `call` name the event by its index."""
        if isinstance(events, (Event, Mapping, str, bytes)):
            raise TypeError(f"insert_events takes a list of events, not {type(events).__name__}; insert_event takes one")
        found = []
        for index, event in enumerate(events):
            try:
                found.append(Desk.call(self, event, {}))
            except TypeError as error:
                raise TypeError(f"events[{index}]: {error}") from None
            except ValueError as error:
                raise ValueError(f"events[{index}]: {error}") from None
        return found

    def steps(self, call: Call) -> Steps[Answer]:
        """How one event is sent. Raises the ApiError that it ended with."""
        response = yield from self._exchange(call.request, [call])
        return self.answer(call, response)

    def batch_steps(self, calls: Sequence[Call]) -> Steps[list[Outcome]]:
        """How many events are sent as batches, one batch after another, so that they arrive in their order."""
        outcomes: list[Outcome] = []
        left = deque(self._batches(calls))
        while len(outcomes) < len(calls):
            batch = left.popleft()
            count = len(batch.calls)
            try:
                response = yield from self._exchange(batch.request, batch.calls)
                outcomes += self.answers(batch.calls, response)
            except ApiError as error:
                if error.status == _TOO_LARGE and count > 1:
                    left.extendleft((self._batch(batch.calls[count // 2 :]), self._batch(batch.calls[: count // 2])))
                    continue
                no_route = error.status in NO_ROUTE
                if no_route:
                    error.message += "; batches are for a Footfall: leave out batch=True for other receivers"
                    error.args = (error.message,)
                outcomes += [error] * (len(calls) - len(outcomes) if no_route or is_about_all(error) else count)
        return outcomes

    def answer(self, call: Call, response: Response) -> Answer:
        """Raises the ApiError that the response stands for, unless it is a 2xx."""
        return answer_of(response, secrets=call.secrets, now_ms=self._clock.now_ms())

    def answers(self, calls: Sequence[Call], response: Response) -> list[Outcome]:
        """What a 2xx to a batch says of each of its events. InternalServerError where it does not say it."""
        return batch_answers_of(response, secrets=[call.secrets for call in calls], now_ms=self._clock.now_ms())

    def _exchange(self, request: Request, calls: Sequence[Call]) -> Steps[Response]:
        """A 2xx, after retries where these are wanted; else raises what the last answer, or the lack of one, stands for."""
        for attempt in itertools.count(1):
            try:
                response: Response = yield request
                if 200 <= response.status < 300:
                    return response
                raise error_of(response, secrets=_secrets(calls), now_ms=self._clock.now_ms())
            except ApiError as error:
                pause_s = wait_s(error, attempt=attempt, retries=self.settings.retries)
                if pause_s is None:
                    raise
            yield pause_s
        raise AssertionError("unreachable: the count has no end")

    def _batches(self, calls: Sequence[Call]) -> Iterator[Batch]:
        first, room = 0, BATCH_BYTES_MAX
        for index, call in enumerate(calls):
            size = len(call.request.body) + 1
            if index > first and (index - first == BATCH_EVENTS_MAX or size > room):
                yield self._batch(calls[first:index])
                first, room = index, BATCH_BYTES_MAX
            room -= size
        if calls:
            yield self._batch(calls[first:])

    def _batch(self, calls: Sequence[Call]) -> Batch:
        request = self._batched.request([call.request.body for call in calls])
        return Batch(calls=calls, request=request)


class Round:
    """Many events that several workers send one by one, and what became of each. Threads may share it: it needs no lock."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._left = deque(enumerate(calls))
        self._outcomes: list[Outcome | None] = [None] * len(calls)
        self._verdict: ApiError | None = None
        self.workers = min(AT_ONCE, len(calls))

    def take(self) -> tuple[int, Call] | None:
        """The next event to send and its place; None when none is left."""
        try:
            return self._left.popleft()
        except IndexError:
            return None

    def settle(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        if isinstance(outcome, ApiError) and is_about_all(outcome):
            self._verdict = outcome
            self.stop()

    def stop(self) -> None:
        """Nothing is taken from here on."""
        self._left.clear()

    def outcomes(self) -> list[Outcome]:
        """One for each event, in their order. Those that were not sent share the error that kept them back."""
        found = [outcome or self._verdict for outcome in self._outcomes]
        return [outcome for outcome in found if outcome is not None]


def is_about_all(error: ApiError) -> bool:
    """Whether the receiver would say the same to every event: the key, the platform id or the address is wrong."""
    return error.status in _ABOUT_ALL or 300 <= error.status < 400


_ABOUT_ALL: Final = frozenset({401, 403, 404, 405})
_TOO_LARGE: Final = 413


def desk_for(settings: Settings, *, clock: Clock, debug: bool) -> Desk:
    """A desk, or the one that also tells what it thinks of each event."""
    if not debug:
        return Desk(settings, clock=clock)
    from footfall.client.debugging import DebugDesk  # with the rules in it, which nobody else in a shop needs

    return DebugDesk(settings, clock=clock)


def transport_for(settings: Settings, given: Transport | None) -> Transport:
    """The transport that the settings ask for, or the one handed in, which then brings its own way out."""
    if given is None:
        return HttpTransport(tls=settings.tls, proxy=settings.proxy)
    if settings.proxy or settings.tls is not None:
        raise SettingsError("proxy, tls and ca_file are for the client's own transport; give them to the one handed in")
    return given


def _secrets(calls: Sequence[Call]) -> list[str]:
    """The longest first, since one may be part of another."""
    return sorted({secret for call in calls for secret in call.secrets}, key=len, reverse=True)


def _identifiers(members: Mapping[str, Any]) -> list[str]:
    found: list[str] = []
    for path in (*IDENTIFIER_PATHS, "device.ip"):
        part, _, name = path.rpartition(".")
        value = (members.get(part) or {} if part else members).get(name)
        if isinstance(value, str) and len(value) >= SECRET_CHARS_MIN:
            found.append(value)
    return found


def warm_user_agents() -> None:
    """Loads the user agent tables in a daemon thread, once a process family. Returns at once.

    A fork waits for the thread (60 ms at most in practice, one second by bound): a child that inherited a half-done import
    would wait for its lock for ever. uWSGI forks in C and waits for nobody: in its master they are loaded before this returns.
    """
    global _warming
    if is_before_forks_in_c():
        _warm()
    elif _warming is None:
        _warming = threading.Thread(target=_warm, name="footfall-warming", daemon=True)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_wait_for_warming)
        _warming.start()


def is_before_forks_in_c() -> bool:
    """Whether this is uWSGI's master, which is about to fork its workers without Python's knowledge: a child that was forked so
    while another thread waited for the interpreter hangs, whatever it runs, so no thread is begun that nobody asked for."""
    worker_id = getattr(sys.modules.get("uwsgi"), "worker_id", None)
    return worker_id is not None and worker_id() == 0


_warming: threading.Thread | None = None


def _warm() -> None:
    from footfall.events import useragent

    useragent.warm()


def _wait_for_warming() -> None:
    if _warming is not None and _warming is not threading.current_thread():
        _warming.join(_WARMING_S_MAX)
