"""The receiver in memory: its answers, its faults and its counts, as a client meets them without a socket."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import footfall.testing
from footfall import (
    BadRequestError,
    Client,
    ForbiddenError,
    InternalServerError,
    NetworkError,
    NotFoundError,
    RejectedError,
    TooManyRequestsError,
    UnauthorizedError,
)
from footfall.client.outbox import Outbox
from footfall.clock import ManualClock
from footfall.delivery.transport import Request, Response
from footfall.testing import Receiver

NOW_MS = 1_790_000_000_000
EVENTS_PATH = "/rmp/event/v1/platforms/SHOP_TEST/userevents"


@pytest.fixture
def receiver() -> Receiver:
    return Receiver(wait_s=0, clock=ManualClock(NOW_MS))


@pytest.fixture
def client(receiver: Receiver) -> Iterator[Client]:
    with client_of(receiver) as made:
        yield made


def client_of(receiver: Receiver, **options: Any) -> Client:
    place = {"base_url": receiver.url, "platform_id": receiver.platform_id, "api_key": receiver.api_key}
    return Client(**{**place, "transport": receiver, "clock": ManualClock(NOW_MS), **options})


def home(client: Client, **members: Any) -> Any:
    return client.insert_event(event_type="HOME", channel_type="SITE", **{"user_id": "u-1", **members})


def ask(
    receiver: Receiver, body: bytes = b"", *, path: str = EVENTS_PATH, method: str = "POST", headers: dict[str, str] | None = None
) -> Response:
    named = {"X-API-Key": receiver.api_key, **(headers or {})}
    url = receiver.url + path
    return receiver.send(Request(url=url, headers=tuple(named.items()), body=body, timeout_s=1, method=method))


def event_of(**members: Any) -> dict[str, Any]:
    return {"event_type": "HOME", "channel_type": "SITE", "timestamp": NOW_MS, "user_id": "u-1", **members}


def outcomes(receiver: Receiver) -> list[str]:
    return [arrival.outcome for arrival in receiver.arrivals]


# -- as a test platform


def test_a_good_event_is_accepted_reported_on_and_kept_as_understood(receiver: Receiver, client: Client) -> None:
    answer = home(client, id="e-1")
    assert answer.status == 200
    assert answer.report is not None and answer.report.identifier is not None
    assert (answer.report.identifier.kind, answer.report.cases) == ("user_id", ("home",))
    assert [warning.reason for warning in answer.report.warnings] == ["missing_persistent_id"]
    assert receiver.events.assert_one("HOME", id="e-1") == answer.report.event


def test_a_bad_event_is_refused_with_its_violations_and_remembered_as_refused(receiver: Receiver, client: Client) -> None:
    with pytest.raises(BadRequestError, match="missing search_query") as caught:
        client.insert_event(event_type="SEARCH", channel_type="SITE", user_id="u-1")
    assert [violation.reason for violation in caught.value.violations] == ["missing_search_query"]
    receiver.events.assert_none()
    (refused,) = receiver.refused
    assert (refused.status, refused.message) == (400, "missing search_query")
    assert refused.event is not None and refused.event.event_type == "SEARCH"


def test_key_and_platform_are_checked_in_the_order_of_the_server(receiver: Receiver) -> None:
    for headers, path, status in (
        ({"X-API-Key": ""}, EVENTS_PATH.replace("SHOP", "NONE"), 401),
        ({"X-API-Key": "wrong"}, EVENTS_PATH.replace("SHOP", "NONE"), 403),
        ({}, EVENTS_PATH.replace("SHOP", "NONE"), 404),
        ({"Content-Type": "multipart/form-data"}, EVENTS_PATH, 415),
        ({}, EVENTS_PATH, 400),
    ):
        assert ask(receiver, b"{", path=path, headers=headers).status == status
    assert ask(receiver, method="GET").status == 405
    assert ask(receiver, path="/else").status == 404
    assert ask(receiver, b" " * 65_537).status == 413
    assert [arrival.status for arrival in receiver.refused] == [401, 403, 404, 415, 400, 413]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [({"api_key": "other"}, ForbiddenError), ({"platform_id": "SHOP"}, NotFoundError)],
)
def test_a_client_with_the_wrong_place_is_told_so(receiver: Receiver, wrong: dict[str, str], error: type[RejectedError]) -> None:
    with pytest.raises(error):
        home(client_of(receiver, **wrong))
    assert len(receiver.refused) == 1


def test_a_repeat_is_answered_200_and_counts_once(receiver: Receiver, client: Client) -> None:
    for _ in range(3):
        home(client, id="e-1", timestamp=NOW_MS)
    assert receiver.received == 3
    assert len(receiver.events) == 1
    assert outcomes(receiver) == ["accepted", "repeated", "repeated"]
    receiver.clear()
    assert (receiver.received, len(receiver.events), receiver.arrivals) == (0, 0, ())


def test_a_batch_is_judged_event_by_event(receiver: Receiver) -> None:
    lines = [event_of(id="1"), {}, event_of(id="2"), event_of(id="1")]
    body = "\n".join(json.dumps(line) for line in lines).encode()
    response = ask(receiver, body, path=EVENTS_PATH + ":batch", headers={"Content-Type": "application/x-ndjson"})
    answer = json.loads(response.body)
    assert (response.status, answer["accepted"]) == (200, 3)
    assert [(each["index"], each["code"]) for each in answer["rejected"]] == [(1, 3)]
    assert [each["index"] for each in answer["reports"]] == [0, 2, 3]
    assert outcomes(receiver) == ["accepted", "refused", "accepted", "repeated"]


def test_a_batch_that_cannot_be_read_is_refused_whole(receiver: Receiver) -> None:
    assert ask(receiver, b"[", path=EVENTS_PATH + ":batch").status == 400
    assert ask(receiver, b"[" + b"1," * 10_000 + b"1]", path=EVENTS_PATH + ":batch").status == 413
    assert receiver.received == 2


def test_bodies_may_be_compressed_within_bounds(receiver: Receiver) -> None:
    body = gzip.compress(json.dumps(event_of()).encode())
    assert ask(receiver, body, headers={"Content-Encoding": "gzip"}).status == 200
    assert ask(receiver, body[:-3], headers={"Content-Encoding": "gzip"}).status == 400
    assert ask(receiver, b"plain", headers={"Content-Encoding": "gzip"}).status == 400
    assert ask(receiver, gzip.compress(b" " * 70_000), headers={"Content-Encoding": "gzip"}).status == 413
    assert ask(receiver, body, headers={"Content-Encoding": "zstd"}).status == 415


def test_the_document_says_that_it_is_a_footfall_that_takes_batches(receiver: Receiver) -> None:
    response = ask(receiver, path="/openapi.json", method="GET", headers={"X-API-Key": ""})
    document = json.loads(response.body)
    assert document["info"]["x-footfall"] is True
    assert any(path.endswith("/userevents:batch") for path in document["paths"])
    assert ask(receiver, path="/openapi.json").status == 405


# -- as the original service


def test_the_original_service_says_less() -> None:
    receiver = Receiver(footfall=False, clock=ManualClock(NOW_MS))
    answer = home(client_of(receiver))
    assert (answer.body, answer.report) == (b"{}", None)
    with pytest.raises(BadRequestError, match="missing search_query") as caught:
        client_of(receiver).insert_event(event_type="SEARCH", channel_type="SITE", user_id="u-1")
    assert caught.value.violations == ()
    assert [violation.reason for violation in receiver.refused[0].violations] == ["missing_search_query"]
    for path, method in ((EVENTS_PATH + ":batch", "POST"), ("/openapi.json", "GET")):
        response = ask(receiver, b"[]", path=path, method=method)
        assert (response.status, response.body) == (404, b"404 page not found\n")


# -- faults


@pytest.mark.parametrize(
    ("fault", "error", "status"),
    [
        (500, InternalServerError, 500),
        (503, InternalServerError, 503),
        (401, UnauthorizedError, 401),
        (429, TooManyRequestsError, 429),
        (302, RejectedError, 302),
        ("html", InternalServerError, 502),
        ("reset", NetworkError, 0),
        ("hang", NetworkError, 0),
        ("lost_answer", NetworkError, 0),
    ],
)
def test_each_fault_is_the_error_that_it_would_be_over_sockets(
    receiver: Receiver, client: Client, fault: Any, error: type[Exception], status: int
) -> None:
    with receiver.failing(fault), pytest.raises(error) as caught:
        home(client, id="e-1", timestamp=NOW_MS)
    assert getattr(caught.value, "status", None) == status
    home(client, id="e-1", timestamp=NOW_MS)
    assert receiver.received == 2
    assert len(receiver.events) == 1
    assert outcomes(receiver)[-1] == ("repeated" if fault == "lost_answer" else "accepted")


def test_faults_meet_so_many_requests_one_after_another_and_never_the_document(receiver: Receiver, client: Client) -> None:
    receiver.fail(status=503, times=2, retry_after_s=7)
    receiver.fail("reset", times=1)
    assert ask(receiver, path="/openapi.json", method="GET").status == 200
    assert ask(receiver, method="GET").status == 405
    for _ in range(2):
        with pytest.raises(InternalServerError) as caught:
            home(client)
        assert caught.value.retry_after_s == 7
    with pytest.raises(NetworkError, match="cut before the answer"):
        home(client)
    home(client)
    assert outcomes(receiver) == ["failed"] * 3 + ["accepted"]
    assert [arrival.status for arrival in receiver.arrivals] == [503, 503, 0, 200]


def test_a_fault_without_end_lasts_until_it_recovers_or_another_is_said(receiver: Receiver, client: Client) -> None:
    receiver.fail(500)
    receiver.fail("html", status=403)
    for _ in range(5):
        with pytest.raises(ForbiddenError):
            home(client)
    receiver.recover()
    home(client)


def test_throttling_one_shopper_leaves_the_others_alone(receiver: Receiver, client: Client) -> None:
    receiver.throttle(identifier="u-1", times=2, retry_after_s=3)
    with pytest.raises(TooManyRequestsError, match="request denied by throttler") as caught:
        home(client)
    assert caught.value.retry_after_s == 3
    home(client, user_id="u-2")
    body = json.dumps([event_of(), event_of(user_id="u-3"), event_of()]).encode()
    response = ask(receiver, body, path=EVENTS_PATH + ":batch")
    assert response.headers["retry-after"] == "3"
    assert [(each["index"], each["code"]) for each in json.loads(response.body)["rejected"]] == [(0, 8)]
    assert outcomes(receiver) == ["throttled", "accepted", "throttled", "accepted", "accepted"]


def test_throttling_everybody_waits_for_recovery_and_meets_only_good_events(receiver: Receiver, client: Client) -> None:
    receiver.throttle()
    for user in ("u-1", "u-2"):
        with pytest.raises(TooManyRequestsError):
            home(client, user_id=user)
    assert ask(receiver, b"{}").status == 400
    receiver.recover()
    home(client)


def test_down_is_a_refused_connection_until_up(receiver: Receiver, client: Client) -> None:
    receiver.down()
    with pytest.raises(NetworkError, match="refused"):
        home(client)
    with pytest.raises(NetworkError):
        ask(receiver, path="/openapi.json", method="GET")
    assert receiver.received == 0
    receiver.up()
    home(client)


@pytest.mark.parametrize("mistake", [{}, {"fault": "rest"}, {"status": 200}, {"fault": 503, "times": 0}])
def test_a_fault_that_is_none_is_refused(receiver: Receiver, mistake: dict[str, Any]) -> None:
    fault = mistake.pop("fault", None)
    with pytest.raises(ValueError, match=r"a fault|times"):
        receiver.fail(fault, **mistake)


# -- what else it is


def test_a_client_from_its_environment_finds_it(receiver: Receiver) -> None:
    with Client.from_env(receiver.environment, transport=receiver) as client:
        assert receiver.platform_id in repr(client)
    assert receiver.url.startswith("http://receiver.localhost")
    assert "SHOP_TEST" in repr(receiver)
    assert receiver.api_key not in repr(receiver)


def test_exchanges_bring_requests_here_too(receiver: Receiver) -> None:
    exchanges = receiver.exchanges()
    body = json.dumps(event_of(id="e-1")).encode()
    headers = (("X-API-Key", receiver.api_key),)
    exchanges.start(Request(url=receiver.url + EVENTS_PATH, headers=headers, body=body, timeout_s=1), token="t-1")
    receiver.down()
    exchanges.start(Request(url=receiver.url + EVENTS_PATH, headers=headers, body=body, timeout_s=1), token="t-2")
    done = {each.token: each.result for each in exchanges.wait(0.1)}
    exchanges.close()
    assert isinstance(done["t-1"], Response) and done["t-1"].status == 200
    assert isinstance(done["t-2"], NetworkError)
    receiver.events.assert_one("HOME", id="e-1")


def test_an_outbox_delivers_here_without_a_socket(tmp_path: Path) -> None:
    receiver = Receiver()
    with Outbox.from_env(tmp_path, receiver.environment, exchanges=receiver.exchanges) as outbox:
        event_id = outbox.track(event_type="HOME", channel_type="SITE", user_id="u-1")
        receiver.events.assert_one("HOME", id=event_id)
        assert outbox.flush(20)


def test_the_exported_names_are_these_sorted_and_explained() -> None:
    assert footfall.testing.__all__ == ["Arrival", "Events", "FaultName", "Receiver"]
    assert footfall.testing.__all__ == sorted(footfall.testing.__all__)
    assert all(getattr(footfall.testing, name).__doc__ for name in ("Arrival", "Events", "Receiver"))


def test_it_works_where_pytest_is_not_installed_and_the_plugin_imports_nothing_of_it() -> None:
    without = "import sys; sys.modules['pytest'] = None; import footfall.testing; footfall.testing.Receiver()"
    subprocess.run([sys.executable, "-c", without], check=True, timeout=60)
    cheap = (
        "import sys, pytest; before = set(sys.modules); import footfall.client.testing.plugin; "
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('footfall')), "
        "sorted(name for name in set(sys.modules) - before if name.startswith('footfall')))"
    )
    done = subprocess.run([sys.executable, "-c", cheap], check=True, timeout=60, capture_output=True, text=True)
    assert done.stdout.strip() == (
        "[] ['footfall', 'footfall.client', 'footfall.client.testing', 'footfall.client.testing.plugin', 'footfall.version']"
    )
