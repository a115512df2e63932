"""The throttle: a burst at once, a rate for ever, three scopes or none, bounded memory, and no identifier kept."""

from __future__ import annotations

import gc
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from footfall.registry.snapshot import Limits, Rate
from footfall.server.throttle import Throttle

ANNA = ("user_id", "anna")
BERT = ("user_id", "bert")
DEFAULT = Rate(50.0, 200)


def throttle(*, default: Rate | None = DEFAULT, workers: int = 1, buckets_max: int = 100_000) -> Throttle:
    return Throttle(default=default, workers=workers, buckets_max=buckets_max)


def granted_at_once(
    subject: Throttle,
    *,
    identifier: tuple[str, str] | None = ANNA,
    platform: str = "SHOP",
    key_id: str = "key_1",
    now_s: float = 0.0,
) -> int:
    """How many of a thousand events are granted while time stands still."""
    return sum(subject.take(platform, key_id, identifier, now_s) == 0.0 for _ in range(1_000))


def test_a_burst_passes_at_once_and_then_one_event_an_interval() -> None:
    subject = throttle()
    assert granted_at_once(subject) == 200
    wait_s = subject.take("SHOP", "key_1", ANNA, 0.0)
    assert wait_s == pytest.approx(1 / 50)
    assert subject.take("SHOP", "key_1", ANNA, wait_s) == 0.0
    assert subject.take("SHOP", "key_1", ANNA, wait_s) > 0.0
    assert granted_at_once(subject, now_s=60.0) == 200, "full again after a quiet while"


def test_identifiers_do_not_share_a_bucket_and_neither_do_kinds_or_platforms() -> None:
    subject = throttle(default=Rate(1.0, 1))
    for platform, identifier in (("SHOP", ANNA), ("SHOP", BERT), ("SHOP", ("session_id", "anna")), ("SHOP_TEST", ANNA)):
        assert subject.take(platform, "key_1", identifier, 0.0) == 0.0
        assert subject.take(platform, "key_1", identifier, 0.0) > 0.0
    assert subject.take("SHOP", "key_2", ANNA, 0.0) > 0.0, "a second key gives an identifier nothing more"


def test_without_limits_everything_passes_and_nothing_is_kept() -> None:
    subject = throttle(default=None)
    assert granted_at_once(subject) == granted_at_once(subject, identifier=None) == 1_000
    assert subject.buckets == 0


def test_an_event_that_names_nobody_counts_for_platform_and_key_only() -> None:
    subject = throttle(default=Rate(1.0, 1))
    assert granted_at_once(subject, identifier=None) == 1_000
    subject.use({"SHOP": Limits(platform=Rate(1.0, 20))})
    assert granted_at_once(subject, identifier=None) == 20


@pytest.mark.parametrize(
    ("limits", "same", "other_identifier", "other_key"),
    [
        (Limits(identifier=Rate(1.0, 5)), 5, 5, 0),
        (Limits(platform=Rate(1.0, 5)), 5, 0, 0),
        (Limits(key=Rate(1.0, 5)), 5, 0, 5),
        (Limits(identifier="none"), 1_000, 1_000, 1_000),
        (Limits(identifier=Rate(1.0, 5), platform=Rate(1.0, 7), key=Rate(1.0, 6)), 5, 1, 0),
    ],
)
def test_each_limit_binds_what_it_names(limits: Limits, same: int, other_identifier: int, other_key: int) -> None:
    """In turn: one identifier with one key, then another identifier with that key, then the first identifier with another key."""
    subject = throttle()
    subject.use({"SHOP": limits})
    assert granted_at_once(subject) == same
    assert granted_at_once(subject, identifier=BERT) == other_identifier
    assert granted_at_once(subject, key_id="key_2") == other_key


def test_a_refused_event_takes_nothing_anywhere() -> None:
    subject = throttle()
    subject.use({"SHOP": Limits(identifier=Rate(1.0, 10), platform=Rate(1.0, 5), key=Rate(1.0, 20))})
    assert granted_at_once(subject) == 5, "995 were refused by the platform's bucket"
    subject.use({"SHOP": Limits(identifier=Rate(1.0, 10), platform="none", key=Rate(1.0, 20))})
    assert granted_at_once(subject) == 5, "the identifier's ten less the five granted"
    assert granted_at_once(subject, identifier=None) == 10, "the key's twenty less the ten granted"


def test_the_wait_is_that_of_the_slowest_scope() -> None:
    subject = throttle()
    subject.use({"SHOP": Limits(identifier=Rate(10.0, 1), platform=Rate(0.1, 1), key=Rate(1.0, 1))})
    assert subject.take("SHOP", "key_1", ANNA, 0.0) == 0.0
    assert subject.take("SHOP", "key_1", ANNA, 0.0) == pytest.approx(10.0)
    assert subject.take("SHOP", "key_1", ANNA, 10.0) == 0.0


@pytest.mark.parametrize(("workers", "burst", "per_s"), [(4, 50, 12.5), (3, 66, 50 / 3), (1_000, 1, 0.05)])
def test_each_worker_grants_its_share_and_one_at_least(workers: int, burst: int, per_s: float) -> None:
    subject = throttle(workers=workers)
    assert granted_at_once(subject) == burst
    assert subject.take("SHOP", "key_1", ANNA, 0.0) == pytest.approx(1 / per_s)


def test_wider_limits_take_effect_at_once() -> None:
    """Somebody has waited long enough: what was taken under the narrow limit cannot hold back under the wide one."""
    subject = throttle()
    subject.use({"SHOP": Limits(identifier=Rate(0.001, 1), platform=Rate(0.001, 1))})
    assert subject.take("SHOP", "key_1", ANNA, 0.0) == 0.0
    assert subject.take("SHOP", "key_1", ANNA, 0.0) == pytest.approx(1_000.0)
    subject.use({"SHOP": Limits(identifier=Rate(50.0, 10), platform=Rate(100.0, 10))})
    wait_s = subject.take("SHOP", "key_1", ANNA, 0.0)
    assert wait_s == pytest.approx(1 / 50)
    assert subject.take("SHOP", "key_1", ANNA, wait_s) == 0.0


def test_new_limits_of_one_platform_leave_the_buckets_of_others() -> None:
    subject = throttle(default=Rate(1.0, 3))
    assert granted_at_once(subject) == 3
    subject.use({"OTHER": Limits(identifier="none")})
    assert granted_at_once(subject) == 0
    assert granted_at_once(subject, platform="OTHER") == 1_000


def test_a_clock_that_goes_back_costs_one_interval_at_most() -> None:
    subject = throttle(default=Rate(50.0, 200))
    assert subject.take("SHOP", "key_1", ANNA, 1e6) == 0.0
    wait_s = subject.take("SHOP", "key_1", ANNA, 0.0)
    assert 0.0 < wait_s <= 1 / 50 + 1e-9
    assert subject.take("SHOP", "key_1", ANNA, wait_s) == 0.0


@pytest.mark.parametrize("now_s", [0.0, 86_400.0, 3e7, 1e9])
def test_a_machine_that_runs_for_years_still_counts_exactly(now_s: float) -> None:
    subject = throttle(default=Rate(1_000.0, 100))
    assert granted_at_once(subject, now_s=now_s) == 100
    granted = sum(subject.take("SHOP", "key_1", ANNA, now_s + milliseconds / 1_000) == 0.0 for milliseconds in range(2_000))
    assert granted == pytest.approx(2_000, abs=2)


@settings(max_examples=60, deadline=None)
@given(
    per_s=st.floats(0.01, 1e4),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=200),
)
def test_in_no_stretch_of_time_more_than_burst_and_rate_are_granted(per_s: float, burst: int, gaps: list[float]) -> None:
    """Gaps are in intervals. A refusal names the earliest time at which the same is granted."""
    subject = throttle(default=Rate(per_s, burst))
    now_s = 0.0
    granted_s: list[float] = []
    for gap in gaps:
        now_s += gap / per_s
        wait_s = subject.take("SHOP", "key_1", ANNA, now_s)
        if wait_s > 0.0:
            if wait_s > 0.01:  # a millisecond early is granted, for the sake of rounding
                assert subject.take("SHOP", "key_1", ANNA, now_s + wait_s * 0.8) > 0.0
            now_s += wait_s
            assert subject.take("SHOP", "key_1", ANNA, now_s) == 0.0
        granted_s.append(now_s)
    for first, last in itertools.combinations(range(len(granted_s)), 2):
        stretch_s = granted_s[last] - granted_s[first]
        assert last - first + 1 <= burst + stretch_s * per_s + 1.0  # one for the millisecond at either end


# -- memory


def test_buckets_that_are_full_again_are_forgotten() -> None:
    """A hundred new people a second leave only those of the last moments behind, not all of them."""
    subject = throttle(default=Rate(50.0, 200))
    most = 0
    for person in range(50_000):
        assert subject.take("SHOP", "key_1", ("user_id", str(person)), person / 100) == 0.0
        most = max(most, subject.buckets)
    assert most <= 1_025


@pytest.mark.parametrize("buckets_max", [1, 2, 7, 100, 5_000])
def test_there_are_never_more_buckets_than_allowed_and_the_oldest_go(buckets_max: int) -> None:
    subject = throttle(default=Rate(0.001, 1), buckets_max=buckets_max)
    for person in range(12_000):
        assert subject.take("SHOP", "key_1", ("user_id", str(person)), 0.0) == 0.0
        assert subject.buckets <= buckets_max
    assert subject.take("SHOP", "key_1", ("user_id", "11999"), 0.0) > 0.0, "the newest is remembered"
    assert subject.take("SHOP", "key_1", ("user_id", "0"), 0.0) == 0.0, "the oldest is forgotten"


def test_many_people_do_not_push_out_the_bucket_of_a_platform_or_key() -> None:
    subject = throttle(buckets_max=100)
    subject.use({"SHOP": Limits(identifier=Rate(0.001, 1), platform=Rate(0.001, 5_000), key=Rate(0.001, 3_000))})
    granted = sum(subject.take("SHOP", "key_1", ("user_id", str(person)), 0.0) == 0.0 for person in range(6_000))
    assert granted == 3_000
    granted = sum(subject.take("SHOP", "key_2", ("user_id", str(person)), 0.0) == 0.0 for person in range(6_000, 12_000))
    assert granted == 2_000


def test_no_identifier_is_kept() -> None:
    subject = throttle()
    subject.use({"SHOP": Limits(platform=Rate(1.0, 5))})
    value = "anna-" + "x" * 40
    subject.take("SHOP", "key_1", ("user_id", value), 0.0)
    seen, queue = set(), [subject]
    while queue:
        thing = queue.pop()
        if id(thing) not in seen and not isinstance(thing, type):
            seen.add(id(thing))
            assert not isinstance(thing, str) or value not in thing
            queue += gc.get_referents(thing)
    assert len(seen) > 10, "the search went in"
