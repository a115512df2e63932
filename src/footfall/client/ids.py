"""Event ids: UUIDs that sort by the time they were made (RFC 9562, version 7), which keeps events of one moment together.

Python has `uuid.uuid7` from 3.14 on; these are the ten lines for the versions before. The random bits come from the operating
system at every call, so a forked child never repeats its parent's.
"""

from __future__ import annotations

import os
import uuid


def new_id(now_ms: int) -> str:
    """A fresh id of 36 characters: 48 bits of Unix milliseconds, the version, 74 random bits around the variant.

    Ids of the same millisecond are in no order.
    """
    random_bits = int.from_bytes(os.urandom(10), "big")
    upper_bits = random_bits >> 68  # 12 of the 80
    lower_bits = random_bits & ((1 << 62) - 1)
    return str(uuid.UUID(int=(now_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | upper_bits << 64 | 0b10 << 62 | lower_bits))
