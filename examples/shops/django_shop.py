"""A small shop in Django: two lines of settings, one line a view. Where events go is decided by the environment
alone, in the variables that `examples/three_events.py` names; they wait in `var/outbox`.

    python examples/shops/django_shop.py
    gunicorn --pythonpath examples/shops --workers 2 django_shop:application

A project of several files names the outbox by its path, {"outbox": "shop.tracking.outbox"}, so that only servers open it.
"""

import os
from decimal import Decimal
from html import escape
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from footfall import Item, Money, Outbox
from footfall.client.web import shopper

PRICES = {"boots": "59.90", "rubber-boots": "24.50", "socks": "4.90"}

outbox = Outbox.from_env("var/outbox")
settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    FOOTFALL={
        "outbox": outbox,
        "user": lambda request: request.session.get("customer"),
        "hash_key": os.environ.get("SHOP_HASH_KEY"),
        "trusted_proxies": int(os.environ.get("SHOP_PROXIES", "0")),
    },
    MIDDLEWARE=["footfall.client.web.django.FootfallMiddleware", "django.contrib.sessions.middleware.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("SHOP_SECRET", "for trying out only"),
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
)


def items(basket: dict[str, int]) -> list[Item]:
    return [Item(id=sku, price=Money("EUR", PRICES[sku]), quantity=quantity) for sku, quantity in basket.items()]


def home(request: HttpRequest) -> HttpResponse:
    shopper().track(event_type="HOME")
    return page("Welcome", '<form action="/search"><input name="q"><button>Search</button></form>')


def search(request: HttpRequest) -> HttpResponse:
    words = request.GET.get("q", "")
    shopper().track(event_type="SEARCH", search_query=words)
    return page("Found", *(f'<a href="/product/{sku}">{sku}</a>' for sku in PRICES if words in sku))


def product(request: HttpRequest, sku: str) -> HttpResponse:
    if sku not in PRICES:
        raise Http404
    shopper().track(event_type="ITEM_PAGE_VIEW", items=items({sku: 1}), page_id=f"PRODUCT:{sku}")
    return page(sku, PRICES[sku], f'<form method="post" action="/cart/{sku}"><button>Into the cart</button></form>')


def add(request: HttpRequest, sku: str) -> HttpResponse:
    if sku not in PRICES:
        raise Http404
    basket = request.session.get("basket", {})
    request.session["basket"] = {**basket, sku: basket.get(sku, 0) + 1}
    shopper().track(event_type="ADD_TO_CART", items=items({sku: 1}))
    return HttpResponseRedirect("/cart")


def cart(request: HttpRequest) -> HttpResponse:
    shopper().track(event_type="PAGE_VIEW", page_id="CART")
    lines = (f"{quantity} × {sku}" for sku, quantity in request.session.get("basket", {}).items())
    return page("Cart", *lines, '<form method="post" action="/checkout"><button>Buy</button></form>')


def sign_in(request: HttpRequest, customer: str) -> HttpResponse:
    request.session["customer"] = customer  # a real shop asks for a password
    return HttpResponseRedirect("/")


def check_out(request: HttpRequest) -> HttpResponse:
    basket = request.session.pop("basket", {})
    if not basket:
        return HttpResponseRedirect("/cart")
    total = sum(Decimal(PRICES[sku]) * quantity for sku, quantity in basket.items())
    shopper().track(event_type="PURCHASE", items=items(basket), revenue=Money("EUR", total))
    return page("Thank you", f"{total} EUR")


def page(title: str, *parts: str) -> HttpResponse:
    lines = "".join(f"<p>{part}</p>" for part in parts)
    return HttpResponse(f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{lines}")


urlpatterns = [
    path("", require_GET(home)),
    path("search", require_GET(search)),
    path("product/<slug:sku>", require_GET(product)),
    path("cart", require_GET(cart)),
    path("cart/<slug:sku>", require_POST(add)),
    path("signin/<slug:customer>", require_POST(sign_in)),
    path("checkout", require_POST(check_out)),
]
application = get_wsgi_application()

if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "5000")), application) as server:
        server.serve_forever()
