"""Seeded events as a shop sends them: about 700 bytes, one to three items, an identifier of its own for each."""

from __future__ import annotations

import json
import random
import time
from typing import Any


def events(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    now_ms = time.time_ns() // 1_000_000
    return [_event(chance, number, now_ms) for number in range(count)]


def requests(path: str, key: str, bodies: list[dict[str, Any]]) -> list[bytes]:
    """Each body as the bytes of a POST."""
    made = []
    for body in bodies:
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
            f"X-API-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        made.append(head.encode() + content)
    return made


def _event(chance: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    items = [
        {
            "id": f"SKU-{chance.randrange(100_000)}",
            "price": {"currency": "USD", "amount": chance.randrange(100, 20_000) / 100},
            "quantity": chance.randrange(1, 4),
            "seller_id": f"SELLER-{chance.randrange(500)}",
        }
        for _ in range(chance.randrange(1, 4))
    ]
    return {
        "id": f"0198c1f2-{number:012x}",
        "event_type": "ADD_TO_CART",
        "channel_type": "SITE",
        "timestamp": str(now_ms - chance.randrange(60_000)),
        "user_id": f"{chance.getrandbits(128):032x}",
        "device": {
            "persistent_id": f"{chance.getrandbits(128):032x}",
            "os": "iOS",
            "os_version": "17.5",
            "model": "iPhone",
            "ua": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
            "language": "en",
        },
        "items": items,
        "page_id": f"ITEM_DETAIL_PAGE:{items[0]['id']}",
    }
