"""The servers Footfall is compared with, each run as `python -m bench.peers NAME PORT [DATABASE]` in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from typing import Any


class EmptyApp:
    """Reads the body, answers an empty 200: what the HTTP server and the event loop cost without us."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        await protocol()
        protocol.response_bytes(200, [("content-type", "application/json")], b"{}")


async def serve_empty(port: int) -> None:
    """The same listener with the same settings as the product."""
    from footfall.server.listener import Listener
    from footfall.server.settings import LimitSettings

    limits = LimitSettings()
    listener = Listener(
        EmptyApp(),
        host="127.0.0.1",
        port=port,
        connections_max=limits.connections_max,
        idle_timeout_s=limits.idle_timeout_s,
        header_bytes_max=limits.header_bytes_max,
    )
    await listener.start()
    await asyncio.Event().wait()


def main(name: str, port: int, *, database: str | None) -> None:
    if name == "empty":
        asyncio.run(serve_empty(port))
        return
    from bench import fastapi_peer

    fastapi_peer.serve(port, database=database)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), database=sys.argv[3] if len(sys.argv) > 3 else None)
