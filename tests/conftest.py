"""What all tests share: a real server in a process of its own, and a plain way to speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Footfall


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
