"""A scrape is what the status files say, in a form that Prometheus' own parser takes."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from footfall.console.metrics import METRICS
from footfall.server.status import BOUNDS_S, Counters, Counts, Usage
from tests.unit.console.fleets import FleetFiles, OpsListener, ended_process


def samples(ops: OpsListener, name: str) -> dict[tuple[str, ...], float]:
    """Label values, in the order of the table, → value, of the samples of exactly that name."""
    order = {metric.name: metric.labels for metric in METRICS}.get(name, ("le",) if name.endswith("_bucket") else ())
    text = ops.get("/metrics").body.decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples if sample.name == name]
    return {tuple(sample.labels[label] for label in order): sample.value for sample in found}


def counts(*, platform: str = "SHOP", accepted: int = 0, seconds: tuple[float, ...] = ()) -> Counts:
    counters = Counters()
    counters.tally(platform, "api").accepted += accepted
    for value in seconds:
        counters.answered(200, value)
        counters.commit_seconds.observe(value)
    counters.refused(401)
    return counters.counts()


@pytest.fixture
def busy(files: FleetFiles) -> FleetFiles:
    """Two workers, one that ended, a supervisor."""
    usage = Usage(resident_bytes=50_000_000, cpu_seconds=1.5, open_files=12)
    shared: dict[str, Any] = {"version": "1.2.2", "usage": usage, "started_at": 1_790_000_000_500}
    files.worker("w0", counts=counts(accepted=2, seconds=(0.001, 3.0)), durable={"live": 7, "test": 1}, requests_open=3, **shared)
    files.worker("w1", counts=counts(accepted=3), bytes_in_flight=99, throttle_buckets=5, registry_revision=4, **shared)
    files.worker("w2", counts=counts(accepted=10, seconds=(60.0,)), durable={"live": 4}, pid=ended_process(), **shared)
    files.lander(events={"landed": 9, "repeated": 1}, positions={"w0": 5, "w2": 4}, **shared)
    parts = {"w0": "running", "w1": "running", "ops": "running", "lander": "running"}
    files.supervisor(
        parts=parts, restarts={"w1": 2}, free_bytes=1_000, needed_bytes=400, started_at=1_790_000_000_000, usage=usage
    )
    return files


def test_every_metric_of_the_table_is_in_a_scrape_with_its_kind_and_labels_and_nothing_else(
    ops: OpsListener, busy: FleetFiles
) -> None:
    families = {family.name: family for family in text_string_to_metric_families(ops.get("/metrics").body.decode())}
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.help)
        assert family.samples, metric.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


def test_what_waits_is_what_is_durable_and_has_not_landed(ops: OpsListener, files: FleetFiles, busy: FleetFiles) -> None:
    assert samples(ops, "footfall_waiting_events") == {(): 2}
    assert samples(ops, "footfall_landed_events_total") == {("landed",): 9, ("repeated",): 1}
    assert samples(ops, "footfall_lander_up") == {(): 1}
    files.lander(trouble="the volume is full")
    assert samples(ops, "footfall_lander_up") == {(): 0}


def test_events_add_up_over_all_workers_also_ended_ones(ops: OpsListener, busy: FleetFiles) -> None:
    found = samples(ops, "footfall_events_total")
    assert found["SHOP", "api", "accepted"] == 15
    assert found["SHOP", "api", "throttled"] == 0
    assert samples(ops, "footfall_refusals_total") == {("401",): 3}
    assert samples(ops, "footfall_responses_total") == {("200",): 3}


def test_histograms_add_up_and_every_bucket_holds_the_faster_ones_too(ops: OpsListener, busy: FleetFiles) -> None:
    buckets = samples(ops, "footfall_request_seconds_bucket")
    assert [float(bound) for (bound,) in buckets] == [*BOUNDS_S, float("inf")]
    assert (buckets["0.0005",], buckets["0.001",], buckets["5.0",], buckets["10.0",], buckets["+Inf",]) == (0, 1, 2, 2, 3)
    assert samples(ops, "footfall_commit_seconds_count") == {(): 3}
    assert samples(ops, "footfall_commit_seconds_sum")[()] == pytest.approx(63.001)


def test_what_is_of_a_worker_is_told_for_living_ones_and_the_log_of_all(ops: OpsListener, busy: FleetFiles) -> None:
    assert samples(ops, "footfall_requests_open") == {("w0",): 3, ("w1",): 0}
    assert samples(ops, "footfall_bytes_in_flight") == {("w0",): 0, ("w1",): 99}
    assert samples(ops, "footfall_throttle_buckets")["w1",] == 5
    assert samples(ops, "footfall_registry_revision")["w1",] == 4
    assert samples(ops, "footfall_log_durable_sequence") == {("w0", "live"): 7, ("w0", "test"): 1, ("w2", "live"): 4}


def test_what_is_of_a_process_is_told_of_every_one(ops: OpsListener, busy: FleetFiles) -> None:
    for name in ("footfall_resident_bytes", "footfall_cpu_seconds_total", "footfall_open_files", "footfall_start_time_seconds"):
        assert {part for (part,) in samples(ops, name)} == {"w0", "w1", "supervisor", "ops", "lander"}
    assert samples(ops, "footfall_resident_bytes")["w0",] == 50_000_000
    assert samples(ops, "footfall_start_time_seconds")["w0",] == 1_790_000_000.5
    assert samples(ops, "footfall_restarts_total") == {("w0",): 0, ("w1",): 2, ("ops",): 0, ("lander",): 0}
    assert samples(ops, "footfall_build_info") == {("1.2.2",): 1, ("1.2.3",): 1}


def test_the_disk_is_told_as_the_supervisor_sees_it(ops: OpsListener, busy: FleetFiles) -> None:
    assert samples(ops, "footfall_disk_free_bytes") == {(): 1_000}
    assert samples(ops, "footfall_disk_needed_bytes") == {(): 400}


def test_a_silent_worker_is_down_and_its_age_grows(ops: OpsListener, busy: FleetFiles) -> None:
    assert samples(ops, "footfall_worker_up") == {("w0",): 1, ("w1",): 1}
    assert samples(ops, "footfall_ready") == {(): 1}
    busy.clock.advance(8)
    busy.worker("w0")
    busy.supervisor(parts={"w0": "running", "w1": "running"})
    assert samples(ops, "footfall_worker_up") == {("w0",): 1, ("w1",): 0}
    assert samples(ops, "footfall_worker_heartbeat_age_seconds") == {("w0",): 0, ("w1",): 8}
    assert samples(ops, "footfall_ready") == {(): 0}


def test_a_scrape_without_any_status_is_whole_and_says_not_ready(ops: OpsListener) -> None:
    assert samples(ops, "footfall_ready") == {(): 0}
    assert samples(ops, "footfall_request_seconds_count") == {(): 0}


def test_open_metrics_comes_where_it_is_asked_for(ops: OpsListener, busy: FleetFiles) -> None:
    reply = ops.get("/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert reply.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    families = open_metrics_families(reply.body.decode())  # type: ignore[no-untyped-call]
    assert {family.name for family in families} >= {"footfall_events", "footfall_ready"}


@pytest.mark.parametrize(
    "accept", ["", "*/*", "text/plain;version=x.y", "application/openmetrics-text;version=x", ";;,=,;version", "x" * 5_000]
)
def test_no_accept_header_makes_a_scrape_fail_or_comes_back(ops: OpsListener, busy: FleetFiles, accept: str) -> None:
    reply = ops.get("/metrics", Accept=accept)
    assert reply.status == 200
    assert reply.headers["content-type"] in (
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )
    assert reply.headers["cache-control"] == "no-store"
