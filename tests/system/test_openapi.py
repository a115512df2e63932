"""`/openapi.json` is true: it is valid, every answer of the server fits it, and what it forbids is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from footfall.events import schema
from tests.serving import EVENTS_PATH, Footfall, Reply, home, now_ms

ERASURE_PATH = "/rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events"
CLEAN = Path(__file__).parent.parent / "golden" / "clean_events.jsonl"


@pytest.fixture(scope="module")
def server(shared_footfall: Footfall) -> Footfall:
    return shared_footfall


@pytest.fixture(scope="module")
def document(server: Footfall) -> dict[str, Any]:
    return dict(server.request("GET", "/openapi.json").json)


def fits(document: dict[str, Any], value: object, schema_: dict[str, Any]) -> bool:
    root = {**schema_, "components": document["components"]}
    return bool(jsonschema.Draft202012Validator(root).is_valid(value))


def test_the_document_is_valid_and_says_who_serves_it(document: dict[str, Any]) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["x-footfall"] is True


def test_every_path_named_is_served_and_nothing_else_is(server: Footfall, document: dict[str, Any]) -> None:
    served = {EVENTS_PATH, EVENTS_PATH + ":batch", "/cdp/SEGMENT", ERASURE_PATH, "/openapi.json"}
    assert set(document["paths"]) == served
    for path, operations in document["paths"].items():
        for method in ("get", "post", "put"):
            status = server.request(method.upper(), path.format(platform="SHOP", platform_id="SHOP"), body=b"{}").status
            assert (status == 405) == (method not in operations), (path, method, status)


def test_every_member_and_enum_of_the_vocabulary_is_in_the_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("Event", "Device", "Item", "Money"):
        members = set(getattr(schema, name).__struct_fields__) - {"extra"}
        assert set(schemas[name]["properties"]) == members
    assert set(schemas["Event"]["properties"]["event_type"]["enum"]) == schema.EVENT_TYPES


def test_answers_fit_what_the_document_says_of_their_status(server: Footfall, document: dict[str, Any]) -> None:
    responses = document["paths"][EVENTS_PATH]["post"]["responses"]
    replies: list[Reply] = [
        server.send(home()),
        server.send(home(revenue={}, odd=1), platform="SHOP_TEST"),
        server.send(home(personalization_mode="ID_LESS"), platform="SHOP_TEST"),
        server.send(home(event_type="X", device=3)),
        server.send({}),
        server.send(b"{"),
        server.send(home(), key=""),
        server.send(home(), key="wrong"),
        server.request("POST", EVENTS_PATH.format(platform="NO"), body=b"", headers={"X-API-Key": server.keys["SHOP"]}),
        server.send(b"x" * 70_000),
        server.send(home(), headers={"Content-Type": "multipart/form-data"}),
    ]
    assert {reply.status for reply in replies} == {200, 400, 401, 403, 404, 413, 415}
    for reply in replies:
        content = responses[str(reply.status)]["content"]["application/json"]["schema"]
        assert fits(document, reply.json, content), reply


def test_batch_answers_fit_what_the_document_says(server: Footfall, document: dict[str, Any]) -> None:
    path = EVENTS_PATH + ":batch"
    responses = document["paths"][path]["post"]["responses"]
    for platform in ("SHOP", "SHOP_TEST"):
        for body in (b"[]", b"{", b'{"events":[{}]}', json.dumps([home(), {"event_type": "NO"}, home()]).encode()):
            headers = {"X-API-Key": server.keys[platform]}
            reply = server.request("POST", path.format(platform=platform), body=body, headers=headers)
            assert fits(document, reply.json, responses[str(reply.status)]["content"]["application/json"]["schema"]), reply


def test_clean_events_fit_the_document_and_are_accepted(server: Footfall, document: dict[str, Any]) -> None:
    body_schema = document["paths"][EVENTS_PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    lines = [line for line in CLEAN.read_text().splitlines() if line.strip()]
    assert len(lines) >= 25
    for line in lines:
        golden = json.loads(line)
        event = golden.get("event", golden)
        # the document speaks of one spelling; the other is accepted too, and says so in words
        assert fits(document, event, body_schema) or "eventType" in event, event
        assert server.send({**event, "timestamp": now_ms()}).status == 200, event


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "VIEW"},
        {"event_type": None},
        {"channel_type": 1},
        {"timestamp": "soon"},
        {"timestamp": None},
        {"user_id": 7},
        {"device": []},
        {"items": {}},
        {"items": [3]},
        {"revenue": "12"},
        {"revenue": {"amount": True}},
        {"personalization_mode": "NONE"},
        {"event_type": "SEARCH"},
        {"event_type": "PAGE_VIEW", "page_id": ""},
        {"event_type": "PURCHASE", "items": []},
        {"id": "x" * 129},
        {"event_type": "PURCHASE", "items": [{"id": "a", "quantity": 2**31}]},
    ],
    ids=str,
)
def test_what_the_document_forbids_is_refused(server: Footfall, document: dict[str, Any], change: dict[str, Any]) -> None:
    event = home(**change)
    body_schema = document["paths"][EVENTS_PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert not fits(document, event, body_schema)
    assert server.send(event).status == 400
