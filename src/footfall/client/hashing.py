"""Turning a customer number or an e-mail address into an identifier that nobody can turn back.

A plain hash of an e-mail address is found again by hashing all addresses; a keyed one is not, as long as the key stays home.
The same value and key must be used for events and for ad decisions, or the two will not meet.
"""

from __future__ import annotations

import hashlib
import hmac

from footfall.events.identity import is_absent


def hash_identifier(value: str, key: str | bytes, *, casefold: bool = False) -> str:
    """HMAC-SHA-256 of `value` under `key` as 64 hexadecimal digits.

    Blanks around the value are removed before hashing; nothing else is changed, since customer numbers may differ in case only.
    Pass `casefold=True` for e-mail addresses, and then everywhere. A value that names nobody (`""`, `null`, `undefined`,
    `invalid`, `nil`, the zero UUID) gives `""`: hashed, it would make one person of all visitors without an account. Text is
    encoded as UTF-8. An empty key raises ValueError; a value or key of another type TypeError.
    """
    if not isinstance(value, str):
        raise TypeError(f"hash_identifier takes text, not {type(value).__name__}: {_cure(value)}")
    if not isinstance(key, (str, bytes)):
        raise TypeError(f"hash_identifier takes a key of text or bytes, not {type(key).__name__}")
    secret = key.encode() if isinstance(key, str) else key
    if not secret:
        raise ValueError("hash_identifier needs a secret key of your own, the same for every event")
    if is_absent(value):
        return ""
    plain = value.strip()
    return hmac.new(secret, (plain.casefold() if casefold else plain).encode(), hashlib.sha256).hexdigest()


def _cure(value: object) -> str:
    if value is None:
        return "leave the identifier out where there is none"
    return 'pass value.decode("utf-8")' if isinstance(value, bytes) else "pass str(value), and do so wherever this one is hashed"
