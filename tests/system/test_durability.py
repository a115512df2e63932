"""200 means durable: the process tree is killed under load, again and again, and the log is compared with what was answered."""

from __future__ import annotations

import json
import random
import signal
import socket
import time
from pathlib import Path

from tests.load import SENDERS, Load
from tests.serving import Footfall, home

KILLS = 6


def test_kills_under_load_lose_nothing_and_double_nothing(footfall: Footfall) -> None:
    chance = random.Random(20261123)
    sent: set[str] = set()
    answered: set[str] = set()
    positions: dict[str, str] = {}
    for generation in range(KILLS):
        load = Load(footfall, generation)
        time.sleep(chance.uniform(0.05, 0.35))
        footfall.kill()
        load.stop()
        sent |= load.sent
        answered |= load.answered
        if generation % 5 == 0:
            # before any recovery: what was answered can be read from what the dead process left
            assert answered <= {r["event"]["id"] for r in footfall.records()}
        footfall.start()
    assert len(answered) > KILLS * SENDERS, "the load was too thin to prove anything"
    records = footfall.records("SHOP")
    ids = [r["event"]["id"] for r in records]
    assert answered <= set(ids), f"lost after a 200: {sorted(answered - set(ids))[:5]}"
    assert len(ids) == len(set(ids)), "an event stands in the log twice"
    assert set(ids) <= sent, "an event nobody sent"
    sequences = [int(r["position"].partition("/")[2]) for r in records]
    assert sequences == sorted(set(sequences)), "positions rise and are never used twice"
    for record in records:
        assert positions.setdefault(record["position"], record["event"]["id"]) == record["event"]["id"]


def test_sigterm_under_load_answers_everything_in_flight(footfall: Footfall) -> None:
    load = Load(footfall, 0)
    time.sleep(0.5)
    began = time.monotonic()
    status = footfall.stop()
    assert status == 0
    assert time.monotonic() - began < 10
    load.stop()
    assert load.answered
    footfall.start()
    ids = [r["event"]["id"] for r in footfall.records("SHOP")]
    assert load.answered <= set(ids)
    # a request is either answered or refused for good: nothing was stored behind a sender's back but what was cut mid-answer
    assert len(set(ids) - load.answered) <= SENDERS


def test_ctrl_c_stops_it_too(footfall: Footfall) -> None:
    assert footfall.process is not None
    footfall.process.send_signal(signal.SIGINT)
    assert footfall.process.wait(timeout=10) == 0
    assert "Traceback" not in footfall.output()
    footfall.start()


def test_a_second_server_on_the_same_data_or_port_refuses_to_start(footfall: Footfall, tmp_path: Path) -> None:
    taken_data = footfall.cli("serve", "--port", "0", "--ops-port", "0")
    assert taken_data.returncode == 3
    assert b"another running process" in taken_data.stderr
    assert b"Traceback" not in taken_data.stderr
    other = Footfall(tmp_path / "other")
    taken_port = other.cli("serve", "--port", str(footfall.port), "--ops-port", "0")
    assert taken_port.returncode in (2, 3)
    assert str(footfall.port).encode() in taken_port.stderr
    assert footfall.send(home()).status == 200


def test_records_are_readable_while_the_server_writes(footfall: Footfall) -> None:
    events = [home(id=f"w-{number}") for number in range(20)]
    for number, event in enumerate(events):
        assert footfall.send(event).status == 200
        assert [r["event"]["id"] for r in footfall.records()] == [f"w-{n}" for n in range(number + 1)]


def test_live_and_test_events_lie_in_trees_of_their_own(footfall: Footfall) -> None:
    footfall.send(home(id="l"))
    footfall.send(home(id="t"), platform="SHOP_TEST")
    records = footfall.records()
    assert [(r["platform"], r["mode"], r["event"]["id"]) for r in records] == [("SHOP", "live", "l"), ("SHOP_TEST", "test", "t")]
    assert [r["event"]["id"] for r in footfall.records("SHOP_TEST")] == ["t"]
    assert (footfall.data / "log" / "live").is_dir()
    assert (footfall.data / "log" / "test").is_dir()


def test_a_record_has_exactly_the_documented_members(footfall: Footfall) -> None:
    footfall.send(home(id="r", user_id="null", items=[{"price": {"currency": "USD", "amount": 0.1}}], shiny=True))
    line = footfall.cli("log", "cat", check=True).stdout.splitlines()[0]
    record = json.loads(line)
    assert list(record) == ["position", "platform", "mode", "received_at", "source", "event"]
    assert record["position"] == "w0/1"
    assert record["source"] == "api"
    assert abs(record["received_at"] - time.time() * 1000) < 60_000
    event = record["event"]
    assert "user_id" not in event, "a default word is no identifier"
    assert isinstance(event["timestamp"], int)
    assert event["items"][0]["price"] == {"currency": "USD", "amount": "0.1"}
    assert event["extra"] == {"shiny": True}


def test_connections_that_never_end_their_request_do_not_keep_the_server_from_stopping(footfall: Footfall) -> None:
    with (
        socket.create_connection(("127.0.0.1", footfall.port)) as half_a_head,
        socket.create_connection(("127.0.0.1", footfall.ops_port)) as half_a_head_to_ops,
        socket.create_connection(("127.0.0.1", footfall.port)) as never_reads,
    ):
        half_a_head.sendall(b"POST / HTTP/1.1\r\nHo")
        half_a_head_to_ops.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        never_reads.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 1000)
        assert footfall.send(home()).status == 200
        began = time.monotonic()
        assert footfall.stop() == 0
        assert time.monotonic() - began < 10
    footfall.start()


def test_a_deleted_lock_file_lets_no_second_server_in(footfall: Footfall) -> None:
    assert footfall.send(home(id="before")).status == 200
    for lock in footfall.data.glob("log/*/*/lock"):
        lock.unlink()
    second = footfall.cli("serve", "--port", "0", "--ops-port", "0")
    assert second.returncode == 3
    assert b"another running process" in second.stderr
    assert footfall.send(home(id="after")).status == 200
    assert [record["event"]["id"] for record in footfall.records()] == ["before", "after"]
