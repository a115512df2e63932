"""One HTTP listener: an embedded Granian server on the running event loop. The one door to Granian.

Granian's own process manager is not used: its workers outlive a killed master and it gives up on a second crash within seconds
(measured). Embedded, the process is ours; what is left to know is in the settings below.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any, Protocol

from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.http import HTTP1Settings
from granian.server.embed import Server

from footfall.errors import SettingsError
from footfall.server.ports import url_of

_START_TIMEOUT_S = 5.0


class RsgiApp(Protocol):
    """What a listener serves."""

    async def __rsgi__(self, scope: Any, protocol: Any) -> None: ...


class Listener:
    """An open listener. `start` returns once a connection is accepted, `stop` once the port is closed."""

    def __init__(
        self,
        app: RsgiApp,
        *,
        host: str,
        port: int,
        connections_max: int,
        idle_timeout_s: float,
        header_bytes_max: int,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.scheme = "https" if tls else "http"
        self._idle_ms = round(idle_timeout_s * 1000)
        self._server = Server(
            app,
            address=host,
            port=port,
            interface=Interfaces.RSGI,
            http=HTTPModes.http1,
            websockets=False,
            backlog=4096,
            backpressure=connections_max,  # Granian counts connections here, not requests
            # one timeout covers the head of a request and the wait for the next one
            http1_settings=HTTP1Settings(header_read_timeout=self._idle_ms, max_buffer_size=header_bytes_max),
            log_enabled=False,
            ssl_cert=tls[0] if tls else None,
            ssl_key=tls[1] if tls else None,
            ssl_protocol_min=SSLProtocols.tls12,  # granian insists on 1.3, which older senders do not speak
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return url_of(self.scheme, self.host, self.port)

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server.serve())
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                while not await self._answers():
                    if self._serving.done():
                        self._serving.result()
                        raise SettingsError(f"the listener on {self.url} ended at once")
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise SettingsError(f"the listener on {self.url} did not open within {_START_TIMEOUT_S:.0f} s") from None
        self._end_connections_nobody_reads()

    async def stop(self) -> None:
        """Closes the port. Requests being handled go on; wait for them before ending the loop."""
        if self._serving is not None:
            self._server.stop()  # type: ignore[no-untyped-call]
            await self._serving

    def _end_connections_nobody_reads(self) -> None:
        """Tells the kernel to end a connection whose other end takes nothing of an answer for as long as an idle one may live.
        Granian has no timeout for writing, so such connections, which need no key, would add up until none is left. Accepted
        connections inherit the option from the listening socket, which only the list of our open files leads to."""
        if sys.platform != "linux":
            return
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  (numbers are wanted)
            with contextlib.suppress(OSError):
                if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    continue
                with socket.socket(fileno=os.dup(descriptor)) as found:
                    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and found.getsockname()[1] == self.port:
                        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._idle_ms)

    async def _answers(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        try:
            _, writer = await asyncio.open_connection(host, self.port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
