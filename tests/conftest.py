"""What all tests share: a real server in a process of its own, and a plain way to speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import STARTED, Footfall


@pytest.fixture(autouse=True)
def balanced_ledgers() -> Iterator[None]:
    """Whatever a test does to its servers, in the end their ledgers balance, or the test says why not (`imbalance`). A server
    that several tests share is looked at when it stops."""
    STARTED.clear()
    yield
    for server in {id(server): server for server in STARTED}.values():
        if server.process is None:
            server.check_ledger()


@pytest.fixture
def footfall(tmp_path: Path) -> Iterator[Footfall]:
    """A fresh server of its own, with the pair SHOP and SHOP_TEST; stopped and its log verified at the end."""
    with Footfall(tmp_path / "data") as running:
        yield running
        running.check_log()


@pytest.fixture(scope="module")
def shared_footfall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """One server for all tests of a module: for tests that only ask and never stop, fill or reconfigure it."""
    with Footfall(tmp_path_factory.mktemp("footfall") / "data") as running:
        yield running
        running.check_log()
