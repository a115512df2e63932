"""When a sender at a terminal tries again, and that it says so."""

from __future__ import annotations

import pytest

from footfall.cli.courier import PAUSE_S_MAX, Courier, in_order, pause_of
from footfall.client.settings import Settings
from footfall.clock import ManualClock
from footfall.delivery.transport import Response, ScriptedTransport
from footfall.errors import ApiError, ForbiddenError, InternalServerError, NetworkError, TooManyRequestsError

SETTINGS = Settings(base_url="http://127.0.0.1", platform_id="SHOP", api_key="sesame", currency="", timeout_s=5, retries=0)


def schedule(problem: ApiError, *, answered: bool = True) -> list[float]:
    pauses: list[float] = []
    while (pause_s := pause_of(problem, attempt=len(pauses), answered=answered)) is not None:
        pauses.append(pause_s)
    return pauses


def test_a_5xx_is_tried_again_after_five_ten_and_twenty_seconds() -> None:
    assert schedule(InternalServerError("down", status=503)) == [5.0, 10.0, 20.0]


def test_a_network_that_fails_midway_is_waited_for_and_one_that_never_worked_hardly() -> None:
    assert schedule(NetworkError("cut")) == [5.0, 10.0, 20.0]
    assert schedule(NetworkError("refused"), answered=False) == [0.2]


def test_a_hint_of_the_receiver_only_lengthens_and_is_bounded() -> None:
    assert schedule(InternalServerError("down", retry_after_s=12.0)) == [12.0, 12.0, 20.0]
    assert schedule(TooManyRequestsError("slow", retry_after_s=4.0)) == [4.0, 4.0, 5.0]
    assert schedule(TooManyRequestsError("slow", retry_after_s=9999.0)) == [PAUSE_S_MAX] * 3


def test_what_would_be_answered_the_same_is_not_tried_again() -> None:
    assert schedule(ForbiddenError("no", status=403)) == []


def courier_of(transport: ScriptedTransport, told: list[str], clock: ManualClock) -> Courier:
    def wait(seconds: float) -> bool:
        clock.advance(seconds)
        return False

    return Courier(SETTINGS, timeout_s=5, wait=wait, tell=told.append, transport=transport, clock=clock)


def test_the_person_is_told_of_each_long_wait_and_the_body_stays_the_same() -> None:
    transport = ScriptedTransport([Response(status=503), Response(status=503), Response(status=200)])
    told: list[str] = []
    assert courier_of(transport, told, ManualClock()).deliver(b"{}").status == 200
    assert [request.body for request in transport.requests] == [b"{}"] * 3
    assert ["5 s" in told[0], "10 s" in told[1], len(told)] == [True, True, 2]


def test_after_the_last_attempt_the_problem_is_the_callers() -> None:
    told: list[str] = []
    transport = ScriptedTransport([Response(status=500)])
    with pytest.raises(InternalServerError):
        courier_of(transport, told, ManualClock()).deliver(b"{}")
    assert len(transport.requests) == 4


def test_work_is_done_at_once_and_comes_back_in_order() -> None:
    ended: list[bool] = []
    assert list(in_order(range(50), lambda number: number * 2, at_once=8, end=lambda: ended.append(True))) == list(
        range(0, 100, 2)
    )
    assert ended == [True]
