"""What a server needs to know of platforms and keys, as one immutable value held in memory.

No request touches the database: a server holds a snapshot and replaces it when the registry's revision has moved.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from footfall.registry.keys import Mode

Scope = Literal["ingest", "manage", "read"]

RATE_PER_S_MIN: Final = 0.001
RATE_PER_S_MAX: Final = 1_000_000.0
BURST_MAX: Final = 10_000_000
DAYS_MAX: Final = 36_500.0


class Rate(msgspec.Struct, frozen=True):
    """How fast events may come: `per_s` for ever, and `burst` at once after a quiet while."""

    per_s: float
    burst: int

    def trouble(self) -> str | None:
        """What is wrong with these numbers, for the person who chose them; None for nothing."""
        if not RATE_PER_S_MIN <= self.per_s <= RATE_PER_S_MAX:  # NaN is not between them either
            return f"the rate is between {RATE_PER_S_MIN:g} and {RATE_PER_S_MAX:,.0f} events per second"
        if not 1 <= self.burst <= BURST_MAX:
            return f"the burst is between 1 and {BURST_MAX:,} events"
        return None


Limit = Rate | Literal["default", "none"]
"""`default`: the server's own setting applies, whatever it is at the time. `none`: no limit."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How fast one platform id may send: each identifier, the platform id as a whole, each of its keys."""

    identifier: Limit = "default"
    platform: Limit = "default"
    key: Limit = "default"


Days = float | Literal["default"]
"""How long something is kept. `default`: as the settings say, whatever they say at the time."""


def days_trouble(days: float) -> str | None:
    """What is wrong with this number, for the person who chose it; None for nothing."""
    if not 0 < days <= DAYS_MAX:  # NaN is not between them either
        return f"events are kept for more than 0 and at most {DAYS_MAX:,.0f} days"
    return None


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long the events of one platform id are kept, in days. None: as the settings say."""

    lake_days: float | None = None
    log_days: float | None = None


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
    """Everything at one revision, or newer: keys by their digest, limits of the platform ids that have their own."""

    revision: int
    platforms: dict[str, Platform]
    keys: dict[bytes, ApiKey]
    limits: dict[str, Limits] = {}
