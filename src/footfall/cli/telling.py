"""How the lander's process says how it is: a status file like the workers', written twice a second whatever the lander is at."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from footfall import __version__
from footfall.clock import SystemClock
from footfall.server.status import LanderStatus, StatusFile, lander_status_path, run_directory, usage

if TYPE_CHECKING:
    from footfall.lake.running import Progress

logger = logging.getLogger("footfall.lander")

_PERIOD_S: Final = 0.5


class LanderTelling:
    """Tells from entering to leaving; call it with what changed."""

    def __init__(self, data: Path) -> None:
        self._clock = SystemClock()
        self._started_at = self._clock.now_ms()
        self._progress: Progress | None = None
        self._file = StatusFile(lander_status_path(run_directory(data)))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._tell_on, name="telling", daemon=True)

    def __call__(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending.set()
        self._thread.join()
        self._file.close()

    def _tell_on(self) -> None:
        self._tell()
        while not self._ending.wait(_PERIOD_S):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        status = LanderStatus(
            pid=os.getpid(),
            heartbeat_s=self._clock.monotonic_s(),
            started_at=self._started_at,
            version=__version__,
            usage=usage(),
        )
        progress = self._progress
        if progress is not None:
            status.batches, status.last_landed_at, status.trouble = progress.batches, progress.last_landed_at, progress.trouble
            status.positions = dict(progress.positions)
            landed = progress.landed
            status.events = {
                "landed": landed.landed, "repeated": landed.repeated, "quarantined": landed.quarantined, "erased": landed.erased,
            }  # fmt: skip
        try:
            self._file.publish(status)
        except OSError as error:  # a full volume: readers keep what they had
            logger.debug("the status file could not be written: %s", error.strerror)
