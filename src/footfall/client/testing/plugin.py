"""The pytest plugin: a receiver of its own for every test that asks for one.

Loaded by pytest in every project that has Footfall installed, so nothing is imported here that pytest has not imported itself;
the rest comes when a fixture is first used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from footfall.client.testing.events import Events
    from footfall.client.testing.receiver import Receiver


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("footfall_wait_s", "seconds that assertions on events wait for what they expect", default="2")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "footfall(**options): how the receiver of this test is made, such as footfall=False for the original service"
    )


@pytest.fixture
def footfall_receiver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A fresh receiver, served on this machine; `Client.from_env()` and `Outbox.from_env(…)` find it, also in child processes.

    Every other `MCM_…` variable is taken out of the environment for the test: nothing of it reaches a real platform.
    """
    from footfall.client.testing.receiver import Receiver

    marker = request.node.get_closest_marker("footfall")
    options = marker.kwargs if marker is not None else {}
    receiver = Receiver(**{"wait_s": float(request.config.getini("footfall_wait_s")), **options})
    with receiver.served():
        for name in [name for name in os.environ if name.startswith("MCM_")]:
            monkeypatch.delenv(name)
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        yield receiver


@pytest.fixture
def events(footfall_receiver: Receiver) -> Events:
    """What the receiver of this test accepted, with assertions: `events.assert_one("PURCHASE", items=2)`."""
    return footfall_receiver.events
