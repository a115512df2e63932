"""The management route through the real door: who may ask for erasure, in which order that is decided, and what stays behind."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest

from footfall.registry.erasures import erasure_mac
from footfall.registry.store import Registry
from tests.serving import Footfall, Reply, home, until

PATH = "/rmp/mgmt/v1/platforms/{platform_id}/data-deletion-requests/user-events"
LISTENER = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footfall]:
    """A server of two workers with a key of every scope, one that is revoked, and a disabled platform id."""
    with Footfall(tmp_path_factory.mktemp("erasure") / "data", settings={"FOOTFALL_SERVER__WORKERS": "2"}) as running:
        with Registry.in_directory(running.data) as registry:
            registry.add_platform("CLOSED")
            for platform in ("SHOP", "SHOP_TEST", "CLOSED"):
                running.keys[f"{platform} manage"] = registry.create_key(platform, scope="manage")[0]
            running.keys["SHOP read"] = registry.create_key("SHOP", scope="read")[0]
            running.keys["revoked"], revoked = registry.create_key("SHOP", scope="manage")
            registry.revoke_key(revoked.id)
            registry.disable_platform("CLOSED")
        # every worker has to have looked at the registry: each is met by some of these
        assert until(
            lambda: all(ask(running, "nobody", platform="CLOSED", key="CLOSED manage").status == 200 for _ in range(20)),
            seconds=10,
        )
        yield running
        running.check_log()


def post(
    server: Footfall,
    body: bytes,
    *,
    platform: str = "SHOP",
    key: str | None = "SHOP manage",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    head = {**LISTENER, **({} if key is None else {"X-API-Key": server.keys.get(key, key)}), **(headers or {})}
    return server.request("POST", PATH.format(platform_id=platform), body=body, headers=head)


def ask(server: Footfall, *user_ids: Any, **options: Any) -> Reply:
    return post(server, json.dumps({"identifiers": [{"user_id": user_id} for user_id in user_ids]}).encode(), **options)


def recorded(server: Footfall, user_id: str) -> list[str]:
    """The platform ids on which this person is to be forgotten."""
    with Registry.in_directory(server.data) as registry:
        pepper = registry.pepper()
        return [
            erasure.platform
            for erasure in registry.erasures()
            if erasure.mac == erasure_mac(pepper, platform=erasure.platform, kind="user_id", identifier=user_id)
        ]


def test_200_is_an_empty_object_and_the_request_is_in_the_registry(server: Footfall) -> None:
    reply = ask(server, "shopper-1", "shopper-2")
    assert (reply.status, reply.json, reply.headers["content-type"]) == (200, {}, "application/json")
    assert sorted(recorded(server, "shopper-1")) == sorted(recorded(server, "shopper-2")) == ["SHOP", "SHOP_TEST"]


def test_a_test_platform_id_is_asked_in_the_same_way_and_covers_itself_alone(server: Footfall) -> None:
    reply = ask(server, "tester-1", platform="SHOP_TEST", key="SHOP_TEST manage")
    assert (reply.status, reply.json) == (200, {})
    assert recorded(server, "tester-1") == ["SHOP_TEST"]


def test_what_was_recorded_outlives_the_server_killed_right_after_the_answer(tmp_path: Any) -> None:
    with Footfall(tmp_path / "data") as running:
        with Registry.in_directory(running.data) as registry:
            running.keys["SHOP manage"] = registry.create_key("SHOP", scope="manage")[0]
        assert until(lambda: ask(running).status == 200, seconds=10)
        assert ask(running, "last-wish").status == 200
        running.kill()
        assert sorted(recorded(running, "last-wish")) == ["SHOP", "SHOP_TEST"]


def test_a_disabled_platform_id_takes_no_events_and_still_forgets_people(server: Footfall) -> None:
    assert ask(server, "shopper-3", platform="CLOSED", key="CLOSED manage").status == 200
    assert sorted(recorded(server, "shopper-3")) == ["CLOSED", "CLOSED_TEST"]


@pytest.mark.parametrize(
    ("platform", "key", "status", "code", "words"),
    [
        ("SHOP", None, 401, 16, "no API key"),
        ("SHOP", "", 401, 16, "no API key"),
        ("SHOP", "nonsense", 403, 7, "unknown here"),
        ("SHOP", "revoked", 403, 7, "revoked"),
        ("SHOP", "SHOP", 403, 7, "has the scope ingest: asking for erasure needs one made with `--scope manage`"),
        ("SHOP", "SHOP read", 403, 7, "has the scope read: asking for erasure"),
        ("NOSUCH", "SHOP manage", 404, 5, "no platform 'NOSUCH'"),
        ("SHOP_TEST", "SHOP manage", 403, 7, "made for platform SHOP,"),
        ("SHOP", "SHOP_TEST manage", 403, 7, "made for platform SHOP_TEST,"),
        ("NOSUCH", None, 401, 16, "no API key"),
        ("NOSUCH", "SHOP", 403, 7, "has the scope ingest"),
    ],
)
def test_who_may_not_ask_is_told_why_before_the_body_is_looked_at(
    server: Footfall, platform: str, key: str | None, status: int, code: int, words: str
) -> None:
    reply = post(server, b"{no json", platform=platform, key=key)
    assert reply.status == status
    assert set(reply.json) == {"code", "message", "details"}
    assert (reply.json["code"], reply.json["details"]) == (code, [])
    assert words in reply.message


def test_a_key_to_manage_still_sends_no_events(server: Footfall) -> None:
    reply = server.send(home(), key=server.keys["SHOP manage"])
    assert (reply.status, "sending events needs one made with `--scope ingest`" in reply.message) == (403, True)


def test_path_method_length_and_form_are_checked_as_on_other_routes(server: Footfall) -> None:
    path, key = PATH.format(platform_id="SHOP"), {"X-API-Key": server.keys["SHOP manage"]}
    refused = server.request("GET", path, headers=key)
    assert (refused.status, refused.headers["allow"], refused.json["code"]) == (405, "POST", 12)
    for wrong in (path + "/", path.replace("SHOP", "SHOP/X"), path.replace("/SHOP", "/"), path.replace("/SHOP", "")):
        assert server.request("POST", wrong, body=b"{}", headers=key).status == 404, wrong
    assert server.request("POST", path, headers={**key, "Transfer-Encoding": "chunked"}, body=b"0\r\n\r\n").status == 411
    assert post(server, b" " * (2 * 1024 * 1024 + 1)).status == 413
    assert post(server, b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 415
    assert post(server, b"{}", headers={"Content-Encoding": "br"}).status == 415


def test_a_compressed_request_is_taken_and_a_damaged_one_is_categorized_too(server: Footfall) -> None:
    body = json.dumps({"identifiers": [{"user_id": "pressed"}]}).encode()
    assert post(server, gzip.compress(body), headers={"Content-Encoding": "gzip"}).status == 200
    assert sorted(recorded(server, "pressed")) == ["SHOP", "SHOP_TEST"]
    reply = post(server, gzip.compress(body)[:-9], headers={"Content-Encoding": "gzip"})
    assert reply.status == 400
    assert [detail["category"] for detail in reply.json["details"]] == ["INPUT_VALIDATION"]
    assert post(server, gzip.compress(b" " * (3 * 1024 * 1024)), headers={"Content-Encoding": "gzip"}).status == 413


def test_every_answer_fits_the_document_that_is_served(server: Footfall) -> None:
    document = server.request("GET", "/openapi.json").json
    operation = document["paths"][PATH]["post"]
    replies = [
        ask(server, "fits"),
        ask(server, ""),
        post(server, b"{"),
        post(server, b"{}", key=None),
        post(server, b"{}", key="SHOP"),
        post(server, b"{}", platform="NOSUCH"),
        post(server, b"a=1", headers={"Content-Type": "multipart/form-data"}),
    ]
    assert [reply.status for reply in replies] == [200, 400, 400, 401, 403, 404, 415]
    for reply in replies:
        schema = operation["responses"][str(reply.status)]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(reply.json)
    asked = operation["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator({**asked, "components": document["components"]})
    for body in ({}, {"identifiers": [{}]}, {"identifiers": [{"user_id": ""}]}, {"identifiers": [{"user_id": "x"}] * 1_001}):
        assert not validator.is_valid(body), body
        assert post(server, json.dumps(body).encode()).status == 400
    assert validator.is_valid({"identifiers": [{"user_id": "x", "odd": 1}], "odd": 2})


def test_no_event_is_counted_and_nothing_on_disk_or_in_the_journal_names_the_person(server: Footfall) -> None:
    person = "ada.lovelace.1815"
    assert ask(server, person).status == 200
    assert ask(server, person, "", 5).status == 400
    for path in server.data.rglob("*"):
        if path.is_file():
            assert person.encode() not in path.read_bytes(), path
    assert person not in server.output()
    assert "erasure of 1 people asked for, platform SHOP" in server.output()
    metrics = server.ops("/metrics").body.decode()
    assert "erasure" not in metrics
    assert person not in metrics
