"""The shopper of a Flask application.

from footfall.client.web import shopper
from footfall.client.web.flask import init

init(app, Outbox.from_env("var/outbox"), user=lambda request: session.get("customer"))

@app.post("/cart/<sku>")
def add(sku):
    shopper().track(event_type="ADD_TO_CART", items=[Item(id=sku, quantity=1)])
"""

from __future__ import annotations

from typing import Any, Unpack

from flask import Flask, request

from footfall.client.web.settings import Options
from footfall.client.web.shopper import Target
from footfall.client.web.wsgi import FootfallMiddleware


def init(app: Flask, outbox: Target, **options: Unpack[Options]) -> None:
    """Has every request of `app` bring its shopper; once, when the application is made. The options are those of
    `footfall.client.web.settings.Options`; `user` and `consent` are called inside the request, with `flask.request`.

    SettingsError for options that make no sense, RuntimeError for a second call.
    """
    if "footfall" in app.extensions:
        raise RuntimeError("footfall.client.web.flask.init was called for this application before")
    application: Any = app  # the attribute is a method to type checkers, and the documented place for middleware
    application.wsgi_app = FootfallMiddleware(app.wsgi_app, outbox, request_of=lambda _environ: request, **options)
    app.extensions["footfall"] = outbox
