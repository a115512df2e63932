"""What is Flask's own: sessions, hooks, error pages, bodies that outlive the request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

flask = pytest.importorskip("flask", reason="Flask is not installed")

from footfall.client.web import shopper  # noqa: E402 - not without Flask
from footfall.client.web.flask import init  # noqa: E402
from tests.contract.client.web_shops import Kept  # noqa: E402


def shop(kept: Kept) -> flask.Flask:
    app = flask.Flask("shop")
    app.secret_key = "for tests"
    init(app, kept, user=lambda request: flask.session.get("customer"))
    return app


def test_the_signed_in_are_told_from_the_session_of_the_very_event() -> None:
    kept = Kept()
    app = shop(kept)

    @app.get("/signin")
    def sign_in() -> str:
        shopper().track(event_type="HOME")
        flask.session["customer"] = "anna"
        shopper().track(event_type="HOME")
        return ""

    client = app.test_client()
    client.get("/signin").close()
    client.get("/signin").close()
    assert [event.get("user_id") for event in kept.events] == [None, "anna", "anna", "anna"]
    assert len({event["device"].persistent_id for event in kept.events}) == 1  # the test client keeps cookies as a browser does


def test_hooks_and_error_pages_have_their_shopper() -> None:
    kept = Kept()
    app = shop(kept)
    app.config["PROPAGATE_EXCEPTIONS"] = False

    @app.before_request
    def before() -> None:
        shopper().track(event_type="HOME")

    @app.errorhandler(500)
    def failed(error: object) -> tuple[str, int]:
        shopper().track(event_type="HOME")
        return "sorry", 500

    @app.get("/")
    def home() -> str:
        raise LookupError("the shop's own")

    answer = app.test_client().get("/")
    assert (answer.status_code, answer.text) == (500, "sorry")
    assert "footfall_id=" in answer.headers["Set-Cookie"]
    assert len(kept.events) == 2


def test_a_streamed_body_keeps_the_person_it_began_with() -> None:
    kept = Kept()
    app = shop(kept)

    @app.get("/")
    def home() -> flask.Response:
        flask.session["customer"] = "anna"
        shopper().track(event_type="HOME")

        def body() -> Iterator[str]:
            yield "a"
            shopper().track(event_type="HOME")

        return flask.Response(body())

    with app.test_client() as client:
        assert client.get("/").text == "a"
    first, late = kept.events
    assert (late["user_id"], late["device"]) == (first["user_id"], first["device"])


def test_a_second_init_is_refused() -> None:
    app = shop(Kept())
    with pytest.raises(RuntimeError, match="before"):
        init(app, Kept())
