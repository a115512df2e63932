"""Where parcels go and under which key: from bodies to requests.

The key is in the headers of a post and nowhere else: not in the question for /openapi.json, not in any `repr`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from footfall.delivery.transport import Request
from footfall.version import __version__

BATCH_TIMEOUT_S: Final = 60.0
"""For a batch at least: 4 MiB take half a minute on a line of 1 Mbit/s."""
PLATFORMS_PATH: Final = "/rmp/event/v1/platforms/"
EVENTS_PATH_END: Final = "/userevents"
_ACCEPT: Final = (("Accept", "application/json"), ("User-Agent", f"footfall/{__version__}"))


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """One platform of one receiver. `repr` masks the key. `batch`: None asks the receiver whether it takes batches."""

    base_url: str
    """Scheme, host, port and perhaps a path in front; no slash at the end."""
    platform_id: str
    api_key: str
    timeout_s: float = 10.0
    batch: bool | None = None

    def __repr__(self) -> str:
        return f"Address(base_url={self.base_url!r}, platform_id={self.platform_id!r}, api_key='…', batch={self.batch})"

    @property
    def url(self) -> str:
        """Of single events; that of batches ends in `:batch`."""
        return f"{self.base_url}{PLATFORMS_PATH}{quote(self.platform_id, safe='')}{EVENTS_PATH_END}"

    def form(self, *, batch: bool) -> Form:
        """How every post of this kind looks."""
        content_type = "application/x-ndjson" if batch else "application/json"
        return Form(
            url=f"{self.url}:batch" if batch else self.url,
            headers=(("X-API-Key", self.api_key), ("Content-Type", content_type), *_ACCEPT),
            timeout_s=max(self.timeout_s, BATCH_TIMEOUT_S) if batch else self.timeout_s,
            is_batch=batch,
        )

    def question(self) -> Request:
        """Asks the receiver what it is. Without the key."""
        return Request(url=f"{self.base_url}/openapi.json", headers=_ACCEPT, body=b"", timeout_s=self.timeout_s, method="GET")


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A post but for its events: made once, filled in for each."""

    url: str
    headers: tuple[tuple[str, str], ...]
    timeout_s: float
    is_batch: bool

    def __repr__(self) -> str:
        return f"Form(url={self.url!r})"  # headers hold the key

    def request(self, bodies: Sequence[bytes]) -> Request:
        """The post of these events: one, unless it is a batch."""
        body = b"\n".join(bodies) + b"\n" if self.is_batch else bodies[0]
        return Request(url=self.url, headers=self.headers, body=body, timeout_s=self.timeout_s)
