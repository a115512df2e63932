"""What every request of a running server consults: the doors that are open, and whether events are taken at all.

A `Door` is all the hot path needs of a platform, prepared when the registry changes. The state is replaced by assignment, which
the one event loop makes atomic; requests hold no lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from footfall.clock import Clock
from footfall.errors import RegistryError
from footfall.registry.keys import Mode
from footfall.registry.snapshot import Snapshot
from footfall.registry.store import Registry

logger = logging.getLogger("footfall.server")

REGISTRY_SILENCE_MAX_S: Final = 60.0
"""How long a server trusts a registry it cannot reach before it calls itself not ready; it serves on with what it knows."""


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """One platform id, ready for requests. `record_head` is the constant beginning of its log records."""

    platform: str
    mode: Mode
    disabled: bool
    record_head: bytes


class DoorKeeper:
    """The doors and keys of the newest snapshot, and the reasons not to accept events (none: ready)."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.stopping = False
        self._reasons: dict[str, str] = {}
        self.use(snapshot)

    def use(self, snapshot: Snapshot) -> None:
        self.revision = snapshot.revision
        self.keys = snapshot.keys
        self.doors = {
            platform.id: Door(
                platform=platform.id,
                mode=platform.mode,
                disabled=platform.disabled_at is not None,
                record_head=b'{"platform":"%b","mode":"%b","received_at":' % (platform.id.encode(), platform.mode.encode()),
            )
            for platform in snapshot.platforms.values()
        }

    def report(self, part: str, reason: str | None) -> None:
        """A part of the server says why no event would be accepted now, or (None) that nothing stands in its way."""
        known = self._reasons.get(part)
        if reason is None:
            if self._reasons.pop(part, None) is not None and part != "start":
                logger.info("%s: in order again", part)
        else:
            self._reasons[part] = reason
            if known is None and part not in ("start", "stop"):
                logger.warning("not ready: %s", reason)

    def reasons_not_ready(self) -> list[str]:
        return [*(["stopping"] if self.stopping else []), *self._reasons.values()]


class RegistryWatch:
    """Keeps a `DoorKeeper` up to date. The database is only touched in a thread, never on the loop."""

    def __init__(
        self, registry: Registry, keeper: DoorKeeper, *, clock: Clock, on_change: Callable[[Snapshot], None] | None = None
    ) -> None:
        """`on_change` is told of every new snapshot, in the event loop."""
        self._registry = registry
        self._keeper = keeper
        self._on_change = on_change
        self._clock = clock
        self._heard_s = clock.monotonic_s()

    async def look(self) -> None:
        """One look: takes a new snapshot when the revision moved. Never raises on an unreachable registry."""
        try:
            revision = await asyncio.to_thread(self._registry.revision)
            if revision != self._keeper.revision:
                snapshot = await asyncio.to_thread(self._registry.snapshot)
                self._keeper.use(snapshot)
                if self._on_change is not None:
                    self._on_change(snapshot)
        except RegistryError as error:
            silence_s = self._clock.monotonic_s() - self._heard_s
            if silence_s > REGISTRY_SILENCE_MAX_S:
                self._keeper.report("registry", f"registry unreachable for {silence_s:.0f} s")
            logger.warning("%s", error.message)
        else:
            self._heard_s = self._clock.monotonic_s()
            self._keeper.report("registry", None)

    async def record_use(self, used_at: dict[str, int]) -> None:
        """Writes down when keys were last used; what cannot be written is lost, it is a convenience."""
        try:
            await asyncio.to_thread(self._registry.record_use, used_at)
        except RegistryError as error:
            logger.warning("%s", error.message)
