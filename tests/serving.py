"""A real `footfall serve` as a process, its keys, and requests to it over real sockets."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import psutil

from footfall.cli.ledger import ledger_of
from footfall.cli.settings import load
from footfall.log.verify import verify
from footfall.registry.store import Registry

if TYPE_CHECKING:
    from footfall.lake.ledger import Ledger

COMMAND = (sys.executable, "-m", "footfall")
START_TIMEOUT_S = 30.0
EVENTS_PATH = "/rmp/event/v1/platforms/{platform}/userevents"


class Reply(NamedTuple):
    """An answer: `json` is None where the body is none."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        return str(self.json["message"])

    @property
    def violations(self) -> list[tuple[str, str]]:
        """(field, reason) of every violation listed."""
        return [(v["field"], v["reason"]) for detail in self.json["details"] for v in detail["field_violations"]]


_numbers = itertools.count(0x7C1F0000)


_PORTS_A_WORKER: Final = 2000
_worker: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_ports: Final = itertools.cycle(range(14_000 + _worker * _PORTS_A_WORKER, 14_000 + (_worker + 1) * _PORTS_A_WORKER))


def free_port() -> int:
    """A port that nobody has, and that no test beside this one will be given: below those that the system hands out itself."""
    for port in _ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the circle has no end")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def until(holds: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came about within `seconds`; looks many times a second, and once more at the end."""
    deadline_s = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.03)
    return True


def run_cli(
    *arguments: str, data: Path | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """One run of the command line, as a person would."""
    environment = {**os.environ, "COLUMNS": "200", **(env or {})}
    if data is not None:
        environment["FOOTFALL_DATA"] = str(data)
    return subprocess.run([*COMMAND, *arguments], input=stdin, capture_output=True, env=environment, timeout=60, check=check)


STARTED: Final[list[Footfall]] = []
"""every server a test started, for the look at their ledgers when it ends"""


class Footfall:
    """A server process with its data directory. Restartable: `kill`, then `start`. Its ledger must balance in the end."""

    def __init__(self, data: Path, *, settings: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()) -> None:
        self.data = data
        self.port = free_port()
        self.ops_port = free_port()
        self.settings = {"FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true", **(settings or {})}
        self.wrapper = tuple(wrapper)
        self.process: subprocess.Popen[bytes] | None = None
        self.keys: dict[str, str] = {}
        self.imbalance = ""
        """why the ledger cannot balance in the end: for tests that break it knowingly"""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        with Registry.in_directory(self.data) as registry:  # what `platform add` and `key create` do, in a tenth of the time
            for platform in registry.add_platform("SHOP"):
                self.keys[platform.id], _ = registry.create_key(platform.id)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        STARTED[:] = [server for server in STARTED if server is not self]
        if kind is None:
            self.check_ledger()

    # -- the process

    def start(self) -> None:
        STARTED.append(self)
        arguments = ["serve", "--port", str(self.port), "--ops-port", str(self.ops_port)]
        self.log_path = self.data.parent / f"{self.data.name}-serve.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, *COMMAND, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.settings, "FOOTFALL_DATA": str(self.data)},
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended with {self.process.returncode}:\n{self.output()}")
            with contextlib.suppress(OSError):
                if self.ops("/readyz").status == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"not ready within {START_TIMEOUT_S} s:\n{self.output()}")

    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self) -> int | None:
        """SIGTERM; returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)  # the group: a tracer in front does not pass signals on
        try:
            status = self.process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop on SIGTERM:\n{self.output()}") from None
        self.process = None
        return status

    def kill(self) -> None:
        """SIGKILL to the process and all its children, and waits until they are gone."""
        if self.process is None:
            return
        children = self.children()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for child in children.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.wait(timeout=15)
        self.process = None
        psutil.wait_procs(list(children.values()), timeout=10)

    def children(self) -> dict[str, psutil.Process]:
        """The parts of the running server by name: w0, w1, …, ops."""
        assert self.process is not None
        found = {}
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = process.cmdline()
                if "footfall.cli.part" in command and "strace" not in command[0]:
                    found[command[command.index("footfall.cli.part") + 2]] = process
        return found

    # -- the command line on the same data

    def cli(self, *arguments: str, stdin: bytes = b"", check: bool = False) -> subprocess.CompletedProcess[bytes]:
        return run_cli(*arguments, data=self.data, stdin=stdin, env=self.settings, check=check)

    def new_key(self, platform: str, *options: str) -> str:
        return self.cli("key", "create", platform, *options, check=True).stdout.decode().strip()

    def records(self, platform: str | None = None) -> list[dict[str, Any]]:
        """What `footfall log cat` prints."""
        options = ("--platform", platform) if platform else ()
        return [json.loads(line) for line in self.cli("log", "cat", *options, check=True).stdout.splitlines()]

    def check_log(self) -> None:
        """Every byte of the log is whole."""
        for mode in ("live", "test"):
            report = verify(self.data / "log" / mode)
            assert report.is_sound, report

    def ledger(self, *, verify: bool = False) -> Ledger:
        """What `footfall ledger` tells, in a tenth of the time."""
        return ledger_of(self.data, load(file=None, data=self.data, environment=self.settings), verify=verify)

    def check_ledger(self) -> None:
        """Every event that was accepted is somewhere, once, as far as the data directory tells; running or not."""
        if self.imbalance or not self.data.exists():
            return
        ledger = self.ledger(verify=True)
        differences = {pair: terms.numbers() for pair, terms in ledger.lines.items() if terms.difference}
        assert ledger.balanced, (differences, [check for check in ledger.checks or () if not check.ok])

    # -- requests

    def send(
        self, event: object, *, platform: str = "SHOP", key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Posts an event (a value to encode, or the very bytes) with the platform's key."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        head = {"Content-Type": "application/json", "X-API-Key": self.keys[platform] if key is None else key, **(headers or {})}
        return self.request("POST", EVENTS_PATH.format(platform=platform), body=body, headers=head)

    def request(self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        return request(self.port, method, path, body=body, headers=headers)

    def ops(self, path: str) -> Reply:
        return request(self.ops_port, "GET", path)


def request(
    port: int,
    method: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def raw_exchange(port: int, data: bytes, *, timeout_s: float = 15.0, half_close: bool = False) -> bytes:
    """Sends bytes as they are and returns everything that comes back until the server closes or `timeout_s` is over."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + timeout_s
        with contextlib.suppress(TimeoutError, ConnectionError):
            while (left := deadline - time.monotonic()) > 0:
                connection.settimeout(left)
                chunk = connection.recv(65536)
                if not chunk:
                    break
                received += chunk
    return received


def home(**members: Any) -> dict[str, Any]:
    """The smallest clean event, to be changed in one place. Each comes from a shopper of its own."""
    return {
        "id": members.pop("id", f"e-{time.time_ns()}"),
        "event_type": "HOME",
        "channel_type": "SITE",
        "timestamp": str(now_ms()),
        "user_id": f"u-{next(_numbers):x}",
        "device": {"persistent_id": "p-90aa"},
        **members,
    }
