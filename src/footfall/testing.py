"""For engineers who test their shop: a receiver in memory that judges events as Footfall does, and what a test may say of them.

    from footfall.testing import Receiver

The pytest plugin needs no import: a test that takes `events` or `footfall_receiver` gets them. What is exported here is a promise
like that of `footfall` itself; pytest is not needed for it.
"""

from __future__ import annotations

from footfall.client.testing.book import Arrival
from footfall.client.testing.events import Events
from footfall.client.testing.faults import FaultName
from footfall.client.testing.receiver import Receiver

__all__ = ["Arrival", "Events", "FaultName", "Receiver"]
