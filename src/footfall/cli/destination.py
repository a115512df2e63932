"""Where a command sends to and with which key: the three flags that `send`, `simulate` and `doctor` share."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from footfall.cli.output import USAGE, fail
from footfall.client.settings import TIMEOUT_S, Settings, checked_settings
from footfall.errors import SettingsError

_KEY_BYTES_MAX: Final = 4096
_FLAGS: Final = (
    ("platform_name, region or base_url", "--url"),
    ("base_url", "--url"),
    ("platform_id", "--platform"),
    ("api_key", "the key"),
)
"""What the client library calls its arguments → what a command does."""

UrlOption = Annotated[str, typer.Option(help="Where to: https://shop-evt.mcm-api.moloco.com, or http://127.0.0.1:8080")]
PlatformOption = Annotated[str, typer.Option(metavar="ID", help="The platform id in the path.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", metavar="K|-", envvar="FOOTFALL_KEY", help="The API key; - reads it from standard input.", show_default=False
    ),
]


def destination(*, url: str, platform: str, key: str) -> Settings:
    """The client's settings for these flags, or exit 2 in the words of the flags."""
    try:
        return checked_settings(
            base_url=url,
            platform_id=platform,
            api_key=key,
            platform_name=None,
            region=None,
            currency=None,
            timeout_s=TIMEOUT_S,
            retries=0,
        )
    except SettingsError as error:
        fail(in_flags(error.message), USAGE)


def in_flags(message: str) -> str:
    """A message of the client library for somebody who gave flags."""
    for argument, flag in _FLAGS:
        message = message.replace(argument, flag)
    return message


def read_key(key: str, *, file: str = "") -> str:
    """The key, from standard input where `key` is `-`; exit 2 without one. `file` is what else may be read from there."""
    if key == "-":
        if file == "-":
            fail("standard input can hold the events or the key, not both: put the key into FOOTFALL_KEY", USAGE)
        key = sys.stdin.buffer.readline(_KEY_BYTES_MAX).decode(errors="replace").strip()
    if not key:
        fail("no API key: --key, FOOTFALL_KEY, or --key - for standard input", USAGE)
    return key
