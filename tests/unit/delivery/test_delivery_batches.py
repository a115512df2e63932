"""Batches: to whom, how large, and that each event of one has its own fate."""

from __future__ import annotations

import json

import pytest

from footfall.delivery.api import Parcel
from footfall.delivery.protocol import Policy
from footfall.delivery.transport import Response
from footfall.errors import NetworkError
from tests.unit.delivery.rig import FOOTFALL, OK, Bench, answer, batch_answer, parcel

BATCH_END = "/rmp/event/v1/platforms/SHOP/userevents:batch"
OF_A_FOOTFALL_WITHOUT_BATCHES = Response(status=200, body=b'{"info":{"x-footfall":true},"paths":{}}')
OF_SOMEBODY_ELSE = Response(status=200, body=json.dumps({"info": {"title": "shop"}, "paths": {"/userevents:batch": {}}}).encode())


def taken(ids: list[str], at_s: float) -> Response:
    """A Footfall that takes everything, alone or in batches: whoever posts one event reads the status only."""
    return batch_answer(ids, {})


def numbered(count: int, *, lanes: int = 1_000) -> list[Parcel]:
    return [parcel(number, lane=number % lanes) for number in range(count)]


def test_a_footfall_is_asked_first_without_the_key_and_gets_batches_then() -> None:
    bench = Bench(taken, numbered(5_000), batch=None, latency_s=lambda: 0.005)
    bench.run(60)
    question, *posts = bench.receiver.attempts
    assert question.url == "http://127.0.0.1:1/openapi.json"
    assert "key-of-shop" not in str(question)
    assert [one.url for one in posts if not one.url.endswith(BATCH_END)] == []
    assert ("Content-Type", "application/x-ndjson") in posts[0].headers
    assert ("X-API-Key", "key-of-shop") in posts[0].headers
    assert sorted(bench.shelf.delivered_ids) == sorted(f"e{number}" for number in range(5_000))
    assert max(len(one.ids) for one in posts) == 1_000
    assert bench.receiver.in_flight_max <= 2
    bench.assert_balance(5_000)


@pytest.mark.parametrize(
    "document",
    [answer(404), answer(401), answer(403), answer(501), answer(302), OK, OF_SOMEBODY_ELSE, OF_A_FOOTFALL_WITHOUT_BATCHES],
    ids=["404", "401", "403", "501", "302", "empty", "another service", "a Footfall without batches"],
)
def test_whoever_does_not_say_that_it_takes_batches_gets_single_events(document: Response) -> None:
    bench = Bench(taken, numbered(50), batch=None, document=document)
    bench.run(60)
    assert all(len(one.ids) == 1 and one.url.endswith("/userevents") for one in bench.receiver.attempts[1:])
    assert [one.url for one in bench.receiver.attempts].count("http://127.0.0.1:1/openapi.json") == 1
    assert len(bench.shelf.delivered_ids) == 50
    assert bench.told == []


@pytest.mark.parametrize(("batch", "end"), [(True, ":batch"), (False, "/userevents")])
def test_who_says_what_the_receiver_is_spares_the_question(batch: bool, end: str) -> None:
    bench = Bench(taken, numbered(50), batch=batch)
    bench.run(60)
    assert all(one.url.endswith(end) for one in bench.receiver.attempts)
    assert len(bench.shelf.delivered_ids) == 50


@pytest.mark.parametrize("silence", [NetworkError("no answer"), answer(503), answer(429)], ids=["nothing", "503", "429"])
def test_a_question_without_an_answer_counts_as_a_failure_and_is_asked_again_when_events_get_through(
    silence: Response | NetworkError,
) -> None:
    bench = Bench(lambda ids, at_s: answer(503) if at_s < 30 else taken(ids, at_s), numbered(3_000), batch=None, document=silence)
    bench.run(34)
    bench.receiver.document = FOOTFALL
    bench.run(600)
    assert [round(one.at_s) for one in bench.receiver.attempts[:4]] == [0, 5, 15, 35]
    assert [len(one.ids) for one in bench.receiver.attempts[:4]] == [0, 1, 1, 1]
    assert bench.receiver.attempts[-1].url.endswith(":batch")
    assert bench.shelf.delivered_ids[-1] == "e2999"
    bench.assert_balance(3_000)


def test_a_receiver_that_answers_everything_but_the_question_is_not_waited_for() -> None:
    bench = Bench(taken, numbered(200), batch=None, document=answer(500))
    bench.run(60)
    assert len(bench.shelf.delivered_ids) == 200
    assert sum(not one.ids for one in bench.receiver.attempts) == 2


@pytest.mark.parametrize(
    "refusal",
    [answer(404), answer(405), answer(501), answer(415), Response(status=200, body=b"{}"), Response(status=204)],
    ids=["404", "405", "501", "415", "an answer of no Footfall", "204"],
)
def test_a_batch_route_that_is_gone_is_asked_about_and_left(refusal: Response) -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        return refusal if bench.receiver.attempts[-1].url.endswith(":batch") else OK

    bench = Bench(judge, numbered(100), batch=None)
    bench.run(60)
    assert sum(not one.ids for one in bench.receiver.attempts) == 2
    assert len(bench.shelf.delivered_ids) == 100
    assert bench.shelf.refusals == {}
    assert bench.told == []


@pytest.mark.parametrize("status", [404, 405, 415])
def test_a_batch_route_that_was_told_and_is_not_there_pauses_the_stream(status: int) -> None:
    bench = Bench(lambda ids, at_s: answer(status), numbered(100), batch=True)
    bench.run(60)
    assert bench.pump.course.phase == "paused"
    assert bench.shelf.refusals == {}
    bench.assert_balance(100)


def test_413_is_halved_until_the_one_fat_event_is_found() -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        return answer(413) if "e777" in ids else taken(ids, at_s)

    bench = Bench(judge, numbered(3_000), batch=True)
    bench.run(60)
    assert list(bench.shelf.refusals) == ["e777"]
    assert bench.shelf.refusals["e777"].status == 413
    assert len([one for one in bench.receiver.attempts if "e777" in one.ids]) < 15
    assert len(bench.shelf.delivered_ids) == 2_999
    assert bench.told == []
    bench.assert_balance(3_000)


def test_413_by_the_size_of_a_batch_is_halved_until_it_fits() -> None:
    bench = Bench(lambda ids, at_s: answer(413) if len(ids) > 300 else taken(ids, at_s), numbered(5_000), batch=True)
    bench.run(60)
    assert len(bench.shelf.delivered_ids) == 5_000
    assert bench.shelf.refusals == {}


def test_one_event_that_fails_every_batch_it_is_in_is_found_and_set_aside() -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        return answer(500) if "e777" in ids else taken(ids, at_s)

    bench = Bench(judge, numbered(8_000), batch=True, latency_s=lambda: 3.0, policy=Policy(batch_events_max=20))
    bench.run(3_600)
    assert list(bench.shelf.refusals) == ["e777"]
    assert len(bench.shelf.delivered_ids) == 7_999
    bench.assert_balance(8_000)


def test_each_event_of_a_batch_has_its_own_fate() -> None:
    """Rejected as wrong: set aside. As failed (13): again, alone. The others are done at once."""

    def judge(ids: list[str], at_s: float) -> Response:
        return batch_answer(ids, {"e3": 3, "e7": 13} if at_s < 4 else {})

    bench = Bench(judge, numbered(50), batch=True)
    bench.run(60)
    assert {event_id: refusal.status for event_id, refusal in bench.shelf.refusals.items()} == {"e3": 400}
    assert bench.times_s("e7")[1] - bench.times_s("e7")[0] == pytest.approx(5, abs=0.1)
    assert len(bench.shelf.delivered_ids) == 49
    assert bench.told == []
    bench.assert_balance(50)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"accepted":1}',
        b'{"accepted":3,"rejected":[{"index":0,"code":3,"message":""}]}',
        b'{"accepted":1,"rejected":[{"index":0,"code":3},{"index":0,"code":3}]}',
        b'{"accepted":2,"rejected":[{"index":3,"code":3}]}',
        b'{"accepted":2,"rejected":[{"index":-1,"code":3}]}',
    ],
)
def test_an_answer_that_does_not_speak_of_each_event_once_settles_none(body: bytes) -> None:
    def judge(ids: list[str], at_s: float) -> Response:
        return Response(status=200, body=body) if len(ids) == 3 and at_s < 1 else taken(ids, at_s)

    bench = Bench(judge, [parcel(number) for number in range(6)], batch=True, policy=Policy(batches_in_flight_max=1))
    bench.run(0.5)
    assert bench.receiver.attempts[-1].ids == ("e3", "e4", "e5")  # after batches of one and two
    assert bench.shelf.delivered_ids == ["e0", "e1", "e2"]
    assert bench.pump.course.phase == "retrying"
    bench.run(60)
    assert len(bench.shelf.delivered_ids) == 6
    assert bench.shelf.refusals == {}


def test_a_batch_is_bounded_in_bytes_and_one_long_event_goes_alone() -> None:
    parcels = [parcel(number, size=400 if number != 70 else 5_000) for number in range(200)]
    bench = Bench(taken, parcels, batch=True, policy=Policy(batch_bytes_max=4_000))
    bench.run(60)
    assert all(len(one.ids) <= 9 for one in bench.receiver.attempts)
    assert [one.ids for one in bench.receiver.attempts if "e70" in one.ids] == [("e70",)]
    assert len(bench.shelf.delivered_ids) == 200


def test_what_is_in_hand_is_bounded_in_bytes_but_for_one_helping() -> None:
    parcels = [parcel(number, size=10_000) for number in range(2_000)]
    bench = Bench(lambda ids, at_s: answer(503), parcels, policy=Policy(loaded_bytes_max=1_000_000))
    bench.run(60)
    assert bench.pump.loaded < 700


def test_events_that_come_one_by_one_travel_together() -> None:
    """A batch that is not full waits for company, for a fiftieth of a second at most."""
    bench = Bench(taken, batch=True, latency_s=lambda: 0.001)
    for number in range(1_000):
        bench.shelf.stock.append(parcel(number))
        bench.pump.turn(0.001)
        bench.clock.advance(0.001)
    bench.run(60)
    assert len(bench.receiver.attempts) < 120
    assert len(bench.shelf.delivered_ids) == 1_000


def test_two_batches_on_their_way_share_no_lane() -> None:
    """All of one identifier: one batch at a time, in order."""
    bench = Bench(taken, numbered(5_000, lanes=1), batch=True, latency_s=lambda: 0.01)
    bench.run(60)
    assert bench.receiver.in_flight_max == 1
    assert bench.shelf.delivered_ids == [f"e{number}" for number in range(5_000)]


@pytest.mark.parametrize("codes", [(14, 14, 14), (14, 8, 14), (8, 14, 8), (8, 8, 8)])
def test_events_of_a_lane_that_come_back_one_by_one_keep_their_order(codes: tuple[int, ...]) -> None:
    """8: throttled, 14: failed; each is put back by itself."""
    fates = dict(zip(("e20", "e21", "e22"), codes, strict=True))
    together: list[int] = []

    def judge(ids: list[str], at_s: float) -> Response:
        if together or not set(fates) <= set(ids):
            return taken(ids, at_s)
        together.append(len(ids))
        return batch_answer(ids, fates)

    bench = Bench(judge, [parcel(number, lane=1 if 20 <= number < 23 else number) for number in range(1, 60)], batch=True)
    bench.run(100)
    assert together
    assert [event_id for event_id in bench.shelf.delivered_ids if event_id in fates] == ["e20", "e21", "e22"]
    bench.assert_balance(59)


@pytest.mark.parametrize("batch", [True, None])
def test_a_batch_of_one_that_is_refused_goes_once_more_as_a_post(batch: bool | None) -> None:
    """A proxy on the way that answers 400 to newline-delimited JSON costs no event; one that is refused alone is refused."""

    def judge(ids: list[str], at_s: float) -> Response:
        return answer(400, "blocked by policy") if bench.receiver.attempts[-1].url.endswith(":batch") or "e7" in ids else OK

    bench = Bench(judge, numbered(200), batch=batch)
    bench.run(4_000)
    assert len(bench.shelf.delivered_ids) == 199
    assert list(bench.shelf.refusals) == ["e7"]
    assert bench.told == []


def test_one_event_longer_than_the_bound_does_not_end_the_taking() -> None:
    """The length of the next events is a guess, and the guess never says that none has room where nothing is in hand."""
    parcels = [parcel(number, size=50_000 if number == 0 else 0) for number in range(200)]
    bench = Bench(taken, policy=Policy(loaded_bytes_max=10_000))
    for one in parcels:
        bench.shelf.stock.append(one)
        bench.run(bench.now_s + 1)
    assert len(bench.shelf.delivered_ids) == 200
