"""What is measured: one function a scenario, from an empty directory to a `Result`.

single           one event a request, durable before its 200                  server on core 0, load on core 1
batch            a thousand events a request, NDJSON, one durable write       server on core 0, load on core 1
workers-single   the same with one worker and with two                        both share both cores
workers-batch    the same with one worker and with two                        both share both cores

and from the shop's side of the wire, beside Segment's and PostHog's libraries (`bench.tracking`, `bench.losses`):

track            what a call to a tracker takes while its sender runs         shop on core 1, receiver on core 0
delivery         how fast one process empties its backlog                     shop on core 1, receiver on core 0
imports          what the first line of a shop's program costs                one core
losses           a thousand events and a fault: how many arrive               everybody shares both cores

and behind the log (`bench.lake`), beside DuckDB alone:

landing          from the log into a day of ten million rows                  one core
importing        a file of a million events, until they can be asked for      both cores
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench import postgres
from bench.comparisons import Comparison
from bench.contestants import PATH, Contestant, footfall, peer, records_in_log
from bench.lake import importing, landing
from bench.losses.rows import ROWS as LOSSES
from bench.losses.table import PREFIX as LOSSES_PREFIX
from bench.losses.table import losses
from bench.machine import LOAD_CORE, SERVER_CORE, pinned, settle_on
from bench.postgres import NoPostgresError, Postgres
from bench.rounds import Goal, Pace, Result, Row, Turn, take_turns
from bench.shop import batch_requests, carts, mix, single_requests
from bench.tracking import delivery, imports, track
from tests.serving import Footfall

SINGLE_CONNECTIONS: Final = 64
BATCH_CONNECTIONS: Final = 4
BATCH_EVENTS: Final = 1_000
_EMPTY_TITLE: Final = "the same HTTP server: reads the body, answers an empty 200"
_ONE_CORE_EACH: Final = "server with all its processes on core 0, load on core 1"


def single(directory: Path, pace: Pace) -> Result:
    """Row 1: carts, distinct, 64 connections; against the bare HTTP server, FastAPI, and FastAPI with PostgreSQL."""
    wrapper = pinned(SERVER_CORE)
    settle_on(LOAD_CORE)
    events = carts(2_000 if pace.quick else 20_000)
    proof = single_requests(PATH, "any", events[:1])[0]
    skipped = {}
    with contextlib.ExitStack() as stack:
        ours, server = stack.enter_context(footfall(directory / "single", workers=1, wrapper=wrapper))
        contestants = {"footfall": ours}
        for name in ("empty", "fastapi"):
            contestants[name] = stack.enter_context(peer(name, wrapper=wrapper, proof=proof))
        database = None
        try:
            database = stack.enter_context(postgres.running(wrapper=wrapper))
        except NoPostgresError as reason:
            skipped["postgres"] = str(reason)
        if database is not None:
            _make_table(database)
            contestants["postgres"] = stack.enter_context(peer("postgres", wrapper=wrapper, proof=proof, database=database))
        turns = {
            name: Turn(
                title=_SINGLE_TITLES[name],
                contestant=contestant,
                requests=single_requests(PATH, contestant.key, events),
                connections=SINGLE_CONNECTIONS,
            )
            for name, contestant in contestants.items()
        }
        rows = take_turns(turns, pace)
        checks = [_counted(server, rows["footfall"].answered)]
        if database is not None:
            checks.append(_counted_in_table(database, rows["postgres"].answered + 1))
    return Result(
        scenario="single",
        title=f"one event a request, {SINGLE_CONNECTIONS} connections, {_ONE_CORE_EACH}",
        pace=pace,
        rows=rows,
        goals=[_ratio(rows, name, at_least) for name, at_least in _SINGLE_GOALS.items() if name in rows],
        checks=checks,
        notes=_single_notes(database),
        skipped=skipped,
    )


def batch(directory: Path, pace: Pace) -> Result:
    """Row 2: batches of the shop's mix and of nothing but carts; the bare HTTP server takes the same bytes and drops them."""
    wrapper = pinned(SERVER_CORE)
    settle_on(LOAD_CORE)
    batches = 10 if pace.quick else 200
    with contextlib.ExitStack() as stack:
        ours, server = stack.enter_context(footfall(directory / "batch", workers=1, wrapper=wrapper))
        mixed = batch_requests(PATH, ours.key, mix(batches * BATCH_EVENTS), size=BATCH_EVENTS)
        of_carts = batch_requests(PATH, ours.key, carts(min(batches, 100) * BATCH_EVENTS), size=BATCH_EVENTS)
        proof = single_requests(PATH, "any", carts(1))[0]
        empty = stack.enter_context(peer("empty", wrapper=wrapper, proof=proof))
        turns = {
            "mix": _batch_turn("Footfall: the mix of a shop", ours, mixed),
            "carts": _batch_turn("Footfall: nothing but carts, one to three items each", ours, of_carts),
            "empty": Turn(
                title=_EMPTY_TITLE, contestant=empty, requests=mixed, connections=BATCH_CONNECTIONS, events_each=BATCH_EVENTS
            ),
        }
        rows = take_turns(turns, pace)
        checks = [_counted(server, rows["mix"].answered + rows["carts"].answered)]
    return Result(
        scenario="batch",
        title=f"{BATCH_EVENTS:,} events a request, NDJSON, {BATCH_CONNECTIONS} connections, {_ONE_CORE_EACH}",
        pace=pace,
        rows=rows,
        goals=[Goal(title="batches of the mix", row="mix", unit="events/s", value=rows["mix"].rate, at_least=200_000)],
        checks=checks,
        notes=[f"a batch of the mix has {_kilobytes(mixed)} kB, one of carts {_kilobytes(of_carts)} kB"],
        skipped={},
    )


def workers_single(directory: Path, pace: Pace) -> Result:
    """How the rate of single events grows with a second worker."""
    events = carts(2_000 if pace.quick else 20_000)

    def turn(title: str, contestant: Contestant) -> Turn:
        requests = single_requests(PATH, contestant.key, events)
        return Turn(title=title, contestant=contestant, requests=requests, connections=SINGLE_CONNECTIONS)

    return _growth(
        directory, pace, name="workers-single", title=f"one event a request, {SINGLE_CONNECTIONS} connections", turn=turn
    )


def workers_batch(directory: Path, pace: Pace) -> Result:
    """How the rate of batches grows with a second worker: here the load costs little."""
    events = mix((10 if pace.quick else 200) * BATCH_EVENTS)
    connections = 4 * BATCH_CONNECTIONS  # the kernel deals them out to the workers by chance: of four, one may get none

    def turn(title: str, contestant: Contestant) -> Turn:
        requests = batch_requests(PATH, contestant.key, events, size=BATCH_EVENTS)
        return _batch_turn(title, contestant, requests, connections=connections)

    return _growth(
        directory,
        pace,
        name="workers-batch",
        title=f"{BATCH_EVENTS:,} events of the mix a request, {connections} connections",
        turn=turn,
    )


Scenario = Callable[[Path, Pace], Result | Comparison]

SCENARIOS: Final[dict[str, Scenario]] = {
    "single": single,
    "batch": batch,
    "workers-single": workers_single,
    "workers-batch": workers_batch,
    "track": track,
    "delivery": delivery,
    "imports": imports,
    "losses": losses,
    "landing": landing,
    "importing": importing,
}
PARTS: Final[dict[str, Scenario]] = {f"{LOSSES_PREFIX}{name}": partial(losses, names=(name,)) for name in LOSSES}
"""What may be asked for by name, and is not run by itself because a scenario holds it."""


# -- pieces of them


def _growth(directory: Path, pace: Pace, *, name: str, title: str, turn: Callable[[str, Contestant], Turn]) -> Result:
    """One worker against two. Nobody is pinned to a core of its own: two workers need both, so the load has to share them."""
    everywhere = (SERVER_CORE, LOAD_CORE)
    settle_on(*everywhere)
    with contextlib.ExitStack() as stack:
        turns, servers = {}, {}
        for workers, label in ((1, "one"), (2, "two")):
            ours, servers[label] = stack.enter_context(
                footfall(directory / f"{name}-{label}", workers=workers, wrapper=pinned(*everywhere))
            )
            turns[label] = turn(f"Footfall with {label} worker{'s' * (workers - 1)}", ours)
        rows = take_turns(turns, pace)
        checks = [_counted(servers[label], row.answered) for label, row in rows.items()]
    growth = rows["two"].rate / rows["one"].rate
    return Result(
        scenario=name,
        title=f"{title}, server and load share two cores",
        pace=pace,
        rows=rows,
        goals=[Goal(title="two workers, of one", row="two", unit="×", value=growth)],
        checks=checks,
        notes=[
            f"the load took {rows['one'].load_busy:.0%} of a core beside one worker, {rows['two'].load_busy:.0%} beside two;"
            " it shares the two cores with the workers, so this is the least a second worker brings"
        ],
        skipped={},
    )


_SINGLE_TITLES: Final = {
    "footfall": "Footfall: keys, rules, throttle, durable before the 200",
    "empty": _EMPTY_TITLE,
    "fastapi": "FastAPI + pydantic on uvicorn, stores nothing",
    "postgres": "FastAPI + pydantic on uvicorn, one INSERT into PostgreSQL",
}
_SINGLE_GOALS: Final = {"empty": 0.55, "fastapi": 2.5, "postgres": 8.0}


def _single_notes(database: Postgres | None) -> list[str]:
    notes = []
    if importlib.util.find_spec("httptools") is None:
        notes.append("uvicorn reads HTTP with h11 here; with httptools (uvicorn[standard]) FastAPI is about a third faster")
    if database is not None:
        notes.append(
            f"{database.version}: as it comes (fsync, synchronous_commit on), a table without an index, on core 0 as well"
        )
    return notes


def _batch_turn(title: str, contestant: Contestant, requests: Sequence[bytes], *, connections: int = BATCH_CONNECTIONS) -> Turn:
    return Turn(
        title=title,
        contestant=contestant,
        requests=requests,
        connections=connections,
        proof=b'"accepted":%d,"rejected":[]' % BATCH_EVENTS,
        events_each=BATCH_EVENTS,
    )


def _ratio(rows: Mapping[str, Row], peer_name: str, at_least: float) -> Goal:
    value = rows["footfall"].rate / rows[peer_name].rate
    return Goal(title=f"Footfall, of {peer_name}", row=peer_name, unit="×", value=value, at_least=at_least)


def _counted(server: Footfall, answered: int) -> str:
    """Stops the server and counts its log. Every request was waited for, so the numbers are the same."""
    server.stop()
    in_log = records_in_log(server)
    if in_log != answered:
        raise AssertionError(f"{answered:,} events were answered with 200, {in_log:,} are in the log")
    return f"{in_log:,} records in the log, byte for byte whole = events answered with 200"


def _make_table(database: Postgres) -> None:
    from bench.fastapi_peer import TABLE

    database.query(TABLE)


def _counted_in_table(database: Postgres, answered: int) -> str:
    rows = int(database.query("select count(*) from user_event"))
    if rows != answered:
        raise AssertionError(f"PostgreSQL holds {rows:,} rows, {answered:,} requests were answered with 200")
    return f"{rows:,} rows in PostgreSQL = requests answered with 200"


def _kilobytes(requests: Sequence[bytes]) -> int:
    return round(sum(map(len, requests)) / len(requests) / 1000)
