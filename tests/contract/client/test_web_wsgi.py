"""How long a shopper stays in a WSGI application: until the body has been read, and not an instant longer."""

from __future__ import annotations

import subprocess
import sys
import wsgiref.util
import wsgiref.validate
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest

from footfall import hash_identifier
from footfall.client.web import shopper
from footfall.client.web.wsgi import FootfallMiddleware
from tests.contract.client.web_shops import PEER, Kept

ID = "0e4ee0b4-6f3a-4d5e-8c1b-2f6a7b8c9d0e"


class Answered:
    """What `start_response` was told."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(self, status: str, headers: list[tuple[str, str]], failure: Any = None) -> Any:
        self.status, self.headers = status, headers
        return lambda data: None


def environ(**members: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"REMOTE_ADDR": PEER, **members}
    wsgiref.util.setup_testing_defaults(made)
    return made


def is_nobody() -> bool:
    return shopper().track(event_type="HOME") == ""


def streaming(environ: Any, start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"a"
    shopper().track(event_type="HOME")
    yield b"b"
    shopper().track(event_type="HOME")


def test_a_body_made_piece_by_piece_tracks_too_and_a_new_person_passes_under_a_custom_id() -> None:
    """The head is out, so no cookie can be set: a persistent id would never be seen again."""
    kept, answered = Kept(), Answered()
    body = FootfallMiddleware(streaming, kept)(environ(), answered)
    assert b"".join(body) == b"ab"
    body.close()  # type: ignore[attr-defined]
    first, second = kept.events
    assert answered.headers == [("Content-Type", "text/plain")]
    assert first["device"].persistent_id == second["device"].persistent_id == ""
    assert first["custom_id"] == second["custom_id"] != ""
    assert is_nobody()


def test_a_passing_id_is_hashed_like_any_other_and_left_out_where_somebody_is_signed_in() -> None:
    kept = Kept()
    list(FootfallMiddleware(streaming, kept, hash_key="k")(environ(), Answered()))
    list(FootfallMiddleware(streaming, kept, user=lambda request: "anna")(environ(), Answered()))
    list(FootfallMiddleware(streaming, kept, persistent_id=False)(environ(), Answered()))
    assert len(kept.events[0]["custom_id"]) == len(hash_identifier("x", "k"))
    assert [event.get("custom_id") for event in kept.events[2:]] == [None] * 4
    assert {event.get("user_id") for event in kept.events[2:4]} == {"anna"}


def test_a_person_with_a_cookie_is_known_in_a_late_piece_too() -> None:
    kept = Kept()
    list(FootfallMiddleware(streaming, kept)(environ(HTTP_COOKIE=f"footfall_id={ID}"), Answered()))
    assert [event["device"].persistent_id for event in kept.events] == [ID, ID]


def test_who_was_signed_in_stays_so_when_the_request_cannot_be_asked_any_more() -> None:
    names = iter(["anna"])
    kept = Kept()

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        shopper().track(event_type="HOME")
        yield from streaming(environ, start_response)

    list(FootfallMiddleware(app, kept, user=lambda request: next(names))(environ(), Answered()))
    assert [event["user_id"] for event in kept.events] == ["anna"] * 3


def test_nobody_stays_behind_when_the_application_fails() -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise LookupError("the shop's own")

    with pytest.raises(LookupError):
        FootfallMiddleware(app, Kept())(environ(), Answered())
    assert is_nobody()


def test_nobody_stays_behind_when_the_body_fails_or_is_given_up() -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"a"
        raise LookupError("the shop's own")

    for pieces in (1, 2):
        body = FootfallMiddleware(app, Kept())(environ(), Answered())
        reading = iter(body)
        next(reading)
        if pieces == 2:
            with pytest.raises(LookupError):
                next(reading)
        body.close()  # type: ignore[attr-defined]
        assert is_nobody()


def test_a_file_goes_to_the_server_as_the_application_gave_it() -> None:
    """Servers send files in ways of their own, if they recognise them."""
    file = wsgiref.util.FileWrapper(BytesIO(b"picture"))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "image/png")])
        return file

    members = environ()
    members["wsgi.file_wrapper"] = wsgiref.util.FileWrapper
    assert FootfallMiddleware(app, Kept())(members, Answered()) is file
    assert is_nobody()


def test_the_middleware_is_an_application_like_any_other() -> None:
    """wsgiref's judge of both sides finds nothing."""

    def app(environ: Any, start_response: Any) -> Any:
        shopper().track(event_type="HOME")
        start_response("404 Not Found", [("Content-Type", "text/html"), ("Set-Cookie", "a=b")])
        return iter([b"gone"])

    judged = wsgiref.validate.validator(FootfallMiddleware(wsgiref.validate.validator(app), Kept()))
    answered = Answered()
    members = environ(SERVER_PROTOCOL="HTTP/1.1", QUERY_STRING="")
    members["wsgi.url_scheme"] = "https"
    body = judged(members, answered)
    assert b"".join(body) == b"gone"
    body.close()  # type: ignore[attr-defined]
    assert [name for name, _ in answered.headers] == ["Content-Type", "Set-Cookie", "Set-Cookie", "Vary", "Accept-CH"]


def test_outside_a_request_the_shopper_is_nobody_and_that_is_said_once() -> None:
    """In a process of its own, since it is said once in a process."""
    program = (
        "from footfall.client.web import shopper\n"
        "print([shopper().track(event_type='HOME', user_id='u-4711') for _ in range(3)], [shopper().persistent_id])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['', '', ''] ['']"
    assert done.stderr.count("outside a request") == len(done.stderr.splitlines()) == 1
    assert "4711" not in done.stderr
