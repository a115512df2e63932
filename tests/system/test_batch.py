"""The batch route: each event is judged by itself, what was accepted is stored in one durable write (design 5.9)."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import zstandard

from tests.serving import Footfall, Reply, home

BATCH = "/rmp/event/v1/platforms/{platform}/userevents:batch"


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def send_batch(
    server: Footfall,
    body: bytes | list[Any] | dict[str, Any],
    *,
    platform: str = "SHOP",
    content_type: str = "application/json",
    encoding: str | None = None,
) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"X-API-Key": server.keys[platform], "Content-Type": content_type}
    if encoding is not None:
        headers["Content-Encoding"] = encoding
    return server.request("POST", BATCH.format(platform=platform), body=content, headers=headers)


def ndjson(*events: dict[str, Any] | bytes) -> bytes:
    return b"\n".join(event if isinstance(event, bytes) else json.dumps(event).encode() for event in events)


def stored_ids(server: Footfall) -> list[str]:
    return [record["event"].get("id", "") for record in server.records("SHOP")]


@pytest.mark.parametrize("content_type", ["application/x-ndjson", "application/ndjson", "application/jsonl; charset=utf-8"])
def test_ndjson_skips_blank_lines_and_counts_the_others_from_zero(server: Footfall, content_type: str) -> None:
    good, late = home(), home()
    body = ndjson(b"", good, b"  ", {"event_type": "NONE"}, b"\r", late, b"{", b"")
    reply = send_batch(server, body, content_type=content_type)
    assert reply.status == 200
    assert reply.json["accepted"] == 2
    assert [(each["index"], each["code"]) for each in reply.json["rejected"]] == [(1, 3), (3, 3)]
    assert {good["id"], late["id"]} <= set(stored_ids(server))


@pytest.mark.parametrize("wrap", [lambda events: events, lambda events: {"events": events, "sender": "nightly"}])
def test_json_is_an_array_or_an_object_that_holds_events(server: Footfall, wrap: Any) -> None:
    events = [home(), home(event_type="VIEW"), 7, None, home()]
    reply = send_batch(server, wrap(events))
    assert reply.status == 200
    assert reply.json["accepted"] == 2
    assert [each["index"] for each in reply.json["rejected"]] == [1, 2, 3]
    first = reply.json["rejected"][0]
    assert set(first) == {"index", "code", "message", "details"}
    violation = first["details"][0]["field_violations"][0]
    assert (violation["field"], violation["reason"]) == ("event_type", "unknown_event_type")


def test_a_rejection_says_what_the_single_route_says(server: Footfall) -> None:
    wrong = home(event_type="ADD_TO_CART", items=[{"quantity": 1}], timestamp=5)
    single = server.send(wrong).json
    (rejected,) = send_batch(server, [wrong]).json["rejected"]
    assert {key: rejected[key] for key in ("code", "message", "details")} == single


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b'[{"id":1},]',
        b"{}",
        b'{"events":3}',
        b'{"event":[]}',
        b"7",
        b'"x"',
        b"\xff[]",
        b"[NaN]",
        b"[] []",
        b"\xef\xbb\xbf[]",
    ],
)
def test_a_malformed_array_is_400_for_all(server: Footfall, body: bytes) -> None:
    reply = send_batch(server, body)
    assert (reply.status, reply.json["code"]) == (400, 3)
    assert reply.violations


def test_an_empty_batch_is_accepted(server: Footfall) -> None:
    for body in (b"[]", b'{"events":[]}', b' {"events":[ ]} '):
        assert send_batch(server, body).json == {"accepted": 0, "rejected": []}
    assert send_batch(server, b"\n\n", content_type="application/x-ndjson").json == {"accepted": 0, "rejected": []}


def test_a_test_platform_reports_on_each_accepted_event(server: Footfall) -> None:
    reply = send_batch(server, [home(revenue={}), {}, home()], platform="SHOP_TEST")
    assert reply.json["accepted"] == 2
    assert [each["index"] for each in reply.json["reports"]] == [0, 2]
    test = reply.json["reports"][1]["test"]
    assert set(test) == {"event", "identifier", "warnings", "cases"}
    assert "code" not in reply.json


def test_records_of_a_batch_lie_together_and_name_their_source(footfall: Footfall) -> None:
    events = [home(id=f"b-{number}") for number in range(250)]
    assert send_batch(footfall, events).json == {"accepted": 250, "rejected": []}
    records = footfall.records()
    assert [record["event"]["id"] for record in records] == [event["id"] for event in events]
    assert {record["source"] for record in records} == {"batch"}
    assert [record["position"] for record in records] == [f"w0/{number}" for number in range(1, 251)]


def test_repeats_count_as_accepted(server: Footfall) -> None:
    event = home()
    assert send_batch(server, [event, event, event]).json["accepted"] == 3


def test_more_events_than_allowed_are_413(server: Footfall) -> None:
    reply = send_batch(server, b"\n" + b"{}\n" * 10_001, content_type="application/x-ndjson")
    assert (reply.status, reply.json["code"]) == (413, 3)
    assert "10000" in reply.message
    assert send_batch(server, b"{}\n" * 10_000, content_type="application/x-ndjson").status == 200


def test_an_event_too_large_for_the_log_is_rejected_alone(server: Footfall) -> None:
    long_name = home(**{f"n{number}": "p" * 60_000 for number in range(2)}, longest="p" * 65_536)
    too_long_name = home(longest="p" * 65_537)
    large = home(**{f"n{number}": "p" * 60_000 for number in range(5)})
    reply = send_batch(server, [large, long_name, too_long_name])
    assert reply.json["accepted"] == 1, "strings of 64 KiB are taken, and so is more than one of them"
    reasons = [each["details"][0]["field_violations"][0]["reason"] for each in reply.json["rejected"]]
    assert reasons == ["event_too_large", "string_too_long"]


def test_an_answer_to_many_mistakes_stays_bounded(server: Footfall) -> None:
    reply = send_batch(server, ndjson(*[{"items": [{}] * 20}] * 3_000), content_type="application/x-ndjson")
    assert reply.json["accepted"] == 0
    assert len(reply.json["rejected"]) == 3_000
    assert all(each["message"] for each in reply.json["rejected"])
    assert len(reply.body) < 1_500_000


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "x-gzip", "GZIP"])
def test_bodies_may_be_compressed_on_every_route(server: Footfall, encoding: str) -> None:
    compress = zstandard.compress if encoding == "zstd" else gzip.compress
    events = [home() for _ in range(300)]
    reply = send_batch(server, compress(ndjson(*events)), content_type="application/x-ndjson", encoding=encoding)
    assert reply.json == {"accepted": 300, "rejected": []}
    single = server.send(compress(json.dumps(home()).encode()), headers={"Content-Encoding": encoding})
    assert single.status == 200
    assert {event["id"] for event in events} <= set(stored_ids(server))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(b" " * 40_000_000), 413),
        ("zstd", zstandard.compress(b" " * 40_000_000), 413),
        ("gzip", gzip.compress(b"x" * 3_000_000), 413),
        ("gzip", gzip.compress(b"[]")[:-4], 400),
        ("gzip", gzip.compress(b"[]") + b"more", 400),
        ("gzip", b"[]", 400),
        ("zstd", gzip.compress(b"[]"), 400),
        ("gzip", gzip.compress(gzip.compress(b"[]")), 400),
        ("gzip", b"", 400),
        ("br", b"[]", 415),
        ("gzip, gzip", gzip.compress(gzip.compress(b"[]")), 415),
    ],
    ids=["bomb", "zstd bomb", "ratio", "cut", "trailing", "plain", "other", "nested", "empty", "unknown", "two"],
)
def test_what_does_not_inflate_within_bounds_is_refused(server: Footfall, encoding: str, body: bytes, status: int) -> None:
    reply = send_batch(server, body, encoding=encoding)
    assert reply.status == status
    assert reply.json["code"] == 3


def test_a_single_event_is_bounded_after_inflation_too(server: Footfall) -> None:
    body = gzip.compress(json.dumps(home(page_id="p" * 66_000)).encode())
    assert server.send(body, headers={"Content-Encoding": "gzip"}).status == 413


def test_the_head_of_a_batch_is_judged_like_any_other(server: Footfall) -> None:
    assert server.request("GET", BATCH.format(platform="SHOP")).status == 405
    path = BATCH.format(platform="SHOP")
    assert server.request("POST", path, body=b"[]").status == 401
    assert server.request("POST", path, body=b"[]", headers={"X-API-Key": "no"}).status == 403
    assert server.request("POST", path, body=b"[]", headers={"X-API-Key": server.keys["SHOP_TEST"]}).status == 403
    assert server.request("POST", path, body=b"x" * 8_400_000, headers={"X-API-Key": server.keys["SHOP"]}).status == 413
    form = {"X-API-Key": server.keys["SHOP"], "Content-Type": "application/x-www-form-urlencoded"}
    assert server.request("POST", path, body=b"a=1", headers=form).status == 415
