"""Seeded events and the requests that carry them. The same seed makes the same events, but for their timestamps.

Two kinds: carts, one to three items each and an identifier of its own for each event (what the earlier figures were measured
with, and the dearest event there is), and the mix of a whole shop, views and searches most of all (`footfall.cli.shopping`).
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from footfall.cli.shopping import sessions


def carts(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    now_ms = time.time_ns() // 1_000_000
    return [_cart(chance, number, now_ms) for number in range(count)]


def mix(count: int, *, seed: int = 1) -> list[dict[str, Any]]:
    now_ms = time.time_ns() // 1_000_000
    chance = random.Random(seed)
    return [{**event, "timestamp": str(now_ms - chance.randrange(60_000))} for event in islice(sessions(seed), count)]


def single_requests(path: str, key: str, events: Iterable[dict[str, Any]]) -> list[bytes]:
    """Each event as the bytes of a POST."""
    return [_post(path, key, json.dumps(event).encode(), "application/json") for event in events]


def batch_requests(path: str, key: str, events: Sequence[dict[str, Any]], *, size: int) -> list[bytes]:
    """Each `size` events as the bytes of a POST of NDJSON, written compactly as machines do."""
    return [
        _post(f"{path}:batch", key, b"".join(map(_line, events[start : start + size])), "application/x-ndjson")
        for start in range(0, len(events), size)
    ]


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _post(path: str, key: str, content: bytes, content_type: str) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nAccept: application/json\r\n"
        f"X-API-Key: {key}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _cart(chance: random.Random, number: int, now_ms: int) -> dict[str, Any]:
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
