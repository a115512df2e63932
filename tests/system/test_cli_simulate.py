"""`footfall simulate`: an invented shop that is welcome at a server of ours, and kept away from everybody else's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Footfall, free_port, run_cli


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def simulate(server: Footfall, *options: str, platform: str = "SHOP", key: str | None = None) -> tuple[int, dict[str, Any], str]:
    to = ("--url", server.url, "--platform", platform, "--key", key if key is not None else server.keys[platform])
    done = server.cli("simulate", *to, *options, "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr.decode()


def test_four_seconds_of_it_turn_the_whole_go_live_table_green(server: Footfall, tmp_path: Path) -> None:
    status, summary, _ = simulate(server, "--rate", "100", "--duration", "4", platform="SHOP_TEST")
    assert (status, summary["sent"], summary["accepted"], summary["refused"], summary["failed"]) == (0, 400, 400, 0, 0)
    assert sum(summary["by_type"].values()) == 400
    assert summary["by_status"] == {"200": 400}
    assert 3.9 < summary["seconds"] < 10
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]
    golive = server.cli("golive", "--platform", "SHOP_TEST", "--json")
    assert golive.returncode == 0, golive
    events = tmp_path / "events.ndjson"
    events.write_text("".join(json.dumps(record["event"]) + "\n" for record in server.records("SHOP_TEST")))
    verdicts = [json.loads(line) for line in server.cli("check", str(events), "--json").stdout.splitlines()]
    assert len(verdicts) == 400
    assert [verdict for verdict in verdicts if not verdict["ok"] or verdict["warnings"]] == []


def test_batches_carry_a_higher_rate(server: Footfall) -> None:
    before = len(server.records("SHOP"))
    status, summary, _ = simulate(server, "--rate", "2000", "--duration", "1", "--batch", "100")
    assert (status, summary["accepted"]) == (0, 2_000)
    assert len(server.records("SHOP")) - before == 2_000


def test_a_wrong_key_ends_it_at_once_with_exit_1(server: Footfall) -> None:
    status, summary, told = simulate(server, "--rate", "100", "--duration", "60", key="nonsense")
    assert (status, summary["accepted"]) == (1, 0)
    assert set(summary["by_status"]) == {"403"}
    assert "key" in told


def test_a_receiver_that_is_not_there_is_exit_3(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run_cli("simulate", "--url", url, "--platform", "SHOP", "--key", "k", "--duration", "60")
    assert done.returncode == 3
    assert b"refused" in done.stderr


@pytest.mark.parametrize(
    "url",
    [
        "https://shop-evt.mcm-api.moloco.com",
        "https://SHOP-EVT.MCM-API.MOLOCO.COM",
        "https://shop-evt.mcm-api.moloco.com.",
        "https://shop-evt.mcm-api.moloco.com..:443/",
        "https://moloco.com",
    ],
)
def test_the_original_service_never_gets_invented_events(url: str) -> None:
    done = run_cli("simulate", "--url", url, "--platform", "SHOP_TEST", "--key", "k", "--allow-remote")
    assert done.returncode == 2
    assert b"never go to moloco.com" in done.stderr


@pytest.mark.parametrize(
    "url", ["https://shop.example", "https://192.0.2.1", "https://[2001:db8::1]:8443", "https://mymoloco.com"]
)
def test_another_machine_needs_a_word(url: str) -> None:
    done = run_cli("simulate", "--url", url, "--platform", "SHOP_TEST", "--key", "k")
    assert done.returncode == 2
    assert b"--allow-remote" in done.stderr
