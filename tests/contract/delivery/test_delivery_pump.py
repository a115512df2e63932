"""The engine over real sockets: to a receiver that stumbles, and to a Footfall."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from footfall.clock import SystemClock
from footfall.delivery.address import Address
from footfall.delivery.api import Parcel, Refusal
from footfall.delivery.exchanges import HttpExchanges
from footfall.delivery.protocol import Policy
from footfall.delivery.pump import Pump
from tests.contract.delivery.receiver import Receiver, answer, raw, reset_after
from tests.serving import Footfall, now_ms


class Shelf:
    def __init__(self, parcels: Sequence[Parcel]) -> None:
        self.stock = list(parcels)
        self.delivered_count = 0
        self.refusals: list[Refusal] = []

    def take(self, *, parcels_max: int) -> Sequence[Parcel]:
        helping, self.stock = self.stock[:parcels_max], self.stock[parcels_max:]
        return helping

    def delivered(self, parcels: Sequence[Parcel]) -> None:
        self.delivered_count += len(parcels)

    def refused(self, parcel: Parcel, refusal: Refusal) -> None:
        self.refusals.append(refusal)


def parcels_of(count: int, *, lanes: int = 50, event_type: str = "HOME") -> list[Parcel]:
    stamp = str(now_ms())
    return [
        Parcel(
            body=msgspec.json.encode(
                {
                    "id": f"e{number}",
                    "event_type": event_type,
                    "channel_type": "SITE",
                    "timestamp": stamp,
                    "user_id": f"u{number % lanes}",
                }
            ),
            lane=number % lanes,
        )
        for number in range(count)
    ]


def pumped(shelf: Shelf, address: Address, *, policy: Policy, seconds: float = 30.0) -> Pump:
    """Turns until the shelf is settled, or the time is up."""
    exchanges = HttpExchanges()
    pump = Pump(shelf, exchanges=exchanges, address=address, policy=policy, clock=SystemClock())
    deadline_s = time.monotonic() + seconds
    try:
        while (shelf.stock or pump.loaded) and time.monotonic() < deadline_s:
            pump.turn(0.5)
    finally:
        exchanges.close()
    return pump


def test_a_receiver_that_stumbles_has_every_event_in_the_end_and_each_lane_in_order() -> None:
    plays = [
        answer(200), answer(503), answer(200), reset_after(b""), raw(b"nonsense\r\n\r\n"), answer(429), answer(200),
        answer(400, b'{"code":3,"message":"missing page_id"}'), answer(200),
    ]  # fmt: skip
    policy = Policy(first_wait_s=0.05, rate_first=500.0, throttle_wait_s=0.05)
    with Receiver(plays) as receiver:
        shelf = Shelf(parcels_of(300))
        address = Address(base_url=receiver.url, platform_id="SHOP", api_key="sesame", timeout_s=5, batch=False)
        pump = pumped(shelf, address, policy=policy)
        assert pump.loaded == 0
        assert pump.course.phase == "flowing"
        assert [refusal.message for refusal in shelf.refusals] == ["missing page_id"]
        assert shelf.delivered_count == 299
        assert {one.headers["x-api-key"] for one in receiver.arrivals} == {"sesame"}
        seen: dict[int, list[int]] = {}
        for one in receiver.arrivals:
            number = int(one.event["id"][1:])
            seen.setdefault(number % 50, []).append(number)
        assert all(numbers == sorted(numbers) for numbers in seen.values())
        assert set().union(*seen.values()) == set(range(300))


@pytest.fixture
def footfall(tmp_path: Path) -> Footfall:
    return Footfall(tmp_path / "data")


def test_a_footfall_is_found_out_and_gets_batches_in_which_each_event_has_its_own_fate(footfall: Footfall) -> None:
    with footfall:
        good, bad = parcels_of(2_500), parcels_of(3, event_type="SEARCH")
        shelf = Shelf([*good[:1_000], *bad, *good[1_000:]])
        address = Address(base_url=footfall.url, platform_id="SHOP", api_key=footfall.keys["SHOP"])
        pump = pumped(shelf, address, policy=Policy())
        assert pump.loaded == 0
        assert shelf.delivered_count == 2_500
        assert [refusal.status for refusal in shelf.refusals] == [400] * 3
        assert "search_query" in shelf.refusals[0].message


def test_a_wrong_key_pauses_and_says_so(footfall: Footfall) -> None:
    with footfall:
        shelf = Shelf(parcels_of(100))
        address = Address(base_url=footfall.url, platform_id="SHOP", api_key=footfall.keys["SHOP_TEST"])
        pump = pumped(shelf, address, policy=Policy(), seconds=1.0)
        assert (pump.course.phase, pump.course.status) == ("paused", 403)
        assert footfall.keys["SHOP_TEST"] not in pump.course.message
        assert pump.loaded == 100
        assert shelf.refusals == []
