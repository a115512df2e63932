"""What an API key looks like, how one is made, and what is kept of it.

    footfall_live_7Q…(30 of base62)…x03Fa9Z        live platform id
    footfall_test_…                                test platform id

The last six characters are the CRC32 of everything before, in base62: a key that was cut or mistyped is told so without a
look-up, and a secret scanner can tell a key from noise. 30 characters of base62 hold 178 bits, so a plain SHA-256 keeps the key:
no slow hash protects what cannot be guessed. The key itself is shown once and never stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final, Literal

Mode = Literal["live", "test"]

_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_CHARS: Final = 30
_CHECK_CHARS: Final = 6  # 62**6 > 2**32
KEY_PATTERN: Final = re.compile(rf"footfall_(?:live|test)_[0-9A-Za-z]{{{_SECRET_CHARS + _CHECK_CHARS}}}")
"""For secret scanners."""


def new_key(mode: Mode) -> str:
    """A fresh key for a platform id of that mode."""
    body = f"footfall_{mode}_" + "".join(secrets.choice(_BASE62) for _ in range(_SECRET_CHARS))
    return body + _check(body)


def digest(key: str) -> bytes:
    """What is stored and looked up: SHA-256 of the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_well_formed(key: str) -> bool:
    """Whether the key has the form and the check characters of one of ours: false for a typo or a cut."""
    return KEY_PATTERN.fullmatch(key) is not None and _check(key[:-_CHECK_CHARS]) == key[-_CHECK_CHARS:]


def _check(text: str) -> str:
    number = zlib.crc32(text.encode("ascii"))
    characters = []
    for _ in range(_CHECK_CHARS):
        number, digit = divmod(number, 62)
        characters.append(_BASE62[digit])
    return "".join(reversed(characters))
