"""`footfall find`: an event is found wherever it is, told why, and nobody's identifier is shown."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Footfall, home, now_ms, run_cli


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def found(server: Footfall, event_id: str, *options: str) -> list[dict[str, Any]]:
    done = server.cli("find", event_id, "--json", *options)
    assert done.returncode == 0, done
    told = json.loads(done.stdout)
    assert told["event_id"] == event_id
    return list(told["found"])


def fresh_id(name: str) -> str:
    return f"{name}-{time.time_ns()}"


def test_an_accepted_event_is_found_at_its_position_with_all_that_was_noted(server: Footfall) -> None:
    event = home(id=fresh_id("once"))
    assert server.send(event).status == 200
    [place] = found(server, event["id"])
    record = next(record for record in server.records("SHOP") if record["event"]["id"] == event["id"])
    assert place["position"] == record["position"]
    assert place["why"] == f"accepted, durable in the log at {record['position']}"
    expected = {"place": "log", "platform": "SHOP", "mode": "live", "event_type": "HOME", "source": "api", "state": "accepted"}
    assert {name: place[name] for name in expected} == expected
    assert (place["timestamp"], place["received_at"]) == (int(event["timestamp"]), record["received_at"])


def test_a_repeat_names_the_record_that_counts(server: Footfall) -> None:
    event = home(id=fresh_id("twice"))
    assert [server.send(event).status for _ in range(2)] == [200, 200]
    first, second = found(server, event["id"])
    assert (first["state"], second["state"]) == ("accepted", "repeat")
    assert second["why"] == f"a repeat of {first['position']}: counted once in the lake"


def test_the_same_id_with_another_time_is_another_event(server: Footfall) -> None:
    event = home(id=fresh_id("reused"))
    assert server.send(event).status == 200
    assert server.send({**event, "timestamp": str(now_ms() - 5_000)}).status == 200
    places = found(server, event["id"])
    assert [place["state"] for place in places] == ["accepted", "accepted"]
    assert "used for another event" in places[1]["why"]


def test_a_test_event_never_lands_and_is_no_repeat_of_the_live_one(server: Footfall) -> None:
    event = home(id=fresh_id("both"))
    for platform in ("SHOP", "SHOP_TEST"):
        assert server.send(event, platform=platform).status == 200
    assert [place["state"] for place in found(server, event["id"])] == ["accepted", "test"]
    [place] = found(server, event["id"], "--platform", "SHOP_TEST")
    assert place["why"] == "a test event: kept 7 days, never lands"


def test_the_id_must_match_whole_and_in_its_own_member(server: Footfall) -> None:
    """The bytes are looked through first; what only looks alike is not shown."""
    wanted = fresh_id("whole")
    assert server.send(home(id=f"{wanted}-and-more")).status == 200
    assert server.send(home(id=fresh_id("other"), page_id=wanted, user_id=wanted)).status == 200
    done = server.cli("find", wanted, "--json")
    assert (done.returncode, json.loads(done.stdout)["found"]) == (1, [])


@pytest.mark.parametrize("name", ['quote"d', "ünïcode", "back\\slash", "日本"])
def test_any_id_is_found_however_json_writes_it(server: Footfall, name: str) -> None:
    event = home(id=fresh_id(name))
    assert server.send(event).status == 200
    assert len(found(server, event["id"])) == 1


def test_nobody_is_shown(server: Footfall) -> None:
    event = home(id=fresh_id("private"), user_id="u-private-1", device={"persistent_id": "p-private-2", "ip": "192.0.2.99"})
    assert server.send(event).status == 200
    for options in ((), ("--json",)):
        done = server.cli("find", event["id"], *options)
        assert not [value for value in (b"u-private-1", b"p-private-2", b"192.0.2.99") if value in done.stdout + done.stderr]


def test_what_is_nowhere_is_exit_1_with_what_that_can_mean(server: Footfall) -> None:
    done = server.cli("find", "never-sent")
    assert (done.returncode, done.stdout) == (1, b"")
    for meaning in (b"refused at the door", b"never saw a 200", b"older than 7 days", b"another data directory"):
        assert meaning in done.stderr


def test_a_directory_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    done = run_cli("find", "e-1", data=tmp_path / "none")
    assert done.returncode == 1
    assert str(tmp_path / "none").encode() in done.stderr
    assert not (tmp_path / "none").exists()
