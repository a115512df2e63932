"""Existing senders of the original work unchanged: protocol notes 17.9 row by row, and requests as known clients make them."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serving import EVENTS_PATH, Footfall, home, now_ms

GOLDEN = Path(__file__).parent.parent / "golden" / "senders"


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


def understood(server: Footfall, event: dict[str, Any]) -> dict[str, Any]:
    """The event as the test platform understood it."""
    reply = server.send(event, platform="SHOP_TEST")
    assert reply.status == 200, reply
    return dict(reply.json["test"]["event"])


def item_event(**item: Any) -> dict[str, Any]:
    return home(event_type="ADD_TO_CART", items=[{"id": "sku-1", **item}])


@pytest.mark.parametrize("number", ["1e400", "-1e309", "[1e999]", '{"a": {"b": 1e99999999999}}'])
def test_an_unknown_number_beyond_every_range_is_kept_as_it_came_and_stops_no_reader(server: Footfall, number: str) -> None:
    event = home(odd="NUMBER")
    body = json.dumps(event).replace('"NUMBER"', number).encode()
    for platform in ("SHOP", "SHOP_TEST"):
        reply = server.send(body, platform=platform)
        assert reply.status == 200
    lines = server.cli("log", "cat", "--platform", "SHOP", check=True).stdout
    assert b'"extra":{"odd":%b}' % number.replace(" ", "").encode() in lines
    assert server.cli("find", event["id"], "--json", check=True).stdout
    assert server.cli("tail").returncode == 0
    assert server.cli("golive", "--platform", "SHOP_TEST").returncode in (0, 1)


# -- protocol 17.9, row by row


def test_row_1_an_empty_session_id_beside_a_good_user_id_is_absent(server: Footfall) -> None:
    event = understood(server, home(session_id="", user_id="u-7c1f"))
    assert "session_id" not in event
    assert event["user_id"] == "u-7c1f"


def test_row_2_unknown_members_are_kept_and_the_event_accepted(server: Footfall) -> None:
    event = understood(server, home(name="Main", device={"persistent_id": "p", "ip": "192.0.2.7", "colour": "red"}))
    assert event["extra"] == {"name": "Main", "device.colour": "red"}
    assert event["device"]["ip"] == "192.0.2.7"


def test_row_3_timestamps_come_as_string_or_number(server: Footfall) -> None:
    timestamp = now_ms()
    assert understood(server, home(timestamp=timestamp))["timestamp"] == timestamp
    assert understood(server, home(timestamp=str(timestamp)))["timestamp"] == timestamp


def test_row_4_timestamps_years_old_are_accepted(server: Footfall) -> None:
    assert understood(server, home(timestamp="1617870506121"))["timestamp"] == 1617870506121


def test_row_5_iso_datetimes_are_refused_on_this_path(server: Footfall) -> None:
    reply = server.send(home(timestamp="2024-02-05T23:37:42.848Z"))
    assert reply.status == 400
    assert reply.violations[0][0] == "timestamp"


@pytest.mark.parametrize("os", ["ios", "iOS", "IOS", "GOOGLE ANDROID", "Android 14"])
def test_row_6_the_os_of_an_app_is_found_in_any_case(server: Footfall, os: str) -> None:
    event = understood(server, home(channel_type="APP", device={"os": os, "persistent_id": "p"}))
    assert event["device"]["os"] == os


def test_row_7_numeric_strings_are_numbers(server: Footfall) -> None:
    event = understood(server, item_event(price={"currency": "USD", "amount": "12.34"}, quantity="2"))
    assert event["items"] == [{"id": "sku-1", "price": {"currency": "USD", "amount": "12.34"}, "quantity": 2}]


def test_row_8_an_empty_price_is_400_and_the_description_shows_the_object_to_send(server: Footfall) -> None:
    reply = server.send(item_event(price=""))
    assert reply.status == 400
    assert reply.violations[0][0] == "items[0].price"
    description = reply.json["details"][0]["field_violations"][0]["description"]
    assert "currency" in description
    assert "amount" in description
    assert server.send(item_event(price={"currency": "USD", "amount": ""})).status == 400


def test_row_9_a_price_with_currency_but_no_amount_is_accepted_with_a_warning(server: Footfall) -> None:
    for price in ({"currency": "USD"}, {}):
        reply = server.send(item_event(price=price, quantity=1), platform="SHOP_TEST")
        assert reply.status == 200
        assert [w["field"] for w in reply.json["test"]["warnings"]] == ["items[0].price"]


def test_row_10_an_item_with_only_an_id_is_accepted(server: Footfall) -> None:
    assert understood(server, item_event())["items"] == [{"id": "sku-1"}]


def test_row_11_zero_and_negative_amounts_are_accepted(server: Footfall) -> None:
    for amount, text in ((0, "0"), (-3.5, "-3.5")):
        event = understood(server, item_event(price={"currency": "USD", "amount": amount}))
        assert event["items"][0]["price"]["amount"] == text


def test_row_12_an_event_without_id_is_accepted(server: Footfall) -> None:
    event = home()
    del event["id"]
    assert "id" not in understood(server, event)


def test_row_13_a_repeated_id_is_200_again(server: Footfall) -> None:
    event = home(id="event-u1")
    assert [server.send(event).status for _ in range(3)] == [200, 200, 200]


def test_row_14_a_missing_channel_type_is_400(server: Footfall) -> None:
    event = home()
    del event["channel_type"]
    reply = server.send(event)
    assert reply.status == 400
    assert reply.violations[0][0] == "channel_type"


def test_row_15_camel_case_names_are_understood(server: Footfall) -> None:
    event = {
        "eventType": "PURCHASE",
        "channelType": "SITE",
        "timestamp": now_ms(),
        "userId": "u",
        "device": {"persistentId": "p", "osVersion": "14"},
        "items": [{"itemGroupId": "g", "sellerId": "s", "priceSeller": {"currency": "USD", "amount": 1}}],
        "shippingCharge": {"currency": "USD", "amount": 2},
        "referrerPageId": "r",
    }
    seen = understood(server, event)
    assert seen["event_type"] == "PURCHASE"
    assert seen["items"] == [{"item_group_id": "g", "seller_id": "s", "price_seller": {"currency": "USD", "amount": "1"}}]
    assert seen["device"] == {"persistent_id": "p", "os_version": "14"}
    assert seen["referrer_page_id"] == "r"
    both = server.send({**home(), "userId": "u-7c1f"})
    assert (both.status, both.violations) == (400, [("user_id", "duplicate_field")])


def test_row_16_the_key_header_comes_in_any_case_and_accept_may_be_missing(server: Footfall) -> None:
    body = json.dumps(home()).encode()
    for name in ("x-api-key", "X-API-KEY", "X-Api-Key"):
        reply = server.request("POST", EVENTS_PATH.format(platform="SHOP"), body=body, headers={name: server.keys["SHOP"]})
        assert reply.status == 200


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"session_id": "s-1"}, "session_id"),
        ({"custom_id": "c-1", "session_id": "s-1"}, "custom_id"),
        ({"device": {"unique_device_id": "d-1"}}, "device.unique_device_id"),
        ({"device": {"advertising_id": "7acefbed-d1f6-4e4e-aa26-74e93dd017e4"}}, "device.advertising_id"),
    ],
)
def test_row_17_deprecated_identifiers_alone_are_enough(server: Footfall, members: dict[str, Any], kind: str) -> None:
    event = {key: value for key, value in home().items() if key not in ("user_id", "device")}
    reply = server.send({**event, **members}, platform="SHOP_TEST")
    assert (reply.status, reply.json["test"]["identifier"]) == (200, {"kind": kind})


def test_row_18_items_and_revenue_where_nobody_needs_them_are_accepted_unvalidated(server: Footfall) -> None:
    assert understood(server, home(items=[{}, {"quantity": 1}]))["event_type"] == "HOME"
    wish = item_event() | {"event_type": "ADD_TO_WISHLIST", "revenue": {"currency": "USD", "amount": 5}}
    assert understood(server, wish)["revenue"] == {"currency": "USD", "amount": "5"}


@pytest.mark.parametrize("currency", ["VEF", "XAU", "UNKNOWN_CURRENCY"])
def test_row_19_an_unknown_currency_is_kept_and_warned_of(server: Footfall, currency: str) -> None:
    reply = server.send(item_event(price={"currency": currency, "amount": 5}, quantity=1), platform="SHOP_TEST")
    assert reply.status == 200
    assert reply.json["test"]["event"]["items"][0]["price"]["currency"] == currency
    assert "unknown_currency" in [warning["reason"] for warning in reply.json["test"]["warnings"]]


def test_row_20_charset_and_pretty_printing_are_accepted(server: Footfall) -> None:
    body = json.dumps(home(), indent=4).encode() + b"\n"
    assert server.send(body, headers={"Content-Type": "application/json; charset=utf-8"}).status == 200


# -- recorded requests of the known clients


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_a_request_of_a_known_client_is_accepted_as_it_stands(server: Footfall, path: Path) -> None:
    golden = json.loads(path.read_text())
    body = base64.b64decode(golden["body_base64"]) if "body_base64" in golden else golden["body"].encode()
    for platform in ("SHOP", "SHOP_TEST"):
        headers = {**golden["headers"], golden["key_header"]: server.keys[platform]}
        reply = server.request(golden["method"], EVENTS_PATH.format(platform=platform), body=body, headers=headers)
        assert reply.status == 200, (path.stem, reply)
        assert isinstance(reply.json, dict)
        assert "code" not in reply.json
    seen = reply.json["test"]["event"]
    for dotted, expected in golden["understood"].items():
        assert _member(seen, dotted) == expected, dotted


def test_mcm_cli_itself_sends_its_purchase(server: Footfall) -> None:
    """The class of the published package that posts events, run against our server in a process of its own."""
    script = """
import sys, json
import mcmcli.command.config
config = json.loads(sys.argv[1])
mcmcli.command.config.get_config = lambda profile: config
from mcmcli.command.userevent import UserEventCommand
from mcmcli.requests import api_request
command = UserEventCommand("p")
print(command.insert_purchase_event("user-1", "account-1", "item-1", False))
print(api_request("POST", False, command.api_base_url, {**command.headers, "x-api-key": "wrong"}, {})[1])
"""
    config = {"event_api_hostname": server.url, "platform_id": "SHOP", "event_api_key": server.keys["SHOP"]}
    before = len(server.records("SHOP"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, json.dumps(config)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    success, refusal = done.stdout.strip().splitlines()
    assert success == "(None, None)"
    assert "not accepted" in refusal, "mcm-cli could not read our error"
    new = server.records("SHOP")[before:]
    assert [(r["event"]["event_type"], r["event"]["id"]) for r in new] == [("PURCHASE", "event-user-1")]
    assert abs(new[0]["event"]["timestamp"] - time.time() * 1000) < 60_000


def _member(value: Any, dotted: str) -> Any:
    for part in dotted.split("."):
        value = value[int(part)] if part.isdecimal() else value[part]
    return value
