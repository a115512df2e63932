"""What is Django's own: dotted paths, missing settings, its answers with cookies and headers apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from footfall.client.web import shopper
from footfall.errors import SettingsError
from tests.contract.client import web_django
from tests.contract.client.web_shops import Kept

KEPT = Kept()


def anna(request: Any) -> str:
    return "anna"


def test_the_outbox_and_functions_may_be_dotted_paths() -> None:
    here = __name__
    options = {"outbox": f"{here}.KEPT", "user": f"{here}.anna"}
    with override_settings(FOOTFALL=options, ROOT_URLCONF=web_django.URLS):
        Client().get("/track")
    assert KEPT.event["user_id"] == "anna"
    assert options == {"outbox": f"{here}.KEPT", "user": f"{here}.anna"}


@pytest.mark.parametrize("options", [None, {}, {"user": anna}, "shop.tracking.outbox"])
def test_without_an_outbox_the_project_does_not_start(options: Any) -> None:
    with override_settings(FOOTFALL=options, ROOT_URLCONF=web_django.URLS), pytest.raises(SettingsError, match="outbox"):
        Client().get("/track")


def test_what_the_view_set_stays_beside_what_is_added() -> None:
    def view(request: Any) -> HttpResponse:
        shopper().track(event_type="HOME")
        response = HttpResponse("", headers={"Vary": "Accept-Language", "Accept-CH": "DPR"})
        response.set_cookie("theme", "dark")
        return response

    with override_settings(FOOTFALL={"outbox": Kept()}, ROOT_URLCONF=(path("", view),)):
        answer = Client().get("/", secure=True)
    assert answer.headers["Vary"] == "Accept-Language, Cookie"
    assert answer.headers["Accept-CH"] == "DPR, Sec-CH-UA-Model, Sec-CH-UA-Platform-Version"
    assert set(answer.cookies) == {"theme", "footfall_id"}


def test_the_proxy_header_of_django_itself_counts_for_https() -> None:
    headers = {"X-Forwarded-Proto": "https"}
    chosen = override_settings(
        FOOTFALL={"outbox": Kept()}, ROOT_URLCONF=web_django.URLS, SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")
    )
    with chosen:
        assert Client().get("/track", headers=headers).cookies["footfall_id"]["secure"]


def test_a_browser_is_known_again_by_djangos_own_clients() -> None:
    kept = Kept()
    with override_settings(FOOTFALL={"outbox": kept}, ROOT_URLCONF=web_django.URLS):
        client = Client()
        client.get("/track")
        client.get("/track")
    with override_settings(FOOTFALL={"outbox": kept}, ROOT_URLCONF=web_django.ASYNC_URLS):
        later = AsyncClient()
        asyncio.run(later.get("/track"))
        asyncio.run(later.get("/track"))
    ids = [event["device"].persistent_id for event in kept.events]
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_an_async_view_and_the_threads_it_awaits_have_one_person() -> None:
    kept = Kept()

    async def view(request: Any) -> HttpResponse:
        shopper().track(event_type="HOME")
        await sync_to_async(lambda: shopper().track(event_type="HOME"))()
        await asyncio.to_thread(lambda: shopper().track(event_type="HOME"))
        return HttpResponse("")

    with override_settings(FOOTFALL={"outbox": kept}, ROOT_URLCONF=(path("", view),)):
        answer = asyncio.run(AsyncClient().get("/"))
    assert {event["device"].persistent_id for event in kept.events} == {answer.cookies["footfall_id"].value}
    assert len(kept.events) == 3


def test_a_streamed_body_uses_the_person_that_its_view_took() -> None:
    kept = Kept()

    def view(request: Any) -> StreamingHttpResponse:
        person = shopper()
        known = person.persistent_id  # before the answer begins, so that the cookie is set

        def body() -> Any:
            yield known
            person.track(event_type="HOME")

        return StreamingHttpResponse(body())

    with override_settings(FOOTFALL={"outbox": kept}, ROOT_URLCONF=(path("", view),)):
        answer = Client().get("/")
        shown = b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]
    assert kept.event["device"].persistent_id == shown == answer.cookies["footfall_id"].value
