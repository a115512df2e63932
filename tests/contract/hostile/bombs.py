"""Bodies that are small to send and large to understand."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

import zstandard

from tests.serving import home


@cache
def gzip_bomb(inflated_bytes: int) -> bytes:
    """Zeros; about a thousandth of their length."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return b"".join(packer.compress(piece) for _ in range(inflated_bytes >> 20)) + packer.flush()


@cache
def zstd_bomb(inflated_bytes: int) -> bytes:
    """Zeros; about a thirty-thousandth of their length."""
    packer = zstandard.ZstdCompressor(level=3).compressobj()
    piece = bytes(1 << 20)
    return b"".join(packer.compress(piece) for _ in range(inflated_bytes >> 20)) + packer.flush()


def packed(body: bytes) -> Mapping[str, bytes]:
    """What is wrong with compressed bodies, by name; `body` is the honest one they are made of. "ends" tells the encoding."""
    good_gzip, good_zstd = gzip.compress(body), zstandard.compress(body)
    return {
        "a gigabyte of zeros in gzip": gzip_bomb(1 << 30),
        "a gigabyte of zeros in zstd": zstd_bomb(1 << 30),
        "40 MiB of zeros in gzip": gzip_bomb(40 << 20),
        "40 MiB of zeros in zstd": zstd_bomb(40 << 20),
        "nested gzip": gzip.compress(gzip_bomb(64 << 20)),
        "nested zstd": zstandard.compress(zstd_bomb(64 << 20)),
        "five thousand empty members of gzip": gzip.compress(b"") * 3000,
        "three thousand empty frames of zstd": zstandard.compress(b"") * 5000,
        "cut gzip": good_gzip[:-5],
        "cut zstd": good_zstd[:-5],
        "more behind gzip": good_gzip + b"more",
        "more behind zstd": good_zstd + b"more",
        "no gzip": body,
        "no zstd": body,
        "empty gzip": b"",
        "empty zstd": b"",
    }


def heavy_events() -> Mapping[str, bytes]:
    """Single events within 64 KiB that cost a careless reader seconds, or its stack."""
    event = json.dumps(home())[:-1].encode() + b","
    room = 65_000
    return {
        "deep objects": event + b'"a":' + b'{"a":' * (room // 7) + b"1" + b"}" * (room // 7) + b"}",
        "deep arrays": event + b'"a":' + b"[" * (room // 3) + b"]" * (room // 3) + b"}",
        "never closed": b"[" * room,
        "objects never closed": b'{"a":' * (room // 5),
        "a long integer": event + b'"timestamp":' + b"9" * (room - 1000) + b"}",
        "a long fraction": event + b'"revenue":{"currency":"USD","amount":0.' + b"1" * (room - 1000) + b"}}",
        "a long exponent": event + b'"revenue":{"currency":"USD","amount":1e' + b"9" * (room - 1000) + b"}}",
        "a long amount of text": event + b'"revenue":{"currency":"USD","amount":"' + b"9" * (room - 1000) + b'"}}',
        "a huge exponent of text": event + b'"revenue":{"currency":"USD","amount":"1e999999999"}}',
        "many names": event + b",".join(b'"k%d":1' % number for number in range(6000)) + b"}",
        "one name many times": event + b",".join([b'"user_id":"u"'] * 4000) + b"}",
        "both spellings many times": event + b",".join([b'"userId":"u","user_id":"u"'] * 2000) + b"}",
        "a long name": event + b'"' + b"n" * (room - 1000) + b'":1}',
        "names to be escaped": event + b'"' + b"\\u0000" * (room // 7) + b'":1}',
        "many items": event + b'"items":[' + b",".join([b"{}"] * 20_000) + b"]}",
        "many wrong items": event + b'"items":[' + b",".join([b"1"] * 30_000) + b"]}",
        "many long items": event + b'"items":[' + b",".join([b'{"id":"' + b"x" * 200 + b'","price":""}'] * 250) + b"]}",
        "escapes": event + b'"page_id":"' + b"\\\\" * (room // 3) + b'"}',
        "blanks": b" " * (room - 10) + b"1",
        "a user agent": event + b'"device":{"user_agent":"' + b"Mozilla/5.0 (" * (room // 20) + b'"}}',
    }  # fmt: skip


def heavy_batches() -> Mapping[str, bytes]:
    """Arrays and lines within 8 MiB."""
    event = json.dumps(home()).encode()
    size = 8_000_000
    return {
        "deep arrays": b"[" * (size // 2) + b"]" * (size // 2),
        "deep objects": b"[" + b'{"a":' * (size // 8) + b"1" + b"}" * (size // 8) + b"]",
        "never closed": b"[" * size,
        "an integer of millions of digits": b"[" + b"9" * size + b"]",
        "a million names": b"[{" + b",".join(b'"k%d":1' % number for number in range(700_000)) + b"}]",
        "millions of elements": b"[" + b"1," * (size // 2 - 1) + b"1]",
        "millions of lines": b"1\n" * (size // 2),
        "millions of blank lines": b"\n" * size,
        "one event of all": b"[" + event[:-1] + b',"page_id":"' + b"p" * (size - 1000) + b'"}]',
        "all wrong in many ways": b"[" + b",".join([json.dumps(_wrong()).encode()] * 9_000) + b"]",
        "each with heavy names": b"[" + b",".join([b"{" + b",".join(b'"k%d":1' % n for n in range(60)) + b"}"] * 9_000) + b"]",
    }


def _wrong() -> dict[str, Any]:
    return {**home(), "event_type": "NONE", "timestamp": "-1", "items": [{"price": ""}] * 10, "page_id": "p" * 300}
