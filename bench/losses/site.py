"""A shop behind gunicorn: `GET /17` tracks event 17 and answers 200. `BENCH_PLACE` in the environment says with which library.

Made when the first request of a worker comes, as a shop does that follows the advice of all three libraries on forking servers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import msgspec

from bench.trackers import Place, Tracker, arguments, made


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    name = environ["PATH_INFO"].strip("/")
    if name.isdecimal():
        _tracker().track(**arguments(_place().library, int(name)))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


@cache
def _place() -> Place:
    return msgspec.json.decode(os.environ["BENCH_PLACE"], type=Place)


@cache
def _tracker() -> Tracker:
    return made(_place())
