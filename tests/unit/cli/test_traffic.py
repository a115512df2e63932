"""An open loop: as many events as were asked for, each counted once, and no longer than the time that was given."""

from __future__ import annotations

from itertools import repeat

import msgspec
import pytest

from footfall.cli.courier import Courier
from footfall.cli.shopping import sessions
from footfall.cli.traffic import CONNECTIONS_MAX, NO_ANSWER, Plan, Traffic, percentile
from footfall.client.settings import Settings
from footfall.clock import SystemClock
from footfall.delivery.transport import Response, ScriptedTransport
from footfall.errors import NetworkError

SETTINGS = Settings(base_url="http://127.0.0.1", platform_id="SHOP", api_key="sesame", currency="", timeout_s=5, retries=0)
PLAN = Plan(rate=2_000, duration_s=0.1)


def run(transport: ScriptedTransport, plan: Plan = PLAN) -> Traffic:
    courier = Courier(SETTINGS, timeout_s=5, transport=transport)
    traffic = Traffic(plan, events=sessions(1), courier=courier, clock=SystemClock())
    traffic.run(watch=lambda: None, every_s=0.05)
    return traffic


def test_every_event_is_sent_once_with_an_id_and_the_time_of_its_sending() -> None:
    transport = ScriptedTransport()
    summary = run(transport, Plan(rate=500, duration_s=0.4)).summary()
    assert (summary.sent, summary.accepted, summary.by_status) == (200, 200, {"200": 200})
    assert sum(summary.by_type.values()) == 200
    events = [msgspec.json.decode(request.body) for request in transport.requests]
    assert len({event["id"] for event in events}) == 200
    assert all(event["timestamp"].isdigit() for event in events)


def test_refusals_and_failures_are_counted_apart_and_the_first_words_kept() -> None:
    said = Response(status=400, body=b'{"message":"missing page_id"}')
    script = [Response(status=200), said, Response(status=503), NetworkError("cut"), Response(status=200)]
    traffic = run(ScriptedTransport(script), Plan(rate=50, duration_s=0.2))
    summary = traffic.summary()
    assert (summary.sent, summary.accepted, summary.refused, summary.failed) == (10, 7, 1, 2)
    assert summary.by_status == {"200": 7, "400": 1, "503": 1, NO_ANSWER: 1}
    assert traffic.first_refusal == "missing page_id"


@pytest.mark.parametrize("answer", [Response(status=403), Response(status=404), NetworkError("the connection was refused")])
def test_what_the_next_event_would_meet_too_ends_it_at_once(answer: Response | NetworkError) -> None:
    traffic = run(ScriptedTransport([answer]), Plan(rate=100, duration_s=60))
    assert traffic.problem is not None
    assert traffic.summary().sent <= 2 * CONNECTIONS_MAX


def test_a_batch_counts_as_its_events() -> None:
    rejected = [{"index": 3, "code": 3, "message": "missing page_id"}, {"index": 5, "code": 8, "message": "slow"}]
    answer = Response(status=200, body=msgspec.json.encode({"accepted": 8, "rejected": rejected}))
    traffic = run(ScriptedTransport(repeat(answer, 1)), Plan(rate=100, duration_s=0.2, batch=10))
    summary = traffic.summary()
    assert (summary.sent, summary.accepted, summary.refused) == (20, 16, 4)
    assert summary.by_status == {"200": 16, "400": 2, "429": 2}
    assert traffic.first_refusal == "missing page_id"


def test_percentiles_of_little_and_of_nothing() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([1.0], 0.5) == 1.0
    assert percentile([float(number) for number in range(100)], 0.99) == 99.0


@pytest.mark.parametrize(
    ("plan", "requests", "connections"),
    [
        (Plan(rate=1, duration_s=0.1), 1, 1),
        (Plan(rate=10, duration_s=60), 600, 4),
        (Plan(rate=1_000, duration_s=1), 1_000, 20),
        (Plan(rate=100_000, duration_s=10), 1_000_000, CONNECTIONS_MAX),
        (Plan(rate=100_000, duration_s=10, batch=1_000), 1_000, 4),
    ],
)
def test_a_few_connections_carry_any_rate(plan: Plan, requests: int, connections: int) -> None:
    assert (plan.requests, plan.connections) == (requests, connections)
