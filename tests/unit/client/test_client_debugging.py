"""`debug=True`: what is wrong or weak in an event is told where the caller's code sends it."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from footfall import AsyncClient, BadRequestError, Client, Device, Item, Money
from footfall.client.debugging import FootfallWarning
from footfall.clock import ManualClock
from footfall.delivery.transport import Response, ScriptedTransport

NOW_MS = 1_790_000_000_000
CLEAN: dict[str, Any] = {
    "event_type": "ADD_TO_CART",
    "channel_type": "SITE",
    "user_id": "344365307ba22c9c9faec9895a58fd3b",
    "device": Device(persistent_id="aefd5ff152770269354a80f39d41c19d"),
    "items": [Item(id="sku-1", price=Money("USD", "19.99"), quantity=2)],
}
WEAK = CLEAN | {"items": [Item(id="sku-1", price=Money("USD", "19.99"))]}
WRONG = CLEAN | {"channel_type": "WEB"}


@pytest.fixture
def told() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def options(*script: Response, debug: bool = True) -> dict[str, Any]:
    transport = ScriptedTransport(script)
    place = {"platform_id": "SHOP_TEST", "api_key": "key-secret", "base_url": "http://localhost:1"}
    return {**place, "debug": debug, "transport": transport, "clock": ManualClock(NOW_MS)}


def report(*found: tuple[str, str, str]) -> bytes:
    listed = [dict(zip(("reason", "field", "description"), warning, strict=True)) for warning in found]
    return msgspec.json.encode({"test": {"event": {}, "warnings": listed}})


def line() -> int:
    return sys._getframe(1).f_lineno


def places(told: list[warnings.WarningMessage]) -> list[tuple[str, int]]:
    assert {warning.category for warning in told} <= {FootfallWarning}
    return [(warning.filename, warning.lineno) for warning in told]


def texts(told: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in told]


def test_a_clean_event_is_told_nothing_of(told: list[warnings.WarningMessage]) -> None:
    Client(**options()).insert_event(**CLEAN)
    assert texts(told) == []


def test_nothing_is_told_unless_asked_for(told: list[warnings.WarningMessage]) -> None:
    weak = report(("odd", "items", "something"))
    Client(**options(Response(status=200, body=weak), debug=False)).insert_event(**WRONG)
    assert texts(told) == []


def test_what_is_weak_is_told_at_the_line_that_sends_it_and_the_event_goes(told: list[warnings.WarningMessage]) -> None:
    given = options()
    here = line() + 1
    Client(**given).insert_event(**WEAK)
    [text] = texts(told)
    assert text.startswith("items[0].quantity: ")
    assert text.endswith("[missing_quantity]")
    assert places(told) == [(__file__, here)]
    assert len(given["transport"].requests) == 1


def test_what_breaks_a_rule_is_told_and_the_receiver_decides(told: list[warnings.WarningMessage]) -> None:
    client = Client(**options(Response(status=200, body=b"{}"), Response(status=400, body=b'{"message":"no such channel"}')))
    assert client.insert_event(**WRONG).status == 200
    with pytest.raises(BadRequestError, match="no such channel"):
        client.insert_event(**WRONG)
    first, second = texts(told)
    assert first == second
    assert first.startswith("will be refused: channel_type: ")
    assert first.endswith("[unknown_channel_type]")


def test_findings_of_the_test_platform_are_told_once_and_only_those_not_told_before(told: list[warnings.WarningMessage]) -> None:
    body = report(
        ("missing_quantity", "items[0].quantity", "as told before"),
        ("price_far_off", "items[0].price", "the catalog says otherwise"),
        ("odd", "", "an odd event"),
    )
    here = line() + 1
    Client(**options(Response(status=200, body=body))).insert_event(**WEAK)
    assert texts(told)[1:] == ["items[0].price: the catalog says otherwise [price_far_off]", "an odd event [odd]"]
    assert places(told) == [(__file__, here)] * 3


def test_no_text_holds_whom_an_event_is_about_or_the_key(told: list[warnings.WarningMessage]) -> None:
    personal = CLEAN | {"user_id": "jane.doe@example.com", "device": Device(persistent_id="p-4711", ip="203.0.113.9")}
    quoting = report(("odd", "user_id", "jane.doe@example.com at 203.0.113.9, p-4711, key-secret\n\x1b[31m"))
    Client(**options(Response(status=200, body=quoting))).insert_event(**personal)
    assert {text.rpartition("[")[2] for text in texts(told)} >= {"unhashed_email]", "odd]"}
    for text in texts(told):
        assert text.isprintable()
        for secret in ("jane", "p-4711", "203.0.113", "key-secret"):
            assert secret not in text


def test_a_web_page_in_place_of_an_answer_is_told(told: list[warnings.WarningMessage]) -> None:
    page = Response(status=200, body=b"<html>Sign in</html>", headers={"content-type": "text/html; charset=utf-8"})
    assert Client(**options(page)).insert_event(**CLEAN).status == 200
    assert texts(told) == ["accepted with a web page, which no User Event API sends; is base_url right? [answer_is_a_web_page]"]


class TestAsync:
    def test_the_line_is_that_of_the_call_whoever_awaits_it(self, told: list[warnings.WarningMessage]) -> None:
        client = AsyncClient(**options(Response(status=200, body=report(("odd", "", "an odd event")))))
        lines = []

        async def run() -> None:
            lines.append(line() + 1)
            await client.insert_event(**WEAK)
            lines.append(line() + 1)
            task = asyncio.create_task(client.insert_event(**WEAK))
            await asyncio.sleep(0)
            await task
            lines.extend((line() + 2, line() + 3))
            await asyncio.gather(
                client.insert_event(**WEAK),
                client.insert_event(**CLEAN),
            )

        asyncio.run(run())
        assert set(places(told)) == {(__file__, number) for number in lines}
        assert len(lines) == 4
        assert len(told) == 7  # what is weak is told before and reported after; the clean one is reported only

    def test_a_mistake_is_raised_where_the_call_stands(self) -> None:
        with pytest.raises(TypeError, match="user_id"):
            AsyncClient(**options()).insert_event(userid="u")  # type: ignore[call-arg,unused-coroutine]


class TestManyEvents:
    @pytest.mark.parametrize("batch", [False, True])
    def test_findings_name_the_event_at_the_line_of_the_call(self, batch: bool, told: list[warnings.WarningMessage]) -> None:
        finding = {"reason": "odd", "field": "user_id", "description": "an odd one"}
        reported = {"test": {"event": {}, "warnings": [finding]}}
        together = {"accepted": 2, "rejected": [{"index": 1, "code": 3}], "reports": [{"index": 2, **reported}]}
        script = [Response(status=200, body=msgspec.json.encode(together if batch else reported))]
        here = line() + 1
        Client(**options(*script)).insert_events([CLEAN, WRONG, WEAK], batch=batch)
        found = {text.split(":")[0] + " " + text.rpartition("[")[2] for text in texts(told)}
        expected = {"events[1] unknown_channel_type]", "events[2] missing_quantity]", "events[2] odd]"}
        assert found == (expected if batch else expected | {"events[0] odd]", "events[1] odd]"})
        assert set(places(told)) == {(__file__, here)}

    def test_the_asynchronous_client_does_the_same(self, told: list[warnings.WarningMessage]) -> None:
        async def run() -> int:
            await AsyncClient(**options()).insert_events([WEAK])
            return line() - 1

        here = asyncio.run(run())
        assert places(told) == [(__file__, here)]
        assert texts(told)[0].startswith("events[0]: items[0].quantity: ")


class TestPythonsFilters:
    def test_by_default_a_line_is_told_each_finding_once(self) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            client = Client(**options())
            for _ in range(5):
                client.insert_event(**WEAK)
            client.insert_event(**WEAK)
        assert len({warning.lineno for warning in caught}) == len(caught) == 2

    def test_as_errors_they_are_raised_before_the_event_goes(self) -> None:
        given = options()
        with warnings.catch_warnings():
            warnings.simplefilter("error", FootfallWarning)
            with pytest.raises(FootfallWarning, match="missing_quantity"):
                Client(**given).insert_event(**WEAK)
        assert given["transport"].requests == []

    def test_findings_of_the_receiver_are_raised_by_insert_events_too(self) -> None:
        odd = Response(status=200, body=report(("odd", "", "an odd event")))
        with warnings.catch_warnings():
            warnings.simplefilter("error", FootfallWarning)
            with pytest.raises(FootfallWarning, match="odd event"):
                Client(**options(odd)).insert_events([CLEAN] * 20)
