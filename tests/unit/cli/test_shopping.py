"""The invented shop: seeded, clean, of a realistic mix, and soon green."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import msgspec
import pytest

from footfall.cli.shopping import MIX, sessions
from footfall.events.golive import Acceptance
from footfall.events.intake import read_event
from footfall.events.quality import warnings
from footfall.events.schema import Event

NOW_MS = 1_795_000_000_000


def first(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    return list(islice(sessions(seed), count))


def accepted(event: dict[str, Any]) -> Event:
    """As a server takes it; raises where the rules refuse it."""
    return read_event(msgspec.json.encode({**event, "timestamp": str(NOW_MS)}), now_ms=NOW_MS).event


def test_the_same_seed_gives_the_same_events_and_another_seed_others() -> None:
    assert first(500) == first(500)
    assert first(500, seed=2) != first(500)


@pytest.mark.parametrize("seed", [1, 7, 2026])
def test_nothing_is_refused_or_warned_of(seed: int) -> None:
    for event in first(3_000, seed=seed):
        assert warnings(accepted(event), now_ms=NOW_MS) == ()


@pytest.mark.parametrize("seed", [1, 7, 2026])
def test_four_hundred_events_turn_every_case_of_the_go_live_table_green(seed: int) -> None:
    acceptance = Acceptance()
    for event in first(400, seed=seed):
        acceptance.add(accepted(event), event_id=event["id"], received_at=None)
    assert [case.case for case in acceptance.results() if not case.green] == []


def test_the_mix_is_within_two_in_a_hundred_of_what_is_told() -> None:
    counts = Counter(event["event_type"] for event in first(20_000))
    assert {name: counts[name] / 20_000 for name in MIX} == pytest.approx(MIX, abs=0.02)
    assert sum(counts[name] for name in MIX) == 20_000


def test_ids_are_never_used_twice_and_every_shopper_is_known() -> None:
    events = first(5_000)
    assert len({event["id"] for event in events}) == 5_000
    assert all(event["device"]["persistent_id"] for event in events)


def test_no_identifier_is_shared_by_so_many_events_that_a_throttle_would_meet_it() -> None:
    """The default allows 200 at once: a shopper of this shop makes far fewer in all."""
    counts = Counter(event.get("user_id") or event["device"]["persistent_id"] for event in first(20_000))
    assert counts.most_common(1)[0][1] < 100


def test_both_channels_shop_in_one_currency() -> None:
    events = first(2_000)
    assert {event["channel_type"] for event in events} == {"APP", "SITE"}
    assert {item["price"]["currency"] for event in events for item in event.get("items", ())} == {"USD"}
