"""An outbox survives fork, whatever was done with it before (test P1 of the catalogue): nothing is lost, nothing sent twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import pytest

from footfall.client.outbox.inspection import list_trays
from tests.contract.delivery.receiver import Receiver, answer

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

CUT_SHORT = ("worker-", "grandchild-", "dies-")
"""Events of processes that end without a word just after `track`: one may be on its way, and go again with the same id."""
SCENARIOS = {
    "used_then_forked": {"parent-1", "parent-2", "parent-3", "child-1"},
    "preloaded": {"worker-0", "worker-1", "worker-2"},
    "grandchild": {"parent-1", "child-1", "child-2", "grandchild-1"},
    "closed_in_the_parent": {"parent-1", "child-1"},
    "keeps_no_connection_of_its_parent": {"parent-1", "parent-2", "child-1"},
    "multiprocessing_fork": {"parent-1", "worker-1"},
    "multiprocessing_spawn": {"parent-1", "child-1"},
    "used_then_forked_in_c": {"parent-1", "parent-2", "parent-3", "child-1", "child-2"},
    "preloaded_and_forked_in_c": {"worker-0", "worker-1", "worker-2"},
    "preloaded_by_uwsgi": {"parent-1", "parent-2"},
    "closed_in_a_child_of_c": {"parent-1", "parent-2"},
    "forked_in_c_while_a_thread_writes": {"parent-1", "parent-2", "child-1", "child-2", "child-3", "child-4"},
    "dies_before_its_child": {"dies-1"},
}


def run(scenario: str, directory: Path, receiver: Receiver) -> tuple[Counter[str], list[str], subprocess.CompletedProcess[str]]:
    """What arrived, what was promised, and how the shop ended."""
    program = str(Path(__file__).with_name("outbox_shop.py"))
    command = [sys.executable, program, scenario, str(directory), receiver.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    return Counter(arrival.event["id"] for arrival in receiver.arrivals), ended.stdout.split(), ended


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_process_delivers_and_nothing_is_sent_twice(scenario: str, tmp_path: Path) -> None:
    with Receiver() as receiver:
        arrived, promised, ended = run(scenario, tmp_path / "outbox", receiver)
    assert ended.returncode == (-9 if scenario == "dies_before_its_child" else 0), ended.stderr
    assert "Traceback" not in ended.stderr
    assert set(promised) == set(arrived) == SCENARIOS[scenario]
    assert all(count == 1 for name, count in arrived.items() if not name.startswith(CUT_SHORT)), arrived
    assert list_trays(tmp_path / "outbox") == []  # all delivered: nothing is left on the disk


def test_the_sender_imports_nothing_that_a_fork_could_meet_half_done(tmp_path: Path) -> None:
    with Receiver([answer(503, headers={"Retry-After": formatdate(time.time() + 1, usegmt=True)}), answer(200)]) as receiver:
        arrived, _, ended = run("imports_nothing_later", tmp_path / "outbox", receiver)
    assert ended.returncode == 0, ended.stderr
    assert arrived == {"parent-1": 2}


def test_forks_while_eight_threads_track_and_the_sender_sends_neither_hang_nor_lose_nor_repeat(tmp_path: Path) -> None:
    with Receiver() as receiver:
        arrived, promised, ended = run("in_flight", tmp_path / "outbox", receiver)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert {f"{'worker' if number % 3 else 'child'}-{number}-{turn}" for number in range(12) for turn in (1, 2)} <= set(promised)
    assert set(arrived) == set(promised)
    assert all(count == 1 for name, count in arrived.items() if not name.startswith("worker-")), arrived
