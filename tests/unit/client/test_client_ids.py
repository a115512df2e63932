"""Event ids: never twice, whatever the program does to random numbers, threads and processes; in order within a millisecond."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import uuid

import pytest

from footfall.client.ids import new_id

NOW_MS = 1_790_000_000_000


def test_ids_of_one_millisecond_sort_as_they_were_made() -> None:
    made = [new_id(NOW_MS) for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == 20_000


def test_every_one_is_a_uuid_of_version_7_of_its_millisecond() -> None:
    for now_ms in (0, 1, 0xFFFF, 0x10000, NOW_MS, (1 << 48) - 1):
        for _ in range(200):
            made = uuid.UUID(text := new_id(now_ms))
            assert str(made) == text
            assert (made.version, made.variant, made.int >> 80) == (7, uuid.RFC_4122, now_ms)


def test_the_random_part_takes_every_value() -> None:
    parts = [new_id(NOW_MS).rpartition("-")[2] for _ in range(2000)]
    assert len(set(parts)) == 2000
    assert all(len({part[place] for part in parts}) == 16 for place in range(12))


def test_a_program_that_seeds_random_numbers_gets_no_id_twice() -> None:
    state = random.getstate()
    try:
        random.seed(7)
        first = [new_id(NOW_MS)[-12:] for _ in range(100)]
        expected = random.random()
        random.seed(7)
        second = [new_id(NOW_MS)[-12:] for _ in range(100)]
        assert random.random() == expected  # and its own numbers are not used up
        assert not {*first} & {*second}
    finally:
        random.setstate(state)


def test_threads_share_no_id() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into += [new_id(NOW_MS) for _ in range(5000)]

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({event_id for into in made for event_id in into}) == 20_000
    assert all(into == sorted(into) for into in made)


FORKING = """
import ctypes, os, sys
from footfall.client.ids import new_id
fork = os.fork if sys.argv[1] == "python" else ctypes.PyDLL(None).fork
new_id(5)
children = []
for _ in range(3):
    child = fork()
    if child == 0:
        os.write(1, "".join(new_id(5) + "\\n" for _ in range(20)).encode())
        os._exit(0)
    children.append(child)
os.write(1, "".join(new_id(5) + "\\n" for _ in range(20)).encode())
for child in children:
    os.waitpid(child, 0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("by", ["python", "c"])
def test_forked_children_share_no_id_also_when_python_is_not_told_of_the_fork(by: str) -> None:
    """uWSGI forks in C and calls none of Python's hooks; its workers would all make the same ids."""
    printed = subprocess.run([sys.executable, "-c", FORKING, by], capture_output=True, text=True, timeout=30, check=True).stdout
    made = printed.split()
    assert len(made) == 80
    assert len({event_id.rpartition("-")[2] for event_id in made}) == 80
    assert len({event_id[15:23] for event_id in made}) > 60  # the numbers begin anew as well
