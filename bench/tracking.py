"""What a shop pays for its tracker: the call, the delivery behind it, and the import. Rows are libraries, medians of rounds.

Each round of each library is a process of its own on the load's core, its sender thread with it; the receiver has the other core.
Receivers answer at once and only count; batches go to a whole Footfall, which stores them durably before it answers.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from bench.calls import WARM, CallOrder, Drained, Timed
from bench.comparisons import Comparison, Line, line_of_medians
from bench.contestants import PATH, Contestant, footfall, peer, records_in_log
from bench.machine import LOAD_CORE, SERVER_CORE, pinned, settle_on
from bench.rounds import Goal, Pace
from bench.shop import carts, single_requests
from bench.trackers import Place, why_not
from tests.serving import Footfall, request

_TRACK_P50_US: Final = 10.0
_TRACK_P99_US: Final = 50.0
_SINGLE_RATE: Final = 8_000.0
_BATCH_RATE: Final = 100_000.0
_IMPORT_MS: Final = 100.0
_FLAT_CALLS: Final = 9_000
"""The peers hold 10,000 in memory and drop what comes then; dropping is cheap, and not what is measured."""
_ROUND_S_MAX: Final = 120.0


class _Side(NamedTuple):
    """One row: a library and what it sends to."""

    title: str
    library: str
    whole: bool = False
    """to a whole Footfall, in batches"""
    backlog: int = 50_000


_SIDES: Final = {
    "footfall": _Side("Footfall, one event a request", "footfall"),
    "batches": _Side("Footfall, batches to a Footfall", "footfall", whole=True, backlog=200_000),
    "segment": _Side("Segment, 100 events a request", "segment"),
    "posthog": _Side("PostHog, 100 events a request", "posthog"),
}


def track(directory: Path, pace: Pace) -> Comparison:
    """Row 5: the call, at a busy shop's pace and as fast as it goes."""
    paced, flat = (300, 1_000) if pace.quick else (2_000, _FLAT_CALLS)
    rounds: dict[str, dict[str, list[float]]] = {}
    for name, _, receiver, place in _turns(directory, pace):
        measured = rounds.setdefault(name, {column: [] for column in _TRACK_COLUMNS})
        for kind in _KINDS:
            calls = flat if kind == "flat" else paced
            order = CallOrder(place=place(kind), pace=kind, calls=calls)
            timed = msgspec.json.decode(_ran(order), type=Timed)
            measured[f"{kind}_p50"].append(timed.p50_us)
            measured[f"{kind}_p99"].append(timed.p99_us)
            receiver.expect(calls + WARM)
    return _comparison(
        "track",
        "µs a call: a cart with one item and a device, the sender running",
        pace,
        columns=_TRACK_COLUMNS,
        digits=1,
        rounds=rounds,
        goals=_track_goals,
        notes=[
            f"1,000 calls a second, {paced:,} of them: 'paced' sleeps between calls and finds the processor cold; 'at work'"
            " renders between them, so that the sender waits for the interpreter's lock",
            f"flat out: {flat:,} calls, which fit into the peers' memory",
            "the shop's process, with its sender thread, is on one core. Footfall's call has written the event to a file when it"
            " returns; the others hold it in memory",
        ],
    )


def delivery(directory: Path, pace: Pace) -> Comparison:
    """Row 6: a backlog, tracked while the receiver is stopped; from its waking to the last answer."""
    rounds: dict[str, dict[str, list[float]]] = {}
    for name, side, receiver, place in _turns(directory, pace):
        measured = rounds.setdefault(name, {column: [] for column in _DELIVERY_COLUMNS})
        calls = side.backlog // (25 if pace.quick else 1)
        drained = _drained(CallOrder(place=place("drain"), pace="drain", calls=calls), receiver)
        measured["rate"].append(drained.calls / drained.seconds)
        measured["processor"].append(1e6 * drained.processor_s / drained.calls)
        receiver.expect(calls + WARM)
    return _comparison(
        "delivery",
        "events a second of one process, from a backlog",
        pace,
        columns=_DELIVERY_COLUMNS,
        digits=0,
        rounds=rounds,
        goals=_delivery_goals,
        notes=[
            f"backlogs: {', '.join(f'{side.title} {side.backlog:,}' for side in _SIDES.values())}"
            f"{', in this quick run a 25th of that' if pace.quick else ''}; the peers' queues are made large enough to hold them",
            "every event was counted at the receiver",
        ],
    )


def imports(directory: Path, pace: Pace) -> Comparison:
    """What a shop's first line costs: the statement in a fresh process, its bytecode compiled before."""
    settle_on(LOAD_CORE)
    statements = {name: (statement, library) for name, (statement, library) in _IMPORTS.items() if not why_not(library)}
    rounds: dict[str, list[float]] = {name: [] for name in statements}
    for number in range(2 if pace.quick else 11):
        for name, (statement, _) in statements.items():
            took_ms = _import_ms(statement)
            if number:  # the first one may have compiled
                rounds[name].append(took_ms)
    rows = {name: line_of_medians(_IMPORTS[name][0], {"ms": values}) for name, values in rounds.items()}
    return Comparison(
        scenario="imports",
        title="ms for the first line of a shop's program",
        pace=pace,
        columns={"ms": "ms"},
        digits=1,
        rows=rows,
        goals=[
            Goal(title=rows[name].title, row=name, unit="ms", value=_value(rows[name], "ms"), at_most=_IMPORT_MS)
            for name in ("footfall", "client", "outbox")
            if name in rows
        ],
        checks=[],
        notes=[],
        skipped=_skipped(),
    )


_TRACK_COLUMNS: Final = {
    "paced_p50": "paced p50",
    "paced_p99": "p99",
    "busy_p50": "at work p50",
    "busy_p99": "p99",
    "flat_p50": "flat out p50",
    "flat_p99": "p99",
}
_KINDS: Final[tuple[Literal["paced", "busy", "flat"], ...]] = ("paced", "busy", "flat")
_DELIVERY_COLUMNS: Final = {"rate": "events/s", "processor": "µs CPU an event"}
_IMPORTS: Final = {
    "footfall": ("import footfall", "footfall"),
    "client": ("from footfall import Client", "footfall"),
    "outbox": ("from footfall.client.outbox import Outbox", "footfall"),
    "segment": ("import segment.analytics", "segment"),
    "posthog": ("import posthog", "posthog"),
}


# -- receivers


class _Receiver:
    """A running receiver that counts. What is expected of it is a sum over all rounds."""

    def __init__(self, contestant: Contestant, *, counts: Callable[[], int]) -> None:
        self.contestant = contestant
        self.counts = counts
        self.expected = 0

    def expect(self, events: int) -> None:
        self.expected += events


class _Turn(NamedTuple):
    """One round of one row: where its process is to send, for a purpose that names its outbox."""

    name: str
    side: _Side
    receiver: _Receiver
    place: Callable[[str], Place]


def _turns(directory: Path, pace: Pace) -> Iterator[_Turn]:
    """Every row once a round, in turns. After the last, AssertionError where a receiver did not count what it was sent."""
    settle_on(LOAD_CORE)
    sides = {name: side for name, side in _SIDES.items() if not why_not(side.library)}
    with contextlib.ExitStack() as stack:
        receivers = {}
        for name, side in sides.items():
            if side.whole:
                contestant, server = stack.enter_context(footfall(directory / "server", workers=1, wrapper=pinned(SERVER_CORE)))
                receivers[name] = _Receiver(contestant, counts=partial(_stored, server))
            else:
                receivers[name] = _counting(stack)
        for number in range(pace.rounds):
            for name, side in sides.items():
                yield _Turn(name, side, receivers[name], _place_of(directory / name / str(number), side, receivers[name]))
        for name, receiver in receivers.items():
            if (counted := receiver.counts()) != receiver.expected:
                raise AssertionError(f"{name}: {receiver.expected:,} events were tracked and flushed, {counted:,} arrived")


def _counting(stack: contextlib.ExitStack) -> _Receiver:
    proof = single_requests(PATH, "any", carts(1))[0]
    contestant = stack.enter_context(peer("count", wrapper=pinned(SERVER_CORE), proof=proof))
    begun = _counted(contestant)
    return _Receiver(contestant, counts=lambda: _counted(contestant) - begun)


def _counted(contestant: Contestant) -> int:
    return int(request(contestant.port, "GET", "/counted").body)


def _stored(server: Footfall) -> int:
    server.stop()
    return records_in_log(server)


def _place_of(directory: Path, side: _Side, receiver: _Receiver) -> Callable[[str], Place]:
    def place(purpose: str) -> Place:
        return Place(
            library=side.library,
            url=f"http://127.0.0.1:{receiver.contestant.port}",
            key=receiver.contestant.key,
            directory=str(directory / purpose),
            queue_max=side.backlog + WARM if purpose == "drain" else 10_000,
        )

    return place


# -- processes


def _ran(order: CallOrder) -> bytes:
    done = subprocess.run(_command(order), stdin=subprocess.DEVNULL, capture_output=True, timeout=_ROUND_S_MAX)
    if done.returncode:
        raise AssertionError(f"{order.place.library}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def _drained(order: CallOrder, receiver: _Receiver) -> Drained:
    """The receiver is stopped while the backlog is tracked, which no library takes for a failure: it is a slow answer."""
    process = subprocess.Popen(_command(order), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        _expect(process, "ready")
        with receiver.contestant.stopped():
            process.stdin.write("track\n")
            process.stdin.flush()
            _expect(process, "tracked")
        output, _ = process.communicate("deliver\n", timeout=_ROUND_S_MAX)
    finally:
        process.kill()
        process.wait()
    return msgspec.json.decode(output, type=Drained)


def _expect(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    if process.stdout.readline().strip() != word:
        raise AssertionError(f"the shop's process did not say {word!r}")


def _command(order: CallOrder) -> list[str]:
    return [*pinned(LOAD_CORE), sys.executable, "-m", "bench.calls", msgspec.json.encode(order).decode()]


def _import_ms(statement: str) -> float:
    code = f"import time; began = time.perf_counter(); {statement}; print(1000 * (time.perf_counter() - began))"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=30).stdout)


# -- verdicts


def _comparison(
    scenario: str,
    title: str,
    pace: Pace,
    *,
    columns: dict[str, str],
    digits: int,
    rounds: Mapping[str, Mapping[str, list[float]]],
    goals: Callable[[Mapping[str, Line]], list[Goal]],
    notes: list[str],
) -> Comparison:
    rows = {name: line_of_medians(_SIDES[name].title, measured) for name, measured in rounds.items()}
    return Comparison(
        scenario=scenario,
        title=title,
        pace=pace,
        columns=columns,
        digits=digits,
        rows=rows,
        goals=goals(rows),
        checks=[],
        notes=notes,
        skipped=_skipped(),
    )


def _track_goals(rows: Mapping[str, Line]) -> list[Goal]:
    goals = []
    for name in ("footfall", "batches"):
        for column in _TRACK_COLUMNS if name in rows else ():
            title = f"{rows[name].title}, {column.replace('_', ' ')}"
            limit_us = _TRACK_P50_US if column.endswith("p50") else _TRACK_P99_US
            goals.append(Goal(title=title, row=name, unit="µs", value=_value(rows[name], column), at_most=limit_us))
    for column in ("paced_p50", "busy_p50", "flat_p50"):
        goals.extend(_ratios(rows, column, least_is_best=True))
    return goals


def _delivery_goals(rows: Mapping[str, Line]) -> list[Goal]:
    goals = [
        Goal(title=rows[name].title, row=name, unit="events/s", value=_value(rows[name], "rate"), at_least=limit)
        for name, limit in (("footfall", _SINGLE_RATE), ("batches", _BATCH_RATE))
        if name in rows
    ]
    return goals + _ratios(rows, "rate", least_is_best=False)


def _ratios(rows: Mapping[str, Line], column: str, *, least_is_best: bool) -> list[Goal]:
    """How many times as good as each peer Footfall is, in both its forms. Nothing is asked of it."""
    goals = []
    for ours in ("footfall", "batches"):
        for other in ("segment", "posthog"):
            if ours in rows and other in rows:
                ratio = _value(rows[ours], column) / _value(rows[other], column)
                title = f"{rows[ours].title}, times as good as {other} ({column.replace('_', ' ')})"
                goals.append(Goal(title=title, row=other, unit="×", value=1 / ratio if least_is_best else ratio))
    return goals


def _value(line: Line, column: str) -> float:
    value = line.values[column]
    assert value is not None
    return value


def _skipped() -> dict[str, str]:
    return {side.library: reason for side in _SIDES.values() if (reason := why_not(side.library))}
