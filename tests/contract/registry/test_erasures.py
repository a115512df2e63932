"""Erasures in the registry: who is to be forgotten, known by a keyed hash, once a person, until a receipt is noted."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.errors import RegistryRefusedError
from footfall.registry.erasures import Erasure, erasure_mac
from footfall.registry.store import FILE_NAME, Registry

VERSION_BEFORE = """
CREATE TABLE platforms (id VARCHAR(80) NOT NULL, mode VARCHAR(4) NOT NULL, shop VARCHAR(80) NOT NULL, created_at BIGINT NOT NULL,
    disabled_at BIGINT, PRIMARY KEY (id));
CREATE TABLE meta (id INTEGER NOT NULL, revision BIGINT NOT NULL, PRIMARY KEY (id));
CREATE TABLE api_keys (id VARCHAR(20) NOT NULL, digest BLOB NOT NULL, platform VARCHAR(80) NOT NULL, scope VARCHAR(10) NOT NULL,
    name VARCHAR(128) NOT NULL, last4 VARCHAR(4) NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT, revoked_at BIGINT,
    last_used_at BIGINT, PRIMARY KEY (id), UNIQUE (digest), FOREIGN KEY(platform) REFERENCES platforms (id));
CREATE TABLE platform_limits (platform VARCHAR(80) NOT NULL, scope VARCHAR(10) NOT NULL, per_s FLOAT, burst BIGINT,
    PRIMARY KEY (platform, scope), FOREIGN KEY(platform) REFERENCES platforms (id));
INSERT INTO platforms VALUES ('SHOP', 'live', 'SHOP', 1, NULL), ('SHOP_TEST', 'test', 'SHOP', 1, NULL);
INSERT INTO meta VALUES (1, 7);
"""
"""What the version before erasures made, with a shop in it."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.in_directory(tmp_path) as opened:
        opened.add_platform("SHOP")
        opened.add_platform("OTHER")
        yield opened


def ask(registry: Registry, *user_ids: str, platform: str = "SHOP_TEST", now_ms: int = 1_000) -> list[Erasure]:
    return registry.request_erasures(platform, "user_id", list(user_ids), now_ms=now_ms)


# -- the hash


def test_the_mac_is_hmac_sha256_over_platform_kind_and_identifier() -> None:
    """The very bytes: records that came before a change of this would not be found again."""
    pepper = bytes(range(32))
    mac = erasure_mac(pepper, platform="SHOP", kind="user_id", identifier="Ada é")
    assert mac == hmac.new(pepper, b"SHOP\0user_id\0Ada \xc3\xa9", hashlib.sha256).digest()
    assert mac.hex() == "4dc0a60e51bb82c99640c420c4b821639db70a887b0cf1a767c84fa8fa891073"


def test_every_part_of_what_is_hashed_matters() -> None:
    one, other = bytes(32), bytes([1]) * 32
    macs = {
        erasure_mac(one, platform="SHOP", kind="user_id", identifier="u-1"),
        erasure_mac(other, platform="SHOP", kind="user_id", identifier="u-1"),
        erasure_mac(one, platform="SHOP_TEST", kind="user_id", identifier="u-1"),
        erasure_mac(one, platform="SHOP", kind="custom_id", identifier="u-1"),
        erasure_mac(one, platform="SHOP", kind="user_id", identifier="U-1"),
        erasure_mac(one, platform="SHOP", kind="user_id", identifier=" u-1"),
    }
    assert len(macs) == 6


def test_the_pepper_is_made_once_whoever_asks_first(registry: Registry, tmp_path: Path) -> None:
    found: list[bytes] = []
    start = threading.Barrier(4)

    def look() -> None:
        with Registry.in_directory(tmp_path) as own:
            start.wait(timeout=20)
            found.append(own.pepper())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {registry.pepper()}
    assert len(found) == 4
    assert len(registry.pepper()) == 32
    with Registry.in_directory(tmp_path / "another") as another:
        assert another.pepper() != registry.pepper()


# -- asking


def test_a_request_is_pending_under_the_mac_and_nowhere_under_the_identifier(registry: Registry, tmp_path: Path) -> None:
    asked = ask(registry, "ada@example.org", now_ms=5)
    assert registry.erasures(pending=True) == registry.erasures() == asked
    erasure = asked[0]
    assert (erasure.platform, erasure.kind, erasure.requested_at, erasure.finished_at, erasure.receipt) == (
        "SHOP_TEST", "user_id", 5, None, None,
    )  # fmt: skip
    mac = erasure_mac(registry.pepper(), platform="SHOP_TEST", kind="user_id", identifier="ada@example.org")
    assert erasure.mac == mac
    for path in tmp_path.iterdir():
        assert b"ada@" not in path.read_bytes()
    assert mac in (tmp_path / FILE_NAME).read_bytes(), "it is the right file that was looked at"


def test_a_request_for_the_live_id_covers_the_test_id_and_not_the_other_way_round(registry: Registry) -> None:
    live = ask(registry, "u-1", platform="SHOP")
    test = ask(registry, "u-2", platform="OTHER_TEST")
    assert [erasure.platform for erasure in live] == ["SHOP", "SHOP_TEST"]
    assert [erasure.platform for erasure in test] == ["OTHER_TEST"]
    pepper = registry.pepper()
    for erasure in live:
        assert erasure.mac == erasure_mac(pepper, platform=erasure.platform, kind="user_id", identifier="u-1")
    assert len(registry.erasures()) == 3


def test_many_people_are_recorded_at_once_each_once(registry: Registry) -> None:
    people = [f"u-{number}" for number in range(1_200)]
    asked = ask(registry, *people, *people[:100])
    pepper = registry.pepper()
    macs = [erasure_mac(pepper, platform="SHOP_TEST", kind="user_id", identifier=person) for person in people]
    assert [erasure.mac for erasure in asked] == macs
    again = ask(registry, *people, now_ms=2_000)
    assert [erasure.id for erasure in again] == [erasure.id for erasure in asked]
    assert {erasure.requested_at for erasure in registry.erasures()} == {2_000}
    assert len(registry.erasures()) == 1_200


def test_ids_are_in_the_order_of_the_first_request(registry: Registry) -> None:
    asked = [ask(registry, f"u-{now_ms}", now_ms=now_ms)[0] for now_ms in (9, 10, 4_095, 4_096, 1_790_000_000_000)]
    ask(registry, "u-9", now_ms=1_790_000_000_001)
    assert [erasure.id for erasure in registry.erasures()] == [erasure.id for erasure in asked]


def test_kinds_are_kept_apart(registry: Registry) -> None:
    for kind in ("user_id", "persistent_id", "custom_id"):
        registry.request_erasures("SHOP_TEST", kind, ["same"], now_ms=1)  # type: ignore[arg-type]
    assert sorted(erasure.kind for erasure in registry.erasures()) == ["custom_id", "persistent_id", "user_id"]
    assert len({erasure.mac for erasure in registry.erasures()}) == 3


@pytest.mark.parametrize("nobody", ["", "half\ud83d"])
def test_what_can_be_no_identifier_is_refused_by_its_place_and_nobody_is_recorded(registry: Registry, nobody: str) -> None:
    with pytest.raises(RegistryRefusedError, match="identifier 1 ") as caught:
        ask(registry, "u-1", nobody)
    assert "half" not in str(caught.value)
    assert registry.erasures() == []


def test_an_unknown_platform_or_kind_is_refused(registry: Registry) -> None:
    with pytest.raises(RegistryRefusedError, match="platform list"):
        ask(registry, "u-1", platform="NOSHOP")
    with pytest.raises(RegistryRefusedError, match="user_id, persistent_id, custom_id"):
        registry.request_erasures("SHOP", "session_id", ["u-1"], now_ms=1)  # type: ignore[arg-type]
    assert registry.erasures() == []


# -- finishing


def test_a_finished_erasure_keeps_its_receipt_and_is_not_pending(registry: Registry) -> None:
    first, second = ask(registry, "u-1", "u-2")
    assert registry.finish_erasure(first.id, requested_at=first.requested_at, receipt='{"events":3}', now_ms=1_500)
    assert registry.erasures(pending=True) == [second]
    (finished,) = registry.erasures(pending=False)
    assert (finished.id, finished.finished_at, finished.receipt) == (first.id, 1_500, '{"events":3}')


def test_a_person_asked_for_again_is_pending_again_from_then_on(registry: Registry) -> None:
    (first,) = ask(registry, "u-1", now_ms=1_000)
    registry.finish_erasure(first.id, requested_at=1_000, receipt="{}", now_ms=1_500)
    (again,) = ask(registry, "u-1", now_ms=2_000)
    assert registry.erasures() == [again]
    assert (again.id, again.requested_at, again.finished_at, again.receipt) == (first.id, 2_000, None, None)


@pytest.mark.parametrize("now_ms", [1_000, 900, 1_001], ids=["same millisecond", "clock set back", "later"])
def test_whoever_worked_on_the_earlier_request_cannot_finish_the_later_one(registry: Registry, now_ms: int) -> None:
    (first,) = ask(registry, "u-1", now_ms=1_000)
    (again,) = ask(registry, "u-1", now_ms=now_ms)
    assert again.requested_at > first.requested_at
    assert not registry.finish_erasure(first.id, requested_at=first.requested_at, receipt="{}", now_ms=1_500)
    assert registry.erasures(pending=True) == [again]
    assert registry.finish_erasure(again.id, requested_at=again.requested_at, receipt="{}", now_ms=1_600)


def test_finishing_twice_keeps_the_first_receipt_and_of_an_unknown_id_does_nothing(registry: Registry) -> None:
    (erasure,) = ask(registry, "u-1")
    assert registry.finish_erasure(erasure.id, requested_at=1_000, receipt='"first"', now_ms=1_500)
    assert not registry.finish_erasure(erasure.id, requested_at=1_000, receipt='"second"', now_ms=1_600)
    assert not registry.finish_erasure("erasure_none", requested_at=1_000, receipt="{}", now_ms=1_600)
    assert [erasure.receipt for erasure in registry.erasures()] == ['"first"']


# -- revisions, other processes, older registries


def test_erasures_move_their_own_revision_and_leave_that_of_the_servers(registry: Registry) -> None:
    registry.pepper()
    servers, before = registry.revision(), registry.erasures_revision()
    (erasure,) = ask(registry, "u-1")
    asked = registry.erasures_revision()
    registry.finish_erasure(erasure.id, requested_at=erasure.requested_at, receipt="{}", now_ms=2_000)
    assert before < asked < registry.erasures_revision()
    assert registry.revision() == servers
    registry.create_key("SHOP")
    assert registry.erasures_revision() == asked + 1


def test_a_refused_request_moves_no_revision(registry: Registry) -> None:
    before = registry.erasures_revision()
    with pytest.raises(RegistryRefusedError):
        ask(registry, "u-1", platform="NOSHOP")
    assert registry.erasures_revision() == before


def test_several_handles_ask_for_the_same_people_and_there_is_one_erasure_each(registry: Registry, tmp_path: Path) -> None:
    people = [f"u-{number}" for number in range(20)]
    failures: list[Exception] = []

    def ask_for_all() -> None:
        try:
            with Registry.in_directory(tmp_path) as own:
                ask(own, *people, platform="SHOP")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=ask_for_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(registry.erasures()) == 2 * len(people)
    assert {erasure.requested_at for erasure in registry.erasures()} == {1_003}, "three times asked again"


@pytest.mark.parametrize("way", ["in_directory", "at"])
def test_a_registry_of_the_version_before_gains_erasures_when_it_is_opened(tmp_path: Path, way: str) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript(VERSION_BEFORE)
    connection.close()
    opened = Registry.in_directory(tmp_path) if way == "in_directory" else Registry.at(tmp_path / FILE_NAME)
    with opened as registry:
        assert registry.erasures() == []
        assert registry.revision() == 7, "no server needs to know"
        assert len(ask(registry, "u-1", platform="SHOP")) == 2
        assert registry.retentions() == {}
        pepper = registry.pepper()
    with Registry.at(tmp_path / FILE_NAME) as again:
        assert (len(again.erasures()), again.pepper()) == (2, pepper)


def test_erased_and_forgotten_rows_leave_no_trace_in_the_file(registry: Registry, tmp_path: Path) -> None:
    """`secure_delete`: what a later request overwrites is gone from the file, not only from the table."""
    (erasure,) = ask(registry, "u-1")
    registry.finish_erasure(erasure.id, requested_at=1_000, receipt='{"told":"MARK-OF-THE-FIRST-RECEIPT"}', now_ms=2_000)
    assert b"MARK-OF-THE-FIRST-RECEIPT" in (tmp_path / FILE_NAME).read_bytes()
    ask(registry, "u-1", now_ms=3_000)
    assert b"MARK-OF-THE-FIRST-RECEIPT" not in (tmp_path / FILE_NAME).read_bytes()
