"""The Django project behind `web_shops`: settings are of the process, so they are made here, once."""

from __future__ import annotations

from typing import Any, Final

import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from tests.contract.client.web_shops import page


def show(request: Any, name: str) -> HttpResponse:
    return HttpResponse(page(f"/{name}", request.META["QUERY_STRING"]))


async def show_async(request: Any, name: str) -> HttpResponse:
    return show(request, name)


URLS: Final = (path("<str:name>", show),)
ASYNC_URLS: Final = (path("<str:name>", show_async),)

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["footfall.client.web.django.FootfallMiddleware"],
        SECRET_KEY="for tests",
        USE_TZ=True,
    )
    django.setup()
