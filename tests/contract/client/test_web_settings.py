"""What a shop decides once: refused when it starts where it makes no sense, with the cure, and never shown with its key."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from footfall.client.web.settings import COOKIE_AGE_S_MAX, Options, Settings, checked
from footfall.errors import SettingsError


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("channel_type", "WEB", "DESKTOP_SITE"),
        ("channel_type", ["SITE"], "DESKTOP_SITE"),
        ("user", "anna", "takes the request"),
        ("consent", True, "takes the request"),
        ("persistent_id", "no", "True or False"),
        ("client_hints", 0, "True or False"),
        ("hash_key", "", "unset"),
        ("hash_key", 7, "secret"),
        ("cookie", "", "name of a cookie"),
        ("cookie", "foot fall", "name of a cookie"),
        ("cookie", "a=b", "name of a cookie"),
        ("cookie", "a\r\nSet-Cookie: b", "name of a cookie"),
        ("cookie_domain", "https://shop.example", "without scheme"),
        ("cookie_domain", ".shop.example", "leading dot"),
        ("cookie_domain", "shop.example; Path=/x", "domain such as"),
        ("cookie_domain", "shop.example\n", "domain such as"),
        ("cookie_age_s", 0, "400 days"),
        ("cookie_age_s", COOKIE_AGE_S_MAX + 1, "400 days"),
        ("cookie_age_s", 1.5, "whole number"),
        ("cookie_age_s", True, "whole number"),
        ("trusted_proxies", -1, "number up to"),
        ("trusted_proxies", 17, "number up to"),
        ("trusted_proxies", True, "number of proxies or a list"),
        ("trusted_proxies", "10.0.0.0/8", "list of networks"),
        ("trusted_proxies", ["10.0.0.1/8"], "host bits"),
        ("trusted_proxies", ["proxy"], "proxy"),
        ("trusted_proxies", [10], "as text"),
        ("proxy_header", "X Forwarded", "name of a header"),
        ("proxy_header", "", "name of a header"),
        ("cokie", "x", "did you mean 'cookie'"),
        ("outbox", "x", "no option 'outbox'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_with_the_cure(option: str, value: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        checked({option: value})


def test_none_means_not_said() -> None:
    assert checked(dict.fromkeys(Settings.__struct_fields__)) == Settings()


def test_every_option_is_a_setting_and_every_setting_an_option() -> None:
    assert set(Options.__annotations__) == set(Settings.__struct_fields__)


def test_the_key_is_not_shown() -> None:
    assert "s3cret" not in repr(checked({"hash_key": "s3cret"}))


def test_the_middleware_brings_no_framework_along() -> None:
    program = (
        "import sys, footfall.client.web.wsgi, footfall.client.web.asgi\n"
        "print([m for m in 'flask django asgiref starlette fastapi asyncio http.cookies wsgiref'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
