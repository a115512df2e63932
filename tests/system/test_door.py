"""Design 5.1 to 5.3: who is let in, in which order the checks come, and the words of every refusal, through the real door."""

from __future__ import annotations

import time

import pytest

from tests.serving import EVENTS_PATH, Footfall, Reply, home, now_ms, raw_exchange, until

SHOP = EVENTS_PATH.format(platform="SHOP")
POLLED_S_MAX = 5.0
"""Within this a running server knows what is new in the registry."""


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def refused(reply: Reply, status: int, code: int) -> str:
    """Asserts the form of a refusal and returns its message."""
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/json"
    assert set(reply.json) == {"code", "message", "details"}
    assert reply.json["code"] == code
    assert isinstance(reply.json["details"], list)
    assert reply.message
    return reply.message


def test_a_live_platform_answers_200_with_an_empty_object(server: Footfall) -> None:
    reply = server.send(home())
    assert (reply.status, reply.json) == (200, {})
    assert reply.headers["content-type"] == "application/json"


def test_a_test_platform_answers_200_with_a_report_that_has_no_code(server: Footfall) -> None:
    reply = server.send(home(), platform="SHOP_TEST")
    assert reply.status == 200
    assert list(reply.json) == ["test"]
    assert set(reply.json["test"]) == {"event", "identifier", "warnings", "cases"}
    assert reply.json["test"]["identifier"] == {"kind": "user_id"}
    assert reply.json["test"]["cases"] == ["home"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/rmp/event/v1/platforms/SHOP",
        "/rmp/event/v1/platforms//userevents",
        "/rmp/event/v1/platforms/SHOP/userevents/",
        "/rmp/event/v1/platforms/SHOP/x/userevents",
        "/rmp/event/v1/platforms/SHOP%2Fx/userevents",
        "/rmp/event/v1/platforms/SHOP/userevents:bulk",
        "/cdp/segment",
        "/rmp/mgmt/v1/platforms/SHOP/data-deletion-requests",
    ],
)
def test_unknown_paths_are_404_before_the_key_is_looked_at(server: Footfall, path: str) -> None:
    assert "/userevents" in refused(server.request("POST", path, body=b"{}"), 404, 5)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_405_with_allow(server: Footfall, method: str) -> None:
    reply = server.request(method, SHOP)
    assert "POST" in refused(reply, 405, 12)
    assert reply.headers["allow"] == "POST"


def test_the_document_is_for_get_only(server: Footfall) -> None:
    assert server.request("GET", "/openapi.json").json["info"]["x-footfall"] is True
    reply = server.request("POST", "/openapi.json", body=b"{}")
    refused(reply, 405, 12)
    assert reply.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 2\r\n", b"400"),  # no Host
        (b"Host: a\r\nHost: b\r\nContent-Length: 2\r\n", b"400"),
        (b"Host: a\r\n", b"411"),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\n", b"411"),
        (b"Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", b"411"),
        (b"Host: a\r\nContent-Length: 65537\r\n", b"413"),
    ],
)
def test_framing_is_judged_from_the_head_alone(server: Footfall, head: bytes, status: bytes) -> None:
    began = time.monotonic()
    answer = raw_exchange(server.port, b"POST %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (SHOP.encode(), head), timeout_s=3)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"code":3' in answer
    assert time.monotonic() - began < 2.5, "the answer waited for a body"


def test_a_missing_or_empty_key_is_401(server: Footfall) -> None:
    body = b"{}"
    assert "X-API-Key" in refused(server.request("POST", SHOP, body=body), 401, 16)
    refused(server.request("POST", SHOP, body=body, headers={"X-API-Key": ""}), 401, 16)


def test_an_unknown_key_is_403_and_a_mistyped_one_is_told_so(server: Footfall) -> None:
    assert "unknown" in refused(server.send(home(), key="some-other-key"), 403, 7)
    key = server.keys["SHOP"]
    mistyped = key[:20] + ("a" if key[20] != "a" else "b") + key[21:]
    assert "mistyped" in refused(server.send(home(), key=mistyped), 403, 7)


def test_a_key_of_another_platform_is_403_and_the_message_says_so(server: Footfall) -> None:
    message = refused(server.send(home(), platform="SHOP", key=server.keys["SHOP_TEST"]), 403, 7)
    assert "SHOP_TEST" in message
    assert "SHOP" in message.replace("SHOP_TEST", "")


def test_an_unknown_platform_is_404_only_for_a_key_holder(server: Footfall) -> None:
    unknown = EVENTS_PATH.format(platform="NOSHOP")
    assert "NOSHOP" in refused(server.request("POST", unknown, body=b"{}", headers={"X-API-Key": server.keys["SHOP"]}), 404, 5)
    refused(server.request("POST", unknown, body=b"{}", headers={"X-API-Key": "wrong"}), 403, 7)
    refused(server.request("POST", unknown, body=b"{}"), 401, 16)


def test_a_key_without_the_ingest_scope_is_403(server: Footfall) -> None:
    key = server.new_key("SHOP", "--scope", "read")
    assert until(lambda: _is_told(server, "read", key=key), seconds=POLLED_S_MAX)


def test_a_revoked_key_is_refused_within_five_seconds(server: Footfall) -> None:
    key = server.new_key("SHOP")
    assert until(lambda: server.send(home(), key=key).status == 200, seconds=POLLED_S_MAX)
    key_id = next(k["id"] for k in _keys(server) if k["last4"] == key[-4:])
    server.cli("key", "revoke", key_id, check=True)
    assert until(lambda: server.send(home(), key=key).status == 403, seconds=POLLED_S_MAX)
    assert "revoked" in server.send(home(), key=key).message


def test_an_expired_key_is_refused(server: Footfall) -> None:
    key = server.new_key("SHOP", "--expires", "1s")
    assert until(lambda: _is_told(server, "expired", key=key), seconds=POLLED_S_MAX)


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "Multipart/Form-Data"]
)
def test_form_bodies_are_415_with_the_cure(server: Footfall, content_type: str) -> None:
    reply = server.send(home(), headers={"Content-Type": content_type})
    assert "set Content-Type: application/json" in refused(reply, 415, 3)


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=UTF-8", "application/octet-stream", ""])
def test_any_other_content_type_is_taken_as_json(server: Footfall, content_type: str) -> None:
    assert server.send(home(), headers={"Content-Type": content_type}).status == 200


def test_two_keys_are_400(server: Footfall) -> None:
    """Which of them a proxy in front believed, nobody knows."""
    head = "POST /rmp/event/v1/platforms/SHOP/userevents HTTP/1.1\r\nHost: h\r\nX-API-Key: {key}\r\nX-API-Key: other\r\n"
    request = (head + "Content-Length: 2\r\n\r\n{{}}").format(key=server.keys["SHOP"])
    assert raw_exchange(server.port, request.encode(), timeout_s=3).startswith(b"HTTP/1.1 400")


def test_the_document_needs_a_host_like_everything_else(server: Footfall) -> None:
    assert raw_exchange(server.port, b"GET /openapi.json HTTP/1.1\r\n\r\n", timeout_s=2).startswith(b"HTTP/1.1 400")


def test_an_unknown_content_encoding_is_415(server: Footfall) -> None:
    refused(server.send(home(), headers={"Content-Encoding": "br"}), 415, 3)
    assert server.send(home(), headers={"Content-Encoding": "identity"}).status == 200


def test_header_checks_come_before_the_body_is_understood(server: Footfall) -> None:
    """Each request breaks two rules; the earlier one answers."""
    nonsense = b"not json"
    assert server.send(nonsense, key="wrong").status == 403
    assert server.send(nonsense, key="").status == 401
    assert server.send(nonsense, headers={"Content-Type": "multipart/form-data"}).status == 415
    assert server.send(b"x" * 65_537, key="").status == 413
    assert server.request("GET", SHOP.replace("userevents", "nothing")).status == 404


def test_problems_are_listed_whole_and_the_message_is_the_first_in_the_documented_order(server: Footfall) -> None:
    event = {"event_type": "PURCHASE", "channel_type": "APP", "timestamp": now_ms() // 1000, "user_id": "null"}
    reply = server.send(event)
    assert refused(reply, 400, 3) == "invalid timestamp"
    assert [field for field, _ in reply.violations] == ["timestamp", "user_id", "device.os", "items"]
    detail = reply.json["details"][0]
    assert detail["@type"] == "type.googleapis.com/google.rpc.BadRequest"
    assert all(set(v) == {"field", "description", "reason"} and v["description"] for v in detail["field_violations"])


def test_nothing_of_a_refused_request_is_stored(server: Footfall) -> None:
    before = len(server.records())
    for reply in (server.send(home(event_type="NONE")), server.send(home(), key="wrong"), server.send(b"{")):
        assert reply.status in (400, 403)
    assert len(server.records()) == before


def _keys(server: Footfall) -> list[dict[str, str]]:
    import json

    return list(json.loads(server.cli("key", "list", "--json", check=True).stdout))


def _is_told(server: Footfall, word: str, *, key: str) -> bool:
    reply = server.send(home(), key=key)
    return reply.status == 403 and word in refused(reply, 403, 7)
