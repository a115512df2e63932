"""A small shop in FastAPI: two lines when it starts, one line a handler. Where events go is decided by the environment
alone, in the variables that `examples/three_events.py` names; they wait in `var/outbox`.

    python examples/shops/fastapi_shop.py
    uvicorn --app-dir examples/shops --workers 2 fastapi_shop:app

In Starlette all is the same but the decorators. Handlers that are plain functions track as well as those that are async.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from html import escape

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.middleware.sessions import SessionMiddleware

from footfall import Item, Money, Outbox
from footfall.client.web import shopper
from footfall.client.web.starlette import FootfallMiddleware

PRICES = {"boots": "59.90", "rubber-boots": "24.50", "socks": "4.90"}

outbox = Outbox.from_env("var/outbox")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await asyncio.to_thread(outbox.close)  # uvicorn ends its workers by signal; what waits would wait for another worker


app = FastAPI(lifespan=lifespan)
app.add_middleware(SessionMiddleware, secret_key=os.environ.get("SHOP_SECRET", "for trying out only"))
app.add_middleware(
    FootfallMiddleware,
    outbox=outbox,
    user=lambda request: request.session.get("customer"),
    hash_key=os.environ.get("SHOP_HASH_KEY"),
    trusted_proxies=int(os.environ.get("SHOP_PROXIES", "0")),
)


def items(basket: dict[str, int]) -> list[Item]:
    return [Item(id=sku, price=Money("EUR", PRICES[sku]), quantity=quantity) for sku, quantity in basket.items()]


@app.get("/")
async def home() -> HTMLResponse:
    shopper().track(event_type="HOME")
    return page("Welcome", '<form action="/search"><input name="q"><button>Search</button></form>')


@app.get("/search")
async def search(q: str = "") -> HTMLResponse:
    shopper().track(event_type="SEARCH", search_query=q)
    return page("Found", *(f'<a href="/product/{sku}">{sku}</a>' for sku in PRICES if q in sku))


@app.get("/product/{sku}")
def product(sku: str) -> HTMLResponse:
    if sku not in PRICES:
        raise HTTPException(404)
    shopper().track(event_type="ITEM_PAGE_VIEW", items=items({sku: 1}), page_id=f"PRODUCT:{sku}")
    return page(sku, PRICES[sku], f'<form method="post" action="/cart/{sku}"><button>Into the cart</button></form>')


@app.post("/cart/{sku}")
async def add(sku: str, request: Request) -> Response:
    if sku not in PRICES:
        raise HTTPException(404)
    basket = request.session.get("basket", {})
    request.session["basket"] = {**basket, sku: basket.get(sku, 0) + 1}
    shopper().track(event_type="ADD_TO_CART", items=items({sku: 1}))
    return RedirectResponse("/cart", 303)


@app.get("/cart")
async def cart(request: Request) -> HTMLResponse:
    shopper().track(event_type="PAGE_VIEW", page_id="CART")
    lines = (f"{quantity} × {sku}" for sku, quantity in request.session.get("basket", {}).items())
    return page("Cart", *lines, '<form method="post" action="/checkout"><button>Buy</button></form>')


@app.post("/signin/{customer}")
async def sign_in(customer: str, request: Request) -> Response:
    request.session["customer"] = customer  # a real shop asks for a password
    return RedirectResponse("/", 303)


@app.post("/checkout")
async def check_out(request: Request) -> Response:
    basket = request.session.pop("basket", {})
    if not basket:
        return RedirectResponse("/cart", 303)
    total = sum(Decimal(PRICES[sku]) * quantity for sku, quantity in basket.items())
    shopper().track(event_type="PURCHASE", items=items(basket), revenue=Money("EUR", total))
    return page("Thank you", f"{total} EUR")


def page(title: str, *parts: str) -> HTMLResponse:
    lines = "".join(f"<p>{part}</p>" for part in parts)
    return HTMLResponse(f"<!doctype html><title>{escape(title)}</title><h1>{escape(title)}</h1>{lines}")


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "5000")))
