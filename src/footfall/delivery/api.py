"""What the delivery engine is made of: what it takes from, what it sends through, what it says of each event.

    Source ──take──▶ Pump ──start──▶ Exchanges ──HTTP──▶ a User Event API
           ◀─delivered, refused─     ◀─wait───

The engine knows no file, no socket and no client: a `Source` is a log with a cursor (the outbox of a shop, the backlog of a
forwarder), and `Exchanges` are requests on their way. Every parcel that a source hands out ends as delivered or as refused, or
is still the source's when the engine stops: the engine itself keeps nothing that may be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from footfall.delivery.transport import Request, Response
from footfall.errors import NetworkError


class Parcel(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One event on its way. Sources may hand out a subclass with books of their own in it."""

    body: bytes
    """The event as JSON, as it is posted: one line."""
    lane: int
    """Parcels of one lane arrive one after another; others may overtake them. A lane stands for an identifier."""

    def __repr__(self) -> str:
        return f"Parcel(lane={self.lane}, {len(self.body)} bytes)"  # the body holds people


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a receiver will never take one event. `message` holds no value of the event and no key."""

    status: int
    message: str


class Source(Protocol):
    """Where parcels come from. One caller at a time: the engine's thread. No method may block for long."""

    def take(self, *, parcels_max: int) -> Sequence[Parcel]:
        """The next parcels, oldest first, each handed out once in the life of this object. Empty when there are none now."""
        ...

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        """The receiver has these: they need not be sent again, even after a crash."""
        ...

    def refused(self, parcel: Parcel, refusal: Refusal) -> None:
        """The receiver will not take this one; it is set aside and the rest goes on."""
        ...


class Done(NamedTuple):
    """How one request ended: the answer, of any status, or that none came."""

    token: Any
    result: Response | NetworkError


class Exchanges(Protocol):
    """Requests on their way, many at once, from one thread. Only `wake` may be called from others."""

    def start(self, request: Request, *, token: Any) -> None:
        """Sends `request`. May block while a connection is made, within the request's timeout; never raises for the network:
        whatever goes wrong is told by `wait`. RuntimeError after `close`."""
        ...

    def wait(self, timeout_s: float) -> list[Done]:
        """What has ended, as soon as anything has; empty after `timeout_s` seconds, or when woken."""
        ...

    def wake(self) -> None:
        """Ends the `wait` under way, or the next one. From any thread; cheap."""
        ...

    def close(self) -> None:
        """Gives back every connection; requests under way are dropped without a word. Twice is allowed."""
        ...
