"""Whether this receiver takes batches: asked for, never tried.

The question goes out before the first event, and nothing else until it is answered. When it fails, that counts as an event's
failure would; the probes are single events, which every receiver takes, and when they get through the question is asked again,
beside them. So a receiver that answers everything but this question is not waited for.

A batch route that turns out not to be there (404, 405, 501), not to take what batches are (415, the mark of a proxy), or not to
say what became of each event, is a reason to go on with single events at once and to ask again. When the document still promises
batches, it is believed a quarter of an hour later: a wrong platform id shows with single events too, as it should.
"""

from __future__ import annotations

import math
from typing import Final

from footfall.delivery.document import NO_ROUTE, read_document
from footfall.delivery.protocol import Verdict, verdict_of
from footfall.delivery.transport import Response
from footfall.errors import NetworkError

ABOUT_THE_ROUTE: Final = NO_ROUTE | {415}
"""Statuses of a batch that are no word about its events."""
_NOT_IMPLEMENTED: Final = 501


class Inquiry:
    """What is known. `told` is what the sender was told, None where it was told to ask."""

    def __init__(self, told: bool | None) -> None:
        self.asks = told is None
        self.batches = bool(told)
        """Whether events go in batches now."""
        self.holds = self.asks
        """Whether nothing may be sent before the answer is here."""
        self.is_asking = False
        self._due_s = -math.inf if self.asks else math.inf
        self._answered = False
        self._distrusts = False

    @property
    def blocks(self) -> bool:
        """Whether its answer is what everything waits for."""
        return self.is_asking and self.holds

    def is_due(self, now_s: float) -> bool:
        return now_s >= self._due_s and not self.is_asking

    def asked(self) -> None:
        self.is_asking = True
        self._due_s = math.inf

    def heard(self, result: Response | NetworkError, *, again_s: float) -> bool:
        """Whether the answer says anything. One that does not is asked for again at `again_s`, or when the stream recovers."""
        self.is_asking = self.holds = False
        if not isinstance(result, Response) or (
            result.status != _NOT_IMPLEMENTED and verdict_of(result) in (Verdict.FAILED, Verdict.THROTTLED)
        ):
            self._due_s = again_s
            return False
        self._answered = True
        takes_batches = read_document(result).takes_batches
        if takes_batches and self._distrusts:
            self._distrusts = False
            self._due_s = again_s
        else:
            self.batches = takes_batches
        return True

    def distrust(self) -> None:
        """The batch route is not what the document says."""
        self.batches = False
        self._distrusts = True
        self._due_s = -math.inf

    def recovered(self) -> None:
        """Events get through again, so the question may too."""
        if self.asks and not self._answered and not self.is_asking:
            self._due_s = -math.inf
