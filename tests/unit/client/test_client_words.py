"""What a person reads when something in front of the receiver answers, or the receiver itself says no: the exact texts."""

from __future__ import annotations

from typing import Any

import pytest

from footfall import (
    ApiError,
    BadRequestError,
    Client,
    ForbiddenError,
    InternalServerError,
    MethodNotAllowedError,
    NotFoundError,
    RejectedError,
    TooManyRequestsError,
    UnauthorizedError,
    Violation,
)
from footfall.delivery.transport import Response, ScriptedTransport
from footfall.events.intake import read_event

PAGE = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>user-4711, please sign in</body></html>"
HTML = {"content-type": "text/html; charset=utf-8"}
FROM_A_WEBSITE = f"with {len(PAGE)} bytes of text/html; that is a website or a proxy, not a User Event API)"


def failing(status: int, body: bytes = b"", headers: dict[str, str] | None = None, **fields: Any) -> ApiError:
    transport = ScriptedTransport([Response(status=status, body=body, headers=headers or {})])
    client = Client(platform_name="shop", platform_id="SHOP", api_key="key-secret", transport=transport)
    event: dict[str, Any] = {"event_type": "HOME", "channel_type": "SITE", "user_id": "user-4711"}
    with pytest.raises(ApiError) as raised:
        client.insert_event(event | fields)
    assert str(raised.value) == raised.value.message
    assert raised.value.status == status
    return raised.value


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (
            400,
            BadRequestError,
            f"the receiver gave no reason (400 Bad Request, {FROM_A_WEBSITE}",
        ),
        (
            401,
            UnauthorizedError,
            f"no API key arrived; a proxy on the way may drop the X-API-Key header (401 Unauthorized, {FROM_A_WEBSITE}",
        ),
        (
            403,
            ForbiddenError,
            "the key was not accepted for this platform id; keys of the test and the live platform may differ "
            f"(403 Forbidden, {FROM_A_WEBSITE}",
        ),
        (
            404,
            NotFoundError,
            "the address or the platform id is wrong; look at platform_name, region or base_url, and platform_id "
            f"(404 Not Found, {FROM_A_WEBSITE}",
        ),
        (
            405,
            MethodNotAllowedError,
            f"POST is not taken there; look at base_url, and at proxies on the way (405 Method Not Allowed, {FROM_A_WEBSITE}",
        ),
        (
            407,
            RejectedError,
            "a proxy on the way asks for a user and a password; they go into proxy= "
            f"(407 Proxy Authentication Required, {FROM_A_WEBSITE}",
        ),
        (
            429,
            TooManyRequestsError,
            f"too many events; often all visitors share one default identifier (429 Too Many Requests, {FROM_A_WEBSITE}",
        ),
        (502, InternalServerError, f"the receiver fails (502 Bad Gateway, {FROM_A_WEBSITE}"),
        (503, InternalServerError, f"the receiver fails (503 Service Unavailable, {FROM_A_WEBSITE}"),
        (520, InternalServerError, f"the receiver fails (520 an unknown status, {FROM_A_WEBSITE}"),
    ],
)
def test_a_web_page_in_place_of_an_answer_is_named_and_not_repeated(status: int, kind: type[ApiError], text: str) -> None:
    error = failing(status, PAGE, HTML)
    assert type(error) is kind
    assert error.message == text


def test_a_load_balancer_that_says_nothing_or_little() -> None:
    assert str(failing(503)) == "the receiver fails (503 Service Unavailable, with nothing)"
    plain = failing(504, b"upstream request timeout", {"content-type": "text/plain"})
    assert str(plain) == "the receiver fails (504 Gateway Timeout, with 24 bytes of text/plain)"
    assert str(failing(503, b"\x00\x01")) == "the receiver fails (503 Service Unavailable, with 2 bytes of an unnamed type)"


def test_a_redirect_to_a_login_page_names_where_to_and_the_cure() -> None:
    error = failing(302, PAGE, {**HTML, "location": "https://login.example.com/?next=user-4711"})
    assert str(error) == (
        "the receiver redirects (302) to https://login.example.com; the key is not carried there, so correct base_url"
    )
    assert type(error) is RejectedError


def test_a_receiver_s_own_words_are_passed_on() -> None:
    own = b'{"code":7,"message":"API key is not for platform SHOP","details":[]}'
    assert str(failing(403, own)) == "API key is not for platform SHOP"


def test_a_refused_event_says_what_is_wrong_where_and_what_to_do() -> None:
    details = (
        b'[{"@type":"type.googleapis.com/google.rpc.BadRequest","field_violations":[{"field":"channel_type","description":'
        b'"\\"WEB\\" is not a channel type; did you mean SITE?","reason":"unknown_channel_type"}]}]'
    )
    body = b'{"code":3,"message":"invalid channel_type","details":' + details + b"}"
    error = failing(400, body, channel_type="WEB")
    assert isinstance(error, BadRequestError)
    assert str(error) == "invalid channel_type"
    [violation] = error.violations
    assert violation == Violation("channel_type", '"WEB" is not a channel type; did you mean SITE?', "unknown_channel_type")


def test_a_2xx_with_a_web_page_is_an_acceptance_all_the_same() -> None:
    """The status alone decides: the original service's 200 has a body that means nothing."""
    transport = ScriptedTransport([Response(status=200, body=PAGE, headers=HTML)])
    client = Client(platform_name="shop", platform_id="SHOP", api_key="key-secret", transport=transport)
    answer = client.insert_event(event_type="HOME", channel_type="SITE", user_id="user-4711")
    assert (answer.status, answer.report) == (200, None)
    assert "user-4711" not in repr(answer)
    assert read_event(transport.requests[0].body, now_ms=2_000_000_000_000).event.user_id == "user-4711"
