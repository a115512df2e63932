"""What both clients send and what they make of answers, over real sockets."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

import footfall
from footfall import (
    Answer,
    ApiError,
    AsyncClient,
    BadRequestError,
    Client,
    ForbiddenError,
    InternalServerError,
    MethodNotAllowedError,
    NetworkError,
    NotFoundError,
    RejectedError,
    TooManyRequestsError,
    UnauthorizedError,
    Violation,
)
from footfall.clock import ManualClock
from footfall.delivery.transport import HttpTransport, Request, Response, ScriptedTransport, Transport
from tests.contract.delivery.receiver import Receiver, answer, raw, reset_after

EVENT: Mapping[str, Any] = {"event_type": "HOME", "channel_type": "SITE", "user_id": "user-4711"}
Insert = Callable[..., Answer]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def sync_insert(url: str, **options: Any) -> Answer:
    with Client(platform_id="SHOP", api_key="key-secret", base_url=url, **options) as client:
        return client.insert_event(EVENT)


def async_insert(url: str, **options: Any) -> Answer:
    async def run() -> Answer:
        async with AsyncClient(platform_id="SHOP", api_key="key-secret", base_url=url, **options) as client:
            return await client.insert_event(EVENT)

    return asyncio.run(run())


@pytest.fixture(params=[sync_insert, async_insert], ids=["Client", "AsyncClient"])
def insert(request: pytest.FixtureRequest) -> Insert:
    return request.param  # type: ignore[no-any-return]


def failing(insert: Insert, receiver: Receiver, **options: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        insert(receiver.url, **options)
    return raised.value


def test_the_request_is_the_one_the_service_documents(insert: Insert, receiver: Receiver) -> None:
    insert(receiver.url)
    [arrival] = receiver.arrivals
    assert arrival.line == "POST /rmp/event/v1/platforms/SHOP/userevents HTTP/1.1"
    assert arrival.headers["x-api-key"] == "key-secret"
    assert arrival.headers["content-type"] == "application/json"
    assert arrival.headers["accept"] == "application/json"
    assert arrival.headers["user-agent"] == f"footfall/{footfall.__version__}"
    assert arrival.event | EVENT == arrival.event
    assert arrival.event["timestamp"].isdigit()
    assert abs(int(arrival.event["timestamp"]) - time.time() * 1000) < 60_000


@pytest.mark.parametrize("body", [b"{}", b"", b"OK", b'{"test":{}}', b'{"test":7}', b"\xff", b"<html>fine</html>", b"[" * 5000])
@pytest.mark.parametrize("status", [200, 202])
def test_any_2xx_is_success_whatever_its_body(insert: Insert, receiver: Receiver, status: int, body: bytes) -> None:
    receiver.script(answer(status, body))
    assert insert(receiver.url) == Answer(status=status, body=body, report=None)


def test_a_test_report_comes_typed(insert: Insert, receiver: Receiver) -> None:
    report = {
        "event": {
            "event_type": "PURCHASE",
            "timestamp": 1790000000000,
            "channel_type": "SITE",
            "items": [{"id": "sku-1", "price": {"currency": "USD", "amount": "19.90"}}],
            "extra": {"device.colour": "red"},
        },
        "identifier": {"kind": "user_id"},
        "warnings": [{"reason": "revenue_missing", "field": "revenue", "description": "say it"}],
        "cases": ["purchase"],
        "something_newer": 1,
    }
    receiver.script(answer(200, msgspec.json.encode({"test": report})))
    got = insert(receiver.url).report
    assert got is not None
    assert got.identifier is not None
    assert got.identifier.kind == "user_id"
    assert got.warnings == (footfall.QualityWarning("revenue_missing", "revenue", "say it"),)
    assert got.cases == ("purchase",)
    assert got.event.items[0].price == footfall.Money("USD", "19.90")
    assert "sku-1" not in repr(got)


def test_a_report_without_identifier_has_none(insert: Insert, receiver: Receiver) -> None:
    receiver.script(answer(200, b'{"test":{"event":{},"identifier":null,"warnings":[],"cases":[]}}'))
    report = insert(receiver.url).report
    assert report is not None
    assert report.identifier is None


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, RejectedError), (307, RejectedError), (400, BadRequestError), (401, UnauthorizedError),
        (402, RejectedError), (403, ForbiddenError), (404, NotFoundError), (405, MethodNotAllowedError), (408, RejectedError),
        (411, RejectedError), (413, RejectedError), (415, RejectedError), (422, RejectedError), (429, TooManyRequestsError),
        (499, RejectedError), (500, InternalServerError), (501, InternalServerError), (502, InternalServerError),
        (503, InternalServerError), (504, InternalServerError), (599, InternalServerError),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "body", [b'{"code":3,"message":"no such thing","details":[]}', b"", b"<html><h1>oops</h1>", b'{"message":7}']
)
def test_each_status_has_its_exception_whatever_the_body(
    insert: Insert, receiver: Receiver, status: int, kind: type[ApiError], body: bytes
) -> None:
    receiver.script(answer(status, body))
    error = failing(insert, receiver)
    assert type(error) is kind
    assert error.status == status
    assert error.message == str(error) != ""
    assert ("no such thing" in error.message) == (b"no such thing" in body)
    assert "oops" not in error.message


def test_violations_come_through_in_order(insert: Insert, receiver: Receiver) -> None:
    details = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "field_violations": [{"field": "not this"}]},
        {
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "field_violations": [
                {"field": "page_id", "description": "missing", "reason": "missing_page_id"},
                {"field": "items[0]"},
                "no object",
            ],
        },
        7,
    ]
    body = msgspec.json.encode({"code": 3, "message": "missing page_id", "details": details})
    receiver.script(answer(400, body))
    error = failing(insert, receiver)
    assert isinstance(error, BadRequestError)
    assert error.violations == (Violation("page_id", "missing", "missing_page_id"), Violation("items[0]", "", ""))


@pytest.mark.parametrize(
    "details", [b"7", b"null", b"{}", b'[{"@type":"x"}]', b'[{"@type":"google.rpc.BadRequest","field_violations":3}]']
)
def test_details_that_make_no_sense_are_passed_over(insert: Insert, receiver: Receiver, details: bytes) -> None:
    receiver.script(answer(400, b'{"message":"m","details":' + details + b"}"))
    error = failing(insert, receiver)
    assert isinstance(error, BadRequestError)
    assert error.violations == ()


def test_retry_after_is_read(insert: Insert, receiver: Receiver) -> None:
    receiver.script(answer(429, b"", {"Retry-After": "7"}))
    slowed = failing(insert, receiver)
    assert isinstance(slowed, TooManyRequestsError)
    assert slowed.retry_after_s == 7.0
    receiver.script(answer(503, b"", {"Retry-After": "Mon, 21 Sep 2026 14:14:10 GMT"}))
    down = failing(insert, receiver, clock=ManualClock(1_790_000_000_000))
    assert isinstance(down, InternalServerError)
    assert down.retry_after_s == 50.0


def test_a_redirect_is_refused_with_the_cure_and_the_key_stays(insert: Insert, receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.script(answer(308, b"", {"Location": f"{elsewhere.url}/?q=user-4711"}))
        error = failing(insert, receiver)
        assert elsewhere.connections == 0
    assert "base_url" in error.message
    assert "user-4711" not in error.message


@pytest.mark.parametrize("play", [raw(b""), reset_after(b""), reset_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")])
def test_no_answer_is_a_network_error(insert: Insert, receiver: Receiver, play: Any) -> None:
    receiver.script(play)
    assert type(failing(insert, receiver)) is NetworkError


def test_what_identifies_a_shopper_or_the_key_is_struck_out_of_errors_and_logs(
    insert: Insert, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="footfall")
    quoting = "proto: invalid user-4711 for key-secret\x1b[31m\n"
    details = [
        {"@type": "google.rpc.BadRequest", "field_violations": [{"field": "user_id", "description": quoting, "reason": "bad"}]}
    ]
    receiver.script(answer(400, msgspec.json.encode({"message": quoting * 100, "details": details})))
    error = failing(insert, receiver)
    assert isinstance(error, BadRequestError)
    shown = f"{error!r} {error} {error.violations} {error.__cause__} {caplog.text}"
    assert "user-4711" not in shown
    assert "key-secret" not in shown
    assert "\x1b" not in error.message
    assert "\n" not in error.message
    assert len(error.message) <= 1000


def test_a_client_shows_where_it_sends_but_not_the_key(receiver: Receiver) -> None:
    for kind in (Client, AsyncClient):
        shown = repr(kind(platform_id="SHOP", api_key="key-secret", base_url=receiver.url))
        assert shown == f"{kind.__name__}(base_url='{receiver.url}', platform_id='SHOP', api_key='…')"


def test_a_client_inside_a_running_loop_works_and_blocks(receiver: Receiver) -> None:
    async def shop() -> Answer:
        return sync_insert(receiver.url)

    assert asyncio.run(shop()).status == 200


def test_an_async_client_serves_several_loops_one_after_the_other(receiver: Receiver) -> None:
    client = AsyncClient(platform_id="SHOP", api_key="key", base_url=receiver.url)
    for _ in range(2):
        assert asyncio.run(client.insert_event(EVENT)).status == 200
    asyncio.run(client.aclose())
    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(client.insert_event(EVENT))


def test_many_events_at_once_all_arrive_over_a_bounded_number_of_connections(receiver: Receiver) -> None:
    async def run() -> None:
        async with AsyncClient(platform_id="SHOP", api_key="key", base_url=receiver.url) as client:
            await asyncio.gather(*(client.insert_event(EVENT) for _ in range(200)))

    asyncio.run(run())
    assert len({arrival.event["id"] for arrival in receiver.arrivals}) == 200
    assert receiver.connections <= 64


def test_a_cancelled_call_lets_its_caller_go_at_once(receiver: Receiver) -> None:
    release = threading.Event()

    class Hanging(ScriptedTransport):
        def send(self, request: Request) -> Response:
            loop.call_soon_threadsafe(sending.set)
            assert release.wait(10)
            return super().send(request)

    async def run() -> None:
        client = AsyncClient(platform_id="SHOP", api_key="key", base_url=receiver.url, transport=transport)
        call = asyncio.create_task(client.insert_event(EVENT))
        await sending.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert transport.requests == []
        release.set()
        await client.aclose()

    transport, sending = Hanging(), asyncio.Event()
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        runner.run(run())


class TestRetries:
    """`retries=` waits by the failure protocol, with the same event each time, and gives up with the last error."""

    def run(
        self, insert: Insert, script: list[Response | NetworkError], retries: int
    ) -> tuple[list[float], ScriptedTransport, Any]:
        waits: list[float] = []
        transport = ScriptedTransport(script)

        async def sleep(seconds: float) -> None:
            waits.append(seconds)

        sleeper: Any = waits.append if insert is sync_insert else sleep
        try:
            outcome: Any = insert("http://localhost:1", transport=transport, retries=retries, sleep=sleeper)
        except ApiError as error:
            outcome = error
        return waits, transport, outcome

    def test_none_by_default(self, insert: Insert) -> None:
        waits, transport, outcome = self.run(insert, [Response(status=500)], 0)
        assert (waits, len(transport.requests), outcome.status) == ([], 1, 500)

    def test_5_10_20_seconds_with_the_same_id_and_timestamp(self, insert: Insert) -> None:
        script: list[Response | NetworkError] = [
            Response(status=503),
            NetworkError("gone"),
            Response(status=500),
            Response(status=200),
        ]
        waits, transport, outcome = self.run(insert, script, 6)
        assert waits == [5.0, 10.0, 20.0]
        assert outcome.status == 200
        assert len({request.body for request in transport.requests}) == 1

    def test_the_last_error_is_raised_when_the_retries_are_used_up(self, insert: Insert) -> None:
        waits, transport, outcome = self.run(insert, [Response(status=503), Response(status=502)], 2)
        assert (waits, outcome.status, len(transport.requests)) == ([5.0, 10.0], 502, 3)

    def test_retry_after_lengthens_and_never_shortens(self, insert: Insert) -> None:
        script: list[Response | NetworkError] = [
            Response(status=503, headers={"retry-after": "30"}),
            Response(status=503, headers={"retry-after": "1"}),
            Response(status=200),
        ]
        assert self.run(insert, script, 6)[0] == [30.0, 10.0]

    def test_nobody_waits_for_an_hour(self, insert: Insert) -> None:
        waits, _, outcome = self.run(insert, [Response(status=503, headers={"retry-after": "3600"})], 6)
        assert (waits, outcome.retry_after_s) == ([], 3600.0)

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 405, 408, 413, 429])
    def test_what_the_sender_must_mend_is_not_retried(self, insert: Insert, status: int) -> None:
        waits, transport, _ = self.run(insert, [Response(status=status)], 6)
        assert (waits, len(transport.requests)) == ([], 1)


def test_a_transport_may_be_handed_in_and_is_closed_with_the_client() -> None:
    transports: list[Transport] = [ScriptedTransport(), HttpTransport()]
    for transport in transports:
        Client(platform_id="SHOP", api_key="key", base_url="http://localhost:1", transport=transport).close()
        with pytest.raises(RuntimeError, match="closed"):
            Client(platform_id="SHOP", api_key="key", base_url="http://localhost:1", transport=transport).insert_event(EVENT)
