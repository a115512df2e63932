"""A line to a receiver in memory, for tests of an outbox that need no socket."""

from __future__ import annotations

from footfall.delivery.transport import Request, Response, ScriptedTransport
from footfall.errors import NetworkError


class Line:
    """Takes everything, but while it is away."""

    def __init__(self, *, is_away: bool = False) -> None:
        self.there = ScriptedTransport()
        self.is_away = is_away

    def send(self, request: Request) -> Response:
        if self.is_away:
            raise NetworkError("away")
        return self.there.send(request)

    def close(self) -> None:
        pass

    @property
    def ids(self) -> list[str]:
        """Of the events that arrived, in that order, each as often as it came."""
        return [str(request.body).split('"id":"')[1].split('"')[0] for request in self.there.requests]
