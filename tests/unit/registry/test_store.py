"""The registry: pairs of ids, keys for exactly one of them, a revision that moves with every change."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from footfall.clock import ManualClock
from footfall.errors import RegistryError, RegistryRefusedError
from footfall.registry.keys import digest
from footfall.registry.store import FILE_NAME, Registry


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(tmp_path: Path, clock: ManualClock) -> Iterator[Registry]:
    with Registry.in_directory(tmp_path, clock=clock) as opened:
        yield opened


def test_adding_a_shop_makes_both_ids_and_again_the_same(registry: Registry, clock: ManualClock) -> None:
    pair = registry.add_platform("SHOP")
    assert [(p.id, p.mode, p.shop) for p in pair] == [("SHOP", "live", "SHOP"), ("SHOP_TEST", "test", "SHOP")]
    clock.advance(10)
    assert registry.add_platform("SHOP") == pair
    assert registry.platforms() == list(pair)


@pytest.mark.parametrize("platform", ["", "shop", "1SHOP", "SHOP-1", "SHOP TEST", "SHOP_TEST", "S" * 64, "ŠHOP", "_SHOP"])
def test_an_id_that_is_none_is_refused(registry: Registry, platform: str) -> None:
    with pytest.raises(RegistryRefusedError):
        registry.add_platform(platform)
    assert registry.platforms() == []


def test_the_longest_id_fits_with_its_test_twin(registry: Registry) -> None:
    assert registry.add_platform("S" * 63)[1].id == "S" * 63 + "_TEST"


def test_a_key_is_kept_as_a_digest_only(registry: Registry, tmp_path: Path) -> None:
    registry.add_platform("SHOP")
    key, kept = registry.create_key("SHOP", name="backend")
    assert key.startswith("footfall_live_")
    assert kept.last4 == key[-4:]
    assert registry.snapshot().keys[digest(key)] == kept
    assert key.encode() not in (tmp_path / FILE_NAME).read_bytes()
    assert key not in repr(kept)


def test_a_key_for_a_test_id_says_so(registry: Registry) -> None:
    registry.add_platform("SHOP")
    assert registry.create_key("SHOP_TEST")[0].startswith("footfall_test_")


def test_keys_expire_and_are_revoked(registry: Registry, clock: ManualClock) -> None:
    registry.add_platform("SHOP")
    _, first = registry.create_key("SHOP", expires_in_ms=1_000)
    _, second = registry.create_key("SHOP")
    clock.advance(0.999)
    assert first.is_active(clock.now_ms())
    clock.advance(0.001)
    assert not first.is_active(clock.now_ms())
    assert second.is_active(clock.now_ms())
    assert not registry.revoke_key(second.id).is_active(clock.now_ms())
    assert registry.revoke_key(second.id).revoked_at == clock.now_ms(), "again: the same"


def test_two_keys_are_active_at_once_until_the_old_one_ends(registry: Registry, clock: ManualClock) -> None:
    """How a key is replaced without a gap: the new one opens before the old one closes, and each by itself."""
    registry.add_platform("SHOP")
    old, old_kept = registry.create_key("SHOP", expires_in_ms=60_000)
    new, _ = registry.create_key("SHOP")

    def active() -> list[bool]:
        keys = registry.snapshot().keys
        return [keys[digest(key)].is_active(clock.now_ms()) for key in (old, new)]

    assert active() == [True, True]
    registry.revoke_key(old_kept.id)
    assert active() == [False, True]
    clock.advance(3600)
    assert active() == [False, True]


def test_a_snapshot_tells_what_expired_was_revoked_or_disabled(registry: Registry, clock: ManualClock) -> None:
    registry.add_platform("SHOP")
    key, kept = registry.create_key("SHOP", scope="manage", expires_in_ms=1_000)
    registry.revoke_key(kept.id)
    registry.disable_platform("SHOP")
    snapshot = registry.snapshot()
    now_ms = clock.now_ms()
    assert (snapshot.keys[digest(key)].expires_at, snapshot.keys[digest(key)].revoked_at) == (now_ms + 1_000, now_ms)
    assert snapshot.keys[digest(key)].scope == "manage"
    assert snapshot.platforms["SHOP"].disabled_at == now_ms
    assert snapshot.platforms["SHOP_TEST"].disabled_at is None


def test_unknown_names_are_refused_with_the_command_that_lists_them(registry: Registry) -> None:
    for act in (
        lambda: registry.create_key("SHOP"),
        lambda: registry.platform("SHOP"),
        lambda: registry.keys("SHOP"),
        lambda: registry.disable_platform("SHOP"),
    ):
        with pytest.raises(RegistryRefusedError, match="platform list"):
            act()
    with pytest.raises(RegistryRefusedError, match="key list"):
        registry.revoke_key("key_1")


def test_the_revision_moves_with_each_change_and_not_with_a_use(registry: Registry) -> None:
    revisions = [registry.revision()]
    registry.add_platform("SHOP")
    revisions.append(registry.revision())
    _, kept = registry.create_key("SHOP")
    revisions.append(registry.revision())
    registry.revoke_key(kept.id)
    revisions.append(registry.revision())
    registry.disable_platform("SHOP")
    revisions.append(registry.revision())
    assert revisions == sorted(set(revisions))
    registry.record_use({kept.id: 5, "key_gone": 6})
    assert registry.revision() == revisions[-1]
    assert registry.keys()[0].last_used_at == 5
    assert registry.snapshot().revision == revisions[-1]


def test_a_refused_change_leaves_no_trace(registry: Registry) -> None:
    before = registry.revision()
    with pytest.raises(RegistryRefusedError):
        registry.create_key("NOSHOP")
    assert registry.revision() == before


def test_a_second_handle_sees_what_the_first_wrote(registry: Registry, tmp_path: Path) -> None:
    registry.add_platform("SHOP")
    with Registry.in_directory(tmp_path) as other:
        other.create_key("SHOP")
        assert [key.platform for key in registry.keys("SHOP")] == ["SHOP"]


def test_changers_queue_up_instead_of_failing(registry: Registry, tmp_path: Path) -> None:
    registry.add_platform("SHOP")
    failures: list[Exception] = []

    def create() -> None:
        try:
            with Registry.in_directory(tmp_path) as own:
                for _ in range(5):
                    own.create_key("SHOP")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(registry.keys("SHOP")) == 20


def test_the_file_is_readable_by_its_owner_only(registry: Registry, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_looking_for_a_registry_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="cannot be used"):
        Registry.at(tmp_path / FILE_NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_registry_is_found_whatever_its_path_holds(tmp_path: Path) -> None:
    """It is opened by a URI, in which these mean something."""
    directory = tmp_path / "a shop?mode=memory#%2e & more"
    with Registry.in_directory(directory) as registry:
        registry.add_platform("SHOP")
    with Registry.at(directory / FILE_NAME) as again:
        assert [platform.id for platform in again.platforms()] == ["SHOP", "SHOP_TEST"]


def test_a_file_that_was_replaced_is_followed(registry: Registry, tmp_path: Path) -> None:
    with Registry.in_directory(tmp_path / "other") as other:
        other.add_platform("OTHER")
    registry.add_platform("SHOP")
    (tmp_path / "other" / FILE_NAME).rename(tmp_path / FILE_NAME)
    assert [platform.id for platform in registry.snapshot().platforms.values()] == ["OTHER", "OTHER_TEST"]


def test_a_file_that_is_no_registry_is_an_error_without_its_content(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"secret words" * 1000)
    with pytest.raises(RegistryError) as caught:
        Registry.in_directory(tmp_path)
    assert "secret" not in str(caught.value)


def test_an_unreachable_registry_is_an_error_of_its_kind(registry: Registry, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("DROP TABLE meta")
    connection.commit()
    connection.close()
    with pytest.raises(RegistryError, match="cannot be used"):
        registry.revision()
