"""Tracking from a web shop: two lines when it starts, one line in a handler.

    init(app, outbox)                                  # footfall.client.web.flask; or the middleware of .django, .starlette
    shopper().track(event_type="HOME")                 # in any handler

User agent, client hints, address, language and a first-party id are filled in. The options are those of `settings.Options` in
each framework; each framework is imported in its own module only, and none is needed by the others. `wsgi` and `asgi` are for any
other.
"""

from footfall.client.web.shopper import Shopper, Target, shopper

__all__ = ["Shopper", "Target", "shopper"]
