"""What one process of a server tells the others, all the time and for nearly nothing: a status file, mapped into memory.

A worker publishes its `WorkerStatus` a few times a second, the supervisor its `SupervisorStatus`; `/readyz`, `/metrics` and
the command line read them with plain reads, as often as they like. Nobody waits for anybody, and the file outlives its writer:
a restarted worker goes on counting where its predecessor stopped.

    0   magic, b"FFSTATE1"                                            8 bytes
    8   bytes of one slot, zero                                       u32 u32
    16  turn, bytes of the payload, CRC32 of turn and payload         u64 u32 u32     first slot
    32  payload: JSON                                                 up to the slot's end
    16 + bytes of one slot: the same                                  second slot

Writes alternate between the slots and a reader takes the newest that passes its CRC32: a writer killed half way through, or a
reader that looks at that moment, finds the slot before. The file never changes its size: a payload that outgrows the slots, and
the first payload of every writer, come in a new file that is renamed into place. So a reader never meets half a file, and a
predecessor that will not die writes into a file without a name.

Nothing in here is personal: platform ids, counts, times and the server's own reasons.
"""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
import threading
from bisect import bisect_left
from pathlib import Path
from typing import Final, Literal, Self, TypeVar
from zlib import crc32

import msgspec

Source = Literal["api", "batch", "segment"]
"""how an event came: alone, in a batch, by the route of Segment's destination"""
Outcome = Literal["accepted", "rejected", "throttled", "unavailable"]
"""how it ended; every event that came with a known platform and key ends in exactly one"""

BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""upper bounds of the buckets of every histogram, in seconds; one more bucket holds what is slower"""

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 3
"""exit statuses: what a process says last"""

STARTING: Final = "starting"
"""the reason of a worker whose listener is not open yet"""

STALE_S: Final = 5.0
"""a process that has not published for this long is not heard of any more"""


# -- what is said


class Histogram(msgspec.Struct, kw_only=True):
    """How long things took. Changed in place by the one thread that observes."""

    counts: list[int] = msgspec.field(default_factory=list)
    """how many fell into each bucket (not added up), slowest last"""
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        if len(self.counts) != len(BOUNDS_S) + 1:  # new, or of a version with other bounds, which has to begin again
            self.counts = [0] * (len(BOUNDS_S) + 1)
            self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def add(self, other: Histogram) -> None:
        """Counts in what another process observed."""
        self.counts = [mine + others for mine, others in zip(self.counts, other.counts, strict=True)]
        self.sum_s += other.sum_s


class Counts(msgspec.Struct, kw_only=True):
    """What only ever grows, across restarts too. None of it is accounting: a power cut may take the last
    second, kill -9 the last quarter of one."""

    events: dict[str, dict[str, dict[str, int]]] = {}
    """platform → source → outcome → events"""
    refusals: dict[int, int] = {}
    """status → requests refused before a platform and a key were known"""
    responses: dict[int, int] = {}
    """status → answers, whatever was asked"""
    request_seconds: Histogram = msgspec.field(default_factory=Histogram)
    """from the head of a request to its answer"""
    commit_seconds: Histogram = msgspec.field(default_factory=Histogram)
    """from handing records to the log to their being durable"""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What the process takes of the machine; zeros where the system does not tell."""

    resident_bytes: int = 0
    cpu_seconds: float = 0.0
    open_files: int = 0


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One ingest worker. Whatever is missing in the file of another version has its default."""

    worker: str
    """the slot: w0, w1, …"""
    pid: int
    heartbeat_s: float
    """`time.monotonic()` when this was published: one clock for all processes of a machine, until it restarts"""
    started_at: int = 0
    """Unix milliseconds"""
    version: str = ""
    reasons: list[str] = []
    """why no event would be accepted now; empty: it would"""
    counts: Counts = msgspec.field(default_factory=Counts)
    durable: dict[str, int] = {}
    """tree (live, test) → the last durable sequence"""
    requests_open: int = 0
    bytes_in_flight: int = 0
    throttle_buckets: int = 0
    registry_revision: int = 0
    usage: Usage = Usage()


PartState = Literal["starting", "running", "stopping", "backing off"]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One child of the supervisor."""

    state: PartState
    since: int
    """Unix milliseconds: when it got into this state"""
    pid: int | None = None


class SupervisorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The supervisor: which processes there should be."""

    pid: int
    heartbeat_s: float
    started_at: int = 0
    version: str = ""
    stopping: bool = False
    parts: dict[str, Part] = {}
    """name (a worker's slot, or ops) → child"""
    restarts: dict[str, int] = {}
    """name → how often a part of that name ended unasked and was started again; also of those that do not run now"""
    free_bytes: int = 0
    """free on the volume of the data directory"""
    needed_bytes: int = 0
    """free bytes below which new events are refused"""
    usage: Usage = Usage()


class LanderStatus(msgspec.Struct, kw_only=True):
    """The lander: what it did since it started, and whether it does it now."""

    pid: int
    heartbeat_s: float
    started_at: int = 0
    version: str = ""
    events: dict[str, int] = {}
    """how events ended: landed, repeated, quarantined, erased"""
    batches: int = 0
    last_landed_at: int | None = None
    """Unix milliseconds; None: nothing yet"""
    positions: dict[str, int] = {}
    """writer → the last sequence that the table has"""
    trouble: str = ""
    """why nothing lands now; empty: it does"""
    usage: Usage = Usage()


# -- where it stands

_WORKER_FILE: Final = re.compile(r"(w[0-9]+)\.status")


def run_directory(data: Path) -> Path:
    """Where the processes of one data directory leave their status."""
    return data / "run"


def worker_status_path(run: Path, worker: str) -> Path:
    return run / f"{worker}.status"


def lander_status_path(run: Path) -> Path:
    return run / "lander.status"


def supervisor_status_path(run: Path) -> Path:
    return run / "supervisor.status"


def read_workers(run: Path) -> dict[str, WorkerStatus]:
    """The last status of every worker there ever was, by slot; without those whose file is garbage."""
    try:
        paths = sorted(run.iterdir())
    except OSError:
        return {}
    found = {match[1]: read_status(path, WorkerStatus) for path in paths if (match := _WORKER_FILE.fullmatch(path.name))}
    return {worker: status for worker, status in found.items() if status is not None}


# -- the file

_MAGIC: Final = b"FFSTATE1"
_HEAD: Final = struct.Struct("<8sII")
_SLOT: Final = struct.Struct("<QII")
_TURN: Final = struct.Struct("<Q")
_SLOT_BYTES_MIN: Final = 16 * 1024  # about a hundred platforms
_SLOT_BYTES_MAX: Final = 64 * 1024 * 1024
_READS_MAX: Final = 3
_BINARY: Final = getattr(os, "O_BINARY", 0)

_encode: Final = msgspec.json.Encoder().encode
S = TypeVar("S", bound=msgspec.Struct)


class StatusFile:
    """The writer's end. `publish` from one thread; `sync` from any."""

    def __init__(self, path: Path) -> None:
        """Touches nothing: what a predecessor left stays readable until the first `publish`."""
        self._path = path
        self._mapped: mmap.mmap | None = None
        self._descriptor = -1
        self._descriptor_in_use = threading.Lock()
        self._slot_bytes = 0
        self._turn = 0

    def publish(self, status: msgspec.Struct) -> None:
        """Makes `status` what readers see. A store into mapped memory, except the first time and whenever it outgrows the file:
        then a new file is made, and OSError raised where there is no room for it; readers then keep what they had."""
        payload = _encode(status)
        self._turn += 1
        if self._mapped is None or _SLOT.size + len(payload) > self._slot_bytes:
            self._begin_file(payload)
        else:
            start = _HEAD.size + self._turn % 2 * self._slot_bytes
            self._mapped[start : start + _SLOT.size + len(payload)] = _slot(self._turn, payload)

    def sync(self) -> None:
        """Writes it to stable storage, for the counts to survive a power cut. Blocks for as long as the volume takes: call it in
        a thread. (Not `mmap.flush`, which holds the interpreter lock while the volume is busy.)"""
        with self._descriptor_in_use:
            if self._descriptor < 0:
                return
            descriptor = os.dup(self._descriptor)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Lets go of the file, which stays. Calling it twice is allowed."""
        if self._mapped is not None:
            self._mapped.close()
            self._mapped = None
        with self._descriptor_in_use:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_file(self, payload: bytes) -> None:
        slot_bytes = max(_SLOT_BYTES_MIN, 1 << (2 * (_SLOT.size + len(payload)) - 1).bit_length())
        first, second = (_slot(turn, payload).ljust(slot_bytes, b"\0") for turn in (self._turn, self._turn - 1))
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            # written out, not left as a hole: a store into a hole of a full volume would kill the process with SIGBUS
            _write_all(descriptor, _HEAD.pack(_MAGIC, slot_bytes, 0) + first + second)
            mapped = mmap.mmap(descriptor, _HEAD.size + 2 * slot_bytes)
            os.replace(new, self._path)  # noqa: PTH105
        except BaseException:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise
        self.close()
        with self._descriptor_in_use:
            self._mapped, self._descriptor, self._slot_bytes = mapped, descriptor, slot_bytes


def read_status(path: Path, kind: type[S]) -> S | None:
    """The newest whole status in `path`; None where there is none, or nothing that can be read as one. Never raises."""
    for _ in range(_READS_MAX):  # again, where the writer overtook a slow read in both slots
        try:
            descriptor = os.open(path, os.O_RDONLY | _BINARY)
        except OSError:
            return None
        try:
            payload = _newest_payload(descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        if payload is not None:
            try:
                return msgspec.json.decode(payload, type=kind)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return None
    return None


def _newest_payload(descriptor: int) -> bytes | None:
    head = os.read(descriptor, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, slot_bytes, _ = _HEAD.unpack(head)
    if magic != _MAGIC or slot_bytes > _SLOT_BYTES_MAX:
        return None
    found = [_decode_slot(os.read(descriptor, slot_bytes)) for _ in range(2)]
    return max((slot for slot in found if slot is not None), default=(0, None))[1]


def _decode_slot(data: bytes) -> tuple[int, bytes] | None:
    if len(data) < _SLOT.size:
        return None
    turn, length, check = _SLOT.unpack_from(data)
    payload = data[_SLOT.size : _SLOT.size + length]
    return (turn, payload) if len(payload) == length and check == _check(turn, payload) else None


def _slot(turn: int, payload: bytes) -> bytes:
    return _SLOT.pack(turn, len(payload), _check(turn, payload)) + payload


def _check(turn: int, payload: bytes) -> int:
    return crc32(payload, crc32(_TURN.pack(turn)))


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


# -- counting on the request path


class Tally:
    """The events of one platform from one source. The request path adds to the plain numbers: `tally.accepted += 1`."""

    __slots__ = ("accepted", "rejected", "throttled", "unavailable")

    def __init__(self, *, accepted: int = 0, rejected: int = 0, throttled: int = 0, unavailable: int = 0) -> None:
        self.accepted = accepted
        self.rejected = rejected
        self.throttled = throttled
        self.unavailable = unavailable


class Counters:
    """What a worker counts while it serves. One thread, no locks, no allocation per request."""

    def __init__(self, previous: Counts | None = None) -> None:
        """Goes on from the counts of the slot's predecessor."""
        before = previous or Counts()
        self.refusals = dict(before.refusals)
        self.responses = dict(before.responses)
        self.request_seconds = before.request_seconds
        self.commit_seconds = before.commit_seconds
        self._tallies = {
            (platform, source): Tally(**{name: count for name, count in outcomes.items() if name in Tally.__slots__})
            for platform, sources in before.events.items()
            for source, outcomes in sources.items()
        }

    def tally(self, platform: str, source: Source) -> Tally:
        """The numbers to add to, the same object for as long as the process lives. `platform` must be one of the registry: a
        stranger's text would be a counter of its own for ever."""
        try:
            return self._tallies[platform, source]
        except KeyError:
            return self._tallies.setdefault((platform, source), Tally())

    def refused(self, status: int) -> None:
        """A request ended before a platform and a key were known."""
        self.refusals[status] = self.refusals.get(status, 0) + 1

    def answered(self, status: int, seconds: float) -> None:
        """Any request got its answer, `seconds` after its head had come."""
        try:
            self.responses[status] += 1
        except KeyError:
            self.responses[status] = 1
        self.request_seconds.observe(seconds)

    def counts(self) -> Counts:
        """As of now, to be published at once: the dictionaries and histograms are the living ones."""
        events: dict[str, dict[str, dict[str, int]]] = {}
        for (platform, source), tally in self._tallies.items():
            events.setdefault(platform, {})[source] = {name: getattr(tally, name) for name in Tally.__slots__}
        return Counts(
            events=events,
            refusals=self.refusals,
            responses=self.responses,
            request_seconds=self.request_seconds,
            commit_seconds=self.commit_seconds,
        )


# -- the process itself


def usage() -> Usage:
    """What this process takes. Looks at /proc (some milliseconds with thousands of connections): call it in a thread."""
    times = os.times()
    return Usage(resident_bytes=_resident_bytes(), cpu_seconds=times.user + times.system, open_files=_open_files())


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int:
    try:
        listing = Path("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd")
        return sum(1 for _ in listing.iterdir()) - 1  # without the listing itself
    except OSError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether a process of that number runs on this machine."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True
