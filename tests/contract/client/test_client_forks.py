"""A client survives fork, whatever was done with it before, and the end of the interpreter (test P1 of the catalogue)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.contract.delivery.receiver import Receiver

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

EXPECTED = {
    "used_then_forked": {"parent-1", "parent-2", "parent-3", "child-1", "child-2"},
    "preloaded": {"worker-0", "worker-1", "worker-2"},
    "grandchild": {"parent-1", "parent-2", "child-1", "child-2", "grandchild-1"},
    "made_and_forked_at_once": {"child-1"},
    "closed_in_the_parent": {"parent-1", "child-1"},
    "asynchronous": {f"{name}-{number}" for name in ("first", "second", "child") for number in range(5)},
    "multiprocessing_fork": {"parent-1", "child-1"},
    "multiprocessing_spawn": {"parent-1", "child-1"},
    "left_open": {"parent-1", "async-1"},
    "at_exit": {"parent-1", "at-exit-1"},
}


def run(scenario: str, receiver: Receiver) -> Counter[str]:
    program = str(Path(__file__).with_name("forks.py"))
    command = [sys.executable, "-W", "always::ResourceWarning", program, scenario, receiver.url]
    started_s = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    complaints = [line for line in ended.stderr.splitlines() if "fork()" not in line and "os.fork" not in line]
    assert complaints == []  # Python 3.12 and later remark on forks in threaded programs, which these are on purpose
    assert time.monotonic() - started_s < 30
    return Counter(arrival.event["id"] for arrival in receiver.arrivals)


@pytest.mark.parametrize("scenario", EXPECTED)
def test_parent_and_child_both_send_and_nothing_is_sent_twice(scenario: str) -> None:
    with Receiver() as receiver:
        sent = run(scenario, receiver)
    assert set(sent) == EXPECTED[scenario]
    assert set(sent.values()) == {1}


def test_forks_in_the_midst_of_requests_neither_hang_nor_lose_nor_repeat() -> None:
    with Receiver() as receiver:
        sent = run("in_flight", receiver)
    assert {f"child-{number}" for number in range(15)} <= set(sent)
    assert set(sent.values()) == {1}
    for thread in range(8):
        numbers = {int(name.rpartition("-")[2]) for name in sent if name.startswith(f"thread-{thread}-")}
        assert numbers == set(range(len(numbers))) and numbers
