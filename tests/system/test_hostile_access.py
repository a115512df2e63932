"""Who may send what, on every route, and what strangers and observers learn: nothing of keys, nothing of shoppers."""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from footfall.registry.keys import new_key
from tests.contract.hostile.frames import exchange, post
from tests.contract.hostile.watching import worker
from tests.serving import EVENTS_PATH, Footfall, Reply, home, until

SINGLE = "/rmp/event/v1/platforms/{platform}/userevents"
SEGMENT = "/cdp/SEGMENT"
ROUTES = (SINGLE, SINGLE + ":batch", SEGMENT)
MANAGEMENT = "/rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events"
"""Needs keys of another scope; `test_erasure_requests` has its matrix."""


class Case(NamedTuple):
    """Who comes to which platform id, and what is said."""

    platform: str
    key: str | None
    """name of the key that is shown, None for none"""
    status: int
    code: int
    words: str


MATRIX: Mapping[str, Case] = {
    "nobody": Case("SHOP", None, 401, 16, "no API key"),
    "an empty key": Case("SHOP", "empty", 401, 16, "no API key"),
    "a blank key": Case("SHOP", "blank", 401, 16, "no API key"),
    "a key of another kind": Case("SHOP", "strange", 403, 7, "unknown here"),
    "a mistyped key": Case("SHOP", "mistyped", 403, 7, "check characters"),
    "a cut key": Case("SHOP", "cut", 403, 7, "check characters"),
    "a longer key": Case("SHOP", "longer", 403, 7, "check characters"),
    "a key in capitals": Case("SHOP", "capitals", 403, 7, "not accepted"),
    "a well-formed key nobody made": Case("SHOP", "unknown", 403, 7, "unknown here"),
    "an expired key": Case("SHOP", "expired", 403, 7, "expired"),
    "a revoked key": Case("SHOP", "revoked", 403, 7, "revoked"),
    "a key to manage": Case("SHOP", "manage", 403, 7, "scope manage"),
    "a key to read": Case("SHOP", "read", 403, 7, "scope read"),
    "the test key on the live id": Case("SHOP", "SHOP_TEST", 403, 7, "made for platform SHOP_TEST"),
    "the live key on the test id": Case("SHOP_TEST", "SHOP", 403, 7, "made for platform SHOP,"),
    "another shop": Case("SHOP", "OTHER", 403, 7, "made for platform OTHER"),
    "into another shop": Case("OTHER", "SHOP", 403, 7, "made for platform SHOP,"),
    "a disabled platform id": Case("CLOSED", "CLOSED", 403, 7, "is disabled"),
    "nobody, to an unknown platform id": Case("NOSUCH", None, 401, 16, "no API key"),
    "a wrong key, to an unknown platform id": Case("NOSUCH", "unknown", 403, 7, "unknown here"),
    "a good key, to an unknown platform id": Case("NOSUCH", "SHOP", 404, 5, "no platform 'NOSUCH'"),
    "a good key, in small letters": Case("shop", "SHOP", 404, 5, "no platform 'shop'"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server with every kind of key; `keys` holds them by name."""
    with Footfall(tmp_path_factory.mktemp("access") / "data") as running:
        keys = running.keys
        for platform in ("OTHER", "CLOSED"):
            running.cli("platform", "add", platform, check=True)
            keys[platform] = running.new_key(platform)
        running.cli("platform", "disable", "CLOSED", check=True)
        keys |= {scope: running.new_key("SHOP", "--scope", scope) for scope in ("manage", "read")}
        keys["expired"] = running.new_key("SHOP", "--expires", "1s")
        keys["revoked"] = running.new_key("SHOP", "--name", "revoked")
        listed = json.loads(running.cli("key", "list", "SHOP", "--json", check=True).stdout)
        running.cli("key", "revoke", next(key["id"] for key in listed if key["name"] == "revoked"), check=True)
        good = keys["SHOP"]
        keys |= {
            "empty": "",
            "blank": "   ",
            "strange": "sk_live_0123456789",
            "mistyped": good[:20] + ("x" if good[20] != "x" else "y") + good[21:],
            "cut": good[:-1],
            "longer": good + "a",
            "capitals": good.upper(),
            "unknown": new_key("live"),
        }
        assert until(lambda: "revoked" in str(_send(running, SINGLE, "SHOP", keys["revoked"]).json), seconds=6)
        assert until(lambda: "disabled" in str(_send(running, SINGLE, "CLOSED", keys["CLOSED"]).json), seconds=6)
        assert until(lambda: "expired" in str(_send(running, SINGLE, "SHOP", keys["expired"]).json), seconds=6)
        yield running
        running.check_log()


def _send(server: Footfall, route: str, platform: str, key: str | None, **members: Any) -> Reply:
    """A good event, in the form of the route."""
    event = home(**members)
    headers = {"x-platform-id": platform} if route == SEGMENT else {}
    if key is not None:
        headers["X-API-Key"] = key
    if route == SEGMENT:
        event["timestamp"] = datetime.datetime.now(datetime.UTC).isoformat()
    body = json.dumps([event] if route.endswith("batch") else event).encode()
    return server.request("POST", route.format(platform=platform), body=body, headers=headers)


def _log_bytes(server: Footfall) -> dict[str, int]:
    files = (path for path in (server.data / "log").rglob("*") if path.is_file())
    return {str(path): path.stat().st_size for path in files}


def test_the_matrix_has_every_route_that_is_served(server: Footfall) -> None:
    served = server.request("GET", "/openapi.json").json["paths"]
    assert {path for path, operations in served.items() if "post" in operations} == {*ROUTES, MANAGEMENT}


@pytest.mark.parametrize("who", MATRIX)
@pytest.mark.parametrize("route", ROUTES)
def test_who_may_not_send_is_told_exactly_why_and_nothing_is_stored(server: Footfall, route: str, who: str) -> None:
    case = MATRIX[who]
    before = _log_bytes(server)
    reply = _send(server, route, case.platform, None if case.key is None else server.keys[case.key])
    assert (reply.status, reply.json["code"]) == (case.status, case.code), reply
    assert case.words in reply.message
    assert set(reply.json) == {"code", "message", "details"}
    assert _log_bytes(server) == before
    if case.key is not None and len(server.keys[case.key]) > 3:
        assert server.keys[case.key].encode() not in reply.body


@pytest.mark.parametrize("platform", ["SHOP", "SHOP_TEST", "OTHER"])
@pytest.mark.parametrize("route", ROUTES)
def test_who_may_send_can_so_the_matrix_could_fail(server: Footfall, route: str, platform: str) -> None:
    before = _log_bytes(server)
    assert _send(server, route, platform, server.keys[platform]).status == 200
    assert _log_bytes(server) != before


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW", "post"])
@pytest.mark.parametrize("route", ROUTES)
def test_no_method_but_post_does_anything(server: Footfall, route: str, method: str) -> None:
    before = _log_bytes(server)
    body = json.dumps(home()).encode()
    reply = server.request(method, route.format(platform="SHOP"), body=body, headers={"X-API-Key": server.keys["SHOP"]})
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert _log_bytes(server) == before


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/docs", "/rmp/event/v1/platforms/SHOP/userevents/", "/.env"]
)
def test_there_is_nothing_else_on_the_public_listener(server: Footfall, path: str) -> None:
    for method in ("GET", "POST"):
        reply = server.request(method, path, headers={"X-API-Key": server.keys["SHOP"], "Content-Length": "0"})
        assert (reply.status, reply.json["code"]) == (404, 5)


# -- what is written and told must not hold what is secret or personal


PLANTED = "planted-4711"
"""Part of everything that is personal here."""


def _failures(server: Footfall) -> Iterator[bytes]:
    """Things that go wrong on all routes, each with a key and a person in it; yields the answers to failures."""
    key = server.keys["SHOP"]
    events: list[dict[str, Any]] = [
        {"user_id": PLANTED, "event_type": "NONE"},
        {"user_id": PLANTED + "x" * 200},
        {"user_id": PLANTED, "userId": PLANTED},
        {"user_id": {"value": PLANTED}},
        {"custom_id": PLANTED, "timestamp": PLANTED},
        {"user_id": PLANTED, "device": {"persistent_id": PLANTED * 20, "ip": PLANTED, "os": PLANTED}},
        {"user_id": PLANTED, "session_id": [PLANTED], "items": [{"id": PLANTED, "price": PLANTED}]},
        {"user_id": PLANTED, "revenue": {"currency": PLANTED, "amount": PLANTED}},
        {PLANTED: PLANTED, "event_type": PLANTED},
        {"user_id": PLANTED, "device": PLANTED},
    ]
    yield from (
        _send(server, route, "SHOP", key, **event).body for route in ROUTES for event in events if "event_type" not in event
    )
    for route in ROUTES:
        for name in MATRIX:
            case = MATRIX[name]
            if case.key is not None:
                yield _send(server, route, case.platform, server.keys.get(case.key, key), user_id=PLANTED).body
        for broken in (PLANTED.encode(), b'{"user_id":"' + PLANTED.encode(), b'{"user_id":"' + PLANTED.encode() + b'\xff"}'):
            headers = {"X-API-Key": key, "x-platform-id": "SHOP"}
            yield server.request("POST", route.format(platform="SHOP"), body=broken, headers=headers).body
            headers["Content-Encoding"] = "gzip"
            yield server.request("POST", route.format(platform="SHOP"), body=broken, headers=headers).body
    length = b"Content-Length: LENGTH"
    raw = [
        post(server, b"Content-Length: 900", event_id=PLANTED),  # cut by the timeout
        post(server, length, b"X-Note: " + PLANTED.encode() * 4000),
        post(server, length, b"Broken " + PLANTED.encode()),
        post(server, b"Content-Length: " + PLANTED.encode()),
        post(server, length, b"Cookie: " + PLANTED.encode(), b"Authorization: Bearer " + key.encode(), host=None),
        post(server, length, b"Content-Type: multipart/form-data; boundary=" + PLANTED.encode()),
        post(server, length, target=b"/" + PLANTED.encode() + b"?key=" + key.encode()),
        post(server, length, target=EVENTS_PATH.format(platform="SHOP").encode() + b"?key=" + key.encode() + PLANTED.encode()),
    ]
    yield from (exchange(server.port, request, patience_s=3, quiet_s=0.2).received for request in raw)


@pytest.mark.parametrize("form", ["json", pytest.param("text", marks=pytest.mark.torture)])
def test_no_key_and_no_person_is_in_what_the_server_writes_or_tells(tmp_path: Path, form: str) -> None:
    """After failures on every route, a limit that was hit, and a worker that was killed."""
    settings = {
        "FOOTFALL_LOGGING__FORMAT": form,
        "FOOTFALL_LOGGING__LEVEL": "DEBUG",
        "FOOTFALL_LIMITS__BODY_TIMEOUT_S": "1",
        "FOOTFALL_THROTTLE__IDENTIFIER_BURST": "3",
    }
    with Footfall(tmp_path / "data", settings=settings) as server:
        server.keys |= {"unknown": new_key("live"), "read": server.new_key("SHOP", "--scope", "read")}
        assert until(lambda: "scope" in _send(server, SINGLE, "SHOP", server.keys["read"]).message, seconds=6)
        answers = list(_failures(server))
        for _ in range(8):
            answers.append(_send(server, SINGLE, "SHOP", server.keys["SHOP"], user_id=PLANTED).body)
        assert any(b"throttler" in answer for answer in answers)
        assert len(answers) > 100
        told = [server.ops(path).body for path in ("/metrics", "/readyz", "/healthz", f"/{PLANTED}")]
        victim = worker(server)
        victim.send_signal(signal.SIGKILL)
        assert until(lambda: _takes(server) and worker(server).pid != victim.pid, seconds=15)
        told += _run_files(server)
        told.append(server.cli("config").stdout)
        server.stop()
        written = server.output().encode()
    assert b"SIGKILL" in written, "the journal is being looked at"
    secrets = [*(key.encode() for key in server.keys.values()), *(key[-12:].encode() for key in server.keys.values())]
    for text in (written, *told, *answers):
        assert not [secret for secret in secrets if secret in text]
        assert PLANTED.encode() not in text, text[:400]


def _run_files(server: Footfall) -> list[bytes]:
    files = [path.read_bytes() for path in (server.data / "run").iterdir() if path.is_file()]
    assert files
    return files


def _takes(server: Footfall) -> bool:
    with contextlib.suppress(OSError, KeyError):
        return server.send(home()).status == 200
    return False
