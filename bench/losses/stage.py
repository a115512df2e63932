"""What a row of the loss table is played on: one library, its receiver, its processes, and the count afterwards.

Everything is a real process and a real socket on the loopback, and everything has an end: a process that does not leave is
killed, and the table says so.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec

from bench.losses.receiver import Receiver, number_of
from bench.losses.shop import Order, Word
from bench.trackers import PLATFORM, Place
from tests.serving import Footfall, free_port, until

_LEAVES_S_MAX: Final = 45.0
"""The longest any process is waited for; the peers give up on a flush sooner."""
_UP_S_MAX: Final = 20.0


class Destination(Protocol):
    """Where events of a row go: the receiver of the table, or a whole Footfall."""

    key: str
    delay_s: float

    @property
    def url(self) -> str: ...

    @property
    def arrived(self) -> Counter[int]:
        """number of the shopper → how often it arrived"""
        ...

    def settle(self) -> None:
        """Returns when all that was sent has been counted."""
        ...


class WholeFootfall:
    """A real `footfall serve` as the destination: batches, durable before the answer. What arrived is what its log holds."""

    def __init__(self, server: Footfall) -> None:
        self._server = server
        self.key = server.keys[PLATFORM]
        self.delay_s = 0.0

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def arrived(self) -> Counter[int]:
        return Counter(number_of(record["event"]) for record in self._server.records())

    def settle(self) -> None:
        """An event it answered is in the log already."""


@contextlib.contextmanager
def whole_footfall(data: Path) -> Iterator[WholeFootfall]:
    with Footfall(data, settings={"FOOTFALL_THROTTLE__IDENTIFIER_BURST": "100000"}) as server:
        yield WholeFootfall(server)


class Stage:
    """One library in one row. `count` events are to be tracked, numbered from 0; `asked` are those that can arrive."""

    def __init__(self, library: str, destination: Destination, directory: Path, *, count: int) -> None:
        self.library = library
        self.destination = destination
        self.directory = directory
        self.count = count
        self.asked = frozenset(range(count))
        self.purchases: frozenset[int] = frozenset()
        """those of them that are purchases, where that matters"""
        self.words: list[Word] = []
        """what the processes said, in order"""
        self.overstayed = 0
        """processes that had to be killed"""
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def receiver(self) -> Receiver:
        """For rows that turn the knobs of one."""
        assert isinstance(self.destination, Receiver)
        return self.destination

    def place(self, **changes: Any) -> Place:
        place = Place(
            library=self.library,
            url=self.destination.url,
            key=self.destination.key or "any",
            directory=str(self.directory / "outbox"),
        )
        return msgspec.structs.replace(place, **changes)

    def start(self, order: Order) -> Process:
        return Process(self, [sys.executable, "-m", "bench.losses.shop", msgspec.json.encode(order).decode()])

    def play(self, end: Any, **changes: Any) -> None:
        """One process that tracks all and ends as asked."""
        process = self.start(Order(place=self.place(), end=end, count=self.count, **changes))
        process.leave()

    def deliver(self) -> None:
        """The next start of the same shop: another process on the same outbox."""
        self.start(Order(place=self.place(), end="deliver")).leave()

    @property
    def errors(self) -> str:
        """What the processes wrote on stderr."""
        return (self.directory / "errors").read_text(errors="replace")


class Process:
    """One process of a stage. Its lines are read as they come; what it writes on stderr goes to a file."""

    def __init__(self, stage: Stage, command: list[str], *, environment: dict[str, str] | None = None) -> None:
        self._stage = stage
        with (stage.directory / "errors").open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environment or {})},
                text=True,
            )

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def listen(self) -> Word:
        """The next word of the process; AssertionError when it ended without one."""
        line = self._output.readline()
        if not line:
            raise AssertionError(f"a process of {self._stage.library} ended early:\n{self._stage.errors[-2000:]}")
        word = msgspec.json.decode(line, type=Word)
        self._stage.words.append(word)
        return word

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def leave(self) -> None:
        """Lets go of its stdin and waits until it, and whoever has its stdout from it, is gone."""
        try:
            rest, _ = self._process.communicate(timeout=_LEAVES_S_MAX)
        except subprocess.TimeoutExpired:
            self._stage.overstayed += 1
            self._process.kill()
            rest, _ = self._process.communicate(timeout=_LEAVES_S_MAX)
        if self._process.returncode > 0:  # below 0 it is the row's own signal
            raise AssertionError(f"a process of {self._stage.library} failed:\n{self._stage.errors[-2000:]}")
        self._stage.words.extend(msgspec.json.decode(line, type=Word) for line in rest.splitlines() if line.startswith("{"))


class Site:
    """A shop behind gunicorn with two workers. A request that got no whole 200 is made again, as a shopper would."""

    def __init__(self, stage: Stage) -> None:
        self._port = free_port()
        command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{self._port}", "--log-level", "error"]
        environment = {"BENCH_PLACE": msgspec.json.encode(stage.place()).decode()}
        self._process = Process(stage, [*command, "bench.losses.site:app"], environment=environment)
        if not until(lambda: self._gets("favicon.ico") is not None, seconds=_UP_S_MAX):
            raise AssertionError(f"gunicorn did not come up:\n{stage.errors[-2000:]}")

    def track(self, number: int) -> None:
        deadline_s = time.monotonic() + _UP_S_MAX
        while self._gets(str(number)) != 200:
            if time.monotonic() > deadline_s:
                raise AssertionError(f"gunicorn does not answer request {number}")
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        self._process.signal(number)

    def leave(self) -> None:
        self._process.leave()

    def _gets(self, path: str) -> int | None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("GET", f"/{path}")
            return connection.getresponse().status
        except (OSError, HTTPException):
            return None
        finally:
            connection.close()
