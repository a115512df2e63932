"""What holds when senders are too fast or keys change: throttle, byte budget, rotation, expiry, on all workers."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.load import Load
from tests.serving import EVENTS_PATH, Footfall, home, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server of one worker that grants an identifier five events at once and two a second."""
    settings = {
        "FOOTFALL_THROTTLE__IDENTIFIER_PER_S": "2",
        "FOOTFALL_THROTTLE__IDENTIFIER_BURST": "5",
        "FOOTFALL_LIMITS__BYTES_IN_FLIGHT_MAX": "120000",
    }
    with Footfall(tmp_path_factory.mktemp("limits") / "data", settings=settings) as running:
        yield running
        running.check_log()


def test_one_identifier_that_is_too_fast_is_429_with_the_documented_words(server: Footfall) -> None:
    replies = [server.send(home(user_id="shared-by-all")) for _ in range(12)]
    statuses = [reply.status for reply in replies]
    assert statuses[:5] == [200] * 5
    assert statuses.count(429) >= 5
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.json == {"code": 8, "message": "request denied by throttler, try again later", "details": []}
    assert 1 <= int(refused.headers["retry-after"]) <= 5
    assert server.send(home()).status == 200, "another shopper is not held up"
    time.sleep(int(refused.headers["retry-after"]))
    assert server.send(home(user_id="shared-by-all")).status == 200


def test_a_broken_rule_is_said_before_the_throttle_and_takes_no_token(server: Footfall) -> None:
    for _ in range(20):
        assert server.send(home(user_id="careless", event_type="NONE")).status == 400
    assert server.send(home(user_id="careless")).status == 200


def test_throttled_events_of_a_batch_are_rejected_with_code_8(server: Footfall) -> None:
    events = [home(user_id="batch-user") for _ in range(8)] + [home()]
    headers = {"X-API-Key": server.keys["SHOP"]}
    path = EVENTS_PATH.format(platform="SHOP") + ":batch"
    reply = server.request("POST", path, body=json.dumps(events).encode(), headers=headers)
    assert reply.status == 200
    assert reply.json["accepted"] == 6
    assert [(each["index"], each["code"]) for each in reply.json["rejected"]] == [(5, 8), (6, 8), (7, 8)]
    assert int(reply.headers["retry-after"]) >= 1


def test_id_less_events_are_not_throttled_by_identifier(server: Footfall) -> None:
    for _ in range(20):
        assert server.send(home(personalization_mode="ID_LESS", user_id="same")).status == 200


def test_platform_limits_are_set_by_command_and_followed_within_seconds(server: Footfall) -> None:
    server.cli("platform", "limits", "SHOP_TEST", "--platform", "1/3", check=True)
    deadline = time.monotonic() + 5
    statuses: Counter[int] = Counter()
    while not statuses[429] and time.monotonic() < deadline:
        statuses[server.send(home(), platform="SHOP_TEST").status] += 1
    assert statuses[429], "the limit never came into force"
    assert server.send(home()).status == 200, "the live platform id has none"
    server.cli("platform", "limits", "SHOP_TEST", "--platform", "none", check=True)
    deadline = time.monotonic() + 5
    while (five := [server.send(home(), platform="SHOP_TEST").status for _ in range(5)]) != [200] * 5:
        assert time.monotonic() < deadline, five


def test_bodies_over_the_byte_budget_are_503_before_they_are_read(server: Footfall) -> None:
    key = server.keys["SHOP"].encode()
    path = EVENTS_PATH.format(platform="SHOP").encode()
    head = b"POST %b HTTP/1.1\r\nHost: h\r\nX-API-Key: %b\r\nContent-Length: 60000\r\n\r\n" % (path, key)
    with socket.create_connection(("127.0.0.1", server.port)) as holding:
        holding.sendall(head + b"{")
        deadline = time.monotonic() + 5
        while (reply := server.send(home(page_id="p" * 50_000))).status != 503 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (reply.status, reply.json["code"]) == (503, 14)
        assert reply.headers["retry-after"] == "1"
        assert server.send(home()).status == 200, "a small one still fits"
    deadline = time.monotonic() + 5
    while (reply := server.send(home(page_id="p" * 50_000))).status != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert reply.status == 200, "what a sender that left had reserved is given back"


def test_keys_rotate_under_load_without_one_wrongful_refusal(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__WORKERS": "2"}) as server:
        old_id = json.loads(server.cli("key", "list", "SHOP", "--json", check=True).stdout)[0]["id"]
        old = Load(server)
        server.keys["SHOP"] = server.new_key("SHOP")
        time.sleep(2.5)
        new = Load(server, generation=1)
        time.sleep(0.5)
        old.stop()
        server.cli("key", "revoke", old_id, check=True)
        revoked_at = time.monotonic()
        old_key = old.key
        statuses: list[int] = []
        while time.monotonic() - revoked_at < 5.5:
            statuses = [server.send(home(), key=old_key).status for _ in range(8)]  # a connection each: both workers answer
            time.sleep(0.1)
        new.stop()
        assert set(statuses) == {403}, "revoked on every worker within 5 s"
        assert not old.refused
        assert not new.refused
        assert new.answered


def test_a_registry_that_is_replaced_is_followed_within_five_seconds(tmp_path: Path) -> None:
    """A restored or copied file is another file: an open connection would go on with the old one for ever."""
    with Footfall(tmp_path / "data") as server:
        registry = server.data / "registry.db"
        registry.rename(server.data / "registry.off")
        (server.data / "registry.new").write_bytes((server.data / "registry.off").read_bytes())
        (server.data / "registry.new").rename(registry)
        key = server.new_key("SHOP")
        deadline = time.monotonic() + 5
        while (status := server.send(home(), key=key).status) != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status == 200


def test_an_expired_key_is_refused_on_all_workers_without_anybody_telling_them(tmp_path: Path) -> None:
    with Footfall(tmp_path / "data", settings={"FOOTFALL_SERVER__WORKERS": "2"}) as server:
        key = server.new_key("SHOP", "--expires", "5s")
        made_at = time.monotonic()
        # each worker learns of it by itself; ten in a row find both
        assert until(lambda: {server.send(home(), key=key).status for _ in range(10)} == {200}, seconds=4)
        time.sleep(max(0.0, made_at + 5.2 - time.monotonic()))
        assert {server.send(home(), key=key).status for _ in range(10)} == {403}


def test_the_public_listener_speaks_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        capture_output=True,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("needs openssl to make a certificate")
    server = Footfall(tmp_path / "data")
    one_alone = server.cli("serve", "--port", "0", "--ops-port", "0", "--tls-cert", str(cert))
    assert one_alone.returncode == 2
    assert b"--tls-key" in one_alone.stderr
    swapped = server.cli("serve", "--port", "0", "--ops-port", "0", "--tls-cert", str(key), "--tls-key", str(cert))
    assert swapped.returncode == 2
    assert b"Traceback" not in swapped.stderr
    server.settings |= {"FOOTFALL_SERVER__TLS_CERT": str(cert), "FOOTFALL_SERVER__TLS_KEY": str(key)}
    with server:
        import http.client

        context = ssl.create_default_context(cafile=str(cert))
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=10)
        headers = {"X-API-Key": server.keys["SHOP"]}
        connection.request("POST", EVENTS_PATH.format(platform="SHOP"), body=json.dumps(home()).encode(), headers=headers)
        assert connection.getresponse().status == 200
        connection.close()
        assert f"https://127.0.0.1:{server.port}" in server.output()


def test_a_body_longer_than_the_whole_budget_is_413_for_no_wait_would_help(server: Footfall) -> None:
    path = EVENTS_PATH.format(platform="SHOP") + ":batch"
    reply = server.request("POST", path, body=b"[" + b" " * 200_000 + b"]", headers={"X-API-Key": server.keys["SHOP"]})
    assert reply.status == 413
