"""What a shop decides once, the same words in each framework: checked when the shop starts, not when the first shopper comes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypedDict

import msgspec

from footfall.client.web.addresses import PROXIES_MAX, Trust, networks_of
from footfall.errors import SettingsError
from footfall.events.schema import CHANNEL_TYPES

COOKIE_AGE_S: Final = 365 * 86_400
COOKIE_AGE_S_MAX: Final = 400 * 86_400
"""Browsers cut longer lives to this (RFC 6265bis, section 5.5)."""

_is_token = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}").fullmatch  # RFC 9110, section 5.6.2
_is_domain = re.compile(r"(?=.{1,253}$)[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+").fullmatch


class Options(TypedDict, total=False):
    """The options of every framework. `request` is the framework's own: Flask's, Django's, Starlette's."""

    channel_type: str
    """What events say where the handler does not: SITE unless told."""
    user: Callable[[Any], object] | None
    """`lambda request: …` gives who is signed in, or None. Called at each event; must not wait."""
    consent: Callable[[Any], bool] | None
    """`lambda request: …` says whether this person may be recognised. False, or an exception: no cookie, no identifier, no
    address; the event says ID_LESS. None: everybody may."""
    persistent_id: bool
    """False: no cookie and no `device.persistent_id` for anybody; events of people not signed in then need a `custom_id`."""
    hash_key: str | bytes | None
    """With a key, the persistent id and what `user` gives leave as `hash_identifier(value, key)`. The cookie holds the plain
    random id."""
    cookie: str
    """Its name: `footfall_id` unless told."""
    cookie_domain: str
    """`shop.example`, to recognise people on `www.shop.example` and `m.shop.example` alike; the very host unless told."""
    cookie_age_s: int
    """A year unless told; counted from the day the id was made, not renewed by visits."""
    trusted_proxies: int | Iterable[str]
    """How many proxies stand in front, or the networks they are in; 0 unless told. With a number, nobody else may be able to
    reach the shop: behind a Unix socket or a private network that holds."""
    proxy_header: str
    """The header that these proxies write: `X-Forwarded-For` unless told, `Forwarded`, or the like of `CF-Connecting-IP`."""
    client_hints: bool
    """False: browsers are not asked for the true model and version of the device."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The options, checked. `repr` shows no key."""

    channel_type: str = "SITE"
    user: Callable[[Any], object] | None = None
    consent: Callable[[Any], bool] | None = None
    persistent_id: bool = True
    hash_key: str | bytes = ""
    cookie: str = "footfall_id"
    cookie_domain: str = ""
    cookie_age_s: int = COOKIE_AGE_S
    trusted_proxies: Trust = 0
    proxy_header: str = "x-forwarded-for"
    """In lower case."""
    client_hints: bool = True

    def __repr__(self) -> str:
        return f"Settings(channel_type={self.channel_type!r}, cookie={self.cookie!r}, trusted_proxies={self.trusted_proxies!r})"


def checked(options: Mapping[str, Any]) -> Settings:
    """The settings, or SettingsError with the cure."""
    for name in options:
        if name not in Settings.__struct_fields__:
            near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
            raise SettingsError(f"there is no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    given = Settings(**{name: value for name, value in options.items() if value is not None})
    if not isinstance(given.channel_type, str) or given.channel_type not in CHANNEL_TYPES:
        raise SettingsError(f"channel_type={given.channel_type!r} is not one of {', '.join(sorted(CHANNEL_TYPES))}")
    for name in ("user", "consent"):
        if getattr(given, name) is not None and not callable(getattr(given, name)):
            raise SettingsError(f"{name} is a function that takes the request, not {type(getattr(given, name)).__name__}")
    for name in ("persistent_id", "client_hints"):
        if not isinstance(getattr(given, name), bool):
            raise SettingsError(f"{name} is True or False")
    _check_identity(given, has_key=options.get("hash_key") is not None)
    if not isinstance(given.proxy_header, str) or not _is_token(given.proxy_header):
        raise SettingsError("proxy_header is the name of a header, such as X-Forwarded-For")
    return msgspec.structs.replace(given, trusted_proxies=_trust(given.trusted_proxies), proxy_header=given.proxy_header.lower())


def _check_identity(given: Settings, *, has_key: bool) -> None:
    if not isinstance(given.hash_key, (str, bytes)) or (has_key and not given.hash_key):
        raise SettingsError("hash_key is a secret text of your own; is the environment variable it comes from unset?")
    if not isinstance(given.cookie, str) or not _is_token(given.cookie):
        raise SettingsError("cookie is the name of a cookie: letters, digits, - and _, at most 64")
    if not isinstance(given.cookie_domain, str) or (given.cookie_domain and not _is_domain(given.cookie_domain)):
        raise SettingsError("cookie_domain is a domain such as shop.example, without scheme, port and leading dot")
    age_s = given.cookie_age_s
    if not isinstance(age_s, int) or isinstance(age_s, bool) or not 1 <= age_s <= COOKIE_AGE_S_MAX:
        raise SettingsError(f"cookie_age_s is a whole number of seconds up to 400 days ({COOKIE_AGE_S_MAX})")


def _trust(proxies: object) -> Trust:
    if isinstance(proxies, int) and not isinstance(proxies, bool):
        if 0 <= proxies <= PROXIES_MAX:
            return proxies
        raise SettingsError(f"trusted_proxies is a number up to {PROXIES_MAX}, or networks")
    if isinstance(proxies, (str, bytes, bool)) or not isinstance(proxies, Iterable):
        raise SettingsError('trusted_proxies is a number of proxies or a list of networks such as ["10.0.0.0/8"]')
    networks = tuple(proxies)
    if not all(isinstance(network, str) for network in networks):
        raise SettingsError('trusted_proxies lists networks as text, such as "10.0.0.0/8"')
    try:
        return networks_of(networks)
    except ValueError as error:
        raise SettingsError(f"trusted_proxies: {error}") from None
