"""What one request tells of the person behind it, and what the answer should tell the browser. Pure; knows no framework.

    Arrival (headers, peer) + Settings ──▶ Visit: the device, the id that came back in the cookie
                                      ──▶ Cookie, hints: what to add to the answer

The id is a random UUID and nothing else, made once and kept by the browser. What comes back in the cookie is believed only if it
has that very form: anything else was written by somebody else, and would be counted as a person.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from footfall.client.web.addresses import FORWARDED, address_of, client_address
from footfall.client.web.settings import Settings
from footfall.events.schema import Device

HEADER_CHARS_MAX: Final = 1024
"""Of a user agent and its like; real ones end well before, and every event repeats them."""
COOKIES_CHARS_MAX: Final = 16_384
WANTED_HINTS: Final = "Sec-CH-UA-Model, Sec-CH-UA-Platform-Version"
"""Asked of browsers that tell them on request only; the platform's name comes unasked."""

_DEVICE_HEADERS: Final = ("user-agent", "accept-language", "sec-ch-ua-platform", "sec-ch-ua-platform-version", "sec-ch-ua-model")
_is_id = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch
_says_https = re.compile(r'proto="?https', re.IGNORECASE).search


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A request as a framework hands it over."""

    header: Callable[[str], str]
    """The value of the header with this lower-case name, `""` for none; several lines joined by commas, cookies by semicolons."""
    peer: str
    """The address at the other end of the connection, `""` for a Unix socket."""
    is_secure: bool
    """Whether the framework takes it for https."""

    def __repr__(self) -> str:
        return "Arrival(…)"  # it holds people


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the person before anything is decided about identifiers."""

    device: Device
    """Without a persistent id."""
    known_id: str
    """The id that came back in the cookie, `""` where none did that could be ours."""
    has_cookie: bool
    """Whether a cookie of that name came at all, ours or not."""
    is_secure: bool
    """Whether the browser speaks https, as far as trusted proxies say."""

    def __repr__(self) -> str:
        return f"Visit(has_cookie={self.has_cookie}, is_secure={self.is_secure})"


class Cookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie to set, or to delete where `age_s` is 0."""

    name: str
    value: str
    age_s: int
    domain: str
    is_secure: bool

    @property
    def header(self) -> str:
        """The value of `Set-Cookie`. No script may read it, and other sites' forms do not send it."""
        parts = [f"{self.name}={self.value}", f"Max-Age={self.age_s}", "Path=/"]
        if self.domain:
            parts.append(f"Domain={self.domain}")
        if self.is_secure:
            parts.append("Secure")
        return "; ".join([*parts, "HttpOnly", "SameSite=Lax"])

    def __repr__(self) -> str:
        return f"Cookie(name={self.name!r}, age_s={self.age_s})"


def visit_of(arrival: Arrival, settings: Settings) -> Visit:
    """Reads the request; never raises on what is in it."""
    headers = {name: arrival.header(name)[:HEADER_CHARS_MAX] for name in _DEVICE_HEADERS}
    forwarded = arrival.header(settings.proxy_header) if settings.trusted_proxies else ""
    address = client_address(arrival.peer, forwarded, trust=settings.trusted_proxies, name=settings.proxy_header)
    values = _cookies(arrival.header("cookie"), settings.cookie)
    return Visit(
        device=Device.from_headers(headers, ip=address),
        known_id=next((value for value in values if _is_id(value)), "") if settings.persistent_id else "",
        has_cookie=bool(values),
        is_secure=is_secure(arrival, settings),
    )


def is_secure(arrival: Arrival, settings: Settings) -> bool:
    """Whether the browser speaks https: by the connection, or by the word of a trusted proxy.

    Only a proxy that is known is asked. A false word harms nobody but who sent it: its browser drops the cookie.
    """
    if arrival.is_secure:
        return True
    if not _is_proxy(arrival.peer, settings):
        return False
    if settings.proxy_header == FORWARDED:
        return bool(_says_https(arrival.header(FORWARDED)))
    return arrival.header("x-forwarded-proto").partition(",")[0].strip().lower() == "https"


def new_id() -> str:
    """A random id in the form that `visit_of` believes. The bits are the operating system's, so no fork repeats another."""
    return str(uuid.uuid4())


def cookie_of(value: str, visit: Visit, settings: Settings) -> Cookie:
    """The cookie that keeps `value` as the id of this browser; `""` deletes it."""
    return Cookie(
        name=settings.cookie,
        value=value,
        age_s=settings.cookie_age_s if value else 0,
        domain=settings.cookie_domain,
        is_secure=visit.is_secure,
    )


def _is_proxy(peer: str, settings: Settings) -> bool:
    trust = settings.trusted_proxies
    if isinstance(trust, int):
        return trust > 0
    address = address_of(peer)
    return address is not None and any(address in network for network in trust)


def _cookies(header: str, name: str) -> list[str]:
    """The values under this name, in the order they came: a browser sends one for each domain and path that has set it."""
    found = []
    for pair in header[:COOKIES_CHARS_MAX].split(";"):
        key, _, value = pair.partition("=")
        if key.strip() == name:
            found.append(value.strip())
    return found
