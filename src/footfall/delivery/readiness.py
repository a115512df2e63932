"""Waiting until sockets can be read from or written to.

`select.poll` is used where it exists, and never epoll or kqueue: theirs are objects in the kernel that a forked child would share
with its parent, who then misses events once the child lets go. `select.select` is for Windows, whose sockets have no `poll`.
"""

from __future__ import annotations

import select
import socket
from typing import Final, Protocol

READABLE: Final[int] = getattr(select, "POLLIN", 1)
WRITABLE: Final[int] = getattr(select, "POLLOUT", 4)


class Watch(Protocol):
    """Sockets, by file number, and what each is waited for. The methods are those of `select.poll`."""

    def register(self, file: int, wanted: int, /) -> None:
        """Watches `file` for `wanted`, or for something else than before."""
        ...

    def unregister(self, file: int, /) -> None:
        """KeyError when it is not watched."""
        ...

    def poll(self, timeout_ms: float, /) -> list[tuple[int, int]]:
        """What is ready, as soon as anything is. Errors and ends are told whether they are waited for or not."""
        ...


class SelectWatch:
    """A `Watch` over `select.select`, for systems that have no `poll`."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, file: int, wanted: int, /) -> None:
        self._wanted[file] = wanted

    def unregister(self, file: int, /) -> None:
        del self._wanted[file]

    def poll(self, timeout_ms: float, /) -> list[tuple[int, int]]:
        reading = [file for file, wanted in self._wanted.items() if wanted & READABLE]
        writing = [file for file, wanted in self._wanted.items() if wanted & WRITABLE]
        found: dict[int, int] = {}
        readable, writable, failed = select.select(reading, writing, self._wanted, timeout_ms / 1000)
        for files, event in ((readable, READABLE), (writable, WRITABLE), (failed, READABLE)):  # reading tells what failed
            for file in files:
                found[file] = found.get(file, 0) | event
        return list(found.items())


def new_watch() -> Watch:
    """What this system has. Looked up at each call, for gevent puts its own in place."""
    return select.poll() if hasattr(select, "poll") else SelectWatch()


def is_ready(connected: socket.socket, wanted: int, *, timeout_s: float) -> bool:
    """Whether the socket becomes ready within so many seconds."""
    watch = new_watch()
    watch.register(connected.fileno(), wanted)
    return bool(watch.poll(timeout_s * 1000))
