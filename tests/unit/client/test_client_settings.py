"""Where a client sends, what it refuses to be told, and what the environment says."""

from __future__ import annotations

from typing import Any

import pytest

from footfall import AsyncClient, Client
from footfall.delivery.transport import ScriptedTransport
from footfall.errors import SettingsError


def url_of(**where: Any) -> str:
    transport = ScriptedTransport()
    settings: dict[str, Any] = {"platform_id": "SHOP_TEST", "api_key": "key", "transport": transport} | where
    Client(**settings).insert_event(event_type="HOME")
    return transport.requests[0].url


@pytest.mark.parametrize(
    ("where", "host"),
    [
        ({"platform_name": "my-shop"}, "https://my-shop-evt.mcm-api.moloco.com"),
        ({"platform_name": "a" * 59}, f"https://{'a' * 59}-evt.mcm-api.moloco.com"),
        ({"region": "sel"}, "https://evt-sel.rmp-api.moloco.com"),
        ({"base_url": "https://events.example.com/"}, "https://events.example.com"),
        ({"base_url": "https://example.com:8443/moloco/"}, "https://example.com:8443/moloco"),
        ({"base_url": "http://localhost:8080"}, "http://localhost:8080"),
        ({"base_url": "http://127.9.9.9:8080"}, "http://127.9.9.9:8080"),
        ({"base_url": "http://[::1]:8080"}, "http://[::1]:8080"),
    ],
)
def test_the_address_follows_from_exactly_one_setting(where: dict[str, str], host: str) -> None:
    assert url_of(**where) == f"{host}/rmp/event/v1/platforms/SHOP_TEST/userevents"


def test_a_platform_id_is_quoted_into_the_path() -> None:
    url = url_of(platform_name="shop", platform_id="Moloco Demo/Test")
    assert url.endswith("/platforms/Moloco%20Demo%2FTest/userevents")


@pytest.mark.parametrize(
    ("settings", "cure"),
    [
        ({}, r"exactly one of platform_name, region and base_url \(given: none\)"),
        ({"platform_name": "a", "region": "b"}, r"given: platform_name, region"),
        ({"platform_name": "MY_SHOP"}, "not the platform id"),
        ({"platform_name": "shop.example.com"}, "base_url"),
        ({"platform_name": "evil.com/"}, "letters, digits and hyphens"),
        ({"platform_name": "-shop"}, "hyphens"),
        ({"platform_name": "a" * 60}, "at most 59"),
        ({"platform_name": "shöp"}, "letters"),
        ({"region": "sel\n"}, "region="),
        ({"base_url": "shop-evt.mcm-api.moloco.com"}, "starts with https://"),
        ({"base_url": "ftp://example.com"}, "starts with https://"),
        ({"base_url": "https://"}, "starts with https://"),
        ({"base_url": "http://example.com"}, "use https://"),
        ({"base_url": "http://localhost.example.com"}, "use https://"),
        ({"base_url": "http://10.0.0.1"}, "use https://"),
        ({"base_url": "https://user:pass@example.com"}, "no user, password"),
        ({"base_url": "https://example.com?key=1"}, "query"),
        ({"base_url": "https://example.com:99999"}, "not an address"),
        ({"base_url": "https://example.com/rmp/event/v1"}, "ends before /rmp/event"),
        ({"base_url": "https://exa mple.com"}, "base_url"),
        ({"base_url": "https://example.com/\r\nX: y"}, "base_url"),
        ({"platform_name": "a", "api_key": ""}, "api_key is empty"),
        ({"platform_name": "a", "api_key": "secret-key\n"}, r"\.strip\(\)"),
        ({"platform_name": "a", "api_key": "kéy"}, "api_key"),
        ({"platform_name": "a", "platform_id": ""}, "platform_id is empty"),
        ({"platform_name": "a", "platform_id": ".."}, "platform_id"),
        ({"platform_name": "a", "platform_id": "A\r\nB"}, "platform_id"),
        ({"platform_name": "a", "currency": "usd"}, "USD"),
        ({"platform_name": "a", "timeout_s": 0}, "above 0"),
        ({"platform_name": "a", "timeout_s": float("nan")}, "above 0"),
        ({"platform_name": "a", "retries": 7}, "between 0 and 6"),
        ({"platform_name": "a", "retries": -1}, "between 0 and 6"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_setting_that_makes_no_sense_is_refused_with_the_cure(kind: Any, settings: dict[str, Any], cure: str) -> None:
    with pytest.raises(SettingsError, match=cure) as raised:
        kind(**({"platform_id": "SHOP", "api_key": "key"} | settings))
    assert "secret-key" not in str(raised.value)


LIVE = {"MCM_MODE": "live", "MCM_PLATFORM_NAME": "shop", "MCM_PLATFORM_ID": "SHOP", "MCM_API_KEY": "live-key"}
TEST = LIVE | {"MCM_MODE": "test", "MCM_TEST_PLATFORM_ID": "SHOP_TEST"}


def used(environment: dict[str, str]) -> tuple[str, str]:
    transport = ScriptedTransport()
    Client.from_env(environment, transport=transport).insert_event(event_type="HOME")
    [request] = transport.requests
    return request.url.split("/")[-2], dict(request.headers)["X-API-Key"]


def test_mode_live_takes_the_live_platform_and_key() -> None:
    assert used(LIVE | {"MCM_TEST_API_KEY": "test-key", "MCM_TEST_PLATFORM_ID": "SHOP_TEST"}) == ("SHOP", "live-key")


def test_mode_test_takes_the_test_platform_and_its_key_or_else_the_live_key() -> None:
    assert used(TEST) == ("SHOP_TEST", "live-key")
    assert used(TEST | {"MCM_TEST_API_KEY": "test-key"}) == ("SHOP_TEST", "test-key")
    assert used(TEST | {"MCM_TEST_API_KEY": ""}) == ("SHOP_TEST", "live-key")


def test_mode_test_needs_nothing_of_the_live_platform() -> None:
    environment = {"MCM_MODE": "test", "MCM_BASE_URL": "http://localhost:1", "MCM_TEST_PLATFORM_ID": "T", "MCM_TEST_API_KEY": "k"}
    assert used(environment) == ("T", "k")


@pytest.mark.parametrize(
    ("environment", "cure"),
    [
        ({}, "MCM_MODE must be set to test or live"),
        (LIVE | {"MCM_MODE": "production"}, "MCM_MODE must be set"),
        (LIVE | {"MCM_PLATFORM_ID": ""}, "MCM_MODE=live needs MCM_PLATFORM_ID"),
        ({name: value for name, value in LIVE.items() if name != "MCM_API_KEY"}, "MCM_MODE=live needs MCM_API_KEY"),
        (LIVE | {"MCM_MODE": "test"}, "MCM_MODE=test needs MCM_TEST_PLATFORM_ID"),
        (LIVE | {"MCM_PLATFORM_NAME": ""}, "MCM_PLATFORM_NAME or MCM_BASE_URL"),
        (LIVE | {"MCM_BASE_URL": "https://example.com"}, "exactly one"),
    ],
)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_the_environment_leaves_out_is_named(kind: Any, environment: dict[str, str], cure: str) -> None:
    with pytest.raises(SettingsError, match=cure):
        kind.from_env(environment)


def test_without_a_mapping_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TEST.items():
        monkeypatch.setenv(name, value)
    assert "SHOP_TEST" in repr(Client.from_env())
