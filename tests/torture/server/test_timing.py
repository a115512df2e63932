"""Whether a clock tells how much of a guessed key is right."""

from __future__ import annotations

import http.client
import json
import math
import random
import time
from collections.abc import Sequence

import pytest

from footfall.registry.keys import is_well_formed, new_key
from tests.serving import EVENTS_PATH, Footfall, home

pytestmark = pytest.mark.torture

_EACH = 3000
_P_MIN = 0.01


def test_a_wrong_key_takes_as_long_whether_or_not_it_begins_like_a_right_one(shared_footfall: Footfall) -> None:
    """Two groups of wrong keys, both well-formed, asked in turn on one connection: those that share all they can with the right
    one, and those that share nothing. Three tries: one in a hundred fails by chance alone."""
    found: list[float] = []
    while len(found) < 3 and (not found or max(found) <= _P_MIN):
        found.append(p_value(*_times(shared_footfall)))
    assert max(found) > _P_MIN, found


def _times(server: Footfall) -> tuple[list[float], list[float]]:
    right = server.keys["SHOP"]
    near = [_near(right, chance=random.Random(number)) for number in range(50)]
    far = [new_key("live") for _ in range(50)]
    times: tuple[list[float], list[float]] = ([], [])
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    body = json.dumps(home()).encode()
    chance = random.Random(7)
    for number in range(_EACH):
        for group in chance.sample((0, 1), 2):
            key = (near, far)[group][number % 50]
            headers = {"X-API-Key": key, "Content-Type": "application/json"}
            began_s = time.perf_counter()
            connection.request("POST", EVENTS_PATH.format(platform="SHOP"), body=body, headers=headers)
            reply = connection.getresponse()
            assert reply.status == 403
            reply.read()
            times[group].append(time.perf_counter() - began_s)
    connection.close()
    return times


def _near(right: str, *, chance: random.Random) -> str:
    """A key with the secret of `right` but for its last two characters, and check characters that fit."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    while True:
        secret = right[:-8] + chance.choice(letters) + chance.choice(letters)
        made = secret + _check(secret)
        if made != right and is_well_formed(made):
            return made


def _check(text: str) -> str:
    """The documented check characters: CRC32 in base62, six of them."""
    import zlib

    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number = zlib.crc32(text.encode())
    return "".join(reversed([digits[number // 62**place % 62] for place in range(6)]))


def p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Of the Mann–Whitney rank sum test, two-sided, with the normal approximation (thousands of samples, no ties to speak of)."""
    merged = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    ranks = sum(rank for rank, (_, group) in enumerate(merged, 1) if group == 0)
    n, m = len(first), len(second)
    u = ranks - n * (n + 1) / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return math.erfc(abs(z) / math.sqrt(2))


def test_the_rank_sum_tells_groups_apart_that_differ() -> None:
    chance = random.Random(1)
    same = [[chance.gauss(100, 10) for _ in range(_EACH)] for _ in range(2)]
    assert p_value(*same) > _P_MIN
    assert p_value(same[0], [value + 1.5 for value in same[1]]) < _P_MIN
