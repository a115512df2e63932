"""Ten times more events than a server can take, and the quiet after it."""

from __future__ import annotations

import threading

import msgspec

from tests.contract.hostile.crowd import Crowd, Tally, assert_kept
from tests.contract.hostile.watching import resident_bytes, worker
from tests.serving import Footfall, home, until

_NEIGHBOUR_PER_S = 100
RECOVERY_S_MAX = 10.0
GROWTH_BYTES_MAX = 150_000_000


class Overload(msgspec.Struct, frozen=True, kw_only=True):
    """What one run showed."""

    peak: Tally
    """64 connections, just before"""
    under: Tally
    grown_bytes: int
    """the worker's memory at its most, compared to before"""

    @property
    def share(self) -> float:
        """Goodput under the overload, compared to the peak."""
        return self.under.goodput_per_s / self.peak.goodput_per_s


def overload(server: Footfall, *, connections: int, seconds: float, peak_s: float, name: str) -> Overload:
    """Measures the peak, then offers ten times as much, then checks what must hold however fast the machine is: who is refused
    learns when to come again, memory is bounded, service is back within seconds, and nothing acknowledged is lost."""
    process = worker(server)
    before_bytes = resident_bytes(process)
    sizes = [before_bytes]
    with Crowd(server, connections=64, prefix=f"{name}-peak") as few:
        few.run(peak_s / 3)
        peak = few.run(peak_s)
    with Crowd(server, connections=connections, prefix=f"{name}-many") as many:
        under = many.run(seconds, rate_per_s=10 * peak.goodput_per_s, watch=lambda: sizes.append(resident_bytes(process)))
        assert_kept(server, many, f"{name}-many")
    assert set(under.answers) <= {200, 429, 503}
    assert not under.unhelpful
    assert not under.broken
    assert under.turned_away, "this was no overload"
    assert until(lambda: server.ops("/readyz").status == 200, seconds=RECOVERY_S_MAX)
    assert until(lambda: server.send(home()).status == 200, seconds=1)
    assert worker(server).pid == process.pid
    grown = max(sizes) - before_bytes
    assert grown < GROWTH_BYTES_MAX, f"{grown / 1e6:.0f} MB more"
    return Overload(peak=peak, under=under, grown_bytes=grown)


def recovers(server: Footfall, *, before: Tally, share: float, name: str) -> bool:
    """Whether normal load is served as before within ten seconds after the overload (no metastable failure)."""
    with Crowd(server, connections=64, prefix=f"{name}-after") as few:
        return until(lambda: few.run(1.0).goodput_per_s >= share * before.goodput_per_s, seconds=RECOVERY_S_MAX)


def neighbours(server: Footfall, *, seconds: float) -> tuple[Tally, Tally]:
    """One shopper at a hundred times the rate an identifier is granted, beside many who send at a normal one: (noisy, others)."""
    noisy: list[Tally] = []

    def make_noise() -> None:
        with Crowd(server, connections=8, prefix="noisy", user="the-same-shopper") as one:
            noisy.append(one.run(seconds, rate_per_s=2000))

    thread = threading.Thread(target=make_noise)
    with Crowd(server, connections=16, prefix="others") as others:
        thread.start()
        quiet = others.run(seconds, rate_per_s=_NEIGHBOUR_PER_S)
        thread.join()
        assert_kept(server, others, "others")
    return noisy[0], quiet
