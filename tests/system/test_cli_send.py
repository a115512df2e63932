"""`footfall send` to a real server: one by one and in batches, with the same outcome for every line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Footfall, free_port, home, run_cli
from tests.unit.cli.batch_receiver import BatchReceiver, Told

ONE_BY_ONE = ()
IN_BATCHES = ("--batch", "3")


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def written(tmp_path: Path, *lines: object) -> str:
    path = tmp_path / "events.ndjson"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return str(path)


def send(
    server: Footfall, file: str, *options: str, platform: str = "SHOP", stdin: bytes = b""
) -> tuple[int, dict[str, Any], str]:
    """Exit status, the summary, and what was told."""
    key = () if "--key" in options else ("--key", server.keys[platform])
    done = server.cli("send", file, "--url", server.url, "--platform", platform, *key, *options, "--json", stdin=stdin)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr.decode()


@pytest.mark.parametrize("how", [ONE_BY_ONE, IN_BATCHES], ids=["one by one", "in batches"])
def test_every_line_gets_its_own_outcome(server: Footfall, tmp_path: Path, how: tuple[str, ...]) -> None:
    tag = f"{time.time_ns()}"
    search = home(id=f"{tag}-2", event_type="SEARCH")
    lines = [home(id=f"{tag}-0"), "", home(id=f"{tag}-1"), search, "{not JSON", home(id=f"{tag}-3"), home(id=f"{tag}-4")]
    status, summary, _ = send(server, written(tmp_path, *lines), *how)
    assert status == 1
    assert (summary["sent"], summary["accepted"]) == (6, 4)
    assert [(one["index"], one["status"], one["violations"][0]["reason"]) for one in summary["refused"]] == [
        (2, 400, "missing_search_query"),
        (3, 400, summary["refused"][1]["violations"][0]["reason"]),
    ]
    stored = {record["event"]["id"] for record in server.records("SHOP")}
    assert {one for one in stored if one.startswith(tag)} == {f"{tag}-{number}" for number in (0, 1, 3, 4)}


@pytest.mark.parametrize("how", [ONE_BY_ONE, IN_BATCHES], ids=["one by one", "in batches"])
def test_warnings_of_a_test_platform_are_counted(server: Footfall, tmp_path: Path, how: tuple[str, ...]) -> None:
    without_id = {name: value for name, value in home().items() if name != "id"}
    status, summary, _ = send(server, written(tmp_path, home(), without_id, home()), *how, platform="SHOP_TEST")
    assert (status, summary["accepted"], summary["warned"]) == (0, 3, 1)


def test_a_batch_that_one_shopper_floods_is_sent_to_its_end(server: Footfall, tmp_path: Path) -> None:
    """More events of one identifier than the throttle lets through at once: the rest go again."""
    tag = f"flood-{time.time_ns()}"
    lines = [home(id=f"{tag}-{number}", user_id=tag) for number in range(260)]
    status, summary, _ = send(server, written(tmp_path, *lines), "--batch", "260")
    assert (status, summary["accepted"], summary["refused"]) == (0, 260, [])
    stored = [record["event"]["id"] for record in server.records("SHOP") if record["event"].get("user_id") == tag]
    assert sorted(stored) == sorted(line["id"] for line in lines)


@pytest.mark.parametrize("how", [ONE_BY_ONE, IN_BATCHES], ids=["one by one", "in batches"])
def test_a_key_that_is_not_accepted_stops_at_its_line(server: Footfall, tmp_path: Path, how: tuple[str, ...]) -> None:
    status, summary, told = send(server, written(tmp_path, home(), home()), "--key", "nonsense", *how)
    assert (status, summary["accepted"], summary["refused"][0]["status"]) == (1, 0, 403)
    assert "stopped at line 1" in told


@pytest.mark.parametrize("how", [ONE_BY_ONE, IN_BATCHES], ids=["one by one", "in batches"])
def test_a_receiver_that_is_not_there_is_exit_3_within_seconds(tmp_path: Path, how: tuple[str, ...]) -> None:
    started_s = time.monotonic()
    url = f"http://127.0.0.1:{free_port()}"
    done = run_cli("send", written(tmp_path, home()), "--url", url, "--platform", "SHOP", "--key", "k", *how)
    assert done.returncode == 3
    assert b"refused" in done.stderr
    assert time.monotonic() - started_s < 5


def test_a_receiver_without_batches_is_said_to_be_one(tmp_path: Path) -> None:
    with BatchReceiver(lambda lines: Told(404, b"404 page not found\n")) as receiver:
        url = receiver.settings.base_url
        done = run_cli("send", written(tmp_path, home()), "--url", url, "--platform", "SHOP", "--key", "k", "--batch", "5")
    assert done.returncode == 2
    assert b"leave --batch out" in done.stderr


@pytest.mark.parametrize("size", ["0", "10001"])
def test_the_size_of_a_batch_is_bounded(tmp_path: Path, size: str) -> None:
    file = written(tmp_path, home())
    done = run_cli("send", file, "--url", "http://127.0.0.1:1", "--platform", "SHOP", "--key", "k", "--batch", size)
    assert done.returncode == 2


def test_the_key_comes_from_standard_input_and_the_events_from_a_file(server: Footfall, tmp_path: Path) -> None:
    status, summary, _ = send(server, written(tmp_path, home()), "--key", "-", stdin=server.keys["SHOP"].encode() + b"\n")
    assert (status, summary["accepted"]) == (0, 1)
