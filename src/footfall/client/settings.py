"""Where events go and with which key: said once, checked before the first event, never guessed.

There is no default host, and the host is never derived from the platform id: a wrong guess would send shoppers' data and the key
to a stranger. Plain http is for this machine only, since the key travels in a header. Every refusal says the cure.
"""

from __future__ import annotations

import ipaddress
import math
import os
import re
import ssl
from collections.abc import Mapping
from typing import Final, TypedDict
from urllib.parse import urlsplit

import msgspec

from footfall.delivery.address import Address
from footfall.delivery.dialing import parsed_proxy
from footfall.errors import SettingsError
from footfall.events.schema import CURRENCIES

TIMEOUT_S: Final = 10.0
RETRIES_MAX: Final = 6
"""After more than five failed retries in a row a sender is to stop calling (protocol notes, section 12)."""

_is_label = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?").fullmatch  # RFC 1123
_is_header_text = re.compile(r"[!-~]+").fullmatch


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a client knows. `repr` masks the key, and the user and password of a proxy."""

    base_url: str
    """Scheme, host, port and perhaps a path in front; no slash at the end."""
    platform_id: str
    api_key: str
    currency: str
    """What a bare price is in; "" where bare prices are refused."""
    timeout_s: float
    retries: int
    proxy: str = ""
    """`http://[user:password@]host:port`; "" for the straight way."""
    tls: ssl.SSLContext | None = None
    """How the receiver's certificate is checked; None for the system's authorities."""

    def __repr__(self) -> str:
        proxy = parsed_proxy(self.proxy)
        by_proxy = f", proxy='http://{'…@' if proxy.authorization else ''}{proxy.where}'" if proxy is not None else ""
        by_tls = ", tls=…" if self.tls is not None else ""
        return f"base_url={self.base_url!r}, platform_id={self.platform_id!r}, api_key='…'{by_proxy}{by_tls}"

    def address(self, *, batch: bool | None = None) -> Address:
        """Where to and under which key, as the delivery engine takes it."""
        return Address(
            base_url=self.base_url, platform_id=self.platform_id, api_key=self.api_key, timeout_s=self.timeout_s, batch=batch
        )

    @property
    def url(self) -> str:
        """Of single events."""
        return self.address().url


class Place(TypedDict):
    """The part of a client's settings that an environment tells."""

    platform_id: str
    api_key: str
    platform_name: str | None
    base_url: str | None


def checked_settings(
    *,
    platform_id: str,
    api_key: str,
    platform_name: str | None,
    region: str | None,
    base_url: str | None,
    currency: str | None,
    timeout_s: float,
    retries: int,
    proxy: str | None = None,
    tls: ssl.SSLContext | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings, or SettingsError, also for what a caller without types passes. Reads `ca_file`, and nothing else."""
    for name, value in (("api_key", api_key), ("platform_id", platform_id)):
        if not isinstance(value, str):
            raise SettingsError(f"{name} is text, not {_kind(value)}{_UNSET if value is None else ''}")
    texts = {"platform_name": platform_name, "region": region, "base_url": base_url, "currency": currency, "proxy": proxy}
    for name, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise SettingsError(f"{name} is text or left out, not {_kind(text)}")
    for name, number in (("timeout_s", timeout_s), ("retries", retries)):
        if not isinstance(number, (int, float)) or isinstance(number, bool):
            raise SettingsError(f"{name} is a number, not {_kind(number)}")
    if not _is_header_text(api_key):
        raise SettingsError("api_key is empty or holds blanks or line breaks; a key read from a file needs .strip()")
    if not platform_id or not platform_id.isprintable() or platform_id.strip(" .") != platform_id:
        raise SettingsError("platform_id is empty or no id; it is the upper-case id you were given, such as SHOP or SHOP_TEST")
    if currency and currency not in CURRENCIES:
        raise SettingsError(f"currency={currency!r} is not one of {', '.join(sorted(CURRENCIES))}")
    if not (math.isfinite(timeout_s) and timeout_s > 0):
        raise SettingsError("timeout_s is a number of seconds above 0")
    if not 0 <= retries <= RETRIES_MAX:
        raise SettingsError(
            f"retries is between 0 and {RETRIES_MAX}; what must not be lost needs a durable queue, not more retries"
        )
    address = _base_url(platform_name=platform_name, region=region, base_url=base_url)
    way = parsed_proxy(proxy or "")
    if way is not None and address.startswith("http:") and not is_loopback(way.host):
        raise SettingsError("base_url is plain http, and the key would travel readably to the proxy; leave the proxy out")
    return Settings(
        base_url=address,
        platform_id=platform_id,
        api_key=api_key,
        currency=currency or "",
        timeout_s=timeout_s,
        retries=retries,
        proxy=proxy or "",
        tls=_tls(tls, ca_file),
    )


def _tls(tls: ssl.SSLContext | None, ca_file: str | os.PathLike[str] | None) -> ssl.SSLContext | None:
    if tls is not None and not isinstance(tls, ssl.SSLContext):
        raise SettingsError(f"tls is an ssl.SSLContext or left out, not {_kind(tls)}; a file of authorities goes into ca_file")
    if tls is not None and tls.protocol == ssl.PROTOCOL_TLS_SERVER:
        raise SettingsError("tls is a context of a server; make one by ssl.create_default_context()")
    if ca_file is None:
        return tls
    if tls is not None:
        raise SettingsError("say whom to trust by one of tls and ca_file; tls.load_verify_locations(…) adds a file to a context")
    if not isinstance(ca_file, (str, os.PathLike)) or not os.fspath(ca_file):
        raise SettingsError("ca_file is the path of a PEM file with the authorities to trust, or left out")
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise SettingsError(f"ca_file={os.fspath(ca_file)!r} holds no certificate in PEM form") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
        raise SettingsError(f"ca_file={os.fspath(ca_file)!r} cannot be read: {reason}") from None


_UNSET: Final = "; is the environment variable or setting it comes from unset?"


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def place_in(environment: Mapping[str, str]) -> Place:
    """Where the variables named `MCM_…` point. An empty variable counts as unset. SettingsError names what is missing.

    `MCM_MODE` must be said, so that a staging machine cannot reach the live platform by leaving something out.
    """
    mode = environment.get("MCM_MODE", "")
    if mode not in ("test", "live"):
        raise SettingsError("MCM_MODE must be set to test or live")
    if mode == "live":
        platform_id, api_key = _required(environment, "MCM_PLATFORM_ID"), _required(environment, "MCM_API_KEY")
    else:
        platform_id = _required(environment, "MCM_TEST_PLATFORM_ID")
        api_key = environment.get("MCM_TEST_API_KEY") or _required(environment, "MCM_API_KEY")
    return Place(
        platform_id=platform_id,
        api_key=api_key,
        platform_name=environment.get("MCM_PLATFORM_NAME") or None,
        base_url=environment.get("MCM_BASE_URL") or None,
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise SettingsError(f"MCM_MODE={environment['MCM_MODE']} needs {name}, which is not set")
    return value


def _base_url(*, platform_name: str | None, region: str | None, base_url: str | None) -> str:
    given = [name for name, value in (("platform_name", platform_name), ("region", region), ("base_url", base_url)) if value]
    if len(given) != 1:
        raise SettingsError(
            f"say where to send by exactly one of platform_name, region and base_url (given: {', '.join(given) or 'none'}); "
            "from the environment by MCM_PLATFORM_NAME or MCM_BASE_URL"
        )
    if base_url:
        return _checked_url(base_url)
    if platform_name:
        return f"https://{_label('platform_name', platform_name, suffix='-evt')}.mcm-api.moloco.com"
    return f"https://{_label('region', region or '', prefix='evt-')}.rmp-api.moloco.com"


def _label(setting: str, value: str, *, prefix: str = "", suffix: str = "") -> str:
    label = f"{prefix}{value}{suffix}"
    if not _is_label(value) or not _is_label(label):
        raise SettingsError(
            f"{setting}={value!r} cannot be part of a host name: letters, digits and hyphens only, at most "
            f"{63 - len(prefix) - len(suffix)}. It is not the platform id; a whole address goes into base_url"
        )
    return label


def _checked_url(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise SettingsError("base_url is not an address such as https://shop-evt.mcm-api.moloco.com") from None
    if parts.scheme not in ("http", "https") or not host or port == 0 or not base_url.isascii() or not base_url.isprintable():
        raise SettingsError("base_url starts with https:// and a host, such as https://shop-evt.mcm-api.moloco.com")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment or " " in base_url:
        raise SettingsError("base_url has no user, password, query or fragment; the key goes into api_key")
    if "/rmp/event/" in f"{parts.path}/":
        raise SettingsError("base_url ends before /rmp/event; the rest of the path is added, with platform_id in it")
    if parts.scheme == "http" and not is_loopback(host):
        raise SettingsError(f"base_url is plain http to {host}, and the key would travel readably; use https://")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine by its looks; nothing is looked up."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
