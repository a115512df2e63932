"""The ops listener: is the server alive, would it take an event now, how does it go. For load balancers, monitoring and people.

It knows nothing but the status files that the other processes leave, so it slows nobody down and answers when they cannot.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client.exposition import choose_encoder

from footfall import __version__
from footfall.clock import Clock, SystemClock
from footfall.console.fleet import Fleet, look
from footfall.console.metrics import Scrape, ScrapeCollector
from footfall.server.status import usage

logger = logging.getLogger("footfall.console")

_CLOCK: Final = SystemClock()
_OPEN_METRICS: Final = "application/openmetrics-text"
_encode: Final = msgspec.json.Encoder().encode
_JSON: Final = "application/json"


class Answer(msgspec.Struct, frozen=True):
    """What goes back."""

    status: int
    body: bytes
    content_type: str = _JSON
    headers: tuple[tuple[str, str], ...] = ()

    def head(self) -> list[tuple[str, str]]:
        return [("content-type", self.content_type), ("cache-control", "no-store"), *self.headers]


class OpsApp:
    """`/healthz`: 200 while this process lives. `/readyz`: 200 when an event would be accepted now, else 503 and why.
    `/metrics`: numbers for Prometheus. `run` is where the processes of the data directory leave their status."""

    def __init__(self, run: Path, *, clock: Clock = _CLOCK, version: str = __version__) -> None:
        self._run = run
        self._clock = clock
        self._version = version
        self._started_at = clock.now_ms()
        self._looking: asyncio.Task[Fleet] | None = None

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        if scope.proto != "http":
            protocol.close(1002)
            return
        try:
            answer = await self._answer(scope)
        except Exception as error:  # the last resort: whoever asks gets an answer
            logger.error("a request to the ops listener failed", exc_info=error)  # noqa: TRY400
            answer = Answer(500, _line({"error": "internal error; the journal says where"}))
        protocol.response_bytes(answer.status, answer.head(), answer.body)

    async def _answer(self, scope: Any) -> Answer:
        if scope.path not in ("/healthz", "/readyz", "/metrics"):
            return Answer(404, _line({"error": "no such path; there are /healthz, /readyz and /metrics"}))
        if scope.method not in ("GET", "HEAD"):
            return Answer(405, _line({"error": "use GET"}), headers=(("allow", "GET, HEAD"),))
        if scope.path == "/healthz":
            return Answer(200, _line({"status": "alive"}))
        fleet = await self._look()
        if scope.path == "/metrics":
            return await asyncio.to_thread(self._metrics, fleet, scope.headers.get("accept") or "")
        reasons = fleet.reasons_not_ready()
        return Answer(503, _line({"ready": False, "reasons": reasons})) if reasons else Answer(200, _line({"ready": True}))

    async def _look(self) -> Fleet:
        """In a thread, and for all who ask meanwhile: a volume that hangs must not stop /healthz, nor pile up threads."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(asyncio.to_thread(look, self._run, clock=self._clock))
        return await asyncio.shield(self._looking)

    def _metrics(self, fleet: Fleet, accept: str) -> Answer:
        scrape = Scrape(fleet=fleet, version=self._version, started_at=self._started_at, usage=usage())
        # asked for by a name of ours: the version that a stranger writes would go back in the head, or raise
        encode, content_type = choose_encoder(_OPEN_METRICS if _OPEN_METRICS in accept else "")
        return Answer(200, encode(ScrapeCollector(scrape)), content_type)


def _line(value: dict[str, Any]) -> bytes:
    return _encode(value) + b"\n"
