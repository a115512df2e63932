"""Many events in one call: one result each, in their order, one by one or as batches."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from footfall import (
    Answer,
    ApiError,
    AsyncClient,
    BadRequestError,
    Client,
    Event,
    ForbiddenError,
    InternalServerError,
    NetworkError,
    RejectedError,
    TooManyRequestsError,
    Violation,
)
from footfall.delivery.transport import Request, Response, ScriptedTransport, Transport

Results = list[Answer | ApiError]
Insert = Callable[..., Results]
PLACE: dict[str, Any] = {"platform_id": "SHOP", "api_key": "key-secret", "base_url": "http://localhost:1"}


class Receiver:
    """A transport that answers each request as `judge` says, and remembers what it was asked."""

    def __init__(self, judge: Callable[[Request], Response]) -> None:
        self._judge = judge
        self._lock = threading.Lock()
        self._under_way = 0
        self.under_way_max = 0
        self.requests: list[Request] = []

    def send(self, request: Request) -> Response:
        with self._lock:
            self.requests.append(request)
            self._under_way += 1
            self.under_way_max = max(self.under_way_max, self._under_way)
        try:
            return self._judge(request)
        finally:
            with self._lock:
                self._under_way -= 1

    def close(self) -> None:
        raise AssertionError("insert_events closes nothing")

    @property
    def ids(self) -> list[list[str]]:
        """Those of each request."""
        return [[msgspec.json.decode(line)["id"] for line in request.body.splitlines()] for request in self.requests]


def sync_insert(events: Iterable[Any], transport: Transport, *, batch: bool = False, **options: Any) -> Results:
    return Client(**PLACE, transport=transport, **options).insert_events(events, batch=batch)


def async_insert(events: Iterable[Any], transport: Transport, *, batch: bool = False, **options: Any) -> Results:
    if "sleep" in options:
        note = options["sleep"]

        async def sleep(seconds: float) -> None:
            note(seconds)

        options["sleep"] = sleep

    async def run() -> Results:
        return await AsyncClient(**PLACE, transport=transport, **options).insert_events(events, batch=batch)

    return asyncio.run(run())


@pytest.fixture(params=[sync_insert, async_insert], ids=["Client", "AsyncClient"])
def insert(request: pytest.FixtureRequest) -> Insert:
    return request.param  # type: ignore[no-any-return]


def pages(count: int) -> list[dict[str, Any]]:
    return [{"id": f"e-{n}", "timestamp": 1_790_000_000_000, "event_type": "HOME"} for n in range(count)]


def status_by_id(statuses: Mapping[str, int]) -> Callable[[Request], Response]:
    def judge(request: Request) -> Response:
        status = statuses.get(msgspec.json.decode(request.body)["id"], 200)
        return Response(status=status, body=b"{}" if status == 200 else b'{"message":"no"}')

    return judge


def batch_answer(*, accepted: int, status: int = 200, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    return Response(status=status, body=msgspec.json.encode({"accepted": accepted, **more}), headers=headers or {})


def all_accepted(request: Request) -> Response:
    return batch_answer(accepted=request.body.count(b"\n"))


def test_each_event_has_its_result_in_order_and_errors_are_returned(insert: Insert) -> None:
    receiver = Receiver(status_by_id({"e-3": 400, "e-7": 503, "e-8": 429}))
    results = insert(pages(20), receiver)
    assert [result.status for result in results] == [200] * 3 + [400] + [200] * 3 + [503, 429] + [200] * 11
    assert [type(result) for result in results[6:9]] == [Answer, InternalServerError, TooManyRequestsError]
    assert sorted(receiver.ids) == sorted([event["id"]] for event in pages(20))


def test_events_are_given_as_structs_and_mappings_from_any_iterable(insert: Insert) -> None:
    receiver = Receiver(status_by_id({}))

    def events() -> Iterator[Event | Mapping[str, Any]]:
        yield Event(id="a", event_type="HOME")
        yield {"id": "b", "eventType": "HOME"}

    assert len(insert(events(), receiver)) == 2
    assert sorted(receiver.ids) == [["a"], ["b"]]
    assert insert([], receiver) == []
    assert insert([], receiver, batch=True) == []
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize(
    ("mistake", "kind", "said"),
    [
        ({"device": "iPhone"}, TypeError, r"^events\[2\]: device is a Device"),
        ({"timestamp": 1.5}, ValueError, r"^events\[2\]: timestamp is whole milliseconds"),
        (None, TypeError, r"^events\[2\]: an event is needed"),
        ("HOME", TypeError, r"^events\[2\]: an event is an Event.*not str"),
        ({"user_id": "\ud800"}, ValueError, r"^events\[2\]: .*lone surrogate"),
    ],
)
def test_a_mistake_names_its_event_and_nothing_is_sent(
    insert: Insert, batch: bool, mistake: Any, kind: type[Exception], said: str
) -> None:
    receiver = Receiver(status_by_id({}))
    with pytest.raises(kind, match=said):
        insert([*pages(2), mistake], receiver, batch=batch)
    assert receiver.requests == []


@pytest.mark.parametrize("event", [{"event_type": "HOME"}, Event(event_type="HOME"), "HOME"])
def test_one_event_is_not_many(insert: Insert, event: Any) -> None:
    with pytest.raises(TypeError, match=r"takes a list of events.*insert_event takes one"):
        insert(event, Receiver(status_by_id({})))


def test_eight_are_on_their_way_at_once_and_never_more(insert: Insert) -> None:
    eight = threading.Barrier(8)

    def judge(request: Request) -> Response:
        eight.wait(10)  # nobody gets on until eight are here
        return Response(status=200)

    receiver = Receiver(judge)
    assert [result.status for result in insert(pages(64), receiver)] == [200] * 64
    assert receiver.under_way_max == 8


def test_each_event_is_retried_by_itself_with_the_same_bytes(insert: Insert) -> None:
    attempts: Counter[bytes] = Counter()

    def judge(request: Request) -> Response:
        attempts[request.body] += 1
        return Response(status=503 if b'"e-1"' in request.body and attempts[request.body] < 3 else 200)

    waits: list[float] = []
    results = insert(pages(4), Receiver(judge), retries=2, sleep=waits.append)
    assert [result.status for result in results] == [200] * 4
    assert waits == [5.0, 10.0]
    assert sorted(attempts.values()) == [1, 1, 1, 3]


@pytest.mark.parametrize("status", [302, 401, 403, 404, 405])
def test_what_is_about_all_events_keeps_the_rest_back_and_they_share_the_error(insert: Insert, status: int) -> None:
    receiver = Receiver(lambda request: Response(status=status))
    results = insert(pages(100), receiver)
    assert [result.status for result in results] == [status] * 100
    assert len(receiver.requests) <= 8
    assert len({id(result) for result in results}) == len(receiver.requests)


def test_what_is_about_one_event_keeps_no_other_back(insert: Insert) -> None:
    for status in (400, 413, 429, 500):
        receiver = Receiver(lambda request, status=status: Response(status=status))  # type: ignore[misc]
        assert [result.status for result in insert(pages(20), receiver)] == [status] * 20
        assert len(receiver.requests) == 20


def test_no_answer_is_an_error_like_any_other(insert: Insert) -> None:
    results = insert(pages(3), ScriptedTransport([NetworkError("gone")]))
    assert [type(result) for result in results] == [NetworkError] * 3


def test_a_closed_client_raises_and_returns_nothing() -> None:
    transport = ScriptedTransport()
    client = Client(**PLACE, transport=transport)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.insert_events(pages(20))

    async def run() -> None:
        other = AsyncClient(**PLACE, transport=transport)
        await other.aclose()
        with pytest.raises(RuntimeError, match="closed"):
            await other.insert_events(pages(20))

    asyncio.run(run())


def test_a_cancelled_call_sends_no_further_events() -> None:
    release, arrived = threading.Event(), threading.Semaphore(0)

    def judge(request: Request) -> Response:
        arrived.release()
        assert release.wait(10)
        return Response(status=200)

    async def run() -> None:
        client = AsyncClient(**PLACE, transport=receiver)
        call = asyncio.create_task(client.insert_events(pages(100)))
        for _ in range(8):
            assert await asyncio.to_thread(arrived.acquire, timeout=10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        release.set()

    receiver = Receiver(judge)
    asyncio.run(run())
    assert len(receiver.requests) == 8


AT_EXIT = """
import atexit
from footfall import Client
from footfall.delivery.transport import ScriptedTransport
client = Client(platform_id="SHOP", api_key="k", base_url="http://localhost:1", transport=ScriptedTransport())
atexit.register(lambda: print(len(client.insert_events([{"event_type": "HOME"}] * 20))))
"""


def test_it_works_while_the_interpreter_ends_and_starts_no_more_threads() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", AT_EXIT], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.stdout, ended.stderr) == ("20\n", "")


class TestBatches:
    def test_a_thousand_events_travel_as_one_request_of_lines(self, insert: Insert) -> None:
        receiver = Receiver(all_accepted)
        results = insert(pages(2500), receiver, batch=True)
        assert results == [Answer(status=200, body=b"")] * 2500
        assert receiver.ids == [[f"e-{n}" for n in range(first, min(first + 1000, 2500))] for first in (0, 1000, 2000)]
        request = receiver.requests[0]
        assert request.url == "http://localhost:1/rmp/event/v1/platforms/SHOP/userevents:batch"
        headers = dict(request.headers)
        assert (headers["Content-Type"], headers["X-API-Key"]) == ("application/x-ndjson", "key-secret")

    def test_long_events_make_batches_of_at_most_4_mib(self, insert: Insert) -> None:
        receiver = Receiver(all_accepted)
        long = [event | {"page_id": "p" * (1 << 20)} for event in pages(9)]
        assert len(insert(long, receiver, batch=True)) == 9
        assert [len(ids) for ids in receiver.ids] == [3, 3, 3]
        assert max(len(request.body) for request in receiver.requests) <= 4 << 20

    def test_rejected_events_get_the_error_they_would_have_had_alone(self, insert: Insert) -> None:
        details = [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "field_violations": [{"field": "page_id", "description": "user-4711 has none", "reason": "missing_page_id"}],
            }
        ]
        answer = batch_answer(
            accepted=1,
            rejected=[
                {"index": 3, "code": 8, "message": "slow down user-4711", "details": []},
                {"index": 1, "code": 3, "message": "missing page_id", "details": details},
                {"index": 2, "code": 99, "message": ""},
            ],
            headers={"retry-after": "7"},
        )
        events = [event | {"user_id": "user-4711"} for event in pages(4)]
        accepted, bad, odd, slow = insert(events, Receiver(lambda request: answer), batch=True)
        assert accepted == Answer(status=200, body=b"")
        assert isinstance(bad, BadRequestError)
        assert bad.message == "missing page_id"
        assert bad.violations == (Violation("page_id", "… has none", "missing_page_id"),)
        assert isinstance(odd, BadRequestError)
        assert odd.message == "the receiver gave no reason"
        assert isinstance(slow, TooManyRequestsError)
        assert (slow.message, slow.retry_after_s) == ("slow down …", 7.0)

    def test_reports_of_a_test_platform_come_with_their_events(self, insert: Insert) -> None:
        report = {"event": {"event_type": "HOME"}, "identifier": {"kind": "user_id"}, "warnings": [], "cases": ["home"]}
        answer = batch_answer(accepted=3, reports=[{"index": 1, "test": report}, {"index": 2, "test": {"cases": 7}}])
        results = insert(pages(3), Receiver(lambda request: answer), batch=True)
        reports = [result.report for result in results if isinstance(result, Answer)]
        assert [found is not None for found in reports] == [False, True, False]
        assert reports[1] is not None
        assert (reports[1].event, reports[1].cases) == (Event(event_type="HOME"), ("home",))

    @pytest.mark.parametrize(
        "body",
        [
            b"<html>hello</html>", b"{}", b"", b'{"accepted":1}', b'{"accepted":3}', b"[" * 5000, b"\xff",
            b'{"accepted":1,"rejected":[{"index":0,"code":3},{"index":0,"code":3}]}',
            b'{"accepted":1,"rejected":[{"index":5,"code":3}]}', b'{"accepted":1,"rejected":[{"index":-1,"code":3}]}',
        ],
    )  # fmt: skip
    def test_an_answer_that_does_not_speak_of_each_event_once_leaves_all_of_them_unknown(
        self, insert: Insert, body: bytes
    ) -> None:
        results = insert(pages(2), ScriptedTransport([Response(status=200, body=body)]), batch=True)
        assert [type(result) for result in results] == [InternalServerError] * 2
        assert "the same ids" in str(results[0])

    def test_a_batch_without_a_good_answer_keeps_no_other_back(self, insert: Insert) -> None:
        script = [Response(status=503), batch_answer(accepted=1000), Response(status=200, body=b"?"), batch_answer(accepted=1)]
        results = insert(pages(3001), ScriptedTransport(script), batch=True)
        assert [results[n].status for n in (0, 999, 1000, 1999, 2000, 2999, 3000)] == [503, 503, 200, 200, 502, 502, 200]

    def test_a_batch_that_is_too_large_is_halved_until_the_fat_event_is_alone(self, insert: Insert) -> None:
        def judge(request: Request) -> Response:
            return Response(status=413) if b'"e-5"' in request.body else all_accepted(request)

        receiver = Receiver(judge)
        results = insert(pages(10), receiver, batch=True)
        assert [result.status for result in results] == [200] * 5 + [413] + [200] * 4
        assert type(results[5]) is RejectedError
        assert [ids for ids in receiver.ids if "e-5" not in ids] == [
            ["e-0", "e-1", "e-2", "e-3", "e-4"], ["e-6"], ["e-7", "e-8", "e-9"],
        ]  # fmt: skip

    def test_what_is_about_all_events_keeps_the_later_batches_back(self, insert: Insert) -> None:
        transport = ScriptedTransport([batch_answer(accepted=1000), Response(status=403, body=b'{"message":"not yours"}')])
        results = insert(pages(5000), transport, batch=True)
        assert [result.status for result in results] == [200] * 1000 + [403] * 4000
        assert type(results[-1]) is ForbiddenError
        assert len(transport.requests) == 2

    @pytest.mark.parametrize("status", [404, 405, 501])
    def test_a_receiver_without_batches_is_asked_once_and_told_of_with_the_cure(self, insert: Insert, status: int) -> None:
        transport = ScriptedTransport([Response(status=status, body=b'{"message":"not found"}')])
        results = insert(pages(3000), transport, batch=True)
        assert [result.status for result in results] == [status] * 3000
        assert str(results[-1]) == "not found; batches are for a Footfall: leave out batch=True for other receivers"
        assert isinstance(results[-1], ApiError)
        assert results[-1].message == str(results[-1])
        assert len(transport.requests) == 1

    def test_a_batch_is_retried_with_the_same_bytes(self, insert: Insert) -> None:
        waits: list[float] = []
        transport = ScriptedTransport([NetworkError("gone"), Response(status=500), batch_answer(accepted=3)])
        results = insert(pages(3), transport, batch=True, retries=3, sleep=waits.append)
        assert [result.status for result in results] == [200] * 3
        assert waits == [5.0, 10.0]
        assert len({request.body for request in transport.requests}) == 1

    def test_an_error_of_a_whole_batch_repeats_no_identifier_of_any_event(self, insert: Insert) -> None:
        events = [event | {"user_id": f"shopper-{n}"} for n, event in enumerate(pages(12))]
        body = b'{"message":"bad shopper-11, shopper-1 and shopper-2 under key-secret"}'
        results = insert(events, ScriptedTransport([Response(status=400, body=body)]), batch=True)
        assert [str(result) for result in results] == ["bad …, … and … under …"] * 12
