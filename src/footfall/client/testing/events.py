"""The events that a receiver accepted, and what a test may say of them.

A shop that tracks through an outbox delivers in the background, so what is expected is waited for, a little while. What is not
expected cannot be waited for: `assert_none` looks once, so let the shop flush first, or say `events.within(1).assert_none(…)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, overload

from footfall.client.testing.arrived import table
from footfall.client.testing.book import Book
from footfall.client.testing.expectation import Expectation
from footfall.events.quality import warnings
from footfall.events.schema import Event

WAIT_S: Final = 2.0
"""How long assertions wait for what they expect, where nothing else is said."""


class Events(Sequence[Event]):
    """Accepted events in the order of arrival, each once; it grows while it is looked at.

    An event counts once by its `id`, type and time together, as everywhere in Footfall; one without `id` counts each time. The
    values that assertions take are listed in the module `footfall.client.testing.expectation`; a failed one shows what came.
    """

    def __init__(self, book: Book, *, wait_s: float = WAIT_S, watch_s: float = 0.0) -> None:
        self._book = book
        self._wait_s = wait_s
        self._watch_s = watch_s

    def within(self, seconds: float) -> Events:
        """The same events, with assertions that wait so long for what is expected, and watch so long for what is not."""
        return Events(self._book, wait_s=seconds, watch_s=seconds)

    def wait_for(self, count: int, timeout: float = 5.0) -> tuple[Event, ...]:
        """The events, as soon as there are `count` of them. AssertionError when they are not there in time."""
        __tracebackhide__ = True
        events = self._book.wait(lambda events: len(events) >= count, seconds=timeout)
        if len(events) < count:
            raise AssertionError(self._message(f"{count} events were expected within {timeout:g} s", events, Expectation("", {})))
        return events

    def assert_one(self, event_type: str, /, **expected: object) -> Event:
        """Exactly one event of this type has these values; returns it. Others of the type may have other values."""
        __tracebackhide__ = True
        return self.assert_count(event_type, 1, **expected)[0]

    def assert_count(self, event_type: str, count: int, /, **expected: object) -> tuple[Event, ...]:
        """Exactly so many events of this type have these values; returns them."""
        __tracebackhide__ = True
        expectation = Expectation(event_type, expected)
        if count == 0:
            self.assert_none(event_type, **expected)
            return ()
        events = self._book.wait(lambda events: len(expectation.among(events)) >= count, seconds=self._wait_s)
        found = expectation.among(events)
        if len(found) != count:
            wanted = f"{'one' if count == 1 else count} {expectation} expected, {_number(len(found))} came"
            raise AssertionError(self._message(wanted, events, expectation))
        return tuple(found)

    def assert_none(self, event_type: str = "", /, **expected: object) -> None:
        """No event of this type, or of any, has these values."""
        __tracebackhide__ = True
        expectation = Expectation(event_type, expected)
        events = self._book.wait(lambda events: bool(expectation.among(events)), seconds=self._watch_s)
        found = expectation.among(events)
        if found:
            raise AssertionError(self._message(f"no {expectation} expected, {_number(len(found))} came", events, expectation))

    def assert_order(self, event_types: Sequence[str], /, **expected: object) -> tuple[Event, ...]:
        """Events of these types arrived in this order, whatever lies between them; returns the first that did.

        Values narrow it down, to one shopper say: `assert_order(["SEARCH", "PURCHASE"], user_id="u-1")`.
        """
        __tracebackhide__ = True
        steps = [Expectation(event_type, expected) for event_type in event_types]
        events = self._book.wait(lambda events: len(_in_order(events, steps)) == len(steps), seconds=self._wait_s)
        found = _in_order(events, steps)
        if len(found) < len(steps):
            behind = f"after {_number(len(found))} of them" if found else "at all"
            missing = f"{' → '.join(event_types)} expected in this order; no {steps[len(found)]} came {behind}"
            raise AssertionError(self._message(missing, events, steps[len(found)]))
        return found

    def assert_clean(self) -> None:
        """Nothing was refused, and no accepted event has a weakness that a test platform warns of (its age aside).

        Looks once: wait for the events first.
        """
        __tracebackhide__ = True
        events = self._book.accepted()
        weak = [
            f"  {event.event_type}  {found.field}: {found.description} ({found.reason})"
            for event in events
            for found in warnings(event, now_ms=event.timestamp)
        ]
        if weak or any(arrival.outcome == "refused" for arrival in self._book.arrivals()):
            found = "\n".join(["clean events expected", *(["warned of:", *weak] if weak else [])])
            raise AssertionError(self._message(found, events, Expectation("", {})))

    def __len__(self) -> int:
        return len(self._book.accepted())

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Event, ...]: ...
    def __getitem__(self, index: int | slice) -> Event | tuple[Event, ...]:
        return self._book.accepted()[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self._book.accepted())

    def __repr__(self) -> str:
        return f"Events({', '.join(event.event_type for event in self)})"

    def _message(self, problem: str, events: Sequence[Event], expectation: Expectation) -> str:
        return f"{problem}\n{table(events, self._book.arrivals(), expectation=expectation)}"


def _in_order(events: Sequence[Event], steps: Sequence[Expectation]) -> tuple[Event, ...]:
    found: list[Event] = []
    for event in events:
        if len(found) < len(steps) and steps[len(found)].among([event]):
            found.append(event)
    return tuple(found)


def _number(count: int) -> str:
    return str(count) if count else "none"
