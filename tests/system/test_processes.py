"""A server of several processes: each of them may die, be replaced or be stopped under load, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.load import Load
from tests.serving import COMMAND, Footfall, free_port, home, request, until


def assert_balanced(server: Footfall, load: Load) -> None:
    """Everything answered 200 stands in the log, once; nothing stands there that nobody sent."""
    ids = [record["event"]["id"] for record in server.records("SHOP")]
    assert load.answered <= set(ids), f"lost after a 200: {sorted(load.answered - set(ids))[:5]}"
    assert len(ids) == len(set(ids)), "an event stands in the log twice"
    assert set(ids) <= load.sent


def answers(server: Footfall) -> bool:
    """Whether a test event is taken. A connection that waited at a worker just killed is reset."""
    try:
        return server.send(home(), platform="SHOP_TEST").status == 200
    except OSError:
        return False


@pytest.fixture
def two_workers(tmp_path: Path) -> Iterator[Footfall]:
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__WORKERS": "2"}) as running:
        yield running
        running.check_log()


def test_workers_share_the_port_and_each_writes_a_log_of_its_own(two_workers: Footfall) -> None:
    for _ in range(60):  # a connection each: the kernel spreads them
        assert two_workers.send(home()).status == 200
    writers = {record["position"].partition("/")[0] for record in two_workers.records()}
    assert writers == {"w0", "w1"}
    assert set(two_workers.children()) == {"w0", "w1", "ops", "lander"}


def test_a_killed_worker_is_started_again_and_said_so_while_the_other_serves(two_workers: Footfall) -> None:
    load = Load(two_workers)
    for _ in range(3):
        time.sleep(0.4)
        victim = two_workers.children()["w0"]
        victim.kill()
        assert until(lambda: answers(two_workers), seconds=2), "the other worker serves"
        assert until(partial(_is_replaced, two_workers, "w0", victim.pid), seconds=10)
        assert two_workers.ops("/readyz").status == 200
    load.stop()
    assert "w0 ended by itself (SIGKILL); starting it again" in two_workers.output()
    assert_balanced(two_workers, load)


def test_workers_do_not_outlive_a_killed_supervisor_and_the_next_server_takes_over(two_workers: Footfall) -> None:
    load = Load(two_workers)
    for _ in range(3):
        time.sleep(0.3)
        old = two_workers.children()
        assert two_workers.process is not None
        two_workers.process.kill()
        two_workers.process.wait()
        assert until(partial(_are_gone, list(old.values())), seconds=2)
        two_workers.start()
        assert not {child.pid for child in old.values()} & {child.pid for child in two_workers.children().values()}
    load.stop()
    assert load.answered
    assert_balanced(two_workers, load)


def test_a_rolling_restart_under_load_replaces_every_worker_and_never_closes_the_port(footfall: Footfall) -> None:
    refused: list[OSError] = []
    done = threading.Event()

    def connect() -> None:
        while not done.is_set():
            try:
                socket.create_connection(("127.0.0.1", footfall.port), timeout=5).close()
            except OSError as error:
                refused.append(error)
            time.sleep(0.002)

    prober = threading.Thread(target=connect)
    prober.start()
    load = Load(footfall)
    seen = {footfall.children()["w0"].pid}
    for round_ in range(3):
        assert footfall.process is not None
        footfall.process.send_signal(signal.SIGHUP)
        assert until(partial(_has_said, footfall, "rolling restart done", times=round_ + 1), seconds=20)
        (worker,) = [child for name, child in footfall.children().items() if name not in ("ops", "lander")]
        assert worker.pid not in seen
        seen.add(worker.pid)
        assert footfall.ops("/readyz").status == 200
    load.stop()
    done.set()
    prober.join()
    assert not [error for error in refused if isinstance(error, ConnectionRefusedError)]
    assert not load.refused
    assert load.broken <= 2, "senders are asked to move before their connection is closed"
    assert_balanced(footfall, load)
    assert {path.name for path in (footfall.data / "log" / "live").iterdir()} == {"w0", "w1"}


def test_wrong_settings_stop_a_rolling_restart_and_not_the_server(footfall: Footfall) -> None:
    before = footfall.children()["w0"].pid
    (footfall.data / "footfall.toml").write_text("[limits]\nbody_bytes_max = -1\n")
    assert footfall.process is not None
    footfall.process.send_signal(signal.SIGHUP)
    assert until(lambda: "no rolling restart" in footfall.output(), seconds=5)
    assert footfall.children()["w0"].pid == before
    assert footfall.send(home()).status == 200
    (footfall.data / "footfall.toml").unlink()  # the ledger that is looked at in the end would refuse it, too


def test_a_rolling_restart_brings_new_limits_into_force(footfall: Footfall) -> None:
    (footfall.data / "footfall.toml").write_text("[limits]\nbody_bytes_max = 50\n")
    assert footfall.process is not None
    footfall.process.send_signal(signal.SIGHUP)
    assert until(lambda: "rolling restart done" in footfall.output(), seconds=10)
    assert footfall.send(home()).status == 413


def test_fewer_workers_leave_no_record_behind(two_workers: Footfall) -> None:
    ids = {f"e-{number}" for number in range(40)}
    for event_id in ids:
        assert two_workers.send(home(id=event_id)).status == 200
    while len({record["position"].partition("/")[0] for record in two_workers.records()}) < 2:  # chance deals them out
        ids.add(event_id := f"e-{len(ids)}")
        assert two_workers.send(home(id=event_id)).status == 200
    two_workers.kill()
    two_workers.settings["FOOTFALL_SERVER__WORKERS"] = "1"
    two_workers.start()
    assert {record["event"]["id"] for record in two_workers.records()} == ids
    verified = json.loads(two_workers.cli("log", "verify", "--json", check=True).stdout)
    writers = {writer["writer"]: writer for writer in verified["live"]["writers"]}
    assert writers["w1"]["durable"] == writers["w1"]["last"]


def test_while_it_drains_it_is_not_ready_and_still_serves(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__DRAIN_DELAY_S": "2"}) as server:
        assert server.process is not None
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert until(lambda: server.ops("/readyz").status == 503, seconds=1.5)
        assert "stopping" in server.ops("/readyz").json["reasons"]
        assert server.send(home()).status == 200
        assert server.process.wait(timeout=12) == 0
        assert 2 <= time.monotonic() - began < 12
        server.process = None


def test_parts_run_alone_too(tmp_path: Path) -> None:
    """`footfall ingest` takes events, `footfall console` tells of it; neither needs the other."""
    server = Footfall(tmp_path / "data")
    server.cli("platform", "add", "SHOP", check=True)
    server.keys["SHOP"] = server.new_key("SHOP")
    environment = {**os.environ, **server.settings, "FOOTFALL_DATA": str(server.data)}
    ops_port = free_port()
    arguments = (("ingest", "--port", str(server.port)), ("console", "--ops-port", str(ops_port)))
    parts = [subprocess.Popen([*COMMAND, *each], env=environment, stderr=subprocess.PIPE) for each in arguments]

    def is_ready() -> bool:
        try:
            return request(ops_port, "GET", "/readyz").status == 200
        except OSError:
            return False

    try:
        assert until(is_ready, seconds=20)
        assert server.send(home()).status == 200
        parts[0].terminate()
        assert parts[0].wait(timeout=10) == 0
        assert until(lambda: request(ops_port, "GET", "/readyz").status == 503, seconds=8)
    finally:
        for part in parts:
            part.terminate()
            part.communicate(timeout=10)
    assert len(server.records()) == 1


def test_a_port_that_is_taken_is_said_at_once(footfall: Footfall, tmp_path: Path) -> None:
    other = Footfall(tmp_path / "other")
    began = time.monotonic()
    taken = other.cli("serve", "--port", str(footfall.port), "--ops-port", "0")
    assert time.monotonic() - began < 5
    assert taken.returncode == 3
    assert b"is another server running?" in taken.stderr
    assert not (tmp_path / "other" / "log").exists()


def test_a_part_that_cannot_come_up_ends_the_server_with_its_reason(footfall: Footfall) -> None:
    footfall.stop()
    (footfall.data / "log" / "live" / "w0" / "lock").unlink()
    (footfall.data / "log" / "live" / "w0" / "lock").mkdir()
    failed = footfall.cli("serve", "--port", "0", "--ops-port", "0")
    (footfall.data / "log" / "live" / "w0" / "lock").rmdir()
    assert failed.returncode == 3
    assert b"w0" in failed.stderr
    assert b"Traceback" not in failed.stderr


def _has_said(server: Footfall, words: str, *, times: int) -> bool:
    return server.output().count(words) >= times


def _is_replaced(server: Footfall, name: str, pid: int) -> bool:
    child = server.children().get(name)
    return child is not None and child.pid != pid


def _are_gone(processes: list[psutil.Process]) -> bool:
    return all(map(_is_gone, processes))


def _is_gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
