"""One registry, many processes: all of them make it, look at it and change it at the same moment, and none fails."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from footfall.registry.snapshot import Limits
from footfall.registry.store import FILE_NAME, Registry

BUSY_PROCESS = Path(__file__).with_name("busy_process.py")
VERSION_0_1 = """
CREATE TABLE platforms (id VARCHAR(80) NOT NULL, mode VARCHAR(4) NOT NULL, shop VARCHAR(80) NOT NULL, created_at BIGINT NOT NULL,
    disabled_at BIGINT, PRIMARY KEY (id));
CREATE TABLE meta (id INTEGER NOT NULL, revision BIGINT NOT NULL, PRIMARY KEY (id));
CREATE TABLE api_keys (id VARCHAR(20) NOT NULL, digest BLOB NOT NULL, platform VARCHAR(80) NOT NULL, scope VARCHAR(10) NOT NULL,
    name VARCHAR(128) NOT NULL, last4 VARCHAR(4) NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT, revoked_at BIGINT,
    last_used_at BIGINT, PRIMARY KEY (id), UNIQUE (digest), FOREIGN KEY(platform) REFERENCES platforms (id));
INSERT INTO platforms VALUES ('SHOP', 'live', 'SHOP', 1, NULL), ('SHOP_TEST', 'test', 'SHOP', 1, NULL);
INSERT INTO meta VALUES (1, 7);
INSERT INTO api_keys VALUES ('key_1', x'00', 'SHOP', 'ingest', 'backend', 'abcd', 1, NULL, NULL, NULL);
"""
"""What the version before limits made, with a shop in it."""


def make_version_0_1(directory: Path) -> None:
    with sqlite3.connect(directory / FILE_NAME) as connection:
        connection.executescript(VERSION_0_1)
    connection.close()


def run_together(directory: Path, *roles: tuple[str, int]) -> None:
    """Starts a process for each role; all are let loose at once, and all must end well."""
    processes = [
        subprocess.Popen(
            [sys.executable, str(BUSY_PROCESS), str(directory), role, str(rounds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for role, rounds in roles
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "loaded\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            complaint = process.communicate(timeout=60)[1]
            assert process.returncode == 0, complaint
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_workers_and_people_use_a_registry_of_the_version_before_at_once(tmp_path: Path) -> None:
    make_version_0_1(tmp_path)
    run_together(tmp_path, ("server", 30), ("server", 30), ("server", 30), ("person", 15), ("person", 15))
    with Registry.in_directory(tmp_path) as registry:
        assert registry.revision() == 7 + 2 * 15, "each change counts once"
        assert len(registry.keys()) == 1 + 2 * 15


def test_opening_a_registry_of_the_version_before_keeps_all_and_tells_no_server(tmp_path: Path) -> None:
    make_version_0_1(tmp_path)
    with Registry.in_directory(tmp_path) as registry:
        assert [platform.id for platform in registry.platforms()] == ["SHOP", "SHOP_TEST"]
        assert [key.id for key in registry.keys("SHOP")] == ["key_1"]
        assert registry.snapshot().limits == {}
        assert registry.revision() == 7
        registry.set_limits("SHOP", platform="none")
    with Registry.in_directory(tmp_path) as again:
        assert again.limits("SHOP") == Limits(platform="none")


def test_many_threads_open_a_registry_that_is_not_there_yet(tmp_path: Path) -> None:
    failures: list[Exception] = []
    start = threading.Barrier(8)

    def open_it(directory: Path) -> None:
        try:
            start.wait(timeout=20)
            with Registry.in_directory(directory) as registry:
                registry.add_platform("SHOP")
        except Exception as error:
            failures.append(error)

    for attempt in range(3):
        directory = tmp_path / str(attempt)
        threads = [threading.Thread(target=open_it, args=(directory,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Registry.in_directory(directory) as registry:
            assert len(registry.platforms()) == 2
    assert failures == []


@pytest.mark.parametrize(
    "look",
    [Registry.revision, Registry.snapshot, Registry.platforms, Registry.keys, lambda registry: registry.limits("SHOP")],
    ids=["revision", "snapshot", "platforms", "keys", "limits"],
)
def test_whoever_looks_does_not_wait_for_a_change_that_is_under_way(tmp_path: Path, look: Callable[[Registry], object]) -> None:
    """Opening counts as looking: a worker starts while somebody holds the write lock, for longer than the lock is waited for."""
    with Registry.in_directory(tmp_path) as registry:
        registry.add_platform("SHOP")
    holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with Registry.in_directory(tmp_path) as registry:
            assert look(registry) is not None
    finally:
        holder.close()


def test_a_change_waits_for_the_one_before_it(tmp_path: Path) -> None:
    with Registry.in_directory(tmp_path) as registry:
        registry.add_platform("SHOP")
        holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.2, holder.rollback)
        release.start()
        assert registry.create_key("SHOP")
        release.join()
        holder.close()


def test_the_latest_use_of_a_key_stays_whichever_server_reports_last(tmp_path: Path) -> None:
    with Registry.in_directory(tmp_path) as one, Registry.in_directory(tmp_path) as other:
        one.add_platform("SHOP")
        _, kept = one.create_key("SHOP")
        one.record_use({kept.id: 2_000})
        other.record_use({kept.id: 1_000})
        assert one.keys()[0].last_used_at == 2_000
        other.record_use({kept.id: 3_000})
        assert one.keys()[0].last_used_at == 3_000
