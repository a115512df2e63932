"""`footfall erase` and the management route on a real server: after it, no file of the data directory knows the person."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall.lake.opening import open_table
from footfall.lake.settings import LakeSettings
from footfall.registry.store import Registry
from tests.contract.lake.erasing_stage import found_in
from tests.serving import Footfall, home, now_ms, run_cli, until

PATH = "/rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events"
SETTINGS = {"FOOTFALL_SERVER__WORKERS": "2", "FOOTFALL_LAKE__INTERVAL_S": "0.3"}
ANNA, PHONE, CARD = "anna-8d21ee07c3", "phone-51aa0b7e9f", "card-0c9d8e7f6a"


def landed(server: Footfall) -> int:
    table = open_table(server.data, LakeSettings())
    return sum(file.rows for file in table.files().values()) if table is not None else 0


def plant(server: Footfall, *, times: int = 6) -> None:
    """Events of one person, under three identifiers, live and test, over some days; and one of somebody else."""
    for number in range(times):
        event = home(
            user_id=ANNA,
            custom_id=CARD,
            device={"persistent_id": PHONE},
            timestamp=now_ms() - 1 - number * 50_000_000,
        )
        for platform in ("SHOP", "SHOP_TEST"):
            assert server.send(event, platform=platform).status == 200
    assert server.send(home(id="others", user_id="bert-1")).status == 200


@contextlib.contextmanager
def under_load(server: Footfall) -> Iterator[list[int]]:
    """Somebody else's events come all the while."""
    sent: list[int] = []
    ending = threading.Event()

    def send() -> None:
        while not ending.is_set():
            sent.append(server.send(home()).status)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield sent
    finally:
        ending.set()
        sender.join()


def erase(server: Footfall, *arguments: str, stdin: bytes = b"", status: int = 0) -> Any:
    done = server.cli("erase", *arguments, "--json", stdin=stdin)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def rows(receipts: list[dict[str, Any]], platform: str, place: str) -> int:
    places = (each for receipt in receipts if receipt["platform"] == platform for each in receipt["places"])
    (found,) = (each for each in places if each["place"] == place)
    return int(next(value for name, value in found.items() if name != "place"))


def test_beside_a_server_that_takes_events_a_person_goes_from_every_file(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings=SETTINGS) as server:
        plant(server)
        assert until(lambda: landed(server) >= 7, seconds=20)
        with under_load(server) as sent:
            assert found_in(server.data, ANNA, PHONE, CARD) != []
            told = erase(server, "--platform", "SHOP", "--user-id", "-", stdin=f"{ANNA}\n".encode())
            assert told["state"] == "done"
            assert found_in(server.data, ANNA, PHONE, CARD) == []
        assert set(sent) == {200}
        receipts = told["receipts"]
        assert [rows(receipts, "SHOP", place) for place in ("lake", "log/live")] == [6, 6]
        assert rows(receipts, "SHOP_TEST", "log/test") == 6
        assert "others" in {record["event"].get("id") for record in server.records("SHOP")}
        # later: what is older stays out, what is newer comes in
        assert server.send(home(id="older", user_id=ANNA, timestamp=now_ms() - 3_600_000)).status == 200
        assert server.send(home(id="newer", user_id=ANNA, timestamp=now_ms() + 1000)).status == 200
        assert until(lambda: landed(server) == len(sent) + 2, seconds=20)
        assert ANNA not in server.output()
        server.check_log()
        ledger = json.loads(server.cli("ledger", "--json", "--verify", check=True).stdout)
        assert (ledger["balanced"], ledger["totals"]["erased"]) == (True, 7)


def test_asked_for_by_the_route_the_lander_does_it_by_itself(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings=SETTINGS) as server:
        with Registry.in_directory(server.data) as registry:
            key, _ = registry.create_key("SHOP", scope="manage")
        plant(server)
        assert until(lambda: landed(server) >= 7, seconds=20)
        head = {"Content-Type": "application/json", "X-API-Key": key}
        body = json.dumps({"identifiers": [{"user_id": ANNA}, {"user_id": "nobody-1"}]}).encode()

        def asked() -> bool:
            return server.request("POST", PATH.format(platform_id="SHOP"), body=body, headers=head).status == 200

        assert until(asked, seconds=10)
        assert until(lambda: {line["state"] for line in erase(server, "status")["erasures"]} == {"done"}, seconds=30)
        assert found_in(server.data, ANNA, PHONE, CARD) == []
        lines = erase(server, "status", "--platform", "SHOP")["erasures"]
        assert sorted(line["rows"] for line in lines) == [0, 6]
        assert landed(server) == 1
        server.check_log()


def test_without_a_lander_the_command_does_it_while_workers_write(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings={**SETTINGS, "FOOTFALL_LAKE__ENABLED": "false"}) as server:
        plant(server)
        told = erase(server, "--platform", "SHOP", "--persistent-id", PHONE)
        assert told["state"] == "done"
        assert rows(told["receipts"], "SHOP", "log/live") == 6
        assert found_in(server.data, ANNA, PHONE, CARD) == []
        assert server.send(home()).status == 200
        server.stop()
        server.cli("land", "--once", check=True)
        ledger = json.loads(server.cli("ledger", "--json", "--verify", check=True).stdout)
        assert (ledger["balanced"], ledger["totals"]["erased"], ledger["totals"]["landed"]) == (True, 6, 2)


def test_a_test_platform_id_covers_itself_alone(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings=SETTINGS) as server:
        plant(server, times=2)
        assert until(lambda: landed(server) >= 3, seconds=20)
        receipts = erase(server, "--platform", "SHOP_TEST", "--custom-id", CARD)["receipts"]
        assert [receipt["platform"] for receipt in receipts] == ["SHOP_TEST"]
        assert rows(receipts, "SHOP_TEST", "log/test") == 2
        assert landed(server) == 3
        assert found_in(server.data / "log" / "test", CARD) == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--platform", "SHOP", "--user-id", "null"), 2, "names nobody"),
        (("--platform", "SHOP", "--user-id", ""), 2, "names nobody"),
        (("--platform", "SHOP", "--user-id", "x" * 129), 2, "longer than 128"),
        (("--platform", "SHOP", "--user-id", "-"), 2, "nothing came on stdin"),
        (("--platform", "SHOP"), 2, "one of --user-id"),
        (("--user-id", "secret-7"), 2, "--platform P"),
        (("--platform", "SHOP", "--user-id", "secret-7", "--custom-id", "secret-8"), 2, "one of --user-id"),
        (("stat",), 2, "footfall erase status"),
        (("status", "--user-id", "secret-7"), 2, "takes no person"),
        (("--platform", "NOSUCH", "--user-id", "secret-7"), 1, "no platform has the id NOSUCH"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_never_repeated(
    tmp_path_factory: pytest.TempPathFactory, arguments: tuple[str, ...], status: int, words: str
) -> None:
    data = tmp_path_factory.getbasetemp() / "refused"
    with Registry.in_directory(data) as registry:
        registry.add_platform("SHOP")
    done = run_cli("erase", *arguments, data=data)
    assert (done.returncode, done.stdout) == (status, b"")
    assert words in done.stderr.decode()
    assert b"secret" not in done.stderr
    with Registry.in_directory(data) as registry:
        assert registry.erasures() == []


def test_people_read_a_table_and_a_data_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run_cli("erase", "--platform", "SHOP", "--user-id", "x-1", data=data).returncode == 1
    assert json.loads(run_cli("erase", "status", "--json", data=data).stdout) == {"erasures": [], "trouble": ""}
    assert not data.exists()
    with Registry.in_directory(data) as registry:
        registry.add_platform("SHOP")
    done = run_cli("erase", "--platform", "SHOP", "--user-id", "x-1", data=data, check=True)
    assert b"nothing of this person" in done.stdout
    assert b"copies are not reached" in done.stderr
    assert run_cli("erase", "status", data=data, check=True).stdout.count(b" done ") == 2
