"""What a server needs to know of platforms and keys, as one immutable value held in memory.

No request touches the database: a server holds a snapshot and replaces it when the registry's revision has moved.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from footfall.registry.keys import Mode

Scope = Literal["ingest", "manage", "read"]


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """One platform id. `shop` is the live id of the pair; times are Unix milliseconds."""

    id: str
    mode: Mode
    shop: str
    created_at: int
    disabled_at: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key, without the key: it opens exactly `platform`, for `scope`. Times are Unix milliseconds."""

    id: str
    platform: str
    scope: Scope
    name: str
    last4: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    def is_active(self, now_ms: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one revision; keys by their digest."""

    revision: int
    platforms: dict[str, Platform]
    keys: dict[bytes, ApiKey]
