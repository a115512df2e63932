"""W1: what each status, and each kind of silence, means for the event that met it, for the others, and for the time of the next
attempt. Also events that are trouble all by themselves."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from footfall.delivery.protocol import Policy
from footfall.delivery.transport import Response
from footfall.errors import NetworkError
from tests.unit.delivery.rig import OK, Bench, answer, parcel


class Fault(NamedTuple):
    """An answer, and what follows when the event `bad` meets it for ten minutes, alone or with everybody else."""

    result: Response | NetworkError
    fate: str
    """"refused": set aside at once. "later": tried again by the failure schedule. "paused": each quarter of an hour.
    "lane": after a second, then two … "fine": delivered."""


SILENCE = NetworkError("no answer from 127.0.0.1:1: nothing complete within 5 s")
FAULTS = {
    "200": Fault(OK, "fine"),
    "201": Fault(answer(201), "fine"),
    "204 without a body": Fault(Response(status=204), "fine"),
    "200 that is no JSON": Fault(Response(status=200, body=b"<html>"), "fine"),
    "301": Fault(answer(301, location="https://elsewhere.example/path?key=1"), "paused"),
    "307": Fault(answer(307), "paused"),
    "400": Fault(answer(400, "missing page_id"), "refused"),
    "401": Fault(answer(401), "paused"),
    "402": Fault(answer(402), "paused"),
    "403": Fault(answer(403), "paused"),
    "404": Fault(answer(404), "paused"),
    "405": Fault(answer(405), "paused"),
    "407": Fault(answer(407), "paused"),
    "408": Fault(answer(408), "later"),
    "409": Fault(answer(409), "paused"),
    "410": Fault(answer(410), "paused"),
    "411": Fault(answer(411), "paused"),
    "413": Fault(answer(413), "refused"),
    "415": Fault(answer(415), "refused"),
    "418": Fault(answer(418), "paused"),
    "422": Fault(answer(422), "refused"),
    "425": Fault(answer(425), "later"),
    "429": Fault(answer(429), "lane"),
    "431": Fault(answer(431), "paused"),
    "451": Fault(answer(451), "paused"),
    "499": Fault(answer(499), "later"),
    "500": Fault(answer(500), "later"),
    "501": Fault(answer(501), "later"),
    "502 in HTML": Fault(Response(status=502, headers={"content-type": "text/html"}, body=b"<h1>Bad gateway"), "later"),
    "503": Fault(answer(503), "later"),
    "504": Fault(answer(504), "later"),
    "599": Fault(answer(599), "later"),
    "101, which nobody asked for": Fault(answer(101), "later"),
    "no answer": Fault(SILENCE, "later"),
    "reset": Fault(NetworkError("no answer from 127.0.0.1:1: the connection was cut before the answer was complete"), "later"),
}
TIMES_S = {
    "fine": [0],
    "refused": [0],
    "later": [0, 5, 15, 35, 75, 155, 315, 1215],
    "paused": [0, 900],
    "lane": [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363, 423, 483, 543, 603],
}
each_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


@each_fault
def test_when_an_event_goes_again_and_that_nothing_but_a_refusal_sets_it_aside(fault: Fault) -> None:
    bench = Bench(lambda ids, at_s: fault.result if at_s < 600 else OK, [parcel(1)])
    bench.run(3_600)
    assert bench.times_s() == TIMES_S[fault.fate]
    if fault.fate == "refused":
        assert bench.shelf.refusals["e1"].status == fault.result.status
        assert bench.shelf.delivered_ids == []
    else:
        assert bench.shelf.delivered_ids == ["e1"]
        assert bench.shelf.refusals == {}
    bench.assert_balance(1)


@each_fault
def test_what_the_stream_does_meanwhile(fault: Fault) -> None:
    """Refusals and one throttled shopper hold nobody; trouble of the stream holds everybody, and sets nothing aside."""
    bench = Bench(lambda ids, at_s: fault.result, [parcel(number) for number in range(100)])
    bench.run(60)
    kept = {"fine": 0, "refused": 0, "lane": 100, "later": 100, "paused": 100}[fault.fate]
    phase = {"fine": "flowing", "refused": "flowing", "lane": "flowing", "later": "retrying", "paused": "paused"}[fault.fate]
    assert bench.pump.loaded == kept
    assert bench.pump.course.phase == phase
    assert len(bench.shelf.refusals) == (100 if fault.fate == "refused" else 0)
    if phase in ("retrying", "paused"):
        assert bench.pump.course.status == fault.result.status
        assert bench.pump.course.message
    bench.assert_balance(100)


@each_fault
def test_one_event_that_meets_it_for_ever_does_not_stop_the_others(fault: Fault) -> None:
    bench = Bench(
        lambda ids, at_s: fault.result if "e3" in ids else OK,
        [parcel(number) for number in range(1_500)],
        latency_s=lambda: 10,
        policy=Policy(in_flight_max=2),
    )
    bench.run(12_000)
    assert len(bench.shelf.delivered_ids) >= 1_499
    fate = fault.fate
    if fate == "later":
        # By itself it failed six times, 5, 10, 20, 40 and 80 s apart at least.
        assert bench.shelf.refusals["e3"].status == fault.result.status
        assert 155 <= bench.times_s("e3")[-1] - bench.times_s("e3")[0] < 400
    elif fate == "paused":
        # By itself it failed six times, a quarter of an hour apart.
        assert bench.shelf.refusals["e3"].status == fault.result.status
        assert 5 * 900 <= bench.times_s("e3")[-1] - bench.times_s("e3")[0] < 7 * 950
    elif fate == "lane":
        assert bench.shelf.refusals == {}
        assert bench.pump.loaded == 1
        assert bench.pump.course.phase == "flowing"
    bench.assert_balance(1_500)


def test_an_event_that_makes_the_receiver_fail_leaves_its_lane_when_it_is_set_aside() -> None:
    bench = Bench(
        lambda ids, at_s: answer(500) if "e3" in ids else OK,
        [parcel(number, lane=number % 10) for number in range(100)],
        latency_s=lambda: 10,
        policy=Policy(in_flight_max=2),
    )
    bench.run(3_600)
    assert set(bench.shelf.refusals) == {"e3"}
    lane = [event_id for event_id in bench.shelf.delivered_ids if event_id.endswith("3")]
    assert lane == [f"e{number}" for number in range(13, 100, 10)]


@pytest.mark.parametrize("status", [500, 401, 403, 404, 302])
@pytest.mark.parametrize("lonely", ["without others", "while all fail"])
def test_an_event_is_never_set_aside_for_failures_that_others_share(lonely: str, status: int) -> None:
    parcels = [parcel(number) for number in range(1 if lonely == "without others" else 50)]
    bench = Bench(lambda ids, at_s: answer(status) if at_s < 50_000 else OK, parcels)
    bench.run(100_000)
    assert bench.shelf.refusals == {}
    bench.assert_balance(len(parcels))
    assert bench.pump.loaded == 0


@pytest.mark.parametrize(
    ("hint", "second_s"),
    [("1", 5), ("5", 5), ("60", 60), ("86400", 86_400), ("99999999999", 86_400), ("soon", 5), ("-7", 5), ("", 5)],
)
def test_retry_after_lengthens_a_wait_and_shortens_none(hint: str, second_s: float) -> None:
    bench = Bench(lambda ids, at_s: answer(503, retry_after=hint) if at_s < 1 else OK, [parcel(1)])
    bench.run(200_000)
    assert bench.times_s() == [0, second_s]


def test_an_event_that_seemed_the_streams_trouble_waits_as_long_as_its_answer_asked_for() -> None:
    """Others that were sent after it were taken, so the stream goes on at once, and without it."""
    late = answer(503, retry_after="600")
    bench = Bench(
        lambda ids, at_s: late if "e5" in ids and at_s < 600 else OK,
        [parcel(number) for number in range(60)],
        latency_s=lambda: 0.05,
    )
    bench.run(590)
    assert bench.pump.course.phase == "flowing"
    assert len(bench.shelf.delivered_ids) == 59
    bench.run(2_000)
    first_s, second_s = bench.times_s("e5")
    assert 600 <= second_s - first_s < 601
    bench.assert_balance(60)


@pytest.mark.parametrize("status", [403, 302])
def test_a_lone_event_that_is_barred_stays_while_nobody_else_gets_through(status: int) -> None:
    """Others were taken once, after it failed; then it is alone, or barred with everybody. Nobody knows whose fault that is."""
    bench = Bench(
        lambda ids, at_s: answer(status) if "e9" in ids or at_s > 60 else OK,
        [parcel(number) for number in range(60)],
        latency_s=lambda: 0.05,
    )
    bench.run(61)
    bench.shelf.stock.extend(parcel(number) for number in range(60, 90))
    bench.run(100_000)
    assert bench.shelf.refusals == {}
    assert bench.pump.loaded == 31
    bench.assert_balance(90)


def test_retry_after_may_be_a_date() -> None:
    """The virtual clock begins at 14:13:20."""
    late = answer(503, retry_after="Mon, 21 Sep 2026 14:18:20 GMT")
    bench = Bench(lambda ids, at_s: late if at_s < 1 else OK, [parcel(1)])
    bench.run(200_000)
    assert bench.times_s() == [0, 300]


def test_the_wait_after_retry_after_does_not_count_as_a_failure_more() -> None:
    """A hint replaces the wait it lengthens; the next wait is the one that the schedule has."""
    bench = Bench(lambda ids, at_s: answer(503, retry_after="30" if at_s < 1 else "0"), [parcel(1)])
    bench.run(100)
    assert bench.times_s() == [0, 30, 40, 60]


def test_no_message_holds_a_value_of_the_event_or_the_key() -> None:
    event = parcel(1, user_id="alice@shop.example", search_query="red shoes", device={"ip": "203.0.113.9"}, event_type="SEARCH")
    quoting = answer(400, "SEARCH of alice@shop.example for red shoes from 203.0.113.9 with key-of-shop\nis wrong")
    bench = Bench(lambda ids, at_s: quoting, [event])
    bench.run(10)
    assert bench.shelf.refusals["e1"].message == "SEARCH of … for … from … with … is wrong"


@pytest.mark.parametrize("status", [400, 403])
def test_a_receiver_is_not_quoted_about_an_event_with_more_values_than_can_be_struck_out(status: int) -> None:
    items = [{"id": f"sku-{number:04}", "seller_id": f"seller-{number}"} for number in range(300)]
    event = parcel(1, items=items, user_id="alice@shop.example")
    bench = Bench(lambda ids, at_s: answer(status, "alice@shop.example is unknown"), [event])
    bench.run(10)
    words = bench.shelf.refusals["e1"].message if status == 400 else bench.told[0][1].message
    assert str(status) in words
    assert "alice" not in words
    assert "unknown" not in words


def test_a_pause_quotes_the_receiver_without_the_event_or_the_key() -> None:
    event = parcel(1, user_id="alice@shop.example")
    bench = Bench(lambda ids, at_s: answer(403, "key-of-shop may not post alice@shop.example"), [event])
    bench.run(10)
    message = bench.pump.course.message
    assert "may not post" in message
    assert "alice" not in message
    assert "key-of-shop" not in message


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (answer(401), "send one"),
        (answer(403), "expired"),
        (answer(404), "platform_id"),
        (answer(405), "POST is not taken there"),
        (answer(407), "proxy"),
        (answer(302, location="https://login.example/?token=secret"), "https://login.example; the key is not carried there"),
        (Response(status=404, headers={"content-type": "text/html; charset=utf-8"}, body=b"<p>"), "not a User Event API"),
    ],
)
def test_a_pause_says_what_to_mend(result: Response, words: str) -> None:
    bench = Bench(lambda ids, at_s: result, [parcel(1)])
    bench.run(10)
    assert words in bench.told[0][1].message
    assert "secret" not in bench.told[0][1].message
