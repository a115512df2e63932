"""The benchmark itself works: it drives a real server, counts its log, and writes what it measured."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contestants import PATH, peer
from bench.losses.receiver import Receiver
from bench.machine import why_not_here
from bench.rounds import QUICK, Turn, take_turns
from bench.shop import carts, single_requests
from tests.meta.pages import ROOT
from tests.serving import request

pytestmark = pytest.mark.skipif(why_not_here() is not None, reason=str(why_not_here()))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


def ran(directory: Path, *arguments: str) -> dict[str, Any]:
    """The one scenario of a quick run, as it was written."""
    done = bench(*arguments, "--quick", "--results", str(directory))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = directory.iterdir()
    (scenario,) = json.loads(path.read_bytes())["scenarios"]
    return dict(scenario)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the quick form of the batch scenario writes."""
    directory = tmp_path_factory.mktemp("results")
    done = bench("batch", "--quick", "--results", str(directory))
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = directory.iterdir()
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def test_a_run_says_where_its_figures_come_from(written: dict[str, Any]) -> None:
    machine = written["machine"]
    assert machine["cores"] >= 1
    assert {"granian", "msgspec"} <= set(machine["packages"])
    assert machine["load_average"] >= 0
    assert written["scenarios"][0]["pace"]["quick"] is True


def test_every_row_has_its_rate_its_latencies_and_the_memory_of_every_process(written: dict[str, Any]) -> None:
    (batch,) = written["scenarios"]
    assert set(batch["rows"]) == {"mix", "carts", "empty"}
    for row in batch["rows"].values():
        assert row["rate"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["rss_mb"] == pytest.approx(sum(process["rss_mb"] for process in row["processes"]))
    assert {"supervisor", "ingest w0", "ops"} <= {process["name"] for process in batch["rows"]["mix"]["processes"]}


def test_the_goal_of_batches_is_judged_by_the_rate_of_the_mix(written: dict[str, Any]) -> None:
    (batch,) = written["scenarios"]
    (goal,) = batch["goals"]
    assert goal["value"] == batch["rows"]["mix"]["rate"]
    assert goal["reached"] is (goal["value"] >= goal["at_least"])


def test_the_records_in_the_log_are_the_events_that_were_answered(written: dict[str, Any]) -> None:
    (batch,) = written["scenarios"]
    answered = batch["rows"]["mix"]["answered"] + batch["rows"]["carts"]["answered"]
    assert answered > 0
    assert f"{answered:,} records in the log" in batch["checks"][0]


def test_an_unknown_scenario_is_refused_with_the_names_of_those_there_are() -> None:
    done = bench("flying")
    assert done.returncode == 2
    assert "'flying'" in done.stderr
    assert "workers-batch" in done.stderr


def test_answers_without_the_proof_end_the_run_however_fast_they_came() -> None:
    """A peer that refuses everything would look like a fast one."""
    requests = single_requests(PATH, "any", carts(10))
    with peer("empty", wrapper=(), proof=requests[0]) as contestant:
        turn = Turn(title="empty", contestant=contestant, requests=requests, connections=2, proof=b'"accepted":1')
        with pytest.raises(AssertionError, match="answers were not good"):
            take_turns({"empty": turn}, QUICK)


@pytest.mark.torture
def test_a_killed_shop_loses_nothing_and_the_table_says_of_how_many(tmp_path: Path) -> None:
    scenario = ran(tmp_path, "losses-kill")
    values = scenario["rows"]["kill"]["values"]
    assert values["asked"] == 200
    assert values["footfall"] <= values["footfall_restarted"] == 200
    assert values["batches"] <= values["batches_restarted"] == 200
    assert scenario["faults"] == []
    assert {goal["reached"] for goal in scenario["goals"]} == {True}


@pytest.mark.torture
def test_a_backlog_is_counted_at_the_receiver_before_a_rate_is_printed(tmp_path: Path) -> None:
    scenario = ran(tmp_path, "delivery")
    assert {"footfall", "batches"} <= set(scenario["rows"])
    assert all(row["values"]["rate"] > 0 for row in scenario["rows"].values())


@pytest.mark.torture
def test_calls_are_timed_asleep_at_work_and_flat_out(tmp_path: Path) -> None:
    scenario = ran(tmp_path, "track")
    for row in scenario["rows"].values():
        for kind in ("paced", "busy", "flat"):
            assert 0 < row["values"][f"{kind}_p50"] <= row["values"][f"{kind}_p99"]


EVENTS = [{"user_id": "shopper-1"}, {"userId": "shopper-2"}, {"distinct_id": "shopper-2"}]


def test_the_receiver_of_the_loss_table_counts_what_three_libraries_send() -> None:
    ours, segment, posthog = EVENTS
    with Receiver() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        assert request(port, "POST", PATH, body=json.dumps(ours).encode()).status == 200
        assert request(port, "POST", "/v1/batch", body=json.dumps({"batch": [segment]}).encode()).status == 200
        packed = gzip.compress(json.dumps({"batch": [posthog, posthog]}).encode())
        assert request(port, "POST", "/batch/", body=packed, headers={"Content-Encoding": "gzip"}).status == 200
        assert receiver.arrived == {1: 1, 2: 3}


def test_the_receiver_of_the_loss_table_refuses_nan_and_wrong_keys_and_counts_nothing_of_them() -> None:
    with Receiver() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        assert request(port, "POST", PATH, body=b'{"user_id": "shopper-1", "price": NaN}').status == 400
        receiver.key = "new"
        body = json.dumps(EVENTS[0]).encode()
        assert request(port, "POST", PATH, body=body, headers={"X-API-Key": "old"}).status == 401
        assert request(port, "POST", PATH, body=body, headers={"X-API-Key": "new"}).status == 200
        assert receiver.arrived == {1: 1}


def test_a_receiver_that_is_down_takes_no_connection_and_is_on_its_old_port_when_up_again() -> None:
    with Receiver() as receiver:
        port = int(receiver.url.rpartition(":")[2])
        receiver.down()
        with pytest.raises(ConnectionRefusedError):
            request(port, "POST", PATH, body=b"{}")
        receiver.up()
        assert request(port, "POST", PATH, body=json.dumps(EVENTS[0]).encode()).status == 200
