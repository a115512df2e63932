"""A disk whose n-th changing call fails, once or from then on, with an error of choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from footfall.log.disk import Disk

CHANGING = frozenset(
    {
        "make_directory", "create", "open_append", "write", "truncate", "sync_data", "sync_file", "sync_directory", "rename",
        "link", "remove", "map_shared", "lock",
    }
)  # fmt: skip


class FailingDisk(Disk):
    """Passes everything on to `inner`; counts the calls named in `calls` and lets number `fail_at` (from 1) fail."""

    def __init__(
        self, inner: Disk, *, error: int, fail_at: int = 0, calls: frozenset[str] = CHANGING, for_ever: bool = False
    ) -> None:
        self.inner = inner
        self.error = error
        self.fail_at = fail_at
        self.calls = calls
        self.for_ever = for_ever
        self.seen: list[str] = []

    @property
    def has_failed(self) -> bool:
        return 0 < self.fail_at <= len(self.seen)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_") or name not in dir(Disk):
            return super().__getattribute__(name)
        return self._counted(name, getattr(self.inner, name))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            if name in self.calls:
                self.seen.append(name)
                if len(self.seen) == self.fail_at or (self.for_ever and self.has_failed):
                    raise OSError(self.error, "injected")
            return call(*arguments, **named)

        return counted
