"""The servers Footfall is compared with, each run as `python -m bench.peers NAME PORT [DATABASE]` in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import Any, Final


class EmptyApp:
    """Reads the body, answers an empty 200: what the HTTP server and the event loop cost without us."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        await protocol()
        protocol.response_bytes(200, [("content-type", "application/json")], b"{}")


class CountingApp:
    """Takes the requests of three trackers and counts the events in them; `GET /counted` says how many. Stores nothing."""

    def __init__(self) -> None:
        self._counted = 0

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        body = await protocol()
        if scope.method == "GET":
            known = scope.path == "/counted"
            protocol.response_str(200 if known else 404, [("content-type", "text/plain")], str(self._counted) if known else "")
            return
        is_single = scope.path.endswith("/userevents")
        self._counted += 1 if is_single else body.count(b'"shopper-')
        protocol.response_bytes(200, [("content-type", "application/json")], b"{}")


async def serve(app: Any, port: int) -> None:
    """The same listener with the same settings as the product."""
    from footfall.server.listener import Listener
    from footfall.server.settings import LimitSettings

    limits = LimitSettings()
    listener = Listener(
        app,
        host="127.0.0.1",
        port=port,
        connections_max=limits.connections_max,
        idle_timeout_s=limits.idle_timeout_s,
        header_bytes_max=limits.header_bytes_max,
    )
    await listener.start()
    await asyncio.Event().wait()


_APPS: Final = {"empty": EmptyApp, "count": CountingApp}


def main(name: str, port: int, *, database: str | None) -> None:
    if name in _APPS:
        asyncio.run(serve(_APPS[name](), port))
        return
    from bench import fastapi_peer

    fastapi_peer.serve(port, database=database)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), database=sys.argv[3] if len(sys.argv) > 3 else None)
