"""`footfall ledger` beside a running server, and through its death."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from footfall.lake.books import Terms
from footfall.registry.store import Registry
from tests.contract.lake.stage import Stage, event, record
from tests.load import Load
from tests.serving import Footfall, home, run_cli, until

QUICK = {"FOOTFALL_LAKE__INTERVAL_S": "0.1", "FOOTFALL_SERVER__WORKERS": "2"}
LOAD_S = 3.0


def told(server: Footfall, *options: str) -> dict[str, Any]:
    done = server.cli("ledger", "--json", *options, check=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def line(document: dict[str, Any], source: str = "api") -> dict[str, Any]:
    (found,) = [found for found in document["platforms"] if (found["platform"], found["source"]) == ("SHOP", source)]
    return dict(found)


def test_it_balances_at_every_moment_under_load_while_events_land(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings=QUICK) as server:
        load = Load(server)
        end_s = time.monotonic() + LOAD_S
        looks = 0
        try:
            while time.monotonic() < end_s:
                server.check_ledger()
                looks += 1
        finally:
            load.stop()
        assert looks >= 3
        assert until(lambda: server.ledger().totals.waiting == 0, seconds=20)
        terms = line(told(server, "--verify"))
        assert terms["landed"] == terms["accepted"] == len(load.answered)
        assert (terms["difference"], terms["balanced"]) == (0, True)


def test_it_balances_after_every_process_was_killed_and_after_the_next_start(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings=QUICK) as server:
        for generation in range(2):
            load = Load(server, generation)
            landed = lands_more(server)
            server.kill()
            load.stop()
            assert landed, "it was killed before anything could go wrong"
            server.check_ledger()
            server.start()
            server.check_ledger()


def test_what_was_refused_is_received_and_nothing_else(footfall: Footfall) -> None:
    assert footfall.send(home()).status == 200
    assert footfall.send({"event_type": "HOME"}).status == 400
    assert footfall.send(home(), platform="SHOP_TEST").status == 200

    assert until(lambda: footfall.ledger().totals.rejected == 1, seconds=10)
    document = told(footfall, "--verify")
    assert (line(document)["received"], line(document)["accepted"], line(document)["rejected"]) == (2, 1, 1)
    assert {found["platform"] for found in document["platforms"]} == {"SHOP"}
    assert document["totals"]["received"] == 2
    assert all(check["ok"] for check in document["checks"])


def test_without_a_lander_everything_waits_as_people_read_it_too(tmp_path: Path) -> None:
    """Numbers stand right under their term, and terms that are empty everywhere are named instead."""
    with Footfall(tmp_path / "data", settings={"FOOTFALL_LAKE__ENABLED": "false"}) as server:
        assert [server.send(home()).status for _ in range(3)] == [200] * 3
        assert server.ledger(verify=True).totals == Terms(accepted=3, waiting=3)
        done = server.cli("ledger", check=True)
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["platform", "source", "received", "accepted", "landed", "waiting", "difference"]
    assert lines[1].split() == ["SHOP", "api", "3", "3", "0", "3", "0"]
    assert lines[2].split() == ["total", "3", "3", "0", "3", "0"]
    assert lines[1].index(" 3 ") + 2 == lines[0].index("received") + len("received")
    assert lines[3] == "none: rejected, throttled, unavailable, expired, repeated, quarantined, erased"
    assert done.stderr.decode().strip() == "balanced"


def test_a_lost_row_is_told_and_with_verify_exit_3(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with Registry.in_directory(stage.data) as registry:
        registry.add_platform("SHOP")
    stage.append("w0", record(event()))
    stage.land()
    stage.table().commit(remove=stage.files(), transactions={})  # as another program with access to it may
    assert run_cli("ledger", data=stage.data).returncode == 0
    done = run_cli("ledger", "--verify", "--json", data=stage.data)
    assert done.returncode == 3
    document = json.loads(done.stdout)
    assert (line(document)["difference"], line(document)["balanced"], document["balanced"]) == (1, False, False)


def test_where_nothing_is_it_says_so_and_makes_nothing(tmp_path: Path) -> None:
    done = run_cli("ledger", "--verify", "--json", data=tmp_path / "nowhere")
    assert done.returncode == 0
    assert json.loads(done.stdout)["platforms"] == []
    assert b"no data directory" in done.stderr
    assert list(tmp_path.iterdir()) == []


def lands_more(server: Footfall) -> bool:
    before = server.ledger().totals.landed
    return until(lambda: server.ledger().totals.landed > before, seconds=20)
