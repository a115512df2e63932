"""The ops listener: is the process alive, would it take an event now. For load balancers and people, not for senders."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from footfall.server.answers import JSON
from footfall.server.state import DoorKeeper

_encode: Final = msgspec.json.Encoder().encode
_HEADERS: Final = [*JSON, ("cache-control", "no-store")]


class OpsApp:
    """`/healthz`: 200 while the process lives. `/readyz`: 200 when an event would be accepted now, else 503 and why."""

    def __init__(self, keeper: DoorKeeper) -> None:
        self._keeper = keeper

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        status, answer = self._answer(scope.method, scope.path)
        headers = [*_HEADERS, ("allow", "GET, HEAD")] if status == 405 else _HEADERS
        protocol.response_bytes(status, headers, _encode(answer) + b"\n")

    def _answer(self, method: str, path: str) -> tuple[int, dict[str, Any]]:
        if path not in ("/healthz", "/readyz"):
            return 404, {"error": "no such path; there are /healthz and /readyz"}
        if method not in ("GET", "HEAD"):
            return 405, {"error": "use GET"}
        if path == "/healthz":
            return 200, {"status": "alive"}
        reasons = self._keeper.reasons_not_ready()
        return (503, {"ready": False, "reasons": reasons}) if reasons else (200, {"ready": True})
