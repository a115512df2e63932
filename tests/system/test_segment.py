"""`POST /cdp/SEGMENT`: the requests of Segment's destination as they come (protocol notes 17.1)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.serving import Footfall, Reply, home


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def send_segment(server: Footfall, event: Any, *, platform: str | None = "SHOP_TEST", key: str | None = None) -> Reply:
    headers = {"Content-Type": "application/json", "X-API-Key": key if key is not None else server.keys[platform or "SHOP"]}
    if platform is not None:
        headers["x-platform-id"] = platform
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    return server.request("POST", "/cdp/SEGMENT", body=body, headers=headers)


def segment_order() -> dict[str, Any]:
    """An "Order Completed" as the destination maps it by default."""
    return {
        "event_type": "PURCHASE",
        "channel_type": "SITE",
        "timestamp": "2024-02-05T23:37:42.848Z",
        "id": "ajs-next-1707176262848-0001",
        "user_id": "user-1b3c",
        "device": {
            "os": "IOS",
            "os_version": "17.3",
            "model": "iPhone12,1",
            "unique_device_id": "2a84c2b1",
            "advertising_id": "00000000-0000-0000-0000-000000000000",
            "ip": "203.0.113.9",
            "ua": "Mozilla/5.0",
        },
        "session_id": "anon-77",
        "items": [{"id": "81", "price": {"currency": "USD", "amount": 39.95}, "quantity": 2, "seller_id": "s-1"}],
        "revenue": {"currency": "USD", "amount": 79.9},
        "page_id": "/checkout",
    }


def test_an_order_of_segment_is_understood(server: Footfall) -> None:
    reply = send_segment(server, segment_order())
    assert reply.status == 200
    event = reply.json["test"]["event"]
    assert event["timestamp"] == 1707176262848
    assert event["device"]["ip"] == "203.0.113.9"
    assert "advertising_id" not in event["device"]
    assert reply.json["test"]["identifier"] == {"kind": "user_id"}


@pytest.mark.parametrize(
    "timestamp", [1707176262848, "1707176262848", "2024-02-05T23:37:42.848Z", "2024-02-06T00:37:42.848+01:00"]
)
def test_times_come_in_every_form(server: Footfall, timestamp: object) -> None:
    event = send_segment(server, {**segment_order(), "timestamp": timestamp}).json["test"]["event"]
    assert event["timestamp"] == 1707176262848


def test_iso_times_are_for_this_route_alone(server: Footfall) -> None:
    assert server.send(home(timestamp="2024-02-05T23:37:42.848Z")).status == 400


def test_a_live_platform_stores_and_names_the_source(server: Footfall) -> None:
    order = {**segment_order(), "id": "segment-live-1"}
    reply = send_segment(server, order, platform="SHOP")
    assert (reply.status, reply.body) == (200, b"{}")
    (record,) = [each for each in server.records("SHOP") if each["event"].get("id") == "segment-live-1"]
    assert record["source"] == "segment"
    assert record["event"]["timestamp"] == 1707176262848


def test_logged_out_visitors_carry_only_a_session_id(server: Footfall) -> None:
    order = {key: value for key, value in segment_order().items() if key not in ("user_id", "device")}
    assert send_segment(server, order).json["test"]["identifier"] == {"kind": "session_id"}


def test_the_platform_comes_in_its_header(server: Footfall) -> None:
    missing = send_segment(server, segment_order(), platform=None)
    assert (missing.status, missing.json["code"]) == (404, 5)
    assert "x-platform-id" in missing.message
    assert send_segment(server, segment_order(), platform="NOWHERE", key=server.keys["SHOP"]).status == 404
    assert send_segment(server, segment_order(), platform="SHOP", key=server.keys["SHOP_TEST"]).status == 403
    assert send_segment(server, segment_order(), key="").status == 401
    assert server.request("GET", "/cdp/SEGMENT").status == 405
