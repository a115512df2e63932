"""`footfall doctor`: what it finds on this machine and on the way to a receiver, and that looking changes nothing."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.delivery.receiver import Receiver, answer
from tests.serving import Footfall, free_port, run_cli


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def checks_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, dict[str, Any]]:
    """Check → what was found; of several with one name the last."""
    told = json.loads(done.stdout)
    assert told["ok"] == all(check["state"] != "fail" for check in told["checks"])
    assert all(check["cure"] for check in told["checks"] if check["state"] != "ok"), "a finding without a cure helps nobody"
    return {check["check"]: check for check in told["checks"]}


def way(server: Footfall, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = server.cli("doctor", "--url", server.url, *options, "--json")
    return done.returncode, checks_of(done)


def ports(public: int, ops: int) -> dict[str, str]:
    return {
        "FOOTFALL_SERVER__PORT": str(public),
        "FOOTFALL_SERVER__OPS_PORT": str(ops),
        "FOOTFALL_DURABILITY__ACCEPT_TMPFS": "true",
    }


# -- this machine


def test_a_machine_without_anything_yet_is_well_and_nothing_is_left_there(tmp_path: Path) -> None:
    done = run_cli("doctor", "--json", data=tmp_path / "data", env=ports(free_port(), free_port()))
    checks = checks_of(done)
    assert done.returncode == 0
    assert checks["data directory"]["state"] == "warn"
    assert (checks["public port"]["state"], checks["clock"]["state"]) == ("ok", "ok")
    assert list(tmp_path.iterdir()) == []


def test_a_running_server_is_recognised_and_its_directory_looked_into(server: Footfall) -> None:
    names_before = sorted(path.name for path in server.data.iterdir())
    done = server.cli("doctor", "--json")
    asked = run_cli("doctor", "--json", data=server.data, env=ports(server.port, server.ops_port))
    checks = checks_of(asked)
    assert (done.returncode, asked.returncode) == (0, 0)
    assert "Footfall" in checks["public port"]["finding"]
    assert "would take an event now" in checks["ops port"]["finding"]
    assert "2 platform ids, 2 active keys" in checks["registry"]["finding"]
    assert "in use" in checks["live log"]["finding"]
    assert checks["room"]["state"] == "ok"
    assert {"versions", "file system", "open files"} <= set(checks)
    assert sorted(path.name for path in server.data.iterdir()) == names_before


def test_a_port_that_somebody_else_holds_must_be_mended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        done = run_cli("doctor", "--json", data=tmp_path, env=ports(taken, free_port()))
    assert done.returncode == 1
    assert (checks_of(done)["public port"]["state"], "--port" in checks_of(done)["public port"]["cure"]) == ("fail", True)


def test_a_data_directory_that_is_a_file_must_be_mended(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run_cli("doctor", "--json", data=tmp_path / "file", env=ports(free_port(), free_port()))
    assert done.returncode in (1, 2)  # 2: the flag itself is refused
    assert b"file" in done.stdout + done.stderr


def test_a_registry_that_cannot_be_read_must_be_mended(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"no database at all" * 100)
    done = run_cli("doctor", "--json", data=tmp_path, env=ports(free_port(), free_port()))
    assert (done.returncode, checks_of(done)["registry"]["state"]) == (1, "fail")


# -- the way to a receiver


def test_a_key_is_tried_without_storing_anything(server: Footfall) -> None:
    before = len(server.records())
    status, checks = way(server, "--platform", "SHOP", "--key", server.keys["SHOP"])
    assert status == 0
    assert {check["state"] for check in checks.values()} == {"ok"}
    assert list(checks) == ["address", "connection", "TLS", "service", "clock", "key"]
    assert len(server.records()) == before


def test_without_a_key_the_way_is_looked_at_all_the_same(server: Footfall) -> None:
    status, checks = way(server)
    assert (status, checks["service"]["state"], checks["key"]["state"]) == (0, "ok", "warn")


@pytest.mark.parametrize(
    ("platform", "key", "said", "cure"),
    [
        ("SHOP", "SHOP_TEST", "403", "exactly this platform id"),
        ("SHOP", "", "403", "exactly this platform id"),
        ("NONE", "SHOP", "404", "--platform"),
    ],
)
def test_a_refusal_is_explained_with_its_cure(server: Footfall, platform: str, key: str, said: str, cure: str) -> None:
    status, checks = way(server, "--platform", platform, "--key", server.keys.get(key, "nonsense"))
    assert (status, checks["key"]["state"]) == (1, "fail")
    assert said in checks["key"]["finding"]
    assert cure in checks["key"]["cure"]


def test_one_real_event_is_sent_only_when_told(server: Footfall) -> None:
    before = len(server.records("SHOP_TEST"))
    status, checks = way(server, "--platform", "SHOP_TEST", "--key", server.keys["SHOP_TEST"], "--send-test")
    assert (status, checks["event"]["state"]) == (0, "ok")
    assert "understood by a test platform" in checks["event"]["finding"]
    [record] = server.records("SHOP_TEST")[before:]
    assert record["event"]["event_type"] == "HOME"
    assert record["event"]["id"] in checks["event"]["finding"]


def test_one_real_event_to_a_live_id_comes_with_a_warning(server: Footfall) -> None:
    done = server.cli("doctor", "--url", server.url, "--platform", "SHOP", "--key", server.keys["SHOP"], "--send-test")
    assert done.returncode == 0
    assert "looks like a live id" in done.stdout.decode()


def test_a_key_from_standard_input_is_never_printed(server: Footfall) -> None:
    key = server.keys["SHOP"]
    done = server.cli("doctor", "--url", server.url, "--platform", "SHOP", "--key", "-", stdin=key.encode())
    assert done.returncode == 0
    assert key.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize("options", [("--platform", "SHOP"), ("--send-test",), ("--url", "http://127.0.0.1:1", "--send-test")])
def test_flags_that_make_no_sense_alone_are_usage_errors(options: tuple[str, ...]) -> None:
    assert run_cli("doctor", *options).returncode == 2


@pytest.mark.parametrize(("url", "check"), [("http://127.0.0.1:{}", "connection"), ("https://nowhere.invalid", "address")])
def test_where_nothing_answers_is_exit_3(url: str, check: str) -> None:
    done = run_cli("doctor", "--url", url.format(free_port()), "--json")
    assert done.returncode == 3
    assert checks_of(done)[check]["state"] == "fail"


def test_tls_where_there_is_none_is_exit_3(server: Footfall) -> None:
    done = run_cli("doctor", "--url", server.url.replace("http://", "https://"), "--json")
    assert (done.returncode, checks_of(done)["TLS"]["state"]) == (3, "fail")


# -- TLS


@contextmanager
def secure_receiver(directory: Path, *, days: int) -> Iterator[tuple[Receiver, Path]]:
    """A receiver with a certificate of its own for 127.0.0.1, and the certificate."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days)]
    names = ["-subj", "/CN=footfall test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with Receiver([answer(400)], tls=tls) as receiver:
        yield receiver, certificate


def test_a_certificate_nobody_vouches_for_is_exit_3(tmp_path: Path) -> None:
    with secure_receiver(tmp_path, days=90) as (receiver, _):
        done = run_cli("doctor", "--url", receiver.url, "--json")
    assert (done.returncode, checks_of(done)["TLS"]["state"]) == (3, "fail")
    assert "not trusted" in checks_of(done)["TLS"]["finding"]


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (5, "warn")])
def test_a_certificate_near_its_end_is_told_of(tmp_path: Path, days: int, state: str) -> None:
    with secure_receiver(tmp_path, days=days) as (receiver, certificate):
        done = run_cli("doctor", "--url", receiver.url, "--json", env={"SSL_CERT_FILE": str(certificate)})
    tls = checks_of(done)["TLS"]
    assert tls["state"] == state
    assert "127.0.0.1" in tls["finding"]
