"""What callers without a type checker pass by mistake is refused where it is passed, in words that say the cure."""

from __future__ import annotations

from typing import Any

import pytest

from footfall import Client, Item, Money, Purchase, hash_identifier
from footfall.delivery.transport import ScriptedTransport
from footfall.errors import SettingsError

GOOD: dict[str, Any] = {"platform_name": "shop", "platform_id": "SHOP", "api_key": "k"}


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ({"api_key": None}, "api_key is text, not None; is the environment variable"),
        ({"api_key": b"k"}, "api_key is text, not bytes"),
        ({"platform_id": None}, "platform_id is text, not None"),
        ({"platform_name": 7}, "platform_name is text or left out, not int"),
        ({"currency": 7}, "currency is text or left out, not int"),
        ({"timeout_s": "3"}, "timeout_s is a number, not str"),
        ({"retries": None}, "retries is a number, not None"),
    ],
)
def test_a_setting_of_the_wrong_type_is_a_settings_error(mistake: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Client(**{**GOOD, **mistake})


@pytest.mark.parametrize(("value", "cure"), [(5, r"str\(value\)"), (b"a", "decode"), (None, "leave the identifier out")])
def test_an_identifier_that_is_no_text_is_not_hashed(value: Any, cure: str) -> None:
    with pytest.raises(TypeError, match=cure):
        hash_identifier(value, "key")


def test_a_key_that_is_no_text_is_named() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="key of text or bytes, not int"):
        hash_identifier("u-1", wrong)


def test_constructors_take_bare_prices_too_and_the_client_gives_them_its_currency() -> None:
    transport = ScriptedTransport()
    client = Client(**GOOD, currency="USD", transport=transport)
    client.insert_event(
        Purchase(
            channel_type="SITE",
            user_id="u-1",
            items=[Item(id="a", price="2.50"), Item(id="b", price=Money("USD", 1))],
            revenue=3.5,
            shipping_charge=0.5,
        )
    )
    body = transport.requests[0].body
    assert b'"price":{"currency":"USD","amount":2.50}' in body
    assert b'"revenue":{"currency":"USD","amount":3.5}' in body
