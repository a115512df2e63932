"""Status files: what is published is read back whole, or the one before it, or nothing; never an error, never a mixture."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from footfall.server.status import (
    BOUNDS_S,
    Counters,
    Counts,
    Histogram,
    Part,
    StatusFile,
    SupervisorStatus,
    WorkerStatus,
    is_alive,
    read_status,
    read_workers,
    run_directory,
    supervisor_status_path,
    usage,
    worker_status_path,
)


def worker_status(*, requests_open: int = 0, platforms: int = 0, worker: str = "w0") -> WorkerStatus:
    events = {f"SHOP_{index}": {"api": {"accepted": index}} for index in range(platforms)}
    return WorkerStatus(worker=worker, pid=1, heartbeat_s=1.0, requests_open=requests_open, counts=Counts(events=events))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return worker_status_path(run_directory(tmp_path), "w0")


def test_what_is_published_is_read_back_with_every_field(path: Path) -> None:
    counters = Counters()
    counters.tally("SHOP", "batch").accepted += 3
    counters.answered(200, 0.0031)
    counters.refused(401)
    counters.commit_seconds.observe(0.2)
    told = WorkerStatus(
        worker="w0",
        pid=17,
        heartbeat_s=12.5,
        started_at=1_790_000_000_000,
        version="1.2.3",
        reasons=["starting"],
        counts=counters.counts(),
        durable={"live": 4, "test": 5},
        requests_open=6,
        bytes_in_flight=7,
        throttle_buckets=8,
        registry_revision=9,
        usage=usage(),
    )
    with StatusFile(path) as file:
        file.publish(told)
    assert read_status(path, WorkerStatus) == told


def test_the_supervisor_status_is_read_back(tmp_path: Path) -> None:
    part = Part(state="running", since=1, pid=3)
    told = SupervisorStatus(
        pid=1, heartbeat_s=2.0, stopping=True, parts={"w0": part}, restarts={"w0": 2}, free_bytes=10, needed_bytes=9
    )
    with StatusFile(supervisor_status_path(tmp_path)) as file:
        file.publish(told)
    assert read_status(supervisor_status_path(tmp_path), SupervisorStatus) == told


def test_the_newest_of_many_is_read_whatever_their_sizes(path: Path) -> None:
    """Up and down again, far beyond the first size of the file."""
    dice = random.Random(5)
    with StatusFile(path) as file:
        for turn in range(60):
            file.publish(worker_status(requests_open=turn, platforms=dice.choice((0, 1, 50, 2_000))))
            seen = read_status(path, WorkerStatus)
            assert seen is not None
            assert seen.requests_open == turn


def test_nothing_is_touched_before_the_first_publish(path: Path) -> None:
    """So that a restarted worker can read its predecessor's counts, and dies without losing them."""
    with StatusFile(path) as file:
        file.publish(worker_status(requests_open=1))
    with StatusFile(path):
        pass
    assert read_status(path, WorkerStatus) == worker_status(requests_open=1)


def test_a_predecessor_that_still_publishes_is_not_seen_any_more(path: Path) -> None:
    with StatusFile(path) as predecessor, StatusFile(path) as successor:
        predecessor.publish(worker_status(requests_open=1))
        successor.publish(worker_status(requests_open=2))
        for _ in range(3):
            predecessor.publish(worker_status(requests_open=3))
        assert read_status(path, WorkerStatus) == worker_status(requests_open=2)


def test_the_file_is_private_and_has_no_holes(path: Path) -> None:
    """A store into a hole of a full volume would kill the writer."""
    with StatusFile(path) as file:
        file.publish(worker_status(platforms=1_000))
        file.sync()
    found = path.stat()
    assert (found.st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert found.st_blocks * 512 >= found.st_size
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_no_file_and_no_directory_are_no_status(path: Path) -> None:
    assert read_status(path, WorkerStatus) is None
    assert read_workers(path.parent) == {}


def test_a_flipped_byte_in_one_slot_shows_the_other_and_in_the_head_never_a_mixture(path: Path) -> None:
    with StatusFile(path) as file:
        for turn in (1, 2, 3):
            file.publish(worker_status(requests_open=turn))
    whole = path.read_bytes()
    slot_bytes = (len(whole) - 16) // 2
    used = len(msgspec.json.encode(worker_status(requests_open=3))) + 16
    before, newest = worker_status(requests_open=2), worker_status(requests_open=3)
    allowed = {range(16): (None, before, newest), range(16, 16 + used): (newest,)}
    allowed[range(16 + slot_bytes, 16 + slot_bytes + used)] = (before,)
    for offsets, statuses in allowed.items():
        for offset in offsets:
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x41]) + whole[offset + 1 :])
            assert read_status(path, WorkerStatus) in statuses, offset


def test_a_file_cut_anywhere_is_read_without_an_error(path: Path) -> None:
    with StatusFile(path) as file:
        file.publish(worker_status(requests_open=1))
    whole = path.read_bytes()
    for length in [*range(200), len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert read_status(path, WorkerStatus) in (None, worker_status(requests_open=1))


@pytest.mark.parametrize("garbage", [b"", b"\0" * 40_000, b"FFSTATE1" + b"\xff" * 40_000, b"{}" * 30_000])
def test_garbage_is_no_status_and_not_among_the_workers(path: Path, garbage: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(garbage)
    assert read_status(path, WorkerStatus) is None
    assert read_workers(path.parent) == {}


def test_another_structs_file_is_no_status(path: Path) -> None:
    with StatusFile(path) as file:
        file.publish(Histogram())
    assert read_status(path, WorkerStatus) is None


def test_workers_are_found_by_their_slot_and_nothing_else_is_one(tmp_path: Path) -> None:
    for name in ("w0", "w10", "supervisor", "w1.old"):
        with StatusFile(tmp_path / f"{name}.status") as file:
            file.publish(worker_status(worker=name))
    assert set(read_workers(tmp_path)) == {"w0", "w10"}


def test_a_writer_killed_at_any_moment_leaves_a_whole_status_and_readers_never_see_less(path: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from footfall.server.status import *\n"
        "file, turn = StatusFile(pathlib.Path(sys.argv[1])), 0\n"
        "while True:\n"
        "    turn += 1\n"
        "    events = {f'S{i}': {'api': {'accepted': turn}} for i in range(turn % 97 * 9)}\n"
        "    file.publish(WorkerStatus(worker='w0', pid=1, heartbeat_s=0.0, requests_open=turn, counts=Counts(events=events)))\n"
    )
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", program, str(path)]) as writer:
            seen, deadline_s = 0, time.monotonic() + 20
            while seen < 500 and time.monotonic() < deadline_s:
                status = read_status(path, WorkerStatus)
                if status is not None:
                    assert status.requests_open >= seen
                    assert all(sources["api"]["accepted"] == status.requests_open for sources in status.counts.events.values())
                    seen = status.requests_open
            writer.send_signal(signal.SIGKILL)
        last = read_status(path, WorkerStatus)
        assert last is not None
        assert last.requests_open >= seen >= 500
        path.unlink()


def test_without_room_for_a_larger_file_readers_keep_what_they_had(path: Path) -> None:
    program = (
        "import resource, sys, pathlib\n"
        "from footfall.server.status import *\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "file = StatusFile(pathlib.Path(sys.argv[1]))\n"
        "small = WorkerStatus(worker='w0', pid=1, heartbeat_s=0.0, requests_open=1)\n"
        "file.publish(small)\n"
        "events = {f'S{i}': {'api': {'accepted': 1}} for i in range(2000)}\n"
        "try:\n"
        "    file.publish(WorkerStatus(worker='w0', pid=1, heartbeat_s=0.0, counts=Counts(events=events)))\n"
        "except OSError:\n"
        "    print('refused', read_status(pathlib.Path(sys.argv[1]), WorkerStatus) == small)\n"
        "file.publish(WorkerStatus(worker='w0', pid=1, heartbeat_s=0.0, requests_open=2))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["refused", "True"]
    left = read_status(path, WorkerStatus)
    assert left is not None
    assert left.requests_open == 2
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_sync_in_another_thread_is_never_in_the_way(path: Path) -> None:
    failures: list[Exception] = []
    over = threading.Event()

    def sync_all_the_time(file: StatusFile) -> None:
        try:
            while not over.is_set():
                file.sync()
        except Exception as error:
            failures.append(error)

    with StatusFile(path) as file:
        thread = threading.Thread(target=sync_all_the_time, args=(file,))
        thread.start()
        for turn in range(200):
            file.publish(worker_status(requests_open=turn, platforms=turn * 20))
        file.close()
        over.set()
        thread.join(timeout=20)
    assert failures == []
    seen = read_status(path, WorkerStatus)
    assert seen is not None
    assert seen.requests_open == 199


# -- counting


def test_counts_go_on_where_the_predecessor_stopped(path: Path) -> None:
    for lives in (1, 2, 3):
        previous = read_status(path, WorkerStatus)
        counters = Counters(previous.counts if previous else None)
        counters.tally("SHOP", "api").accepted += 2
        counters.tally("SHOP", "api").throttled += 1
        counters.answered(200, 0.004)
        counters.answered(503, 20.0)
        counters.refused(401)
        counters.commit_seconds.observe(0.003)
        with StatusFile(path) as file:
            file.publish(WorkerStatus(worker="w0", pid=1, heartbeat_s=0.0, counts=counters.counts()))
        seen = read_status(path, WorkerStatus)
        assert seen is not None
        counts = seen.counts
        outcomes = {"accepted": 2 * lives, "rejected": 0, "throttled": lives, "unavailable": 0}
        assert counts.events == {"SHOP": {"api": outcomes}}
        assert (counts.responses, counts.refusals) == ({200: lives, 503: lives}, {401: lives})
        assert (sum(counts.request_seconds.counts), sum(counts.commit_seconds.counts)) == (2 * lives, lives)
        assert counts.request_seconds.sum_s == pytest.approx(20.004 * lives)


def test_a_histogram_counts_a_bound_into_its_own_bucket_and_has_one_for_the_slowest() -> None:
    histogram = Histogram()
    for seconds in (*BOUNDS_S, 0.0, BOUNDS_S[-1] + 1):
        histogram.observe(seconds)
    assert histogram.counts == [2, *[1] * (len(BOUNDS_S) - 1), 1]


def test_counts_of_a_version_with_other_bounds_or_fields_begin_again_without_an_error() -> None:
    old = b'{"worker":"w0","pid":1,"heartbeat_s":1.5,"gone":[],"counts":{"commit_seconds":{"counts":[1,2],"sum_s":3.0}}}'
    status = msgspec.json.decode(old, type=WorkerStatus)
    assert status.counts.commit_seconds == Histogram()


def test_counting_one_request_costs_microseconds_at_most() -> None:
    """Far above what was measured (0.25 µs), so that only a change of kind fails here."""
    counters = Counters()
    tally = counters.tally("SHOP", "api")
    began_s = time.perf_counter()
    for _ in range(20_000):
        tally.accepted += 1
        counters.answered(200, 0.003)
    assert (time.perf_counter() - began_s) / 20_000 < 5e-6


# -- processes


def test_a_process_is_alive_until_it_was_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_alive(child.pid)
        child.kill()
        child.wait()
        assert not is_alive(child.pid)
    assert is_alive(os.getpid())
    assert not is_alive(0)
    assert not is_alive(-1)


def test_usage_tells_of_this_process() -> None:
    before = usage()
    with Path(__file__).open():
        during = usage()
    assert during.open_files == before.open_files + 1
    assert before.resident_bytes > 1_000_000
    assert before.cpu_seconds > 0
