"""Requests for erasure: what a body may say, what is answered, and that 200 means recorded while all else records nobody."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from footfall.clock import ManualClock
from footfall.registry.erasures import erasure_mac
from footfall.registry.store import FILE_NAME, Registry
from footfall.server.answers import Refusal
from footfall.server.management import IDENTIFIERS_MAX, REASONS, Management

NOW_MS = 1_790_000_000_000


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.in_directory(tmp_path) as opened:
        opened.add_platform("SHOP")
        yield opened


def erase(registry: Registry, body: object, *, platform: str = "SHOP_TEST") -> Refusal | None:
    """The answer to one request; `body` is a value to encode, or the very bytes."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    management = Management(registry, clock=ManualClock(now_ms=NOW_MS))
    return asyncio.run(management.erase(sent, platform=platform, key_id="key_1"))


def refused(answer: Refusal | None) -> tuple[str, list[tuple[str, str]]]:
    """The message of a 400 and its (field, reason)s, after a look at what the published document requires of such a body."""
    assert answer is not None
    body: dict[str, Any] = json.loads(answer.body())
    assert set(body) == {"code", "message", "details"}
    assert (answer.status, body["code"]) == (400, 3)
    (detail,) = body["details"]
    assert detail["category"] == "INPUT_VALIDATION"
    assert isinstance(detail["type"], str)
    return body["message"], [(violation["field"], violation["reason"]) for violation in detail["field_violations"]]


def people(*user_ids: object) -> dict[str, object]:
    return {"identifiers": [{"user_id": user_id} for user_id in user_ids]}


def test_a_recorded_request_names_each_person_once_as_of_now(registry: Registry) -> None:
    assert erase(registry, people("u-1", " Ü-2 ", "u-1")) is None
    pepper = registry.pepper()
    wanted = {erasure_mac(pepper, platform="SHOP_TEST", kind="user_id", identifier=who) for who in ("u-1", " Ü-2 ")}
    found = registry.erasures(pending=True)
    assert {erasure.mac for erasure in found} == wanted
    assert {(erasure.platform, erasure.kind, erasure.requested_at) for erasure in found} == {("SHOP_TEST", "user_id", NOW_MS)}


def test_a_live_id_covers_its_test_id(registry: Registry) -> None:
    assert erase(registry, people("u-1"), platform="SHOP") is None
    assert sorted(erasure.platform for erasure in registry.erasures()) == ["SHOP", "SHOP_TEST"]


def test_members_nobody_knows_are_ignored_at_every_level(registry: Registry) -> None:
    body = {"reason": ["art. 17", {"deep": [1e300, None]}], "identifiers": [{"user_id": "u-1", "user_name": 7}]}
    assert erase(registry, json.dumps(body).encode()) is None
    assert len(registry.erasures()) == 1


def test_an_empty_list_asks_for_nothing_and_is_done(registry: Registry) -> None:
    assert erase(registry, people()) is None
    assert registry.erasures() == []


def test_the_longest_request_is_taken(registry: Registry) -> None:
    longest = [f"{number:04}" + "😀" * 124 for number in range(IDENTIFIERS_MAX)]
    assert erase(registry, people(*longest)) is None
    assert len(registry.erasures()) == IDENTIFIERS_MAX


@pytest.mark.parametrize(
    ("body", "message", "violations"),
    [
        ({}, "missing identifiers", [("identifiers", "missing_identifiers")]),
        ({"identifiers": None}, "missing identifiers", [("identifiers", "missing_identifiers")]),
        ({"user_data": [{"user_id": "u-1"}]}, "missing identifiers", [("identifiers", "missing_identifiers")]),
        ({"identifiers": {"user_id": "u-1"}}, "proto: invalid value for identifiers", [("identifiers", "not_an_array")]),
        ({"identifiers": "u-1"}, "proto: invalid value for identifiers", [("identifiers", "not_an_array")]),
        ({"identifiers": ["u-1"]}, "proto: invalid value for identifiers[0]", [("identifiers[0]", "not_an_object")]),
        ({"identifiers": [None]}, "proto: invalid value for identifiers[0]", [("identifiers[0]", "null_in_array")]),
        ({"identifiers": [{}]}, "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        ({"identifiers": [{"persistent_id": "p"}]}, "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        (
            {"identifiers": [{"user_id": "u", "userId": "v"}]},
            "proto: duplicate field identifiers[0].user_id",
            [("identifiers[0].user_id", "duplicate_field")],
        ),
        (people(None), "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        (people(""), "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        (people(" NULL "), "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        (people("0" * 8 + "-0000-0000-0000-" + "0" * 12), "missing user_id", [("identifiers[0].user_id", "missing_user_id")]),
        (people(7), "proto: invalid value for identifiers[0].user_id", [("identifiers[0].user_id", "not_a_string")]),
        (people("x" * 129), "user_id is longer than 128 characters", [("identifiers[0].user_id", "identifier_too_long")]),
        (people(*map(str, range(1_001))), "too many identifiers", [("identifiers", "too_many_identifiers")]),
        ([], "proto: the body must be one JSON object", [("", "body_not_an_object")]),
        (b"null", "proto: the body must be one JSON object", [("", "body_not_an_object")]),
        (b" ", "proto: the body is empty", [("", "empty_body")]),
        (b'{"identifiers":[', "proto: syntax error", [("", "truncated_json")]),
        (b'{"identifiers":[{"user_id":"\\ud83d"}]}', "proto: syntax error", [("", "lone_surrogate")]),
        (b'{"identifiers":[{"user_id":"\xff"}]}', "proto: invalid UTF-8", [("", "invalid_utf8")]),
        (b"identifiers=u-1", "proto: syntax error", [("", "form_body")]),
        (b'{"identifiers":' + b"[" * 100_000, "proto: nesting too deep", [("", "nesting_too_deep")]),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_what_cannot_be_meant_is_400_and_records_nobody(
    registry: Registry, body: object, message: str, violations: list[tuple[str, str]]
) -> None:
    answered, found = refused(erase(registry, body))
    assert answered.startswith(message)
    assert found == violations
    assert registry.erasures() == []


def test_every_problem_is_listed_and_one_bad_element_keeps_the_good_ones_out(registry: Registry) -> None:
    message, found = refused(erase(registry, people("good", 5, "nil", "y" * 200)))
    assert message == "proto: invalid value for identifiers[1].user_id"
    assert found == [
        ("identifiers[1].user_id", "not_a_string"),
        ("identifiers[2].user_id", "missing_user_id"),
        ("identifiers[3].user_id", "identifier_too_long"),
    ]
    assert registry.erasures() == []


def test_an_answer_lists_a_hundred_problems_and_counts_the_rest(registry: Registry) -> None:
    found = refused(erase(registry, people(*[""] * 250)))[1]
    assert len(found) == 101
    assert found[-1] == ("", "more_violations")


def test_no_answer_and_no_log_line_repeats_an_identifier(registry: Registry, caplog: pytest.LogCaptureFixture) -> None:
    secret = "ada-lovelace"
    bodies = (
        people(secret),
        people(secret * 20),
        people(secret, 4),
        {"identifiers": [secret]},
        {"identifiers": secret},
        {secret: secret},
        b'{"identifiers":[{"user_id":"ada-lovelace\xff"}]}',
        b'{"identifiers":[{"user_id":"ada-lovelace" "x"}]}',
        b"user_id=ada-lovelace",
    )
    with caplog.at_level(logging.DEBUG):
        answered = [erase(registry, body) for body in bodies]
    assert [answer is None for answer in answered] == [True] + [False] * (len(bodies) - 1)
    assert all(secret.encode() not in answer.body() for answer in answered if answer is not None)
    assert "erasure of 1 people asked for, platform SHOP_TEST, by key_1" in caplog.text
    assert secret not in caplog.text


def test_a_registry_that_is_gone_is_503_and_says_when_to_come_again(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).unlink()
    answer = erase(registry, people("u-1"))
    assert answer is not None
    assert (answer.status, dict(answer.headers)["retry-after"]) == (503, "5")
    assert json.loads(answer.body()) == {
        "code": 14,
        "message": "the erasure is not known to be recorded: send the request again",
        "details": [],
    }


def test_a_registry_without_this_platform_id_any_more_is_404(registry: Registry) -> None:
    answer = erase(registry, people("u-1"), platform="GONE")
    assert answer is not None
    assert answer.status == 404


def test_a_busy_registry_is_waited_for_off_the_event_loop_by_so_many_and_no_more(registry: Registry, tmp_path: Path) -> None:
    holder = sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    management = Management(registry, clock=ManualClock(now_ms=NOW_MS), waiting_max=2)

    def ask(who: str) -> Any:
        return management.erase(json.dumps(people(who)).encode(), platform="SHOP_TEST", key_id="key_1")

    async def main() -> tuple[Refusal | None, list[Refusal | None]]:
        waiting = [asyncio.create_task(ask("u-1")), asyncio.create_task(ask("u-2"))]
        await asyncio.sleep(0)  # both are in line now
        one_too_many = await asyncio.wait_for(ask("u-3"), timeout=1)
        assert not any(task.done() for task in waiting)
        holder.rollback()
        return one_too_many, list(await asyncio.gather(*waiting))

    one_too_many, recorded = asyncio.run(main())
    holder.close()
    assert one_too_many is not None
    assert (one_too_many.status, recorded) == (503, [None, None])
    assert len(registry.erasures()) == 2
    assert asyncio.run(ask("u-3")) is None, "there is room again"


def test_reasons_that_are_this_routes_own_are_all_given(registry: Registry) -> None:
    given = {refused(erase(registry, body))[1][0][1] for body in ({}, people(""), people(*map(str, range(1_001))))}
    assert given == set(REASONS)


@pytest.mark.parametrize("spoil", [lambda body: body[:-1], lambda body: body + b"}", lambda body: body.replace(b":", b"=")])
def test_a_damaged_body_never_records_part_of_it(registry: Registry, spoil: Callable[[bytes], bytes]) -> None:
    refused(erase(registry, spoil(json.dumps(people("u-1", "u-2")).encode())))
    assert registry.erasures() == []
