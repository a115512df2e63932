"""What every framework's shopper does, in every framework."""

from __future__ import annotations

import json
import logging
import uuid
from typing import Any
from urllib.parse import quote

import pytest

from footfall import Device, hash_identifier
from footfall.errors import SettingsError
from tests.contract.client.web_shops import NAMES, PEER, Kept, Page, open_shop

SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
CHROME = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36"
HINTS = {
    "User-Agent": CHROME,
    "Sec-CH-UA-Platform": '"Android"',
    "Sec-CH-UA-Platform-Version": '"14.0.0"',
    "Sec-CH-UA-Model": '"Pixel 8"',
}
ID = "0e4ee0b4-6f3a-4d5e-8c1b-2f6a7b8c9d0e"

every_framework = pytest.mark.parametrize("name", NAMES)


def device_of(event: dict[str, Any]) -> Device:
    device = event["device"]
    assert isinstance(device, Device)
    return device


def fields(**members: Any) -> str:
    return f"/fields?fields={quote(json.dumps(members))}"


@every_framework
def test_one_line_sends_who_with_what_and_from_where(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept)("/track", {"User-Agent": SAFARI, "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"})
    assert shown.status == 200
    assert kept.event["event_type"] == "HOME"
    assert kept.event["channel_type"] == "SITE"
    assert device_of(kept.event) == Device(
        ua=SAFARI, os="iOS", os_version="17.5", model="iPhone", language="ko", ip=PEER, persistent_id=shown.id
    )
    assert "user_id" not in kept.event
    assert "custom_id" not in kept.event


@every_framework
def test_client_hints_come_before_the_frozen_agent(name: str) -> None:
    kept = Kept()
    open_shop(name, kept)("/track", HINTS)
    device = device_of(kept.event)
    assert (device.os, device.os_version, device.model) == ("Android", "14", "Pixel 8")


@every_framework
def test_a_page_that_tracks_nothing_sets_no_cookie(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept)("/quiet")
    assert kept.events == []
    assert shown.all("set-cookie") == []
    assert shown.all("vary") == []


@every_framework
def test_the_first_event_makes_the_id_and_no_later_one_does(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept)
    first = get("/twice")
    assert uuid.UUID(first.id).version == 4
    again = get("/track", {"Cookie": f"theme=dark; footfall_id={first.id}; seen=1"})
    assert again.cookie == ""
    assert [device_of(event).persistent_id for event in kept.events] == [first.id] * 3


@every_framework
def test_the_cookie_is_the_shops_own_for_a_year_and_closed_to_scripts(name: str) -> None:
    shown = open_shop(name, Kept())("/track")
    parts = {part.strip().lower() for part in shown.cookie.split(";")[1:]}
    assert {part for part in parts if not part.startswith("expires=")} == {
        "max-age=31536000", "path=/", "secure", "httponly", "samesite=lax",
    }  # fmt: skip
    assert "cookie" in ", ".join(shown.all("vary")).lower()  # no cache may give one browser's id to another


@every_framework
def test_without_https_the_cookie_is_not_secure_and_browsers_are_not_asked(name: str) -> None:
    shown = open_shop(name, Kept())("/track", https=False)
    assert "secure" not in shown.cookie.lower()
    assert shown.id
    assert shown.all("accept-ch") == []


@every_framework
def test_pages_ask_for_hints_even_before_anything_is_tracked(name: str) -> None:
    asked = open_shop(name, Kept())("/quiet").all("accept-ch")
    assert asked == ["Sec-CH-UA-Model, Sec-CH-UA-Platform-Version"]
    assert open_shop(name, Kept(), client_hints=False)("/quiet").all("accept-ch") == []


@every_framework
@pytest.mark.parametrize("junk", ["", "1", "null", ID.upper(), ID + "0", f'"{ID}"', str(uuid.UUID(int=0)), ID[1:], "é"])
def test_what_cannot_be_our_id_is_replaced(name: str, junk: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept)("/track", {"Cookie": f"footfall_id={junk}"})
    assert uuid.UUID(shown.id).version == 4
    assert device_of(kept.event).persistent_id == shown.id != junk


@every_framework
def test_of_two_cookies_the_first_that_is_ours_counts(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept)("/track", {"Cookie": f"footfall_id=x; xfootfall_id={uuid.uuid4()}; footfall_id={ID}"})
    assert device_of(kept.event).persistent_id == ID
    assert shown.cookie == ""


@every_framework
def test_with_a_key_both_identifiers_leave_hashed_and_the_cookie_stays_plain(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept, hash_key="secret", user=lambda request: 4711)
    shown = get("/track")
    assert device_of(kept.event).persistent_id == hash_identifier(shown.id, "secret")
    assert kept.event["user_id"] == hash_identifier("4711", "secret")
    assert get("/me", {"Cookie": f"footfall_id={ID}"}).body == hash_identifier(ID, "secret")


@every_framework
def test_the_id_can_be_asked_for_before_anything_is_tracked(name: str) -> None:
    shown = open_shop(name, Kept())("/me")
    assert shown.body == shown.id != ""


@every_framework
@pytest.mark.parametrize("nobody", [None, "", False])
def test_nobody_signed_in_is_no_user_id(name: str, nobody: object) -> None:
    kept = Kept()
    open_shop(name, kept, user=lambda request: nobody)("/track")
    assert "user_id" not in kept.event


@every_framework
def test_the_functions_are_given_the_frameworks_own_request(name: str) -> None:
    def user(request: Any) -> str:
        if name == "wsgi":
            return str(request["HTTP_X_NAME"])
        if name == "asgi":
            return dict(request["headers"])[b"x-name"].decode()
        return str(request.headers["X-Name"])

    kept = Kept()
    open_shop(name, kept, user=user)("/track", {"X-Name": "anna"})
    assert kept.event["user_id"] == "anna"


@every_framework
def test_without_consent_nothing_that_identifies_leaves_and_the_cookie_goes(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept, consent=lambda request: False, user=lambda request: "anna")
    new, known = get("/track"), get(fields(user_id="anna", custom_id="c", session_id="s"), {"Cookie": f"footfall_id={ID}"})
    for event in kept.events:
        device = device_of(event)
        assert event["personalization_mode"] == "ID_LESS"
        assert not {"user_id", "custom_id", "session_id"} & event.keys()
        assert (device.persistent_id, device.ip) == ("", "")
    assert new.cookie == ""
    assert known.id == ""
    assert "max-age=0" in known.cookie.lower()


@every_framework
@pytest.mark.parametrize("mode", ["METRIC_ONLY", "STANDARD"])
def test_a_mode_that_the_handler_names_is_no_consent(name: str, mode: str) -> None:
    kept = Kept()
    get = open_shop(name, kept, consent=lambda request: False, user=lambda request: "anna")
    shown = get(fields(personalization_mode=mode, user_id="anna"))
    assert kept.event["personalization_mode"] == "ID_LESS"
    assert "user_id" not in kept.event
    assert shown.cookie == ""


@every_framework
@pytest.mark.parametrize("answer", ["no", None, 1])
def test_consent_is_given_by_true_and_by_nothing_else(name: str, answer: Any) -> None:
    kept = Kept()
    shown = open_shop(name, kept, consent=lambda request: answer)("/track", {"Cookie": f"footfall_id={ID}"})
    assert kept.event["personalization_mode"] == "ID_LESS"
    assert shown.cookie == ""  # a mistake in the shop's function does not delete anybody's id


@every_framework
def test_with_consent_all_is_as_without_the_question(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept, consent=lambda request: True)("/track")
    assert device_of(kept.event).persistent_id == shown.id != ""
    assert "personalization_mode" not in kept.event


@every_framework
def test_a_shop_may_go_without_ids(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept, persistent_id=False, user=lambda request: "anna")
    shown = get("/track", {"Cookie": f"footfall_id={ID}"})
    assert shown.cookie == ""
    assert (kept.event["user_id"], device_of(kept.event).persistent_id) == ("anna", "")


@every_framework
def test_what_the_handler_says_stands(name: str) -> None:
    kept = Kept()
    said = {
        "channel_type": "MOBILE_SITE",
        "user_id": "bert",
        "device": {"os": "tvOS"},
        "personalization_mode": "METRIC_ONLY",
        "search_query": "boots",
    }
    shown = open_shop(name, kept, user=lambda request: "anna")(fields(**said))
    assert kept.event == {"event_type": "SEARCH", **said}
    assert shown.body == "e-1"  # what the target answered
    assert shown.cookie == ""  # nothing asked for an id


@every_framework
def test_the_channel_and_the_cookie_are_as_configured(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept, channel_type="DESKTOP_SITE", cookie="who", cookie_domain="shop.example", cookie_age_s=60)
    (cookie,) = get("/track").all("set-cookie")
    assert kept.event["channel_type"] == "DESKTOP_SITE"
    assert cookie.startswith("who=")
    assert "Domain=shop.example" in cookie
    assert "Max-Age=60;" in cookie.replace("max-age", "Max-Age")


@every_framework
def test_a_header_that_nobody_vouches_for_is_not_believed(name: str) -> None:
    kept = Kept()
    lies = {"X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6", "X-Real-IP": "6.6.6.6", "X-Forwarded-Proto": "https"}
    shown = open_shop(name, kept)("/track", lies, https=False)
    assert device_of(kept.event).ip == PEER
    assert "secure" not in shown.cookie.lower()


@every_framework
@pytest.mark.parametrize("proxies", [1, [f"{PEER}/32"], [PEER]])
def test_behind_a_trusted_proxy_the_address_is_what_it_wrote(name: str, proxies: Any) -> None:
    kept = Kept()
    seen = {"X-Forwarded-For": "6.6.6.6, 2001:db8::9", "X-Forwarded-Proto": "https"}
    shown = open_shop(name, kept, trusted_proxies=proxies)("/track", seen, https=False)
    assert device_of(kept.event).ip == "2001:db8::9"
    assert "secure" in shown.cookie.lower()  # the proxy said https
    assert shown.all("accept-ch")


@every_framework
def test_behind_a_unix_socket_the_peer_has_no_address(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept)
    get("/track", peer="")
    assert device_of(kept.event).ip == ""


@every_framework
def test_a_thread_may_track_for_its_handler(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept)("/thread")
    assert device_of(kept.event).persistent_id == shown.id != ""


@every_framework
def test_two_people_are_never_mixed_up(name: str) -> None:
    kept = Kept()
    get = open_shop(name, kept)
    shown: list[Page] = [get("/track", peer=f"198.51.100.{number}") for number in range(8)]
    assert [device_of(event).persistent_id for event in kept.events] == [page.id for page in shown]
    assert len({page.id for page in shown}) == 8
    assert [device_of(event).ip for event in kept.events] == [f"198.51.100.{number}" for number in range(8)]


class Broken:
    """A target that breaks its promise."""

    def track(self, **fields: Any) -> str:
        raise RuntimeError("u-4711 is in this text")


@every_framework
def test_nothing_that_goes_wrong_reaches_the_shopper_and_each_thing_is_said_once(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(request: Any) -> Any:
        raise LookupError("u-4711 is in this text")

    caplog.set_level(logging.ERROR, "footfall.web")
    get = open_shop(name, Broken(), user=fail)
    assert [get("/twice").status for _ in range(3)] == [200] * 3
    told = [record.getMessage() for record in caplog.records if record.name == "footfall.web"]
    if not name.startswith("django"):  # there every request of the test client makes the middleware anew
        assert len(told) == 2
    assert "asking who is signed in failed with LookupError" in told[0]
    assert "tracking an event failed with RuntimeError" in told[1]
    assert "4711" not in caplog.text


@every_framework
def test_a_failing_user_function_costs_the_user_id_and_not_the_event(name: str) -> None:
    kept = Kept()
    shown = open_shop(name, kept, user=lambda request: {}["who"])("/track")
    assert "user_id" not in kept.event
    assert device_of(kept.event).persistent_id == shown.id != ""


@every_framework
def test_a_wrong_option_is_refused_when_the_shop_starts(name: str) -> None:
    with pytest.raises(SettingsError, match="did you mean 'trusted_proxies'"):
        open_shop(name, Kept(), trusted_proxy=1)("/quiet")


@every_framework
def test_a_target_that_cannot_track_is_refused_when_the_shop_starts(name: str) -> None:
    with pytest.raises(TypeError, match="not to dict"):
        open_shop(name, {})("/quiet")
