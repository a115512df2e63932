"""The benchmark itself works: it drives a real server, counts its log, and writes what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bench.contestants import PATH, peer
from bench.machine import why_not_here
from bench.rounds import QUICK, Turn, take_turns
from bench.shop import carts, single_requests
from tests.meta.pages import ROOT

pytestmark = pytest.mark.skipif(why_not_here() is not None, reason=str(why_not_here()))


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


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
    done = bench("landing")
    assert done.returncode == 2
    assert "'landing'" in done.stderr
    assert "workers-batch" in done.stderr


def test_answers_without_the_proof_end_the_run_however_fast_they_came() -> None:
    """A peer that refuses everything would look like a fast one."""
    requests = single_requests(PATH, "any", carts(10))
    with peer("empty", wrapper=(), proof=requests[0]) as contestant:
        turn = Turn(title="empty", contestant=contestant, requests=requests, connections=2, proof=b'"accepted":1')
        with pytest.raises(AssertionError, match="answers were not good"):
            take_turns({"empty": turn}, QUICK)
