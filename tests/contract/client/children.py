"""Forked children for the programs beside it (`forks`, `outbox_shop`), which run with this folder first on their path."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable


def in_child(work: Callable[[], object], *, fork: Callable[[], int] = os.fork, seconds: int = 20) -> int:
    """Runs `work` in a forked child, which an alarm ends after `seconds`; returns its process id."""
    child = fork()
    if child:
        return child
    signal.alarm(seconds)
    status = 1
    try:
        work()
        gc.collect()  # what the child inherited and let go must not hurt the parent
        status = 0
    finally:
        os._exit(status)


def wait_for(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {status}"
