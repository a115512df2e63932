"""Forks and the end of the interpreter, for all outboxes of a process.

A fork copies descriptors, locks and memory, but no thread. So before it every outbox holds still, and in the child each lets go
of what is its parent's: above all the descriptors of locks, which would keep a dead parent's events from being taken up.

A fork in C need not call Python's hooks (uWSGI's does not, by default). Its child notices at the first call of any outbox, and
does the same then. Locks may have been copied while they were held, so nothing in the child waits for one of before. But a child
that was forked in C while another thread waited for the interpreter hangs, whatever it runs: so as long as such forks are to come
no thread is begun that nobody asked for.

A child that inherits a half-done import cannot do it again, so whatever the sender's thread would import at its first use is
imported here, or in `delivery.dialing`, before there is a thread: the dates of `Retry-After`, and what locks files.
"""

from __future__ import annotations

import atexit
import email.utils  # noqa: F401 - see the docstring
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

if TYPE_CHECKING:
    from footfall.client.outbox.outbox import Outbox

_HOLD_STILL_S: Final = 1.0
"""A fork waits so long for a hanging disk, then goes on."""

_living: WeakSet[Outbox] = WeakSet()
_held: list[Callable[[], None]] = []
_noticing: dict[int, threading.RLock] = {}
"""Process → the lock of those of its threads that notice the fork. By process, since that of the parent may be held."""


def remember(outbox: Outbox) -> None:
    """From now on it takes part in forks and in the end of the process."""
    _living.add(outbox)


def forget(outbox: Outbox) -> None:
    _living.discard(outbox)


def notice_fork(outbox: Outbox) -> None:
    """In the child of a fork that called no hooks: every outbox begins anew, `outbox` even if it was closed."""
    process = os.getpid()
    with _noticing.setdefault(process, threading.RLock()):
        for each in {outbox, *_living}:
            if each.process != process:
                each.begin_in_child()


def _before_fork() -> None:
    _held.extend(outbox.hold_still(_HOLD_STILL_S) for outbox in sorted(_living, key=id))


def _after_fork_in_parent() -> None:
    while _held:
        _held.pop()()


def _after_fork_in_child() -> None:
    _held.clear()  # the locks are left as they are: the child has others
    for outbox in list(_living):
        outbox.begin_in_child()


def _at_exit() -> None:
    for outbox in list(_living):
        outbox.end_with_process()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    import fcntl  # noqa: F401 - see the docstring; the log imports it with its first lock

    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
