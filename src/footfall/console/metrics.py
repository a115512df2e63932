"""What can be measured of a server, in one table: the scrape and docs/metrics.md are both made from it.

Values come from the status files, so a scrape asks no process for anything. A worker is a label only where a sum would hide
something. A platform may be a label; a person, an item or a page never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import Final, Literal

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from footfall.console.fleet import Fleet
from footfall.server.status import BOUNDS_S, Counts, Histogram, Usage, WorkerStatus

Values = Iterable[tuple[tuple[str, ...], float]]
"""label values, in the order of the labels, and the number"""

_OWN_PART: Final = "ops"
_LANDER: Final = "lander"


class Scrape(msgspec.Struct, frozen=True, kw_only=True):
    """What a scrape is made from: the fleet, and the process that tells of it."""

    fleet: Fleet
    version: str
    started_at: int
    """Unix milliseconds"""
    usage: Usage

    @property
    def heard(self) -> dict[str, WorkerStatus]:
        """What living workers said."""
        return {worker.name: worker.status for worker in self.fleet.workers if worker.status is not None}

    @property
    def counts(self) -> list[Counts]:
        """Those of every slot, also of ended ones: sums must not go back when a worker ends."""
        return [status.counts for status in self.fleet.left.values()]


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric. Its name is a promise: dashboards and alerts hang on it."""

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...] = ()
    help: str
    watch: str
    """what to look for, or to be woken by"""
    values: Callable[[Scrape], Values]


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that is a histogram of seconds, without labels."""

    kind: Literal["histogram"] = "histogram"
    labels: tuple[str, ...] = ()
    name: str
    help: str
    watch: str
    histogram: Callable[[Counts], Histogram]


# -- where the values come from


def _events(scrape: Scrape) -> Values:
    sums: dict[tuple[str, ...], float] = {}
    for counts in scrape.counts:
        for platform, sources in counts.events.items():
            for source, outcomes in sources.items():
                for outcome, count in outcomes.items():
                    labels = (platform, source, outcome)
                    sums[labels] = sums.get(labels, 0) + count
    return sorted(sums.items())


def _by_status(pick: Callable[[Counts], dict[int, int]]) -> Callable[[Scrape], Values]:
    def values(scrape: Scrape) -> Values:
        sums: dict[int, int] = {}
        for counts in scrape.counts:
            for status, count in pick(counts).items():
                sums[status] = sums.get(status, 0) + count
        return [((str(status),), float(count)) for status, count in sorted(sums.items())]

    return values


def _of_workers(pick: Callable[[WorkerStatus], float]) -> Callable[[Scrape], Values]:
    return lambda scrape: [((name,), pick(status)) for name, status in scrape.heard.items()]


def _of_parts(pick: Callable[[Usage], float]) -> Callable[[Scrape], Values]:
    return lambda scrape: [((name,), pick(usage)) for name, usage in _usages(scrape).items()]


def _usages(scrape: Scrape) -> dict[str, Usage]:
    found = {name: status.usage for name, status in scrape.heard.items()}
    if scrape.fleet.supervisor is not None:
        found["supervisor"] = scrape.fleet.supervisor.usage
    if scrape.fleet.lander is not None:
        found[_LANDER] = scrape.fleet.lander.usage
    return {**found, _OWN_PART: scrape.usage}


def _start_times(scrape: Scrape) -> Values:
    supervisor = scrape.fleet.supervisor
    yield from (((name,), status.started_at / 1000) for name, status in scrape.heard.items())
    for name, status in (("supervisor", supervisor), (_LANDER, scrape.fleet.lander)):
        if status is not None:
            yield (name,), status.started_at / 1000
    yield (_OWN_PART,), scrape.started_at / 1000


def _versions(scrape: Scrape) -> Values:
    versions = {scrape.version, *(status.version for status in scrape.heard.values())}
    if scrape.fleet.lander is not None:
        versions.add(scrape.fleet.lander.version)
    return [((version,), 1.0) for version in sorted(versions)]


def _durable(scrape: Scrape) -> Values:
    for name, status in scrape.fleet.left.items():
        for tree, sequence in status.durable.items():
            yield (name, tree), sequence


def _landed(scrape: Scrape) -> Values:
    lander = scrape.fleet.lander
    return [] if lander is None else [((outcome,), count) for outcome, count in lander.events.items()]


def _waiting(scrape: Scrape) -> Values:
    """Of the writers that workers are; what an import wrote its own progress bar tells."""
    lander = scrape.fleet.lander
    if lander is None:
        return []
    durable = {name: status.durable.get("live", 0) for name, status in scrape.fleet.left.items()}
    return [((), sum(max(0, last - lander.positions.get(name, 0)) for name, last in durable.items()))]


def _lands(scrape: Scrape) -> Values:
    supervisor, lander = scrape.fleet.supervisor, scrape.fleet.lander
    if lander is None and (supervisor is None or _LANDER not in supervisor.parts):
        return []  # there is to be none
    return [((), float(lander is not None and not lander.trouble))]


def _up(scrape: Scrape) -> Values:
    heard = {worker.name for worker in scrape.fleet.workers if worker.status is not None and not worker.is_silent}
    expected = scrape.fleet.expected or scrape.fleet.left
    return [((name,), float(name in heard)) for name in sorted(expected)]


def _heartbeat_ages(scrape: Scrape) -> Values:
    return [((worker.name,), worker.silent_s) for worker in scrape.fleet.workers if worker.status is not None]


def _restarts(scrape: Scrape) -> Values:
    supervisor = scrape.fleet.supervisor
    if supervisor is None:
        return []
    counts = dict.fromkeys(supervisor.parts, 0) | supervisor.restarts
    return [((name,), count) for name, count in counts.items()]


def _ready(scrape: Scrape) -> Values:
    return [((), float(not scrape.fleet.reasons_not_ready()))]


def _disk(pick: Literal["free_bytes", "needed_bytes"]) -> Callable[[Scrape], Values]:
    def values(scrape: Scrape) -> Values:
        supervisor = scrape.fleet.supervisor
        return [] if supervisor is None else [((), getattr(supervisor, pick))]

    return values


# -- the table

METRICS: Final[tuple[Metric | Timing, ...]] = (
    Metric(
        name="footfall_ready",
        kind="gauge",
        help="1 when an event would be accepted now, else 0; /readyz says why.",
        watch="0 for more than a minute",
        values=_ready,
    ),
    Metric(
        name="footfall_events_total",
        kind="counter",
        labels=("platform", "source", "outcome"),
        help=(
            "Events that came with a known platform and key, by how they came (api, batch, segment) and how they ended:"
            " accepted (durable), rejected (4xx), throttled (429), unavailable (503)."
        ),
        watch="any unavailable; a share of rejected that jumps; accepted falling to 0 in business hours",
        values=_events,
    ),
    Metric(
        name="footfall_refusals_total",
        kind="counter",
        labels=("status",),
        help="Requests refused before a platform and a key were known, by HTTP status.",
        watch="401 and 403 rising: a key was rotated on one side only, or somebody is guessing",
        values=_by_status(lambda counts: counts.refusals),
    ),
    Metric(
        name="footfall_responses_total",
        kind="counter",
        labels=("status",),
        help="Answers of the public listener, by HTTP status.",
        watch="any 500; 503 for more than a minute",
        values=_by_status(lambda counts: counts.responses),
    ),
    Timing(
        name="footfall_request_seconds",
        help="Seconds from the head of a request to its answer, on the public listener.",
        watch="the 99th percentile above what senders wait for",
        histogram=lambda counts: counts.request_seconds,
    ),
    Timing(
        name="footfall_commit_seconds",
        help="Seconds from handing a group of records to the log to its being durable.",
        watch="the 99th percentile above 0.5 s: the volume is slow",
        histogram=lambda counts: counts.commit_seconds,
    ),
    Metric(
        name="footfall_requests_open",
        kind="gauge",
        labels=("worker",),
        help="Requests being read or answered.",
        watch="rising without an end",
        values=_of_workers(lambda status: status.requests_open),
    ),
    Metric(
        name="footfall_bytes_in_flight",
        kind="gauge",
        labels=("worker",),
        help="Bytes of request bodies held in memory.",
        watch="near limits.bytes_in_flight_max, where requests are answered 503",
        values=_of_workers(lambda status: status.bytes_in_flight),
    ),
    Metric(
        name="footfall_throttle_buckets",
        kind="gauge",
        labels=("worker",),
        help="Senders and identifiers whose rate is being kept.",
        watch="at its bound for long: the oldest are forgotten and start anew",
        values=_of_workers(lambda status: status.throttle_buckets),
    ),
    Metric(
        name="footfall_log_durable_sequence",
        kind="gauge",
        labels=("worker", "tree"),
        help="Last durable sequence of each log.",
        watch="its rate is what the disk takes; not moving while events are accepted would be a bug",
        values=_durable,
    ),
    Metric(
        name="footfall_lander_up",
        kind="gauge",
        help="1 when the lander lives and lands, 0 when it does not; the journal says why. Absent where none is to run.",
        watch="0 for more than five minutes: events wait in the log, which grows",
        values=_lands,
    ),
    Metric(
        name="footfall_waiting_events",
        kind="gauge",
        help="Accepted events that are in the log and not yet in the table.",
        watch="rising for ten minutes: more is accepted than lands",
        values=_waiting,
    ),
    Metric(
        name="footfall_landed_events_total",
        kind="counter",
        labels=("outcome",),
        help="What accepted events came to since the lander started: landed, repeated, quarantined, erased.",
        watch="any quarantined; a share of repeated that jumps: a sender retries what was answered",
        values=_landed,
    ),
    Metric(
        name="footfall_worker_up",
        kind="gauge",
        labels=("worker",),
        help="1 when the worker lives and was heard of within 5 seconds.",
        watch="0 for more than a minute",
        values=_up,
    ),
    Metric(
        name="footfall_worker_heartbeat_age_seconds",
        kind="gauge",
        labels=("worker",),
        help="Seconds since the worker last said how it is.",
        watch="above 2: its event loop or the machine is stuck",
        values=_heartbeat_ages,
    ),
    Metric(
        name="footfall_restarts_total",
        kind="counter",
        labels=("part",),
        help="How often a process ended by itself and was started again.",
        watch="any increase: the journal says why",
        values=_restarts,
    ),
    Metric(
        name="footfall_disk_free_bytes",
        kind="gauge",
        help="Free bytes on the volume of the data directory.",
        watch="the hours until footfall_disk_needed_bytes is reached, by predict_linear",
        values=_disk("free_bytes"),
    ),
    Metric(
        name="footfall_disk_needed_bytes",
        kind="gauge",
        help="Free bytes below which new events are refused.",
        watch="the line to compare footfall_disk_free_bytes with",
        values=_disk("needed_bytes"),
    ),
    Metric(
        name="footfall_registry_revision",
        kind="gauge",
        labels=("worker",),
        help="Revision of the platforms and keys the worker serves with.",
        watch="workers that differ for more than server.registry_poll_s",
        values=_of_workers(lambda status: status.registry_revision),
    ),
    Metric(
        name="footfall_resident_bytes",
        kind="gauge",
        labels=("part",),
        help="Memory the process occupies.",
        watch="rising for days at the same load",
        values=_of_parts(lambda usage: usage.resident_bytes),
    ),
    Metric(
        name="footfall_cpu_seconds_total",
        kind="counter",
        labels=("part",),
        help="Processor time the process has used.",
        watch="a rate near 1 for a worker: add one with server.workers",
        values=_of_parts(lambda usage: usage.cpu_seconds),
    ),
    Metric(
        name="footfall_open_files",
        kind="gauge",
        labels=("part",),
        help="Open file descriptors of the process, connections included.",
        watch="near the limit of the service manager (LimitNOFILE)",
        values=_of_parts(lambda usage: usage.open_files),
    ),
    Metric(
        name="footfall_build_info",
        kind="gauge",
        labels=("version",),
        help="Always 1; which versions are running.",
        watch="two versions at once, outside a rolling restart",
        values=_versions,
    ),
    Metric(
        name="footfall_start_time_seconds",
        kind="gauge",
        labels=("part",),
        help="When the process started, in Unix seconds.",
        watch="younger than the last deployment",
        values=_start_times,
    ),
)


# -- the scrape

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class ScrapeCollector:
    """One scrape, in the form that prometheus-client's encoders take."""

    def __init__(self, scrape: Scrape) -> None:
        self._scrape = scrape

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield _timing(metric, self._scrape) if isinstance(metric, Timing) else _family(metric, self._scrape)


def _family(metric: Metric, scrape: Scrape) -> Family:
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = make(metric.name, metric.help, labels=metric.labels)
    for labels, value in metric.values(scrape):
        family.add_metric(labels, value)
    return family


def _timing(timing: Timing, scrape: Scrape) -> Family:
    total = Histogram()
    for counts in scrape.counts:
        total.add(timing.histogram(counts))
    names = [*(repr(bound) for bound in BOUNDS_S), "+Inf"]
    buckets = list(zip(names, (float(count) for count in accumulate(total.counts)), strict=True))
    return HistogramMetricFamily(timing.name, timing.help, buckets=buckets, sum_value=total.sum_s)
