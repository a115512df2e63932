"""A small shop in Flask: two lines when it starts, one line a handler. Where events go is decided by the environment
alone, in the variables that `examples/three_events.py` names; they wait in `var/outbox`.

    python examples/shops/flask_shop.py
    gunicorn --pythonpath examples/shops --workers 2 flask_shop:app
"""

import os
from decimal import Decimal
from html import escape

from flask import Flask, abort, redirect, request, session
from werkzeug import Response

from footfall import Item, Money, Outbox
from footfall.client.web import shopper
from footfall.client.web.flask import init

PRICES = {"boots": "59.90", "rubber-boots": "24.50", "socks": "4.90"}

app = Flask(__name__)
app.secret_key = os.environ.get("SHOP_SECRET", "for trying out only")
outbox = Outbox.from_env("var/outbox")
init(
    app,
    outbox,
    user=lambda request: session.get("customer"),
    hash_key=os.environ.get("SHOP_HASH_KEY"),
    trusted_proxies=int(os.environ.get("SHOP_PROXIES", "0")),
)


def items(basket: dict[str, int]) -> list[Item]:
    return [Item(id=sku, price=Money("EUR", PRICES[sku]), quantity=quantity) for sku, quantity in basket.items()]


@app.get("/")
def home() -> str:
    shopper().track(event_type="HOME")
    return page("Welcome", '<form action="/search"><input name="q"><button>Search</button></form>')


@app.get("/search")
def search() -> str:
    words = request.args.get("q", "")
    shopper().track(event_type="SEARCH", search_query=words)
    return page("Found", *(f'<a href="/product/{sku}">{sku}</a>' for sku in PRICES if words in sku))


@app.get("/product/<sku>")
def product(sku: str) -> str:
    if sku not in PRICES:
        abort(404)
    shopper().track(event_type="ITEM_PAGE_VIEW", items=items({sku: 1}), page_id=f"PRODUCT:{sku}")
    return page(sku, PRICES[sku], f'<form method="post" action="/cart/{sku}"><button>Into the cart</button></form>')


@app.post("/cart/<sku>")
def add(sku: str) -> Response:
    if sku not in PRICES:
        abort(404)
    basket = session.setdefault("basket", {})
    basket[sku] = basket.get(sku, 0) + 1
    session.modified = True
    shopper().track(event_type="ADD_TO_CART", items=items({sku: 1}))
    return redirect("/cart", 303)


@app.get("/cart")
def cart() -> str:
    shopper().track(event_type="PAGE_VIEW", page_id="CART")
    lines = (f"{quantity} × {sku}" for sku, quantity in session.get("basket", {}).items())
    return page("Cart", *lines, '<form method="post" action="/checkout"><button>Buy</button></form>')


@app.post("/signin/<customer>")
def sign_in(customer: str) -> Response:
    session["customer"] = customer  # a real shop asks for a password
    return redirect("/", 303)


@app.post("/checkout")
def check_out() -> Response | str:
    basket = session.pop("basket", {})
    if not basket:
        return redirect("/cart", 303)
    total = sum(Decimal(PRICES[sku]) * quantity for sku, quantity in basket.items())
    shopper().track(event_type="PURCHASE", items=items(basket), revenue=Money("EUR", total))
    return page("Thank you", f"{total} EUR")


def page(title: str, *parts: str) -> str:
    return f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>" + "".join(f"<p>{part}</p>" for part in parts)


if __name__ == "__main__":
    app.run(port=int(os.environ.get("PORT", "5000")))
